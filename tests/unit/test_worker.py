"""Queue messages in, a verdict for each out."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.clock import FakeClock
from tests.support.in_memory_store import MemoryBucket, Stored, capabilities_of_aws, stored
from tests.support.patience import PATIENCE_S

from s3_syncer.core import deadline as deadline_module
from s3_syncer.core import fence as fences
from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.errors import Permanent, Retryable, StoreUnusable, SyncError
from s3_syncer.core.fence import LATE_WRITE_S, Fence, fenced, request
from s3_syncer.core.units import MIB
from s3_syncer.core.upload_history import UploadHistory
from s3_syncer.core.work_items import KeyWork, PartsWork, RangeWork, Work
from s3_syncer.queue import batch_items, waiting
from s3_syncer.queue import worker as worker_module
from s3_syncer.queue.batch_items import is_full_attempt
from s3_syncer.queue.dispositions import (
    REDELIVERY,
    Ack,
    DeadLetter,
    Disposition,
    Message,
    Retry,
    disposition_for_error,
    redelivery_delay_s,
)
from s3_syncer.queue.late_checks import MAX_LATE_CHECKS
from s3_syncer.queue.worker import Worker
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.distributed_copy import DistributedCopier
from s3_syncer.sync.transfer import Transfer
from s3_syncer.sync.write_checks import MAX_UNSEEN_DELIVERIES, Unseen

BUCKET = "photos"


@pytest.fixture(autouse=True)
def _no_thread_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wait for the threads of all workers, because work that was given up logs its end into the next test."""
    pools: list[ThreadPoolExecutor] = []

    def pool(threads: int, thread_name_prefix: str) -> ThreadPoolExecutor:
        pools.append(ThreadPoolExecutor(threads, thread_name_prefix))
        return pools[-1]

    monkeypatch.setattr(worker_module, "ThreadPoolExecutor", pool)
    yield
    for made in pools:
        made.shutdown()


class RangeSweeper:
    """A range sweeper that notes its calls and runs a function of the test."""

    def __init__(self, do: Callable[[RangeWork], Sequence[Work]] = lambda work: ()) -> None:
        self.swept: list[RangeWork] = []
        self.options: list[tuple[bool, int]] = []
        self._do = do

    def run(self, work: RangeWork, deadline: Deadline, *, redelivered: bool, time_divisor: int) -> Sequence[Work]:
        self.swept.append(work)
        self.options.append((redelivered, time_divisor))
        return self._do(work)


class Bench:
    """A worker between two buckets in memory, which see keys without the prefix."""

    def __init__(
        self,
        objects: dict[str, Stored] | None = None,
        *,
        prefix: str = "",
        on_call: Callable[[str, str], None] = lambda operation, key: None,
        ranges: RangeSweeper | None = None,
        above: int = MIB,
        threads: int = 4,
        memory: int = MIB,
        sends_bulk_on: bool = False,
    ) -> None:
        self.source, self.target = MemoryBucket(objects, on_call=on_call), MemoryBucket()
        self.ranges = ranges or RangeSweeper()
        known = capabilities_of_aws()
        transfer = Transfer(self.source, self.target, memory=memory, threads=1, capabilities=known)
        pair = BucketPair(self.source, self.target, transfer, capabilities=known)
        parts = DistributedCopier(self.source, self.target, transfer, prefix=prefix, threshold=above)
        self.worker = Worker(
            pair,
            self.ranges,
            parts,
            bucket=BUCKET,
            prefix=prefix,
            threads=threads,
            sends_bulk_on=sends_bulk_on,
        )

    def run(self, *messages: Message, deadline: Deadline | None = None) -> dict[str, Disposition]:
        return self.worker.run(messages, deadline or Deadline())

    def disposition(self, message: Message) -> Disposition:
        return self.run(message)[message.id]


def message_for(*keys: str, id: str = "1", attempt: int = 1) -> Message:
    return Message(id, KeyWork(keys).to_json(), attempt)


def failing(*keys: str, error: BaseException) -> Callable[[str, str], None]:
    """Return a hook that fails each call for these keys."""

    def fail(operation: str, key: str) -> None:
        if key in keys:
            raise error

    return fail


RETRYABLE = Retryable("the store asks to slow down", "SlowDown")
PERMANENT = Permanent("access denied", "AccessDenied")

# -- the work ----------------------------------------------------------------------------------------------------------


def test_a_message_is_acknowledged_when_its_keys_are_equal_on_both_sides() -> None:
    bench = Bench({"a": stored(b"one"), "b": stored(b"two")})
    bench.target.objects["gone"] = stored(b"three")
    assert bench.disposition(message_for("a", "b", "gone")) == Ack()
    assert {key: copy.body for key, copy in bench.target.objects.items()} == {"a": b"one", "b": b"two"}


def test_a_key_in_several_messages_is_converged_once() -> None:
    bench = Bench({"a": stored(b"one")})
    dispositions = bench.run(message_for("a", "a", id="1"), message_for("a", id="2"), message_for("a", id="3"))
    assert dispositions == {"1": Ack(), "2": Ack(), "3": Ack()}
    assert bench.target.calls == ["head", "put", "head"]


def test_several_keys_are_converged_at_a_time() -> None:
    together = threading.Barrier(4, timeout=PATIENCE_S)

    def wait_for_the_others(operation: str, key: str) -> None:
        if operation == "take":
            together.wait()

    objects = {str(number): stored(b"x") for number in range(4)}
    assert Bench(objects, on_call=wait_for_the_others, threads=4).disposition(message_for(*objects)) == Ack()


def test_the_test_event_of_s3_is_acknowledged() -> None:
    assert Bench().disposition(Message("1", json.dumps({"Event": "s3:TestEvent"}))) == Ack()


def test_keys_lose_the_source_prefix() -> None:
    bench = Bench({"a": stored(b"one")}, prefix="2026/")
    assert bench.disposition(message_for("2026/a")) == Ack()
    assert list(bench.target.objects) == ["a"]


@pytest.mark.parametrize("key", ["2025/a", "2026", "a/2026/a", "2026/"])
def test_keys_that_are_not_below_the_prefix_are_ignored(key: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench(prefix="2026/")
    assert bench.disposition(message_for(key)) == Ack()
    assert bench.source.calls == bench.target.calls == []
    assert [(record.action, record.key) for record in caplog.records] == [("ignored", key)]  # type: ignore[attr-defined]


# -- failures ----------------------------------------------------------------------------------------------------------


def test_only_the_malformed_message_of_a_batch_is_a_dead_letter() -> None:
    bench = Bench({"a": stored(b"one")})
    dispositions = bench.run(Message("1", "hello"), message_for("a", id="2"))
    assert dispositions == {"1": DeadLetter("not JSON: Expecting value: line 1 column 1 (char 0)"), "2": Ack()}


def two_buckets(*keys: str, attempt: int = 1) -> Message:
    """Return a notification about these keys, and about a key of another bucket."""
    named = [("another-bucket", "foreign"), *((BUCKET, key) for key in keys)]
    records = [{"s3": {"bucket": {"name": bucket}, "object": {"key": key}}} for bucket, key in named]
    return Message("1", json.dumps({"Records": records}), attempt)


REJECTED = "records: the event is for bucket 'another-bucket'; this instance syncs 'photos'"


def test_a_message_about_two_buckets_is_a_dead_letter_when_the_keys_of_ours_are_equal() -> None:
    bench = Bench({"a": stored(b"one")})
    assert bench.disposition(two_buckets("a")) == DeadLetter(f"1 of 2 {REJECTED}")
    assert list(bench.target.objects) == ["a"]


def test_a_message_about_two_buckets_returns_as_long_as_a_key_of_ours_may_succeed() -> None:
    bench = Bench({"a": stored(b"one")}, on_call=failing("b", error=RETRYABLE))
    assert isinstance(bench.disposition(two_buckets("a", "b")), Retry)
    assert list(bench.target.objects) == ["a"]


def test_the_rejection_of_a_record_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert isinstance(Bench(prefix="2026/").disposition(two_buckets("2025/a", attempt=2)), DeadLetter)
    logged = [(record.action, record.reason, record.attempts) for record in caplog.records]  # type: ignore[attr-defined]
    assert logged == [("ignored", "not below the prefix '2026/'", 2), ("dead-letter", f"1 of 2 {REJECTED}", 2)]


def test_a_finding_without_a_look_at_the_written_object_is_permanent_after_some_deliveries() -> None:
    bench = Bench({"a": stored(b"one")}, on_call=failing("a", error=Unseen("the target does not keep the object")))
    assert isinstance(bench.disposition(message_for("a", attempt=MAX_UNSEEN_DELIVERIES - 1)), Retry)
    last = bench.disposition(message_for("a", attempt=MAX_UNSEEN_DELIVERIES))
    assert last == DeadLetter("the target does not keep the object", "a")


def test_a_permanent_failure_of_a_key_makes_its_message_a_dead_letter() -> None:
    bench = Bench({"a": stored(b"one"), "b": stored(b"two")}, on_call=failing("b", error=PERMANENT))
    assert bench.disposition(message_for("a", "b")) == DeadLetter("access denied", key="b")
    assert "a" in bench.target.objects


@pytest.mark.parametrize("error", [RETRYABLE, StoreUnusable("no answer")], ids=["key", "store"])
def test_a_retryable_failure_returns_the_message(error: SyncError) -> None:
    disposition = Bench(on_call=failing("a", error=error)).disposition(message_for("a", attempt=3))
    assert isinstance(disposition, Retry)
    assert 4 <= disposition.delay_s <= 8


def test_a_bug_returns_the_message_and_logs_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench({"b": stored(b"two")}, on_call=failing("a", error=ZeroDivisionError("a bug")))
    dispositions = bench.run(message_for("a", id="1"), message_for("b", id="2"))
    assert isinstance(dispositions["1"], Retry)
    assert dispositions["2"] == Ack()
    assert "Traceback" in caplog.text
    assert "a bug" in caplog.text


def test_a_message_with_a_retryable_key_is_no_dead_letter_yet() -> None:
    def fail(operation: str, key: str) -> None:
        raise {"never": PERMANENT, "later": RETRYABLE}[key]

    assert isinstance(Bench(on_call=fail).disposition(message_for("never", "later")), Retry)


def test_each_message_has_the_disposition_of_its_own_keys() -> None:
    bench = Bench({"a": stored(b"one")}, on_call=failing("b", error=PERMANENT))
    dispositions = bench.run(message_for("a", id="1"), message_for("a", "b", id="2"), message_for("b", id="3"))
    assert dispositions == {"1": Ack(), "2": DeadLetter("access denied", "b"), "3": DeadLetter("access denied", "b")}


# -- time --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    for module in (deadline_module, batch_items, waiting):
        monkeypatch.setattr(module, "time", clock)
    return clock


def test_after_the_deadline_every_message_returns_without_a_request() -> None:
    bench = Bench({"a": stored(b"one")})
    dispositions = bench.run(message_for("a", id="1"), Message("2", RangeWork().to_json()), deadline=Deadline.after(-1))
    assert dispositions == {"1": Retry(0), "2": Retry(0)}
    assert bench.source.calls == []
    assert bench.ranges.swept == []


@pytest.mark.parametrize(
    ("full_attempts", "attempt", "after"),
    [
        (0, 1, Ack((KeyWork(("huge",), full_attempts=1, hops=1),))),
        (0, 9, Ack((KeyWork(("huge",), full_attempts=1, hops=1),))),
        (1, 1, Ack((KeyWork(("huge",), full_attempts=2, hops=1),))),
        (2, 1, None),
    ],
    ids=["first", "first after quick failures", "second", "third"],
)
def test_a_key_that_exceeds_a_whole_batch_is_a_dead_letter_after_three_full_attempts(
    full_attempts: int, attempt: int, after: Disposition | None, clock: FakeClock
) -> None:
    """Each attempt sends the whole object again, so the attempts must end before SQS ends them.

    SQS counts deliveries, also those that failed quickly. So the message itself counts the full attempts.
    """
    deadline = Deadline.after(300)

    def outlast(operation: str, key: str) -> None:
        if operation == "take":
            deadline.sleep(1000)

    bench = Bench({"huge": stored(b"one")}, on_call=outlast)
    message = Message("1", KeyWork(("huge",), full_attempts=full_attempts).to_json(), attempt)
    disposition = bench.worker.run([message], deadline, grace_s=PATIENCE_S)["1"]
    if after is not None:
        assert disposition == after
    else:
        assert isinstance(disposition, DeadLetter)
        assert "s3-syncer sync" in disposition.error


def test_a_message_with_another_failed_key_returns_after_a_full_attempt(clock: FakeClock) -> None:
    deadline = Deadline.after(300)

    def outlast(operation: str, key: str) -> None:
        if key == "refused":
            raise RETRYABLE
        if operation == "take":
            deadline.sleep(1000)

    bench = Bench({"huge": stored(b"one")}, on_call=outlast, threads=1)
    dispositions = bench.worker.run([message_for("huge", "refused")], deadline, grace_s=PATIENCE_S)
    assert dispositions == {"1": Retry(0)}


def test_a_key_that_began_late_returns_at_any_attempt(clock: FakeClock) -> None:
    deadline = Deadline.after(500)

    def outlast(operation: str, key: str) -> None:
        if operation == "take":
            deadline.sleep(100 if key == "first" else 1000)

    bench = Bench({"first": stored(b"one"), "second": stored(b"two")}, on_call=outlast, threads=1)
    messages = [message_for("first", id="1"), message_for("second", id="2", attempt=50)]
    dispositions = bench.worker.run(messages, deadline, grace_s=PATIENCE_S)
    assert dispositions == {"1": Ack(), "2": Retry(0)}


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Yield an event that releases a key that hangs; the end of the test sets it."""
    event = threading.Event()
    yield event
    event.set()


def test_at_the_deadline_unfinished_messages_return(release: threading.Event, clock: FakeClock) -> None:
    def hang(operation: str, key: str) -> None:
        if key == "slow":
            clock.sleep(1000)
            assert release.wait(PATIENCE_S)

    bench = Bench({"quick": stored(b"one"), "slow": stored(b"two"), "last": stored(b"three")}, on_call=hang, threads=1)
    dispositions = bench.run(
        message_for("quick", id="1"),
        message_for("slow", "quick", id="2"),
        message_for("last", id="3"),
        deadline=Deadline.after(500),
    )
    assert dispositions == {"1": Ack(), "2": Retry(0), "3": Retry(0)}
    release.set()
    assert bench.disposition(message_for("quick")) == Ack(), "after all earlier work of the only thread"
    assert "last" not in bench.target.objects, "work that had not started never starts"


def test_work_that_ends_within_the_grace_is_acknowledged(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    grace = threading.Event()

    def noting(futures: Iterable[Future[Any]], timeout: float | None = None) -> Any:
        if timeout == PATIENCE_S:
            grace.set()
        return wait(futures, timeout=timeout)

    def take_a_while(operation: str, key: str) -> None:
        if operation == "take":
            clock.sleep(1000)
            assert grace.wait(PATIENCE_S)

    monkeypatch.setattr(waiting, "wait", noting)
    bench = Bench({"a": stored(b"one")}, on_call=take_a_while)
    assert bench.worker.run([message_for("a")], Deadline.after(500), grace_s=PATIENCE_S) == {"1": Ack()}


def test_a_message_out_of_time_returns_at_once_although_other_keys_failed() -> None:
    def fail(operation: str, key: str) -> None:
        raise {"late": OutOfTime("no time left"), "later": RETRYABLE, "never": PERMANENT}[key]

    assert Bench(on_call=fail).disposition(message_for("later", "late", "never", attempt=9)) == Retry(0)


@pytest.mark.parametrize(
    ("spent_s", "available_s", "expected"),
    [
        pytest.param(300.0, 300.0, True, id="all the time of the batch"),
        pytest.param(270.0, 300.0, True, id="90 % of the batch is a full attempt"),
        pytest.param(269.9, 300.0, False, id="less is not"),
        pytest.param(10.0, 300.0, False, id="began late in its batch"),
        pytest.param(10_000.0, None, False, id="no time limit"),
    ],
)
def test_an_attempt_with_the_time_of_its_batch_is_full(
    spent_s: float, available_s: float | None, expected: bool
) -> None:
    assert is_full_attempt(spent_s, available_s) is expected


# -- dispositions ------------------------------------------------------------------------------------------------------


def test_disposition_of_a_permanent_error_is_a_dead_letter_with_the_request_id() -> None:
    error = Permanent("access denied", "AccessDenied", request_id="4K2")
    assert disposition_for_error(error, 1, key="a") == DeadLetter("access denied, request ID 4K2", "a")


@pytest.mark.parametrize(
    ("error", "delays_s", "unusable"),
    [
        (OutOfTime("no time left"), {0}, False),
        (RETRYABLE, range(4, 9), False),
        (StoreUnusable("wrong keys"), range(4, 9), True),
    ],
    ids=["out of time", "retryable", "store unusable"],
)
def test_disposition_of_any_other_error_is_a_retry(error: SyncError, delays_s: Any, unusable: bool) -> None:
    retry = disposition_for_error(error, 3)
    assert isinstance(retry, Retry)
    assert retry.delay_s in delays_s
    assert (retry.unusable, retry.reason) == (unusable, str(error))


def test_remaining_work_is_part_of_every_disposition() -> None:
    more = (KeyWork(("later",)),)
    for error in (RETRYABLE, PERMANENT):
        assert disposition_for_error(error, 1, more=more).more == more


# -- ranges ------------------------------------------------------------------------------------------------------------

RANGE = RangeWork("a", "m", delete=True, max_delete=3)


@pytest.mark.parametrize("work", [RANGE, PartsWork("2026/a", "etag", "upload", 10, 3, 1, 2, hops=4)])
def test_the_worker_of_the_events_sends_bulk_work_on(work: RangeWork | PartsWork) -> None:
    """A redrive, or a person, may send a range or parts to the queue of the events."""
    bench = Bench({"a": stored(b"x")}, prefix="2026/", sends_bulk_on=True)
    dispositions = bench.run(Message("1", work.to_json()), message_for("2026/a", id="2"))
    assert dispositions == {"1": Ack((replace(work, hops=work.hops + 1),)), "2": Ack()}
    assert bench.ranges.swept == []
    assert bench.target.objects.keys() == {"a"}


def test_a_range_is_acknowledged_with_its_remaining_work() -> None:
    left = (RangeWork("c", "f"), RangeWork("f", "m"))
    bench = Bench(ranges=RangeSweeper(lambda work: left))
    assert bench.disposition(Message("1", RANGE.to_json())) == Ack(tuple(replace(work, hops=1) for work in left))
    assert bench.ranges.swept == [RANGE]


def test_the_ranges_of_a_batch_share_the_time_of_one_range() -> None:
    """SQS may deliver ten ranges to one worker, while idle workers could sweep parts of them."""
    bench = Bench()
    bench.run(Message("1", RANGE.to_json()), message_for("a", id="2"), Message("3", RANGE.to_json(), attempt=2))
    assert bench.ranges.options == [(False, 2), (True, 2)]


def test_the_events_of_a_batch_do_not_wait_for_its_ranges() -> None:
    bench = Bench({"a": stored(b"one")}, ranges=RangeSweeper(lambda work: [KeyWork(tuple(bench.target.objects))]))
    dispositions = bench.run(Message("1", RANGE.to_json()), message_for("a", id="2"))
    assert dispositions == {"1": Ack((KeyWork(("a",), hops=1),)), "2": Ack()}


def _raise(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OutOfTime("no time left"), Retry(0)),
        (PERMANENT, DeadLetter("access denied")),
    ],
    ids=["out of time", "permanent"],
)
def test_a_failed_range_has_a_disposition(error: SyncError, expected: Disposition) -> None:
    assert Bench(ranges=RangeSweeper(lambda work: _raise(error))).disposition(Message("1", RANGE.to_json())) == expected


@pytest.mark.parametrize("error", [RETRYABLE, ZeroDivisionError("a bug")], ids=["retryable", "unexpected"])
def test_a_retryable_range_returns_and_fails_no_other_message(error: Exception) -> None:
    bench = Bench({"a": stored(b"one")}, ranges=RangeSweeper(lambda work: _raise(error)))
    dispositions = bench.run(Message("1", RANGE.to_json(), attempt=3), message_for("a", id="2"))
    assert isinstance(dispositions["1"], Retry)
    assert dispositions["1"].delay_s >= 4
    assert dispositions["2"] == Ack()


# -- late writes: core/fence.py ----------------------------------------------------------------------------------------


def loses(*keys: str, then: BaseException | None = None) -> Callable[[str, str], None]:
    """Return a hook that loses the response to a write of these keys, and then raises an error or goes on."""

    def lose(operation: str, key: str) -> None:
        if operation == "put" and key in keys:
            with request(key):
                fences.check()
            if then is not None:
                raise then

    return lose


def late(key: str) -> KeyWork:
    return KeyWork((key,), delay_s=LATE_WRITE_S, late_checks=1, hops=1)


def test_a_key_with_a_lost_response_is_acknowledged_with_a_later_check() -> None:
    bench = Bench({"a": stored(b"one"), "b": stored(b"two")}, prefix="2026/")
    bench.target.on_call = loses("a")
    assert bench.disposition(message_for("2026/a", "2026/b")) == Ack((late("2026/a"),))
    assert bench.disposition(message_for("2026/a", attempt=1)) == Ack(), "the later check itself writes nothing"


def test_late_checks_whose_writes_all_lose_their_responses_end_with_a_dead_letter() -> None:
    """Each of them finds the key different, repairs it and gets no response. That once went on for ever."""
    bench = Bench({"a": stored(b"one")})
    bench.target.on_call = loses("a")
    disposition, deliveries = bench.disposition(message_for("a")), 1
    while isinstance(disposition, Ack):
        (check,) = disposition.more
        assert check.delay_s == LATE_WRITE_S
        del bench.target.objects["a"]
        disposition, deliveries = bench.disposition(Message("1", check.to_json())), deliveries + 1
        assert deliveries < 100, "endless"
    assert isinstance(disposition, DeadLetter)
    assert "did not respond" in disposition.error
    assert deliveries == MAX_LATE_CHECKS + 1


def test_a_late_check_with_a_response_ends_the_row() -> None:
    bench = Bench({"a": stored(b"one")})
    last = KeyWork(("a",), late_checks=MAX_LATE_CHECKS)
    assert bench.disposition(Message("1", last.to_json())) == Ack()


@pytest.mark.parametrize("error", [OutOfTime("no time left"), RETRYABLE], ids=["out of time", "retryable"])
def test_a_failed_key_with_a_lost_response_returns_when_no_write_can_come_late(error: SyncError) -> None:
    bench = Bench({"a": stored(b"one"), "b": stored(b"two")})
    bench.target.on_call = loses("a", then=error)
    assert bench.disposition(message_for("a", "b")) == Retry(LATE_WRITE_S)


def test_a_failed_key_of_a_lost_message_gets_a_message_of_its_own() -> None:
    # Another worker may have processed and deleted the message. The simulation found a deleted object that stayed.
    held = [True]

    def land_late(operation: str, key: str) -> None:
        if operation == "put":
            with request(key):
                fences.check()
                held[0] = False
                fences.answered()
            raise OutOfTime("the work was given up")

    bench = Bench({"a": stored(b"one")})
    bench.target.on_call = land_late
    with fenced(Fence(is_held=lambda: held[0])):
        assert bench.disposition(message_for("a")) == Retry(LATE_WRITE_S, more=(late("a"),))


def test_a_failed_key_does_not_wait_for_the_later_check_of_another_key() -> None:
    bench = Bench({"a": stored(b"one")}, on_call=failing("b", error=OutOfTime("no time left")))
    bench.target.on_call = loses("a")
    assert bench.disposition(message_for("a", "b")) == Retry(0, more=(late("a"),))


def test_the_next_of_several_full_attempts_comes_when_no_write_can_come_late(clock: FakeClock) -> None:
    def run_out(operation: str, key: str) -> None:
        loses("a")(operation, key)
        if operation == "put":
            clock.sleep(1000)
            raise OutOfTime("no time left")

    bench = Bench({"a": stored(b"one")})
    bench.target.on_call = run_out
    message = Message("1", KeyWork(("a",), full_attempts=1, uploads=UploadHistory(2)).to_json())
    disposition = bench.worker.run([message], Deadline.after(500), grace_s=PATIENCE_S)["1"]
    uploads = UploadHistory(2)
    assert disposition == Ack((KeyWork(("a",), delay_s=LATE_WRITE_S, full_attempts=2, uploads=uploads, hops=1),))


def test_the_uncertain_keys_of_a_range_are_checked_later() -> None:
    def sweep(work: RangeWork, error: BaseException | None = None) -> Sequence[Work]:
        loses("k", "l", then=error)("put", "k")
        loses("k", "l", then=error)("put", "l")
        return [work]

    message = Message("1", RANGE.to_json())
    bench = Bench(ranges=RangeSweeper(sweep), prefix="2026/")
    assert bench.disposition(message) == Ack((replace(RANGE, hops=1), late("2026/k"), late("2026/l")))
    bench = Bench(ranges=RangeSweeper(lambda work: sweep(work, OutOfTime("no time left"))), prefix="2026/")
    assert bench.disposition(message) == Retry(0, more=(late("2026/k"),)), "the range itself need not wait"


def test_work_that_was_given_up_sends_nothing_more(release: threading.Event, clock: FakeClock) -> None:
    """The thread goes on later, as in a thawed environment of Lambda."""
    refused, broken = threading.Event(), threading.Event()

    def hang(operation: str, key: str) -> None:
        if operation != "put":
            return
        with request(key) as write:
            fences.check()
            write.connect(broken.set)
            clock.sleep(1000)
            assert release.wait(PATIENCE_S)
            try:
                fences.check()
            except OutOfTime:
                refused.set()
                raise

    bench = Bench({"slow": stored(b"one")})
    bench.target.on_call = hang
    assert bench.run(message_for("slow"), deadline=Deadline.after(500)) == {"1": Retry(LATE_WRITE_S)}
    assert broken.is_set(), "the connection is broken before the worker returns"
    release.set()
    assert refused.wait(PATIENCE_S)
    assert bench.target.objects == {}


# -- redelivery --------------------------------------------------------------------------------------------------------


@given(st.integers(1, 2000), st.floats(0, 1, exclude_max=True))
def test_redelivery_delay_is_between_half_of_the_ceiling_and_the_ceiling(attempt: int, chance: float) -> None:
    ceiling = min(REDELIVERY.cap_s, REDELIVERY.base_s * 2 ** min(attempt - 1, 20))
    assert int(ceiling / 2) <= redelivery_delay_s(attempt, lambda: chance) <= ceiling
    assert redelivery_delay_s(attempt, lambda: chance) <= redelivery_delay_s(attempt + 1, lambda: chance)


def test_redelivery_delay_doubles_up_to_15_minutes() -> None:
    delays = [redelivery_delay_s(attempt, lambda: 1.0) for attempt in (1, 2, 3, 9, 10, 11, 5000)]
    assert delays == [2, 4, 8, 512, 900, 900, 900]


def test_messages_that_failed_together_return_apart() -> None:
    assert len({redelivery_delay_s(10) for _ in range(100)}) > 10


# -- the log -----------------------------------------------------------------------------------------------------------


def decisions(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    fields = ("action", "key", "reason", "bytes", "attempts", "lag_ms", "duration_ms", "unusable")
    return [
        {name: getattr(record, name) for name in fields if hasattr(record, name)}
        for record in caplog.records
        if hasattr(record, "action")
    ]


def test_every_decision_is_one_log_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench({"new": stored(b"one"), "same": stored(b"two")}, on_call=failing("bad", error=PERMANENT))
    bench.target.objects.update({"same": stored(b"two"), "gone": stored(b"three")})
    bench.run(
        message_for("new", "same", "gone", id="1", attempt=2),
        message_for("bad", id="2"),
        message_for("new", id="3", attempt=5),
    )
    by_key = {decision["key"]: decision for decision in decisions(caplog)}
    assert len(by_key) == len(decisions(caplog)) == 4
    assert {key: (line["action"], line["reason"], line["bytes"]) for key, line in by_key.items()} == {
        "new": ("copy", "absent from the target", 3),
        "same": ("unchanged", "equal", 0),
        "gone": ("delete", "absent from the source", 0),
        "bad": ("dead-letter", "access denied", 0),
    }
    assert by_key["new"]["attempts"] == 5, "the highest count of the messages for the key"
    assert by_key["new"]["duration_ms"] >= 0


def test_the_lag_counts_from_the_oldest_event_for_the_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    messages = []
    for id, age_s in enumerate((10, 30, 20)):
        time_ = datetime.fromtimestamp(time.time() - age_s, UTC).isoformat()
        record = {"eventTime": time_, "s3": {"bucket": {"name": BUCKET}, "object": {"key": "a"}}}
        messages.append(Message(str(id), json.dumps({"Records": [record]})))
    Bench({"a": stored(b"one")}).run(*messages)
    (decision,) = decisions(caplog)
    assert 29_000 <= decision["lag_ms"] <= 40_000


def event_of(key: str, *, age_s: float, id: str = "1", attempt: int = 1) -> Message:
    """Return a message with an event that is `age_s` seconds old."""
    time_ = datetime.fromtimestamp(time.time() - age_s, UTC).isoformat()
    record = {"eventTime": time_, "s3": {"bucket": {"name": BUCKET}, "object": {"key": key}}}
    return Message(id, json.dumps({"Records": [record]}), attempt)


@pytest.mark.parametrize(
    ("error", "action", "unusable"),
    [
        (RETRYABLE, "retry", False),
        (StoreUnusable("wrong keys"), "retry", True),
        (OutOfTime("no time left"), "retry", False),
        (PERMANENT, "dead-letter", False),
        (ZeroDivisionError(), "retry", False),
    ],
    ids=["retryable", "store unusable", "out of time", "permanent", "a bug"],
)
def test_every_failure_of_an_event_has_its_lag_and_the_number_of_deliveries(
    error: BaseException, action: str, unusable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    Bench(on_call=failing("a", error=error)).run(event_of("a", age_s=100, attempt=7))
    (decision,) = decisions(caplog)
    assert (decision["action"], decision["attempts"], decision.get("unusable", False)) == (action, 7, unusable)
    assert 100_000 <= decision["lag_ms"] <= 160_000


def test_a_key_that_was_not_begun_in_time_has_its_lag(caplog: pytest.LogCaptureFixture) -> None:
    Bench().run(event_of("a", age_s=100), deadline=Deadline.after(-1))
    logged = decisions(caplog)  # the thread of the key may also log that there is no time left
    assert {line["action"] for line in logged} == {"retry"}
    assert min(line["lag_ms"] for line in logged) >= 100_000


def test_a_key_that_was_given_up_has_its_lag(release: threading.Event, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench({"a": stored(b"one")}, on_call=lambda operation, key: _hang(release))
    bench.worker.run([event_of("a", age_s=100)], Deadline.after(0.2), grace_s=0.0)
    (decision,) = decisions(caplog)
    release.set()
    assert decision["action"] == "retry"
    assert decision["lag_ms"] >= 100_000


def _hang(release: threading.Event) -> None:
    assert release.wait(PATIENCE_S)


def test_an_event_from_a_clock_that_is_ahead_has_no_negative_lag(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Bench({"a": stored(b"one")}).run(event_of("a", age_s=-100))
    (decision,) = decisions(caplog)
    assert decision["lag_ms"] == 0


def test_the_message_that_counts_full_attempts_keeps_the_time_of_the_event(clock: FakeClock) -> None:
    deadline = Deadline.after(300)

    def outlast(operation: str, key: str) -> None:
        if operation == "take":
            deadline.sleep(1000)

    bench = Bench({"huge": stored(b"one")}, on_call=outlast)
    began = time.time()
    disposition = bench.worker.run([event_of("huge", age_s=100)], deadline, grace_s=PATIENCE_S)["1"]
    (work,) = disposition.more
    assert isinstance(work, KeyWork)
    assert work.since == pytest.approx(began - 100, abs=PATIENCE_S)


def test_the_end_of_a_distributed_copy_has_the_lag_of_its_event(caplog: pytest.LogCaptureFixture) -> None:
    """The line `multipart` says that the copy has begun, and the check at the end finds the key equal."""
    caplog.set_level(logging.INFO)
    bench = Bench({"huge": stored(b"x" * (24 * MIB))}, above=MIB, memory=16 * MIB)
    messages = [event_of("huge", age_s=100)]
    while messages:
        disposition = bench.disposition(messages.pop())
        assert isinstance(disposition, Ack)
        messages += [Message("1", work.to_json()) for work in disposition.more if not getattr(work, "delay_s", 0)]
    lags = {line["action"]: line["lag_ms"] for line in decisions(caplog) if "lag_ms" in line}
    assert lags.pop("complete") >= 100_000
    assert lags == {"multipart": None, "unchanged": None}


def test_work_without_an_event_has_no_lag(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Bench().run(message_for("a"))
    (decision,) = decisions(caplog)
    assert decision["lag_ms"] is None


@pytest.mark.parametrize(
    ("error", "level"), [(PERMANENT, logging.ERROR), (RETRYABLE, logging.WARNING)], ids=["dead", "retry"]
)
def test_failures_are_logged_as_warnings_or_errors(
    error: SyncError, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    Bench(on_call=failing("a", error=error)).run(message_for("a"))
    assert [record.levelno for record in caplog.records] == [level]
    assert re.search(str(error), caplog.records[0].reason)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("error", "unusable"), [(RETRYABLE, False), (StoreUnusable("wrong keys"), True)])
def test_a_retry_says_if_a_store_is_unusable(error: SyncError, unusable: bool) -> None:
    bench = Bench({"a": stored(b"one"), "b": stored(b"two")}, on_call=failing("a", error=error))
    disposition = bench.disposition(message_for("b", "a"))
    assert isinstance(disposition, Retry)
    assert (disposition.unusable, disposition.reason) == (unusable, str(error))


def test_equal_failures_have_equal_reasons_and_separate_request_ids(
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors = {key: Retryable("busy", "SlowDown", request_id=f"request of {key}") for key in ("a", "b")}
    bench = Bench(
        on_call=lambda operation, key: _raise(errors[key]), ranges=RangeSweeper(lambda _: _raise(errors["a"]))
    )
    bench.run(message_for("a", "b", id="1"), Message("2", RANGE.to_json()))
    assert {record.reason for record in caplog.records} == {"busy", "range after 'a': busy"}  # type: ignore[attr-defined]
    assert sorted(record.request_id for record in caplog.records) == [  # type: ignore[attr-defined]
        "request of a",
        "request of a",
        "request of b",
    ]


def test_a_failure_without_a_response_has_no_request_id(caplog: pytest.LogCaptureFixture) -> None:
    Bench(on_call=failing("a", error=RETRYABLE)).run(message_for("a"))
    assert not hasattr(caplog.records[0], "request_id")
