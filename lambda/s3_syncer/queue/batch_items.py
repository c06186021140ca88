"""The items of a batch: keys, ranges and parts, run in threads until the deadline."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Executor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from ..core.deadline import Deadline, OutOfTime
from ..core.errors import Permanent, SyncError, judged, unexpected_failure
from ..core.fence import Fence, current, fenced
from ..core.log_context import log_fields
from ..core.work_items import KeyWork, lag_ms
from ..sync.outcome import WITH_LAG, Outcome
from ..sync.write_checks import MAX_UNSEEN_DELIVERIES, Unseen
from .decision_log import log_decision, log_failure
from .late_checks import MAX_LATE_CHECKS, NO_RESPONSES, late_checks
from .waiting import BatchWait

logger = logging.getLogger(__name__)

#: A key that is not done after this many full attempts goes to the dead-letter queue: each attempt sends the whole
#: object again, and every transfer costs money.
MAX_FULL_ATTEMPTS = 3

#: An attempt is full if it had at least this share of the time of its batch.
FULL_ATTEMPT_SHARE = 0.9

#: Share of the grace period that threads get to end after their work was given up. Their connections are broken, so
#: they need milliseconds.
_END_SHARE = 0.25

_NO_TIME = "no time left before the deadline"

_TOO_LONG = Permanent(
    f"not done in {MAX_FULL_ATTEMPTS} attempts with all the time of a batch: run `s3-syncer sync KEY`, which has no "
    "time limit",
    "TooLong",
)

_Id = TypeVar("_Id", bound=Hashable)

#: The result of an item: its outcome, or the error that ended it.
Result = Outcome | SyncError


@dataclass(frozen=True, slots=True)
class ItemResult:
    """The result of an item, and the keys with a write that may still take effect: see `core/fence.py`."""

    item: BatchItem
    result: Result
    #: Relative to the source prefix.
    uncertain: frozenset[str]
    #: True if the message may belong to another worker by now, which may have deleted it.
    message_is_lost: bool

    @property
    def exclusion(self) -> str:
        """Return the reason why the filters leave the key as it is, or ""."""
        is_excluded = isinstance(self.result, Outcome) and self.result.action == "excluded"
        return self.result.reason if is_excluded else ""

    @property
    def may_change(self) -> bool:
        """Return True if the key of a failed item may still change."""
        return self.item.is_key and bool(self.uncertain)

    def late_checks(self, prefix: str) -> list[KeyWork]:
        """Return the messages that check the uncertain keys once more, when no write can take effect any more.

        A failed key needs none if its own message comes back. Parts need none: the message about their key returns as
        long as their upload exists, so it sees a late completion.
        """
        comes_back = self.item.is_key and isinstance(self.result, SyncError) and not self.message_is_lost
        if self.item.is_parts or comes_back:
            return []
        uncertain = (prefix + key for key in sorted(self.uncertain))
        return late_checks(uncertain, self.item.late_checks, released=self.item.released)


def is_full_attempt(spent_s: float, available_s: float | None) -> bool:
    """Return True if an attempt had all the time of its batch, so that running out of time says something.

    `spent_s` is the time of the attempt, `available_s` that of its batch, None without a limit. An attempt that began
    late in its batch proves nothing.
    """
    return available_s is not None and available_s > 0 and spent_s >= FULL_ATTEMPT_SHARE * available_s


class FullAttempt(OutOfTime):
    """A full attempt at a key that was not done: its next attempt is the work item `next_attempt`."""

    def __init__(self, error: OutOfTime, next_attempt: KeyWork) -> None:
        super().__init__(error.reason)
        self.next_attempt = next_attempt


@dataclass(frozen=True, slots=True)
class BatchItem:
    """Something to run in a thread: the convergence of a key, a range, or some parts of an object."""

    key: str
    attempt: int
    run: Callable[[Deadline], Outcome]
    #: The name of a range or parts in the log; empty for a key.
    name: str = ""
    is_parts: bool = False
    #: Time of the oldest event for the key, see `KeyRequest`.
    since: float | None = None
    #: The work of a key after a full attempt that was not done.
    next_attempt: KeyWork | None = None
    #: The number of the product's own messages that led to this work.
    hops: int = 0

    @property
    def is_key(self) -> bool:
        """Return True for a key: every decision about a key is logged, and a key can take too long."""
        return not self.name

    @property
    def late_checks(self) -> int:
        """Return the number of late checks in a row that led to this work."""
        return self.next_attempt.late_checks if self.next_attempt else 0

    @property
    def released(self) -> bool:
        """Return True for a key with a released deletion."""
        return self.next_attempt is not None and self.next_attempt.released


def run_all(
    items: Mapping[_Id, BatchItem], pool: Executor, deadline: Deadline, grace_s: float, batch: BatchWait
) -> dict[_Id, ItemResult]:
    """Run the items in the pool, and return their results.

    An item that is not done `grace_s` seconds after the deadline is out of time, and its thread sends nothing more.
    """
    available_s = deadline.timeout()
    fences = {id: Fence(expires=Deadline(deadline.at + grace_s), outer=current()) for id in items}
    watched = deadline.with_progress(batch.progress)
    futures = {id: pool.submit(_run_item, item, fences[id], watched, available_s) for id, item in items.items()}
    try:
        batch.wait({futures[id]: item for id, item in items.items()}, deadline, grace_s=grace_s)
        results: dict[_Id, Result] = {id: future.result() for id, future in futures.items() if future.done()}
        given_up = [id for id in items if id not in results]
        for id in given_up:
            futures[id].cancel()  # if its thread has not begun
    finally:
        for fence in fences.values():
            fence.close()
    wait([futures[id] for id in given_up], timeout=grace_s * _END_SHARE)
    for id in given_up:
        results[id] = OutOfTime(_NO_TIME)
        with log_fields({"hops": items[id].hops}):
            _log_result(items[id], results[id], None)
    message_is_lost = (outer := current()) is not None and outer.is_closed
    return {id: ItemResult(item, results[id], fences[id].uncertain, message_is_lost) for id, item in items.items()}


def _run_item(item: BatchItem, fence: Fence, deadline: Deadline, available_s: float | None) -> Result:
    """Run one item, log the decision, and return it. `available_s` is the time of the batch."""
    with fenced(fence), log_fields({"hops": item.hops}):
        began = time.monotonic()
        try:
            deadline.progress()
            deadline.check()
            result: Result = item.run(deadline)
        except SyncError as error:
            result = judged(error)
        except Exception as error:  # a bug: this message must return, and only this one
            logger.exception("unexpected failure", extra={"key": item.key})
            result = unexpected_failure(error)
        spent_s = time.monotonic() - began
        if isinstance(result, Unseen) and item.attempt >= MAX_UNSEEN_DELIVERIES:
            result = Permanent(result.reason, result.code)
        if item.next_attempt is not None and isinstance(result, OutOfTime) and is_full_attempt(spent_s, available_s):
            is_last = item.next_attempt.full_attempts >= MAX_FULL_ATTEMPTS
            result = _TOO_LONG if is_last else FullAttempt(result, item.next_attempt)
        is_done = isinstance(result, Outcome) and not result.more
        if is_done and item.late_checks >= MAX_LATE_CHECKS and fence.uncertain:
            result = NO_RESPONSES
        _log_result(item, result, spent_s)
        return result


def _log_result(item: BatchItem, result: Result, spent_s: float | None) -> None:
    """Log the decision about an item. A range and parts log their success themselves.

    `spent_s` is None for an item that is not done. The lag is logged for it too, because alarms are set on it: see
    monitoring.tf.
    """
    fields: dict[str, Any] = {}
    if item.is_key and spent_s is not None:
        size = result.size if isinstance(result, Outcome) else 0
        fields = {"bytes": size, "duration_ms": round(spent_s * 1000)}
    if item.is_key or item.since is not None:
        says_nothing = isinstance(result, Outcome) and result.action not in WITH_LAG
        fields["lag_ms"] = None if says_nothing else lag_ms(item.since, time.time())
    fields["attempts"] = item.attempt
    if isinstance(result, SyncError):
        log_failure(item.key, result, name=item.name, **fields)
    elif item.is_key:
        log_decision(result.action, item.key, result.reason, **fields)
