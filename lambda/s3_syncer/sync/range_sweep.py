"""Does the range kind of work: sweeps for a while, then cuts what is left in two and puts both halves back.

So a range of any size needs no plan: the number of workers on it doubles with every slice of time, until each has
a part that it finishes. A key that fails becomes a message of its own and never stalls its range.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from ..core.deadline import Deadline
from ..core.errors import SyncError
from ..core.key_ranges import Probe, split
from ..core.listing_diff import PAGE_KEYS
from ..core.multipart import MIB
from ..core.work_items import KeyWork, RangeWork, Work
from .converge import Outcome
from .sweep import Sweep, SweepOptions

if TYPE_CHECKING:
    from .context import SyncContext

logger = logging.getLogger(__name__)

#: Seconds of sweeping before what is left is cut in two.
SLICE_S = 60.0

#: Bytes above which an object is copied by a message of its own: it may take longer than a range has, and others
#: should not wait for it.
MAX_OBJECT_IN_RANGE = 256 * MIB


class RangeSweeper:
    """Sweeps ranges of one connection with `threads` keys at a time; `prefix` is the source's."""

    def __init__(
        self,
        context: SyncContext,
        *,
        prefix: str,
        threads: int,
        slice_s: float = SLICE_S,
        max_object_size: int = MAX_OBJECT_IN_RANGE,
    ) -> None:
        """Objects of more than `largest` bytes, or more than LARGEST_IN_RANGE, are handed on."""
        self._context, self._prefix, self._threads, self._slice_s = context, prefix, threads, slice_s
        self._max_object_size = min(max_object_size, MAX_OBJECT_IN_RANGE)

    def do(self, work: RangeWork, deadline: Deadline, *, again: bool = False, share: int = 1) -> Sequence[Work]:
        """Sweeps the range; returns the work that is left of it. Raises a SyncError when it has to come `again`.

        Its time is one part in `share`: somebody who was handed several ranges keeps none of them from others for long.
        """
        if again and work.delete and work.max_delete is not None:
            work = _spent(work)
        found = _Found(self._prefix)
        options = SweepOptions(
            delete=work.delete,
            max_delete=work.max_delete,
            one_way=not work.delete,
            max_object_size=self._max_object_size,
        )
        source, target = self._context.source, self._context.target
        sweep = Sweep(
            self._context.pair,
            source,
            target,
            found,
            options,
            threads=self._threads,
            small_object_copier=self._context.small_object_copier,
        )
        slice_end = deadline.sooner(self._slice_s / share)
        rest = sweep.run(deadline, after=work.after, until=work.until, pages_until=slice_end)
        left: list[Work] = [KeyWork((key,)) for key in found.handed_on]
        if rest is not None:
            left += self._cut(RangeWork(rest, work.until, work.delete, sweep.deletions_left), deadline)
        logger.info(
            "range",
            extra={
                "action": "range",
                "after": work.after,
                "until": work.until if rest is None else rest,
                "keys": found.keys,
                "changed": found.changes,
                "deleted": found.deletions,
                "bytes": found.bytes,
                "failed": found.failed_keys,
            },
        )
        return left

    def _cut(self, work: RangeWork, deadline: Deadline) -> Sequence[RangeWork]:
        deadline.progress()
        try:
            middle = None if deadline.passed() else split(self._look, work.after, work.until)
        except SyncError:  # a store that is not well: what was swept is done, and who goes on finds out
            middle = None
        if middle is None:
            return [work]
        # The brake holds over the whole run without anybody counting: each half may delete half of what is left, and
        # a range that is delivered again nothing at all.
        most = work.max_delete
        halves = (None, None) if most is None else (most // 2, most - most // 2)
        return [
            RangeWork(work.after, middle, work.delete, halves[0]),
            RangeWork(middle, work.until, work.delete, halves[1]),
        ]

    def _look(self, after: str, until: str | None) -> Probe:
        listing = self._context.source.listing(after, until)
        keys = tuple(islice(chain.from_iterable(stretch.keys for stretch in listing), PAGE_KEYS))
        return Probe(keys, full=len(keys) == PAGE_KEYS)


def _spent(work: RangeWork) -> RangeWork:
    """The range without its deletions: whoever had it before may have made them all, and nobody counted."""
    reason = "delivered again, so its share of deletions may be spent: it deletes nothing, the next run does"
    extra = {"action": "delete-limit", "after": work.after, "until": work.until, "reason": reason}
    logger.warning("delete-limit", extra=extra)
    return replace(work, delete=False, max_delete=None)


class _Found:
    """What a sweep did and could not do; an observer in the sense of `sweep.Observer`."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self._lock = prefix, threading.Lock()
        self.keys = self.changes = self.deletions = self.bytes = self.failed_keys = 0
        self.handed_on: list[str] = []  # whole keys, each to become a message of its own

    def on_compared(self, keys: int) -> None:
        self.keys += keys

    def on_changed(self, key: str, outcome: Outcome) -> None:
        with self._lock:
            self.changes += 1
            self.deletions += outcome.action == "delete"
            self.bytes += outcome.size
        extra = {"action": outcome.action, "key": self._prefix + key, "reason": outcome.reason, "bytes": outcome.size}
        logger.info("%s", outcome.action, extra=extra)

    def on_skipped(self, key: str, outcome: Outcome) -> None:
        if outcome.action == "large":
            self.handed_on.append(self._prefix + key)
            return
        extra = {"action": outcome.action, "key": self._prefix + key, "reason": outcome.reason}
        logger.warning("%s", outcome.action, extra=extra)

    def on_failed(self, key: str, error: SyncError) -> None:
        self.failed_keys += 1
        self.handed_on.append(self._prefix + key)
        logger.warning("failed", extra={"action": "failed", "key": self._prefix + key, "reason": str(error)})

    def on_restart(self, why: str) -> None:
        logger.warning("%s", why)
        self.keys = self.failed_keys = 0
        self.handed_on.clear()
