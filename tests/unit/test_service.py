"""The service with a fake queue and a fake worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest
from tests.support.clock import OffsetClock
from tests.support.patience import PATIENCE_S

from s3_syncer.core import fence as fences
from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.errors import StoreUnusable
from s3_syncer.core.fence import LATE_WRITE_S, request
from s3_syncer.core.work_items import KeyWork
from s3_syncer.queue.dispositions import Ack, DeadLetter, Disposition, Message, Retry
from s3_syncer.queue.sqs import Destinations, Queue
from s3_syncer.service.options import ServiceOptions
from s3_syncer.service.service import Service
from s3_syncer.service.watchdog import THREAD_MAX_S, WORK_MAX_S

#: Times short enough for a test that waits for them, in seconds.
SHORT_TIMES = {"tick_s": 0.01, "abort_grace_s": 0.3, "pause_first_s": 0.05, "pause_max_s": 0.1}


def eventually(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


class FakeQueue:
    """A queue like SQS, without its delays: a released message can be received again at once."""

    def __init__(self, *bodies: str) -> None:
        self.lock = threading.Lock()
        self.visible = [Message(str(number), body, 0) for number, body in enumerate(bodies)]
        self.hidden: dict[str, Message] = {}
        self.deleted: list[str] = []
        self.released: list[tuple[str, int]] = []
        self.extended: list[str] = []
        self.max_messages: list[int] = []
        self.on_receive: Callable[[], object] = lambda: None
        self.refuses_work = False

    def receive(self, max_messages: int, *, visibility_timeout_s: int, wait_s: int) -> list[Message]:
        self.max_messages.append(max_messages)
        self.on_receive()
        with self.lock:
            taken, self.visible = self.visible[:max_messages], self.visible[max_messages:]
            messages = [Message(one.id, one.body, one.attempt + 1, f"{one.id}/{one.attempt + 1}") for one in taken]
            self.hidden.update({message.receipt: message for message in messages})
        if not messages:
            time.sleep(0.01)
        return messages

    def extend(self, delays: Mapping[str, int]) -> Mapping[str, bool]:
        self.extended += delays
        return {}

    def send_and_release(self, messages: Iterable[Message], dispositions: Mapping[str, Disposition]) -> list[Message]:
        returned = [m for m in messages if self.refuses_work or isinstance(dispositions[m.id], Retry)]
        self.release({message.receipt: getattr(dispositions[message.id], "delay_s", 1) for message in returned})
        return returned

    def delete(self, messages: Sequence[Message]) -> None:
        with self.lock:
            self.deleted += [self.hidden.pop(message.receipt).body for message in messages]

    def release(self, delays: Mapping[str, int]) -> None:
        with self.lock:
            for receipt, delay_s in delays.items():
                message = self.hidden.pop(receipt)
                self.released.append((message.body, delay_s))
                self.visible.append(message)


class FakeWorker:
    """Decides as `does` says, and notes the bodies of the messages."""

    def __init__(self, does: Callable[[Message, Deadline], Disposition] = lambda message, deadline: Ack()) -> None:
        self.does = does
        self.started: list[str] = []

    def run(self, messages: Iterable[Message], deadline: Deadline, *, grace_s: float) -> dict[str, Disposition]:
        (message,) = messages
        self.started.append(message.body)
        return {message.id: self.does(message, deadline)}


class Bench:
    def __init__(
        self,
        queue: FakeQueue,
        worker: FakeWorker | None = None,
        *,
        concurrency: int = 4,
        shutdown_grace_s: float = 0.0,
        visibility_timeout_s: int = 60,
        bulk: FakeQueue | None = None,
        bulk_worker: FakeWorker | None = None,
    ) -> None:
        self.queue, self.worker = queue, worker or FakeWorker()
        self.clock, self.stopping = OffsetClock(), Deadline()
        options = ServiceOptions(
            concurrency=concurrency,
            bulk_concurrency=2,
            visibility_timeout_s=visibility_timeout_s,
            shutdown_grace_s=shutdown_grace_s,
            **SHORT_TIMES,
        )
        consumed = None if bulk is None else (bulk_worker or FakeWorker(), bulk)
        self.service = Service(self.worker, queue, options, bulk=consumed, clock=self.clock)
        self.thread = threading.Thread(target=self.service.run, args=[self.stopping], daemon=True)

    @contextmanager
    def running(self) -> Iterator[Bench]:
        self.thread.start()
        try:
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        self.stopping.stop()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive(), "the service did not stop"


def until_stopped(message: Message, deadline: Deadline) -> Disposition:
    """Work until the deadline passes, as a large copy does."""
    while not deadline.passed():
        time.sleep(0.005)
    return Retry(0, "stopped on request")


# -- receiving and processing ------------------------------------------------------------------------------------------


def test_done_messages_are_deleted_and_failed_ones_released() -> None:
    dispositions: dict[str, Disposition] = {"done": Ack(), "dead": DeadLetter("never"), "later": Retry(7)}

    def does(message: Message, deadline: Deadline) -> Disposition:
        return dispositions[message.body] if message.attempt == 1 else Ack()

    with Bench(FakeQueue("done", "dead", "later"), FakeWorker(does)).running() as bench:
        eventually(lambda: sorted(bench.queue.deleted) == ["dead", "done", "later"])
    assert bench.queue.released == [("later", 7)]
    health = bench.service.health()
    assert (health.done, health.dead_letters, health.returned, health.in_flight) == (2, 1, 1, 0)


def test_no_more_messages_are_received_than_slots_are_free() -> None:
    go_on = threading.Event()

    def does(message: Message, deadline: Deadline) -> Disposition:
        assert go_on.wait(PATIENCE_S)
        return Ack()

    queue = FakeQueue(*(str(number) for number in range(20)))
    with Bench(queue, FakeWorker(does), concurrency=3).running() as bench:
        eventually(lambda: len(bench.worker.started) == 3)
        time.sleep(0.1)
        assert (len(bench.worker.started), len(queue.hidden), len(queue.visible)) == (3, 3, 17)
        assert sum(queue.max_messages) == 3
        go_on.set()
        eventually(lambda: len(queue.deleted) == 20)
    assert max(queue.max_messages) <= 3


def test_a_poll_asks_sqs_for_ten_messages_at_most() -> None:
    """SQS refuses a request for more, and the service asks for as many as it has free slots."""
    asked: list[int] = []

    class Client:
        def receive_message(self, **request: Any) -> dict[str, Any]:
            asked.append(request["MaxNumberOfMessages"])
            return {}

    queue = Queue(cast(Any, Client()), url="", destinations=Destinations("", ""), bucket="")
    for free in (1, 10, 32):
        assert queue.receive(free, visibility_timeout_s=60, wait_s=0) == []
    assert asked == [1, 10, 10]


def test_a_slow_message_delays_no_other() -> None:
    def does(message: Message, deadline: Deadline) -> Disposition:
        return until_stopped(message, deadline) if message.body == "slow" else Ack()

    queue = FakeQueue("slow", *(str(number) for number in range(10)))
    with Bench(queue, FakeWorker(does), concurrency=2).running():
        eventually(lambda: len(queue.deleted) == 10)
    assert queue.released == [("slow", 0)]


def test_a_message_returns_when_its_remaining_work_cannot_be_sent() -> None:
    queue = FakeQueue("range")
    queue.refuses_work = True
    with Bench(queue, FakeWorker(lambda message, deadline: Ack((KeyWork(("key",)),)))).running() as bench:
        eventually(lambda: queue.released)
        queue.refuses_work = False
        eventually(lambda: queue.deleted == ["range"])
    assert bench.service.health().done == 1


def test_a_bug_loses_no_message_and_no_slot(caplog: pytest.LogCaptureFixture) -> None:
    def does(message: Message, deadline: Deadline) -> Disposition:
        if message.attempt == 1:
            raise ZeroDivisionError
        return Ack()

    queue = FakeQueue("a", "b", "c")
    with Bench(queue, FakeWorker(does), concurrency=1).running():
        eventually(lambda: sorted(queue.deleted) == ["a", "b", "c"])
    assert [body for body, delay_s in queue.released if delay_s > 0] == ["a", "b", "c"]
    retries = [record.attempts for record in caplog.records if getattr(record, "action", "") == "retry"]
    assert retries == [1, 1, 1]


def test_visibility_of_a_slow_message_is_extended() -> None:
    queue = FakeQueue("slow", "quick")

    def does(message: Message, deadline: Deadline) -> Disposition:
        return until_stopped(message, deadline) if message.body == "slow" else Ack()

    with Bench(queue, FakeWorker(does), visibility_timeout_s=1).running():
        eventually(lambda: queue.deleted == ["quick"])
        queue.extended.clear()  # the other message may have been slow as well
        eventually(lambda: len(queue.extended) >= 3)
        assert set(queue.extended) == {"0/1"}


# -- stopping ----------------------------------------------------------------------------------------------------------


def test_after_a_stop_nothing_is_received_and_work_that_ends_within_the_grace_is_done() -> None:
    go_on = threading.Event()

    def does(message: Message, deadline: Deadline) -> Disposition:
        assert go_on.wait(PATIENCE_S)
        deadline.check()
        return Ack()

    queue = FakeQueue("a", "b", "c")
    bench = Bench(queue, FakeWorker(does), concurrency=2, shutdown_grace_s=PATIENCE_S)
    with bench.running():
        eventually(lambda: len(bench.worker.started) == 2)
        bench.stopping.stop()
        time.sleep(0.1)
        assert bench.service.health().status == "stopping"
        go_on.set()
    assert sorted(queue.deleted) == ["a", "b"]
    assert [message.body for message in queue.visible] == ["c"]


def test_after_a_stop_work_that_exceeds_the_grace_is_released_at_once() -> None:
    queue = FakeQueue("a")
    bench = Bench(queue, FakeWorker(until_stopped), shutdown_grace_s=0.2)
    with bench.running():
        eventually(lambda: bench.worker.started)
        began = time.monotonic()
        bench.stop()
        assert time.monotonic() - began >= 0.2
    assert queue.released == [("a", 0)]
    assert queue.hidden == {}


def test_messages_that_a_poll_returns_after_the_stop_are_released_at_once() -> None:
    polling, answer = threading.Event(), threading.Event()
    queue = FakeQueue("a")

    def wait() -> None:
        polling.set()
        assert answer.wait(PATIENCE_S)

    queue.on_receive = wait
    bench = Bench(queue)
    with bench.running():
        assert polling.wait(PATIENCE_S)
        bench.stopping.stop()
        time.sleep(0.05)
        answer.set()
    assert queue.released == [("a", 0)]
    assert bench.worker.started == []


def refusals(refused: list[int]) -> Callable[[], None]:
    """Return a function that makes an attempt of a write, and notes if the fence refuses it."""

    def attempt() -> None:
        with request("key"):
            try:
                fences.check()
            except OutOfTime:
                refused.append(1)
                raise
            fences.answered()

    return attempt


def test_a_process_that_was_stopped_sends_nothing_for_messages_that_others_may_have() -> None:
    """SIGSTOP for longer than the visibility timeout: the clock went on, and nothing was extended."""
    refused: list[int] = []
    attempt, begun, resumed = refusals(refused), threading.Event(), threading.Event()

    def does(message: Message, deadline: Deadline) -> Disposition:
        attempt()
        begun.set()
        assert resumed.wait(PATIENCE_S)
        attempt()
        return Ack()

    queue = FakeQueue("a")
    queue.extend = lambda delays: dict.fromkeys(delays, False)  # type: ignore[method-assign] # another worker has it
    with Bench(queue, FakeWorker(does)).running() as bench:
        assert begun.wait(PATIENCE_S)
        assert not refused
        bench.clock.advance(61)
        resumed.set()
        eventually(lambda: queue.released)
        assert refused == [1]


def test_messages_in_a_response_that_waited_for_a_stopped_process_are_not_held() -> None:
    refused: list[int] = []
    attempt, queue = refusals(refused), FakeQueue("a")
    queue.extend = lambda delays: dict.fromkeys(delays, False)  # type: ignore[method-assign] # another worker has it

    def does(message: Message, deadline: Deadline) -> Disposition:
        attempt()
        return Ack()

    bench = Bench(queue, FakeWorker(does))
    queue.on_receive = lambda: bench.clock.advance(600 if len(queue.max_messages) == 1 else 0)
    with bench.running():
        eventually(lambda: queue.released)
        assert refused == [1]


def test_release_all_gives_uncertain_keys_time_and_ends_their_requests() -> None:
    begun, broken, go_on = threading.Barrier(3), threading.Event(), threading.Event()

    def does(message: Message, deadline: Deadline) -> Disposition:
        with request("key") as write:
            write.connect(broken.set)
            if message.body == "uncertain":
                write.begin()
            begun.wait(PATIENCE_S)
            assert go_on.wait(PATIENCE_S)
        return Retry(0)

    queue = FakeQueue("uncertain", "certain")
    bench = Bench(queue, FakeWorker(does))
    bench.thread.start()
    begun.wait(PATIENCE_S)
    bench.stopping.stop()
    bench.service.release_all()
    assert sorted(queue.released) == [("certain", 0), ("uncertain", LATE_WRITE_S)]
    assert broken.is_set()
    queue.hidden |= {f"{message.id}/1": message for message in queue.visible}  # to release them again
    go_on.set()
    bench.stop()


def test_release_all_releases_messages_whose_work_hangs() -> None:
    go_on = threading.Event()

    def does(message: Message, deadline: Deadline) -> Disposition:
        assert go_on.wait(PATIENCE_S)
        return Retry(0)

    queue = FakeQueue("a")
    bench = Bench(queue, FakeWorker(does))
    bench.thread.start()
    eventually(lambda: bench.worker.started)
    bench.stopping.stop()
    bench.service.release_all()
    assert queue.released == [("a", 0)]
    assert [message.body for message in queue.visible] == ["a"]
    queue.hidden["0/1"] = queue.visible[0]  # so that the slot can release the message again
    go_on.set()
    bench.stop()


# -- unusable stores and queues ----------------------------------------------------------------------------------------


def test_an_unusable_store_is_tried_with_one_message_at_a_time() -> None:
    usable = threading.Event()

    def does(message: Message, deadline: Deadline) -> Disposition:
        return Ack() if usable.is_set() else Retry(0, "wrong keys", unusable=True)

    queue = FakeQueue(*(str(number) for number in range(50)))
    with Bench(queue, FakeWorker(does), concurrency=8).running() as bench:
        eventually(lambda: len(queue.max_messages) >= 6)
        health = bench.service.health()
        assert (health.status, health.reason, health.is_healthy) == ("degraded", "wrong keys", True)
        assert queue.max_messages[:6] == [8, 1, 1, 1, 1, 1]
        usable.set()
        eventually(lambda: len(queue.deleted) == 50)
        assert bench.service.health().status == "ok"


def test_a_retryable_failure_of_one_message_delays_no_other() -> None:
    def does(message: Message, deadline: Deadline) -> Disposition:
        return Retry(1, "the store asks to slow down") if message.attempt < 3 else Ack()

    queue = FakeQueue("a", "b")
    with Bench(queue, FakeWorker(does)).running():
        eventually(lambda: len(queue.deleted) == 2)
    assert set(queue.max_messages) <= {4, 3, 2}


@pytest.mark.parametrize("error", [StoreUnusable("no such queue"), ZeroDivisionError()])
def test_polling_continues_after_a_pause_when_the_queue_fails(error: Exception) -> None:
    queue, failures = FakeQueue("a"), [error, error]

    def fail() -> None:
        if failures:
            raise failures.pop()

    queue.on_receive = fail
    began = time.monotonic()
    with Bench(queue).running() as bench:
        eventually(lambda: queue.deleted == ["a"])
        assert bench.service.health().status == "ok"
    assert time.monotonic() - began >= 0.05 + 0.1, "one pause, then a longer one"


# -- health ------------------------------------------------------------------------------------------------------------


def test_an_idle_service_stays_healthy() -> None:
    with Bench(FakeQueue(), visibility_timeout_s=1).running() as bench:
        for _ in range(5):
            bench.clock.ahead_s += THREAD_MAX_S / 2
            eventually(lambda: bench.service.health().status == "ok")  # once each thread has reported
    assert bench.service.health().last_poll_s < THREAD_MAX_S


def test_a_poll_that_never_ends_is_stuck() -> None:
    polling, answer = threading.Event(), threading.Event()
    queue = FakeQueue()

    def wait() -> None:
        polling.set()
        assert answer.wait(PATIENCE_S)

    queue.on_receive = wait
    with Bench(queue, visibility_timeout_s=1).running() as bench:
        assert polling.wait(PATIENCE_S)
        bench.clock.ahead_s = THREAD_MAX_S + 1
        eventually(lambda: bench.service.health().status == "stuck")
        assert "the receiver is stuck" in bench.service.health().reason
        answer.set()


def test_work_without_progress_is_stuck() -> None:
    hang, hangs, go_on = threading.Event(), threading.Event(), threading.Event()

    def does(message: Message, deadline: Deadline) -> Disposition:
        def copy() -> None:
            while not hang.wait(0.005):
                deadline.progress()
            hangs.set()
            assert go_on.wait(PATIENCE_S)

        copying = threading.Thread(target=copy)
        copying.start()
        while copying.is_alive():  # the worker waits for its threads, which is no progress
            deadline.check()
            copying.join(0.005)
        return Ack()

    with Bench(FakeQueue("a"), FakeWorker(does), visibility_timeout_s=1).running() as bench:
        eventually(lambda: bench.worker.started)
        for _ in range(3):
            bench.clock.ahead_s += WORK_MAX_S * 0.9
            eventually(lambda: bench.service.health().status == "ok")
        hang.set()
        assert hangs.wait(PATIENCE_S)
        bench.clock.ahead_s += WORK_MAX_S + 1
        eventually(lambda: "the work is stuck" in bench.service.health().reason)  # once the other threads have reported
        assert bench.service.health().status == "stuck"
        go_on.set()


# -- two queues --------------------------------------------------------------------------------------------------------


def test_events_do_not_wait_for_bulk_work() -> None:
    """Ranges take all slots for bulk work, and more ranges wait. Each event is processed all the same."""
    bulk, ranges = FakeQueue(*"rstu"), FakeWorker(until_stopped)
    queue = FakeQueue(*(str(number) for number in range(50)))
    with Bench(queue, concurrency=1, bulk=bulk, bulk_worker=ranges).running() as bench:
        eventually(lambda: len(ranges.started) == 2)
        eventually(lambda: len(queue.deleted) == 50)
        assert (len(bulk.hidden), len(bulk.visible)) == (2, 2)
        assert bench.service.health().in_flight == 2


def test_bulk_work_does_not_wait_for_events() -> None:
    queue, bulk = FakeQueue(*"ab"), FakeQueue(*"rst")
    with Bench(queue, FakeWorker(until_stopped), concurrency=2, bulk=bulk).running():
        eventually(lambda: len(bulk.deleted) == 3)


def test_a_store_that_fails_for_bulk_work_pauses_both_queues() -> None:
    """The stores are the same, so one circuit breaker decides. It lets one message of each queue through."""
    unusable = FakeWorker(lambda message, deadline: Retry(1, "the key is refused", unusable=True))
    queue, bulk = FakeQueue(), FakeQueue("r")
    with Bench(queue, bulk=bulk, bulk_worker=unusable).running() as bench:
        eventually(lambda: bench.service.health().status == "degraded")
        assert bench.service.health().reason == "the key is refused"
        eventually(lambda: 1 in queue.max_messages)


def test_a_queue_that_fails_does_not_stop_the_other() -> None:
    queue, bulk = FakeQueue(), FakeQueue()

    def fail() -> None:
        raise StoreUnusable("no such queue")

    bulk.on_receive = fail
    with Bench(queue, bulk=bulk).running() as bench:
        eventually(lambda: bench.service.health().status == "degraded")
        polls = len(queue.max_messages)
        eventually(lambda: len(queue.max_messages) > polls + 2)


def test_a_receiver_of_bulk_work_that_hangs_makes_the_service_stuck() -> None:
    queue, bulk, ended = FakeQueue(), FakeQueue(), threading.Event()
    bulk.on_receive = ended.wait
    with Bench(queue, bulk=bulk).running() as bench:
        eventually(lambda: bulk.max_messages)
        bench.clock.ahead_s += THREAD_MAX_S + 1
        polls = len(queue.max_messages)
        eventually(lambda: len(queue.max_messages) > polls + 1)
        eventually(lambda: bench.service.health().reason.startswith("bulk queue: the receiver is stuck"))
        assert not bench.service.health().is_healthy
        ended.set()


def test_messages_of_both_queues_come_back_when_the_process_ends_early() -> None:
    go_on = threading.Event()

    def does(message: Message, deadline: Deadline) -> Disposition:
        assert go_on.wait(PATIENCE_S)
        return Retry(0)

    queue, bulk = FakeQueue("a"), FakeQueue("r")
    bench = Bench(queue, FakeWorker(does), bulk=bulk, bulk_worker=FakeWorker(does))
    bench.thread.start()
    eventually(lambda: queue.hidden and bulk.hidden)
    bench.stopping.stop()
    bench.service.release_all()
    assert (queue.released, bulk.released) == ([("a", 0)], [("r", 0)])
    for each in (queue, bulk):
        each.hidden["0/1"] = each.visible[0]  # so that the slot can release the message again
    go_on.set()
    bench.stop()
