"""Turn messages into dispositions: acknowledge, retry or dead letter. Makes no request to SQS.

Each distinct key of a batch is converged once, several keys at a time. A message is done when all its keys are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.deadline import Deadline, OutOfTime
from ..core.errors import Permanent, Retryable, StoreUnusable, SyncError
from ..core.events import decode
from ..core.fence import LATE_WRITE_S
from ..core.log_context import log_fields
from ..core.work_items import DeletionWork, KeyWork, Malformed, PartsWork, RangeWork, Work, following
from ..sync.bucket_pair import BucketPair
from ..sync.outcome import Outcome
from .batch_items import BatchItem, FullAttempt, ItemResult, run_all
from .decision_log import log_decision, log_excluded, log_failure
from .deletion_guard import DIRECT, Deletions
from .dispositions import Ack, Disposition, Message, Retry, disposition_for_error
from .key_request import KeyRequest
from .waiting import BatchWait

if TYPE_CHECKING:
    from ..sync.distributed_copy import DistributedCopier
    from ..sync.range_sweep import RangeSweeper

#: Errors in the order in which they decide on a message with several keys. A message returns as long as one of its
#: keys may succeed: the keys that are done cost little to check again.
_PRECEDENCE = (OutOfTime, StoreUnusable, Retryable, Permanent)


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
        results = run_all(items, self._pool, deadline, grace_s, BatchWait(self._responded_at))
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
            results = run_all(items, with_one_thread, deadline, grace_s, BatchWait(self._responded_at))
        finally:
            with_one_thread.shutdown(wait=False)
        works = dict(ranges_and_parts)
        return {
            message.id: self._combined(message, works[message], {done.item.key: done})
            for message, done in results.items()
        }

    def _key_item(self, key: str, request: KeyRequest) -> BatchItem:
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
        return BatchItem(key, request.attempt, run, since=request.since, next_attempt=next_attempt, hops=request.hops)

    def _range_or_parts_item(self, message: Message, work: RangeWork | PartsWork, ranges: int) -> BatchItem:
        def run(deadline: Deadline) -> Outcome:
            if isinstance(work, PartsWork):
                return Outcome("part", "", more=tuple(self._copier.process_item(work, deadline)))
            redelivered = message.attempt > 1
            left = self._ranges.run(work, deadline, redelivered=redelivered, time_divisor=ranges)
            return Outcome("range", "", more=tuple(left))

        if isinstance(work, PartsWork):
            name = f"parts {work.first} to {work.last}"
            return BatchItem(work.key, message.attempt, run, name=name, is_parts=True, since=work.since, hops=work.hops)
        return BatchItem("", message.attempt, run, name=f"range after {work.after!r}", hops=work.hops)

    def _combined(self, message: Message, work: Work, results: Mapping[str, ItemResult]) -> Disposition:
        """Return the disposition of a message from the results of its keys: see `_PRECEDENCE`.

        A message with rejected records is a dead letter as soon as it would be acknowledged without them.
        """
        with log_fields({"hops": work.hops}):
            disposition = self._disposition(message, results)
            if isinstance(disposition, Ack) and isinstance(work, KeyWork) and work.rejection:
                error = Malformed(work.rejection)
                log_failure("", error, attempts=message.attempt)
                disposition = disposition_for_error(error, message.attempt, more=disposition.more)
        return replace(disposition, more=following(disposition.more, work.hops))

    def _disposition(self, message: Message, results: Mapping[str, ItemResult]) -> Disposition:
        more: list[Work] = []
        for done in results.values():
            more += done.result.more if isinstance(done.result, Outcome) else ()
            more += done.late_checks(self._prefix)
        failures = [(key, done.result) for key, done in results.items() if isinstance(done.result, SyncError)]
        if not failures:
            return Ack(tuple(more), next(filter(None, (done.exclusion for done in results.values())), ""))
        is_uncertain = any(results[key].may_change for key, _ in failures)
        delay_s = LATE_WRITE_S if is_uncertain else 0
        counted = [error.next_attempt for _, error in failures if isinstance(error, FullAttempt)]
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


def _with_time(work: Work, since: float | None) -> Work:
    """Return parts with the time of their event, so that the check after the upload logs the lag."""
    return replace(work, since=since) if isinstance(work, PartsWork) else work


def _precedence(error: SyncError) -> int:
    return next((index for index, kind in enumerate(_PRECEDENCE) if isinstance(error, kind)), len(_PRECEDENCE))
