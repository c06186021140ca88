"""Turn messages into dispositions: acknowledge, retry or dead letter. Makes no request to SQS.

Each distinct key of a batch is converged once, several keys at a time. A message is done when all its keys are.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.deadline import Deadline, OutOfTime
from ..core.errors import Permanent, Retryable, StoreUnusable, SyncError, judged, unexpected_failure
from ..core.events import decode
from ..core.fence import LATE_WRITE_S, Fence, current, fenced
from ..core.log_context import log_fields
from ..core.work_items import DeletionWork, KeyWork, PartsWork, RangeWork, Work, following
from ..sync.bucket_pair import BucketPair
from ..sync.outcome import Outcome
from ..sync.write_checks import MAX_UNSEEN_DELIVERIES, Unseen
from .decision_log import log_decision, log_excluded, log_failure
from .deletion_guard import DIRECT, Deletions
from .dispositions import Ack, Disposition, Message, Retry, disposition_for_error
from .key_request import KeyRequest
from .late_checks import MAX_LATE_CHECKS, NO_RESPONSES, late_checks
from .waiting import BatchWait

if TYPE_CHECKING:
    from ..sync.distributed_copy import DistributedCopier
    from ..sync.range_sweep import RangeSweeper

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


#: The result of an item: its outcome, or the error that ended it.
Result = Outcome | SyncError


@dataclass(frozen=True, slots=True)
class _Done:
    """The result of an item, and the keys with a write that may still take effect: see `core/fence.py`."""

    item: _Item
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


#: Errors in the order in which they decide on a message with several keys. A message returns as long as one of its
#: keys may succeed: the keys that are done cost little to check again.
_PRECEDENCE = (OutOfTime, StoreUnusable, Retryable, Permanent)

_Id = TypeVar("_Id", bound=Hashable)


def is_full_attempt(spent_s: float, available_s: float | None) -> bool:
    """Return True if an attempt had all the time of its batch, so that running out of time says something.

    `spent_s` is the time of the attempt, `available_s` that of its batch, None without a limit. An attempt that began
    late in its batch proves nothing.
    """
    return available_s is not None and available_s > 0 and spent_s >= FULL_ATTEMPT_SHARE * available_s


class _FullAttempt(OutOfTime):
    """A full attempt at a key that was not done: its next attempt is the work item `next_attempt`."""

    def __init__(self, error: OutOfTime, next_attempt: KeyWork) -> None:
        super().__init__(error.reason)
        self.next_attempt = next_attempt


@dataclass(frozen=True, slots=True)
class _Item:
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


class Worker:
    """Do the work of messages for one pair of buckets, `threads` keys at a time.

    `bucket` and `prefix` are those of the source. A key that is not below the prefix is ignored. With `sends_bulk_on`,
    ranges and parts are not processed: they are new work for the queue for bulk work. `deletions` decides about
    deletions. `responded_at` is as for `BatchWait`.
    """

    def __init__(
        self,
        pair: BucketPair,
        ranges: RangeSweeper,
        copier: DistributedCopier,
        *,
        bucket: str,
        prefix: str,
        threads: int,
        sends_bulk_on: bool = False,
        deletions: Deletions = DIRECT,
        responded_at: Callable[[], float] = lambda: -math.inf,
    ) -> None:
        self._responded_at = responded_at
        self._pair, self._ranges, self._copier = pair, ranges, copier
        self._deletions, self._deferring_pair = deletions, replace(pair, defers_deletions=deletions.are_deferred)
        self._bucket, self._prefix, self._sends_bulk_on = bucket, prefix, sends_bulk_on
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="key")

    def run(self, messages: Iterable[Message], deadline: Deadline, *, grace_s: float = 0.0) -> dict[str, Disposition]:
        """Return the disposition of each message, by its id. A failure is part of it and is not raised.

        Work in flight when the deadline passes has `grace_s` seconds more, to abort its upload.
        """
        dispositions: dict[str, Disposition] = {}
        requests: dict[str, KeyRequest] = {}
        key_messages: list[tuple[Message, KeyWork]] = []
        ranges_and_parts: list[tuple[Message, RangeWork | PartsWork]] = []
        for message in messages:
            try:
                work = decode(message.body, self._bucket) or KeyWork(())
                moved = self._deletions.moved(work) if isinstance(work, DeletionWork) else None
            except SyncError as error:
                log_failure("", error, attempts=message.attempt)
                dispositions[message.id] = disposition_for_error(error, message.attempt)
                continue
            if moved is not None:
                dispositions[message.id] = _sent_on(work, moved.works, message, moved.action, moved.reason)
                continue
            if isinstance(work, RangeWork | PartsWork):
                if self._sends_bulk_on:
                    reason = "bulk work goes to the queue for bulk work"
                    dispositions[message.id] = _sent_on(work, [work], message, "forward", reason)
                else:
                    ranges_and_parts.append((message, work))
                continue
            if may_delete := isinstance(work, DeletionWork):
                work = KeyWork(work.keys, hops=work.hops, released=work.released)
            work = replace(work, keys=tuple(key for key in work.keys if self._is_below_prefix(key, message)))
            key_messages.append((message, work))
            for key in work.keys:
                requests.setdefault(key, KeyRequest()).add(work, message.attempt, may_delete=may_delete)
        items = {key: self._key_item(key, request) for key, request in requests.items()}
        results = _run_all(items, self._pool, deadline, grace_s, BatchWait(self._responded_at))
        log_excluded(sum(bool(done.exclusion) for done in results.values()))
        for message, work in key_messages:
            dispositions[message.id] = self._combined(message, work, {key: results[key] for key in work.keys})
        # Ranges and parts run last: they take long, and the events of the batch are waiting.
        return dispositions | self._run_ranges_and_parts(ranges_and_parts, deadline, grace_s)

    def _run_ranges_and_parts(
        self, ranges_and_parts: list[tuple[Message, RangeWork | PartsWork]], deadline: Deadline, grace_s: float
    ) -> dict[str, Disposition]:
        """Run ranges and parts one after the other, because each of them keeps all threads busy."""
        ranges = sum(isinstance(work, RangeWork) for _, work in ranges_and_parts)
        items = {message: self._range_or_parts_item(message, work, ranges) for message, work in ranges_and_parts}
        with_one_thread = ThreadPoolExecutor(1, thread_name_prefix="range")
        try:
            results = _run_all(items, with_one_thread, deadline, grace_s, BatchWait(self._responded_at))
        finally:
            with_one_thread.shutdown(wait=False)
        works = dict(ranges_and_parts)
        return {
            message.id: self._combined(message, works[message], {done.item.key: done})
            for message, done in results.items()
        }

    def _key_item(self, key: str, request: KeyRequest) -> _Item:
        def run(deadline: Deadline) -> Outcome:
            outcome = self._copier.converge(
                self._pair if request.may_delete else self._deferring_pair,
                key.removeprefix(self._prefix),
                deadline,
                uploads=request.uploads,
                redelivered=request.is_repeated,
            )
            deletion = [DeletionWork((key,))] if outcome.action == "deferred" else []
            return replace(outcome, more=(*(_with_time(work, request.since) for work in outcome.more), *deletion))

        next_attempt = request.next_attempt(key)
        return _Item(key, request.attempt, run, since=request.since, next_attempt=next_attempt, hops=request.hops)

    def _range_or_parts_item(self, message: Message, work: RangeWork | PartsWork, ranges: int) -> _Item:
        def run(deadline: Deadline) -> Outcome:
            if isinstance(work, PartsWork):
                return Outcome("part", "", more=tuple(self._copier.process_item(work, deadline)))
            redelivered = message.attempt > 1
            left = self._ranges.run(work, deadline, redelivered=redelivered, time_divisor=ranges)
            return Outcome("range", "", more=tuple(left))

        if isinstance(work, PartsWork):
            name = f"parts {work.first} to {work.last}"
            return _Item(work.key, message.attempt, run, name=name, is_parts=True, since=work.since, hops=work.hops)
        return _Item("", message.attempt, run, name=f"range after {work.after!r}", hops=work.hops)

    def _combined(self, message: Message, work: Work, results: Mapping[str, _Done]) -> Disposition:
        """Return the disposition of a message from the results of its keys: see `_PRECEDENCE`."""
        with log_fields({"hops": work.hops}):
            disposition = self._disposition(message, results)
        return replace(disposition, more=following(disposition.more, work.hops))

    def _disposition(self, message: Message, results: Mapping[str, _Done]) -> Disposition:
        more: list[Work] = []
        for done in results.values():
            more += done.result.more if isinstance(done.result, Outcome) else ()
            more += done.late_checks(self._prefix)
        failures = [(key, done.result) for key, done in results.items() if isinstance(done.result, SyncError)]
        if not failures:
            return Ack(tuple(more), next(filter(None, (done.exclusion for done in results.values())), ""))
        is_uncertain = any(results[key].may_change for key, _ in failures)
        delay_s = LATE_WRITE_S if is_uncertain else 0
        counted = [error.next_attempt for _, error in failures if isinstance(error, _FullAttempt)]
        if len(counted) == len(failures):  # SQS counts deliveries, so a message that counts full attempts replaces it
            return Ack((*more, *(replace(work, delay_s=delay_s) for work in counted)))
        key, error = min(failures, key=lambda failure: _precedence(failure[1]))
        disposition = disposition_for_error(error, message.attempt, key=key, more=tuple(more))
        if isinstance(disposition, Retry):
            return replace(disposition, delay_s=max(disposition.delay_s, delay_s), is_uncertain=is_uncertain)
        return disposition

    def _is_below_prefix(self, key: str, message: Message) -> bool:
        if key.startswith(self._prefix) and key != self._prefix:
            return True
        log_decision("ignored", key, f"not below the prefix {self._prefix!r}", attempts=message.attempt)
        return False


def _sent_on(work: Work, works: Sequence[Work], message: Message, action: str, reason: str) -> Ack:
    """Return the disposition of a message that another queue takes as `works`."""
    key = work.key if isinstance(work, PartsWork) else work.keys[0] if isinstance(work, DeletionWork) else ""
    with log_fields({"hops": work.hops}):
        log_decision(action, key, reason, attempts=message.attempt)
    return Ack(following(works, work.hops))


def _run_all(
    items: Mapping[_Id, _Item], pool: Executor, deadline: Deadline, grace_s: float, batch: BatchWait
) -> dict[_Id, _Done]:
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
    return {id: _Done(item, results[id], fences[id].uncertain, message_is_lost) for id, item in items.items()}


def _run_item(item: _Item, fence: Fence, deadline: Deadline, available_s: float | None) -> Result:
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
            result = _TOO_LONG if is_last else _FullAttempt(result, item.next_attempt)
        is_done = isinstance(result, Outcome) and not result.more
        if is_done and item.late_checks >= MAX_LATE_CHECKS and fence.uncertain:
            result = NO_RESPONSES
        _log_result(item, result, spent_s)
        return result


def _with_time(work: Work, since: float | None) -> Work:
    """Return parts with the time of their event, so that the check after the upload logs the lag."""
    return replace(work, since=since) if isinstance(work, PartsWork) else work


def _precedence(error: SyncError) -> int:
    return next((index for index, kind in enumerate(_PRECEDENCE) if isinstance(error, kind)), len(_PRECEDENCE))


def _log_result(item: _Item, result: Result, spent_s: float | None) -> None:
    """Log the decision about an item. A range and parts log their success themselves.

    `spent_s` is None for an item that is not done. The lag is logged for it too, because alarms are set on it: see
    monitoring.tf. It is 0 if the clock of the source's event is ahead.
    """
    fields: dict[str, Any] = {}
    if item.is_key and spent_s is not None:
        size = result.size if isinstance(result, Outcome) else 0
        fields = {"bytes": size, "duration_ms": round(spent_s * 1000)}
    if item.is_key or item.since is not None:
        fields["lag_ms"] = None if item.since is None else max(0, round((time.time() - item.since) * 1000))
    fields["attempts"] = item.attempt
    if isinstance(result, SyncError):
        log_failure(item.key, result, name=item.name, **fields)
    elif item.is_key:
        log_decision(result.action, item.key, result.reason, **fields)
