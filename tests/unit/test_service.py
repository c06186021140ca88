"""The loop of the service, with a queue and a worker that do as they are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytest
from tests.support.clock import OffsetClock
from tests.support.patience import PATIENCE_S

from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import StoreUnusable
from s3_syncer.core.work_items import KeyWork
from s3_syncer.queue.worker import Ack, DeadLetter, Disposition, Message, Retry
from s3_syncer.service import service
from s3_syncer.service.service import PROGRESS_MAX_S, TURN_MAX_S, Rules, Service


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "TICK_S", 0.01)
    monkeypatch.setattr(service, "DROP_S", 0.3)
    monkeypatch.setattr(service, "REST_FIRST_S", 0.05)
    monkeypatch.setattr(service, "REST_MAX_S", 0.1)


def eventually(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


class FakeQueue:
    """What SQS does with messages, without the time it takes: whoever was handed back may be received again at once."""

    def __init__(self, *bodies: str) -> None:
        self.lock = threading.Lock()
        self.visible = [Message(str(number), body, 0) for number, body in enumerate(bodies)]
        self.hidden: dict[str, Message] = {}
        self.deleted: list[str] = []
        self.back: list[tuple[str, int]] = []
        self.extended: list[str] = []
        self.most: list[int] = []
        self.receiving: Callable[[], object] = lambda: None
        self.unsendable = False

    def receive(self, most: int, *, visibility_s: int, wait_s: int) -> list[Message]:
        self.most.append(most)
        self.receiving()
        with self.lock:
            taken, self.visible = self.visible[:most], self.visible[most:]
            messages = [Message(one.id, one.body, one.attempt + 1, f"{one.id}/{one.attempt + 1}") for one in taken]
            self.hidden.update({message.receipt: message for message in messages})
        if not messages:
            time.sleep(0.01)
        return messages

    def extend(self, delays: Mapping[str, int]) -> Mapping[str, bool]:
        self.extended += delays
        return {}

    def apply(self, messages: Iterable[Message], dispositions: Mapping[str, Disposition]) -> list[Message]:
        returned = [m for m in messages if self.unsendable or isinstance(dispositions[m.id], Retry)]
        self.release({message.receipt: getattr(dispositions[message.id], "delay_s", 1) for message in returned})
        return returned

    def delete(self, messages: Sequence[Message]) -> None:
        with self.lock:
            self.deleted += [self.hidden.pop(message.receipt).body for message in messages]

    def release(self, delays: Mapping[str, int]) -> None:
        with self.lock:
            for receipt, delay_s in delays.items():
                message = self.hidden.pop(receipt)
                self.back.append((message.body, delay_s))
                self.visible.append(message)


class FakeWorker:
    """Does what `does` says for each body, and notes what it was asked."""

    def __init__(self, does: Callable[[Message, Deadline], Disposition] = lambda message, deadline: Ack()) -> None:
        self.does = does
        self.began: list[str] = []

    def run(self, messages: Iterable[Message], deadline: Deadline, *, grace_s: float) -> dict[str, Disposition]:
        (message,) = messages
        self.began.append(message.body)
        return {message.id: self.does(message, deadline)}


class Bench:
    def __init__(
        self,
        queue: FakeQueue,
        worker: FakeWorker | None = None,
        *,
        lanes: int = 4,
        grace_s: float = 0.0,
        visibility_s: int = 60,
    ) -> None:
        self.queue, self.worker = queue, worker or FakeWorker()
        self.clock, self.asked = OffsetClock(), Deadline()
        self.service = Service(self.worker, queue, Rules(lanes, visibility_s, grace_s), clock=self.clock)
        self.thread = threading.Thread(target=self.service.run, args=[self.asked], daemon=True)

    @contextmanager
    def running(self) -> Iterator[Bench]:
        self.thread.start()
        try:
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        self.asked.stop()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive(), "it did not stop"


def until_told(message: Message, deadline: Deadline) -> Disposition:
    """Work that goes on until it is out of time, as a large copy does."""
    while not deadline.passed():
        time.sleep(0.005)
    return Retry(0, "told to stop")


# -- receiving and settling --------------------------------------------------------------------------------------------


def test_what_is_done_is_deleted_and_what_failed_is_given_back() -> None:
    dispositions: dict[str, Disposition] = {"done": Ack(), "dead": DeadLetter("never"), "later": Retry(7)}

    def does(message: Message, deadline: Deadline) -> Disposition:
        return dispositions[message.body] if message.attempt == 1 else Ack()

    with Bench(FakeQueue("done", "dead", "later"), FakeWorker(does)).running() as bench:
        eventually(lambda: sorted(bench.queue.deleted) == ["dead", "done", "later"])
    assert bench.queue.back == [("later", 7)]
    health = bench.service.health()
    assert (health.done, health.dead_letters, health.returned, health.in_flight) == (2, 1, 1, 0)


def test_no_more_is_received_than_can_be_begun_at_once() -> None:
    go_on = threading.Event()

    def does(message: Message, deadline: Deadline) -> Disposition:
        assert go_on.wait(PATIENCE_S)
        return Ack()

    queue = FakeQueue(*(str(number) for number in range(20)))
    with Bench(queue, FakeWorker(does), lanes=3).running() as bench:
        eventually(lambda: len(bench.worker.began) == 3)
        time.sleep(0.1)
        assert (len(bench.worker.began), len(queue.hidden), len(queue.visible)) == (3, 3, 17)
        assert sum(queue.most) == 3
        go_on.set()
        eventually(lambda: len(queue.deleted) == 20)
    assert max(queue.most) <= 3


def test_an_answer_has_ten_messages_at_the_most() -> None:
    queue = FakeQueue(*(str(number) for number in range(40)))
    with Bench(queue, lanes=32).running():
        eventually(lambda: len(queue.deleted) == 40)
    assert max(queue.most) == 10


def test_a_slow_message_holds_up_no_other() -> None:
    def does(message: Message, deadline: Deadline) -> Disposition:
        return until_told(message, deadline) if message.body == "slow" else Ack()

    queue = FakeQueue("slow", *(str(number) for number in range(10)))
    with Bench(queue, FakeWorker(does), lanes=2).running():
        eventually(lambda: len(queue.deleted) == 10)
    assert queue.back == [("slow", 0)]


def test_what_is_left_to_do_and_cannot_be_sent_is_not_lost() -> None:
    queue = FakeQueue("range")
    queue.unsendable = True
    with Bench(queue, FakeWorker(lambda message, deadline: Ack((KeyWork(("key",)),)))).running() as bench:
        eventually(lambda: queue.back)
        queue.unsendable = False
        eventually(lambda: queue.deleted == ["range"])
    assert bench.service.health().done == 1


def test_a_fault_of_our_own_costs_no_message_and_no_lane() -> None:
    def does(message: Message, deadline: Deadline) -> Disposition:
        if message.attempt == 1:
            raise ZeroDivisionError
        return Ack()

    queue = FakeQueue("a", "b", "c")
    with Bench(queue, FakeWorker(does), lanes=1).running():
        eventually(lambda: sorted(queue.deleted) == ["a", "b", "c"])
    assert [body for body, delay_s in queue.back if delay_s > 0] == ["a", "b", "c"]


def test_what_takes_long_is_kept_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = FakeQueue("slow", "quick")

    def does(message: Message, deadline: Deadline) -> Disposition:
        return until_told(message, deadline) if message.body == "slow" else Ack()

    with Bench(queue, FakeWorker(does), visibility_s=1).running():
        eventually(lambda: queue.deleted == ["quick"])
        queue.extended.clear()  # it may have taken long too
        eventually(lambda: len(queue.extended) >= 3)
        assert set(queue.extended) == {"0/1"}


# -- stopping ----------------------------------------------------------------------------------------------------------


def test_on_a_stop_nothing_more_is_received_and_what_ends_within_the_grace_is_done() -> None:
    go_on = threading.Event()

    def does(message: Message, deadline: Deadline) -> Disposition:
        assert go_on.wait(PATIENCE_S)
        deadline.check()
        return Ack()

    queue = FakeQueue("a", "b", "c")
    bench = Bench(queue, FakeWorker(does), lanes=2, grace_s=PATIENCE_S)
    with bench.running():
        eventually(lambda: len(bench.worker.began) == 2)
        bench.asked.stop()
        time.sleep(0.1)
        assert bench.service.health().status == "stopping"
        go_on.set()
    assert sorted(queue.deleted) == ["a", "b"]
    assert [message.body for message in queue.visible] == ["c"]


def test_on_a_stop_what_does_not_end_within_the_grace_is_given_back_at_once() -> None:
    queue = FakeQueue("a")
    bench = Bench(queue, FakeWorker(until_told), grace_s=0.2)
    with bench.running():
        eventually(lambda: bench.worker.began)
        began = time.monotonic()
        bench.stop()
        assert time.monotonic() - began >= 0.2
    assert queue.back == [("a", 0)]
    assert queue.hidden == {}


def test_what_a_poll_brings_after_the_stop_is_given_back_at_once() -> None:
    polling, answer = threading.Event(), threading.Event()
    queue = FakeQueue("a")

    def wait() -> None:
        polling.set()
        assert answer.wait(PATIENCE_S)

    queue.receiving = wait
    bench = Bench(queue)
    with bench.running():
        assert polling.wait(PATIENCE_S)
        bench.asked.stop()
        time.sleep(0.05)
        answer.set()
    assert queue.back == [("a", 0)]
    assert bench.worker.began == []


def test_what_hangs_is_handed_back_by_whoever_ends_the_process() -> None:
    go_on = threading.Event()

    def does(message: Message, deadline: Deadline) -> Disposition:
        assert go_on.wait(PATIENCE_S)
        return Retry(0)

    queue = FakeQueue("a")
    bench = Bench(queue, FakeWorker(does))
    bench.thread.start()
    eventually(lambda: bench.worker.began)
    bench.asked.stop()
    bench.service.give_up()
    assert queue.back == [("a", 0)]
    assert [message.body for message in queue.visible] == ["a"]
    queue.hidden["0/1"] = queue.visible[0]  # for the lane, which does not know, to settle what it still thinks it has
    go_on.set()
    bench.stop()


# -- what cannot work --------------------------------------------------------------------------------------------------


def test_after_a_store_could_not_be_used_one_message_at_a_time_tells_when_it_can() -> None:
    usable = threading.Event()

    def does(message: Message, deadline: Deadline) -> Disposition:
        return Ack() if usable.is_set() else Retry(0, "wrong keys", unusable=True)

    queue = FakeQueue(*(str(number) for number in range(50)))
    with Bench(queue, FakeWorker(does), lanes=8).running() as bench:
        eventually(lambda: len(queue.most) >= 6)
        health = bench.service.health()
        assert (health.status, health.reason, health.well) == ("degraded", "wrong keys", True)
        assert queue.most[:6] == [8, 1, 1, 1, 1, 1]
        usable.set()
        eventually(lambda: len(queue.deleted) == 50)
        assert bench.service.health().status == "ok"


def test_a_store_that_fails_for_one_message_alone_stops_no_other() -> None:
    def does(message: Message, deadline: Deadline) -> Disposition:
        return Retry(1, "the store asks to slow down") if message.attempt < 3 else Ack()

    queue = FakeQueue("a", "b")
    with Bench(queue, FakeWorker(does)).running():
        eventually(lambda: len(queue.deleted) == 2)
    assert set(queue.most) <= {4, 3, 2}


@pytest.mark.parametrize("error", [StoreUnusable("no such queue"), ZeroDivisionError()])
def test_a_queue_that_fails_is_asked_again_after_a_while(error: Exception) -> None:
    queue, failures = FakeQueue("a"), [error, error]

    def fail() -> None:
        if failures:
            raise failures.pop()

    queue.receiving = fail
    began = time.monotonic()
    with Bench(queue).running() as bench:
        eventually(lambda: queue.deleted == ["a"])
        assert bench.service.health().status == "ok"
    assert time.monotonic() - began >= 0.05 + 0.1, "a pause, and a longer one"


# -- health ------------------------------------------------------------------------------------------------------------


def test_an_idle_service_is_well_however_long_it_idles() -> None:
    with Bench(FakeQueue(), visibility_s=1).running() as bench:
        for _ in range(5):
            bench.clock.ahead_s += TURN_MAX_S / 2
            eventually(lambda: bench.service.health().status == "ok")  # once each thread has come round
    assert bench.service.health().last_poll_s < TURN_MAX_S


def test_a_poll_that_never_ends_is_not_well() -> None:
    polling, answer = threading.Event(), threading.Event()
    queue = FakeQueue()

    def wait() -> None:
        polling.set()
        assert answer.wait(PATIENCE_S)

    queue.receiving = wait
    with Bench(queue, visibility_s=1).running() as bench:
        assert polling.wait(PATIENCE_S)
        bench.clock.ahead_s = TURN_MAX_S + 1
        eventually(lambda: bench.service.health().status == "stuck")
        assert "nothing was received" in bench.service.health().reason
        answer.set()


def test_work_that_never_goes_on_is_not_well_and_work_that_does_is() -> None:
    hang, hangs, go_on = threading.Event(), threading.Event(), threading.Event()

    def does(message: Message, deadline: Deadline) -> Disposition:
        def copy() -> None:
            while not hang.wait(0.005):
                deadline.progress()
            hangs.set()
            assert go_on.wait(PATIENCE_S)

        copying = threading.Thread(target=copy)
        copying.start()
        while copying.is_alive():  # as the worker waits for its threads, which is no progress
            deadline.check()
            copying.join(0.005)
        return Ack()

    with Bench(FakeQueue("a"), FakeWorker(does), visibility_s=1).running() as bench:
        eventually(lambda: bench.worker.began)
        for _ in range(3):
            bench.clock.ahead_s += PROGRESS_MAX_S * 0.9
            eventually(lambda: bench.service.health().status == "ok")
        hang.set()
        assert hangs.wait(PATIENCE_S)
        bench.clock.ahead_s += PROGRESS_MAX_S + 1
        eventually(lambda: "no work has gone on" in bench.service.health().reason)  # once the others have come round
        assert bench.service.health().status == "stuck"
        go_on.set()
