"""Deletions of live sync: deferred by one worker, done or held by another, and released by a person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import pytest
from tests.support.clock import FakeClock
from tests.support.in_memory_store import MemoryBucket, Stored, capabilities_of_aws, stored

from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import Retryable
from s3_syncer.core.events import decode
from s3_syncer.core.units import MIB
from s3_syncer.core.work_items import DeletionWork, KeyWork, Malformed, RangeWork, Work
from s3_syncer.queue.deletion_guard import OPEN_S, SHUT_S, DeletionGuard, Deletions
from s3_syncer.queue.sqs import Destinations, count_messages
from s3_syncer.queue.worker import Ack, Disposition, Message, Retry, Worker
from s3_syncer.sync.converge import BucketPair
from s3_syncer.sync.distributed_copy import DistributedCopier
from s3_syncer.sync.transfer import Transfer

NO_GUARD = Deletions(are_deferred=True)


def guarded(count: int, *, hold_above: int | None = 10) -> Deletions:
    return Deletions(are_deferred=True, guard=DeletionGuard(lambda: count, hold_above, clock=FakeClock()))


class Bench:
    """A worker between two buckets in memory. The target has the objects `a` and `b`."""

    def __init__(self, deletions: Deletions, objects: dict[str, Stored] | None = None, *, delete: bool = True) -> None:
        self.source, self.target = MemoryBucket(objects), MemoryBucket()
        self.target.objects |= {"a": stored(b"old"), "b": stored(b"old")}
        known = capabilities_of_aws()
        transfer = Transfer(self.source, self.target, memory=MIB, threads=1, capabilities=known)
        pair = BucketPair(self.source, self.target, transfer, delete=delete, capabilities=known)
        copier = DistributedCopier(self.source, self.target, transfer, prefix="", threshold=MIB)
        self.worker = Worker(
            pair,
            cast(Any, None),
            copier,
            bucket="bucket",
            prefix="",
            threads=2,
            sends_bulk_on=True,
            deletions=deletions,
        )

    def run(self, *works: Work) -> list[Disposition]:
        messages = [Message(str(index), work.to_json()) for index, work in enumerate(works)]
        return list(self.worker.run(messages, Deadline()).values())


# -- the message -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("work", [DeletionWork(("a",)), DeletionWork(("a", "b"), released=True, hops=3)])
def test_a_deletion_survives_the_queue(work: DeletionWork) -> None:
    assert decode(work.to_json(), "bucket") == work


@pytest.mark.parametrize(
    ("fields", "why"),
    [('"keys": []', "keys"), ('"keys": "a"', "keys"), ('"keys": ["a"], "released": 1', "released")],
)
def test_a_malformed_deletion_is_no_deletion(fields: str, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        decode(f'{{"s3-syncer": {{"work": "deletion", {fields}}}}}', "bucket")


def test_each_state_of_a_deletion_has_its_queue() -> None:
    queues = Destinations("bulk", "dead", "deletions", "held")
    work = DeletionWork(("a",))
    assert queues.url_for(work) == "deletions"
    assert queues.url_for(DeletionWork(("a",), is_held=True)) == "held"
    assert queues.url_for(DeletionWork(("a",), released=True)) == "bulk"
    assert queues.url_for(KeyWork(("a",))) == "bulk"


# -- the worker --------------------------------------------------------------------------------------------------------


def test_a_worker_of_events_sends_a_deletion_and_deletes_nothing() -> None:
    bench = Bench(NO_GUARD)
    assert bench.run(KeyWork(("a", "b"))) == [Ack((DeletionWork(("a",), hops=1), DeletionWork(("b",), hops=1)))]
    assert bench.target.objects.keys() == {"a", "b"}


def test_a_key_that_neither_side_has_needs_no_deletion() -> None:
    assert Bench(NO_GUARD).run(KeyWork(("c",))) == [Ack()]


def test_an_open_guard_lets_a_deletion_through() -> None:
    bench = Bench(guarded(10))
    assert bench.run(DeletionWork(("a",))) == [Ack()]
    assert bench.target.objects.keys() == {"b"}


def test_a_shut_guard_moves_each_deletion_to_the_held_ones() -> None:
    bench = Bench(guarded(11))
    held = [Ack((DeletionWork((key,), is_held=True, hops=1),)) for key in "ab"]
    assert bench.run(DeletionWork(("a",)), DeletionWork(("b",))) == held
    assert bench.target.calls == []


def test_an_object_that_came_back_is_copied_and_not_deleted() -> None:
    bench = Bench(guarded(0), {"a": stored(b"new")})
    assert bench.run(DeletionWork(("a",))) == [Ack()]
    assert bench.target.objects["a"].body == b"new"


def test_a_released_deletion_passes_a_shut_guard() -> None:
    for deletions in (guarded(11), NO_GUARD):  # on the queue of the deletions, and on that for bulk work
        bench = Bench(deletions)
        assert bench.run(DeletionWork(("a", "b"), released=True)) == [Ack()]
        assert not bench.target.objects


def test_a_deletion_on_another_queue_is_sent_to_its_own() -> None:
    bench = Bench(NO_GUARD)
    assert bench.run(DeletionWork(("a",))) == [Ack((DeletionWork(("a",), hops=1),))]
    assert bench.target.calls == []


def test_a_deletion_of_several_keys_is_divided_so_that_each_counts() -> None:
    bench = Bench(guarded(0))
    assert bench.run(DeletionWork(("a", "b"))) == [Ack((DeletionWork(("a",), hops=1), DeletionWork(("b",), hops=1)))]
    assert bench.target.calls == []


def test_bulk_work_on_the_queue_of_the_deletions_is_sent_on() -> None:
    assert Bench(guarded(0)).run(RangeWork()) == [Ack((RangeWork(hops=1),))]


def test_a_key_and_its_deletion_in_one_batch_are_one_request() -> None:
    bench = Bench(guarded(0))
    assert bench.run(KeyWork(("a",)), DeletionWork(("a",))) == [Ack(), Ack()]
    assert bench.target.objects.keys() == {"b"}


def test_without_deletes_a_deletion_that_waits_ends_with_the_object_in_its_place() -> None:
    bench = Bench(Deletions(), delete=False)
    assert bench.run(DeletionWork(("a",), released=True)) == [Ack()]
    assert bench.target.objects.keys() == {"a", "b"}


def test_without_a_count_nothing_is_deleted_and_the_message_returns() -> None:
    def fail() -> int:
        raise Retryable("cannot count", "QueueUnusable")

    bench = Bench(Deletions(are_deferred=True, guard=DeletionGuard(fail, 10)))
    (disposition,) = bench.run(DeletionWork(("a",)))
    assert isinstance(disposition, Retry)
    assert not disposition.unusable
    assert bench.target.calls == []


# -- the guard ---------------------------------------------------------------------------------------------------------


class Counts:
    """The counts that SQS returns one after the other."""

    def __init__(self, counts: Iterable[int]) -> None:
        self._counts, self.requests = iter(counts), 0

    def __call__(self) -> int:
        self.requests += 1
        return next(self._counts)


def test_the_guard_asks_once_a_second_at_most_while_it_is_open() -> None:
    clock, counts = FakeClock(), Counts([1, 2])
    guard = DeletionGuard(counts, 10, clock=clock)
    assert [guard.is_shut() for _ in range(1000)] == [False] * 1000
    assert counts.requests == 1
    clock.now += OPEN_S
    assert not guard.is_shut()
    assert counts.requests == 2


def test_a_shut_guard_stays_shut_while_the_counts_of_sqs_may_lag() -> None:
    """Held messages leave one queue and come to another. For a while, SQS may count them in neither."""
    clock, counts = FakeClock(), Counts([11, 3])
    guard = DeletionGuard(counts, 10, clock=clock)
    assert guard.is_shut()
    clock.now += SHUT_S - 1
    assert guard.is_shut()
    clock.now += 1
    assert not guard.is_shut()


def test_without_a_limit_nothing_is_counted() -> None:
    counts = Counts([])
    assert not DeletionGuard(counts, None).is_shut()
    assert counts.requests == 0


def test_a_failed_count_is_repeated_at_the_next_deletion() -> None:
    def count() -> int:
        if not failures:
            return 0
        raise failures.pop()

    failures = [Retryable("cannot count", "QueueUnusable")]
    guard = DeletionGuard(count, 10, clock=FakeClock())
    with pytest.raises(Retryable):
        guard.is_shut()
    assert not guard.is_shut()


def test_messages_are_counted_in_each_of_their_states() -> None:
    class Client:
        def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:
            return {"Attributes": dict.fromkeys(AttributeNames, "2")}

    assert count_messages(cast(Any, Client()), "url") == 6


def test_a_response_without_counts_counts_nothing() -> None:
    class Client:
        def get_queue_attributes(self, **_: object) -> dict[str, Any]:
            return {}

    with pytest.raises(Retryable, match="cannot count the messages of url"):
        count_messages(cast(Any, Client()), "url")
