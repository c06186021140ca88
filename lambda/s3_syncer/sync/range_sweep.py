"""Processes ranges of keys from the queue: sweeps for a while, then returns the rest in parts.

So a range of any size needs no plan: the number of workers on it multiplies with every slice of time, until each of
them finishes its part. If the pages in flight take longer than the worker has, the rest is cut between these pages and
in the middle of each, which needs no request.

A key that fails becomes a message and does not delay its range. So does a key that the range wrote and that was
deleted from the source meanwhile: live sync deletes it, if its deletes are on.

A range that deletes has a limit, or no limit. With a limit it deletes the keys itself. Without one, each deletion is a
message, so that the guard of live sync counts it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from ..core.deadline import Deadline
from ..core.errors import Permanent, SyncError
from ..core.fence import carried, current
from ..core.key_ranges import cut_range
from ..core.units import MIB
from ..core.work_items import DeletionWork, KeyWork, RangeWork, Work
from .outcome import Outcome

if TYPE_CHECKING:
    from .context import SyncContext

logger = logging.getLogger(__name__)

#: Seconds of sweeping before the rest of a range is cut into parts.
SLICE_S = 60.0

#: Bytes above which an object becomes a message: its copy may take longer than a range has, and the other keys of the
#: range should not wait for it.
MAX_OBJECT_IN_RANGE = 256 * MIB

#: Deletions of a range that become messages, after which no further page of it starts: they take 1,000 requests to SQS
#: after the slice. A listing of 60 s shows a million keys that the source lacks, more than one call can send.
MAX_DEFERRED = 10_000

#: Calls in a row in which a range may make no progress. Progress is a page that is done, or a key that was changed. A
#: call that the service stopped does not count. Each call halves the pages in flight, so after 8 calls they have four
#: keys: if these are not done either, more calls do not help.
MAX_STALLED_HOPS = 8


class RangeSweeper:
    """Sweeps ranges of a pair of buckets with `threads` keys at a time; `prefix` is the source's.

    Objects of more than `max_object_size` bytes, or more than MAX_OBJECT_IN_RANGE, become messages. With
    `defers_deletions`, so do deletions without a limit.
    """

    def __init__(
        self,
        context: SyncContext,
        *,
        prefix: str,
        threads: int,
        slice_s: float = SLICE_S,
        max_object_size: int = MAX_OBJECT_IN_RANGE,
        defers_deletions: bool = False,
    ) -> None:
        self._context, self._prefix, self._threads, self._slice_s = context, prefix, threads, slice_s
        self._max_object_size = min(max_object_size, MAX_OBJECT_IN_RANGE)
        self._defers_deletions = defers_deletions

    def run(
        self, work: RangeWork, deadline: Deadline, *, redelivered: bool = False, time_divisor: int = 1
    ) -> Sequence[Work]:
        """Sweep the range; return the work that is left. Raises a SyncError if the message must come again.

        The slice of time is divided by `time_divisor`: a worker that received several ranges returns each of them soon.
        """
        # Imported here, so that a function that only gets events starts without them.
        from .key_sweep import SweepOptions
        from .sweep import Sweep

        if redelivered and work.delete and work.max_delete is not None:
            work = _without_deletions(work)
        slice_end = deadline.sooner(self._slice_s / time_divisor)
        is_deferred = self._defers_deletions and work.delete and work.max_delete is None
        found = _Found(self._prefix, enough=slice_end.stop if is_deferred else None)
        options = SweepOptions(
            delete=work.delete and not is_deferred,
            max_delete=work.max_delete,
            one_way=not work.delete,
            full=work.full,
            max_object_size=self._max_object_size,
            repeats_busy=True,
        )
        source, target, pair = self._context.source, self._context.target, self._context.pair
        sweep = Sweep(
            replace(pair, filters=pair.filters & work.filters),
            source,
            target,
            found,
            options,
            threads=self._threads,
            small_object_copier=self._context.small_object_copier,
        )
        try:
            cuts = sweep.run(deadline, after=work.after, until=work.until, pages_until=slice_end)
        except SyncError:
            found.mark_stale_keys()
            raise
        left: list[Work] = [KeyWork((key,)) for key in (*found.own_messages, *found.stale)]
        left += (DeletionWork((key,)) for key in found.extra)
        logger.info(
            "range",
            extra={
                "action": "range",
                "after": work.after,
                "until": cuts[0] if cuts else work.until,
                "keys": found.keys,
                "changed": found.changes,
                "deleted": found.deletions,
                "deferred": len(found.extra),
                "bytes": found.bytes,
                "failed": found.failed_keys,
            },
        )
        if cuts:
            has_progressed = cuts[0] > work.after or found.changes or found.stale or found.extra
            stalled_hops = 0 if has_progressed else work.stalled_hops + (not deadline.is_stopped)
            if stalled_hops >= MAX_STALLED_HOPS:
                raise _no_progress(work)
            rest = replace(work, max_delete=sweep.deletions_left, stalled_hops=stalled_hops)
            left += self._cut(rest, cuts, deadline)
        return left

    def _cut(self, work: RangeWork, cuts: Sequence[str], deadline: Deadline) -> Sequence[RangeWork]:
        """Return the parts of the rest of a range: see `Sweep.run` about `cuts`.

        The last part is the longest: pages that did not start. Requests find the keys to cut it, if there is time.
        """
        deadline.progress()
        parts = [*pairwise(cuts), *cut_range(self._first_behind, cuts[-1], work.until, deadline)]
        # The limit of deletions holds for the whole run without a shared counter: the parts divide what is left of it,
        # and a range that is delivered again deletes nothing.
        limits = _divide(work.max_delete, len(parts))
        return [
            replace(work, after=after, until=until, max_delete=limit)
            for (after, until), limit in zip(parts, limits, strict=True)
        ]

    def _first_behind(self, points: Sequence[str]) -> Sequence[str | None]:
        with ThreadPoolExecutor(self._threads, thread_name_prefix="probe") as pool:
            return list(pool.map(carried(self._context.source.first), points))


def _no_progress(work: RangeWork) -> Permanent:
    until = "the last key" if work.until is None else repr(work.until)
    return Permanent(
        f"the range of keys behind {work.after!r} up to {until} made no progress in {MAX_STALLED_HOPS} calls in a row: "
        "no page of it was done, and no key was changed. Run `s3-syncer migrate`, which has no time limit",
        "NoProgress",
    )


def _divide(number: int | None, parts: int) -> list[int | None]:
    """Return `parts` whole numbers of about the same size with this sum; None divides into None."""
    if number is None:
        return [None] * parts
    return [number * (part + 1) // parts - number * part // parts for part in range(parts)]


def _without_deletions(work: RangeWork) -> RangeWork:
    """Return the range without deletions: nothing counts those of an earlier delivery."""
    reason = "delivered again, so its part of the deletions may be used up: it deletes nothing, the next run does"
    extra = {"action": "delete-limit", "after": work.after, "until": work.until, "reason": reason}
    logger.warning("delete-limit", extra=extra)
    return replace(work, delete=False, max_delete=None)


class _Found:
    """The listener of the sweep: it counts and logs what the sweep does and cannot do.

    `enough` is called after MAX_DEFERRED deletions that become messages. None if no deletion does.
    """

    def __init__(self, prefix: str, *, enough: Callable[[], None] | None) -> None:
        self._prefix, self._enough, self._lock = prefix, enough, threading.Lock()
        self.keys = self.changes = self.deletions = self.bytes = self.failed_keys = 0
        # Whole keys, each of which becomes a message. A restart finds the first again, but not the stale ones.
        self.own_messages: list[str] = []
        self.extra: list[str] = []  # only if their deletions become messages
        self.stale: list[str] = []

    def on_compared(self, keys: int) -> None:
        self.keys += keys

    def on_changed(self, key: str, outcome: Outcome) -> None:
        with self._lock:
            self.changes += outcome.action != "undo"
            self.deletions += outcome.action == "delete"
            self.bytes += outcome.size
        extra = {"action": outcome.action, "key": self._prefix + key, "reason": outcome.reason, "bytes": outcome.size}
        logger.info("%s", outcome.action, extra=extra)

    def on_skipped(self, key: str, outcome: Outcome) -> None:
        if outcome.action == "large":
            self.own_messages.append(self._prefix + key)
            return
        if outcome.action == "extra" and self._enough is not None:
            self.extra.append(self._prefix + key)
            if len(self.extra) >= MAX_DEFERRED:
                self._enough()
        if outcome.action == "stale":
            self.stale.append(self._prefix + key)
        if outcome.action == "archived":  # the worker of the message makes it a dead letter, which operators see
            self.failed_keys += 1
            self.own_messages.append(self._prefix + key)
        extra = {"action": outcome.action, "key": self._prefix + key, "reason": outcome.reason}
        logger.warning("%s", outcome.action, extra=extra)

    def on_failed(self, key: str, error: SyncError) -> None:
        self.failed_keys += 1
        self.own_messages.append(self._prefix + key)
        extra = {"action": "failed", "key": self._prefix + key, **error.log_fields}
        logger.warning("failed", extra=extra)

    def on_uncertain(self, key: str) -> None:
        """Do nothing: the worker sends a message for the key."""

    def mark_stale_keys(self) -> None:
        """Let the worker send a message for each stale key: the next delivery of the range does not know them."""
        if (fence := current()) is not None:
            for key in self.stale:
                fence.mark_uncertain(key.removeprefix(self._prefix))

    def on_restart(self, why: str) -> None:
        logger.warning("%s", why)
        self.keys = self.failed_keys = 0
        self.own_messages.clear()
        self.extra.clear()
