"""Deletions of live sync: deferred by one worker, done or held by another, and released by a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest
from tests.support.clock import FakeClock
from tests.support.in_memory_store import MemoryBucket, Stored, capabilities_of_aws, stored
from tests.support.patience import PATIENCE_S

from s3_syncer.core import deadline as deadline_module
from s3_syncer.core import fence as fences
from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.errors import Retryable
from s3_syncer.core.events import decode
from s3_syncer.core.fence import request
from s3_syncer.core.units import MIB
from s3_syncer.core.work_items import DeletionWork, KeyWork, Malformed, RangeWork, Work
from s3_syncer.queue import batch_items, waiting
from s3_syncer.queue.deletion_guard import OPEN_S, SHUT_S, DeletionGuard, Deletions
from s3_syncer.queue.dispositions import Ack, Disposition, Message, Retry
from s3_syncer.queue.sqs import Destinations, count_messages
from s3_syncer.queue.worker import Worker
from s3_syncer.sync.bucket_pair import BucketPair
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

    def run(self, *works: Work, deadline: Deadline | None = None) -> list[Disposition]:
        messages = [Message(str(index), work.to_json()) for index, work in enumerate(works)]
        return list(self.worker.run(messages, deadline or Deadline(), grace_s=PATIENCE_S).values())


# -- the message -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "work",
    [DeletionWork(("a",)), DeletionWork(("a", "b"), released=True, hops=3), KeyWork(("a",), released=True)],
)
def test_a_deletion_survives_the_queue(work: Work) -> None:
    assert decode(work.to_json(), "bucket") == work


@pytest.mark.parametrize(
    ("fields", "why"),
    [('"keys": []', "keys"), ('"keys": "a"', "keys"), ('"keys": ["a"], "released": 1', "released")],
)
@pytest.mark.parametrize("work", ["deletion", "keys"])
def test_a_malformed_deletion_is_no_deletion(work: str, fields: str, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        decode(f'{{"s3-syncer": {{"work": "{work}", {fields}}}}}', "bucket")


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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    for module in (deadline_module, batch_items, waiting):
        monkeypatch.setattr(module, "time", clock)
    return clock


def fails_late(clock: FakeClock) -> Callable[[str, str], None]:
    """Return a hook that makes a deletion run out of the time of a batch."""

    def fail(operation: str, key: str) -> None:
        if operation == "delete":
            clock.sleep(1000)
            raise OutOfTime("no time left")

    return fail


def loses_the_response(operation: str, key: str) -> None:
    """Lose the response to a deletion, which may still take effect."""
    if operation == "delete":
        with request(key):
            fences.check()


@pytest.mark.parametrize("is_slow", [True, False], ids=["out of time", "without a response"])
def test_the_work_after_a_released_deletion_needs_no_second_release(is_slow: bool, clock: FakeClock) -> None:
    """Both the next attempt and the late check are bulk work, which otherwise defers deletions."""
    bench = Bench(NO_GUARD)
    bench.target.on_call = fails_late(clock) if is_slow else loses_the_response
    (disposition,) = bench.run(DeletionWork(("a",), released=True), deadline=Deadline.after(500))
    assert isinstance(disposition, Ack)
    (work,) = disposition.more
    assert isinstance(work, KeyWork)
    assert (work.full_attempts, work.late_checks) == ((1, 0) if is_slow else (0, 1))
    later = Bench(NO_GUARD)
    assert later.run(work) == [Ack()]
    assert later.target.objects.keys() == {"b"}


def test_a_deletion_that_is_not_released_waits_again_after_a_full_attempt(clock: FakeClock) -> None:
    bench = Bench(guarded(0))
    bench.target.on_call = fails_late(clock)
    (disposition,) = bench.run(DeletionWork(("a",)), deadline=Deadline.after(500))
    assert disposition == Ack((KeyWork(("a",), full_attempts=1, hops=1),))


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


def test_a_count_is_as_old_as_its_first_request() -> None:
    """The two queues are counted one after the other, and the response of the second may come late."""
    clock, requests = FakeClock(), []

    def count() -> int:
        requests.append(clock.now)
        clock.now += OPEN_S
        return 3

    guard = DeletionGuard(count, 10, clock=clock)
    assert not guard.is_shut()
    assert not guard.is_shut()
    assert len(requests) == 2


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
