"""Messages are kept hidden as long as they are worked on, and no longer."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest
from tests.support.patience import PATIENCE_S

from s3_syncer.queue.worker import Message
from s3_syncer.service.heartbeat import BEATS, LONGEST_S, Held

VISIBILITY_S = 60
BEAT_S = VISIBILITY_S / BEATS


class FakeQueue:
    """A queue that delivers a message again once nobody has hidden it for long enough."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[dict[str, int]] = []
        self.refuses: dict[str, bool] = {}
        self.hidden_until: dict[str, float] = {}

    def clock(self) -> float:
        return self.now

    def extend(self, delays: Mapping[str, int]) -> Mapping[str, bool]:
        self.asked.append(dict(delays))
        for receipt, seconds in delays.items():
            if receipt not in self.refuses:
                self.hidden_until[receipt] = self.now + seconds
        return {receipt: self.refuses[receipt] for receipt in delays if receipt in self.refuses}


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def held(queue: FakeQueue) -> Held:
    return Held(queue, visibility_s=VISIBILITY_S, clock=queue.clock)


def message(receipt: str) -> Message:
    return Message(f"id of {receipt}", "body", 1, receipt)


def deliver(queue: FakeQueue, held: Held, *receipts: str) -> None:
    held.add([message(receipt) for receipt in receipts], queue.now)
    for receipt in receipts:
        queue.hidden_until[receipt] = queue.now + VISIBILITY_S


def beat(queue: FakeQueue, held: Held, times: int = 1) -> None:
    for _ in range(times):
        queue.now += held.beat_s
        held.beat()


def test_nothing_is_asked_for_what_is_done_within_a_beat(queue: FakeQueue, held: Held) -> None:
    deliver(queue, held, "a")
    queue.now += BEAT_S / 2
    held.beat()
    held.remove(message("a"))
    beat(queue, held)
    assert queue.asked == []


def test_what_takes_long_stays_hidden_all_the_time(queue: FakeQueue, held: Held) -> None:
    queue.now = 7.0  # between two beats
    deliver(queue, held, "a")
    queue.now = 0.0
    for _ in range(1000):
        beat(queue, held)
        assert queue.hidden_until["a"] - queue.now >= VISIBILITY_S / 2
    assert all(asked == {"a": VISIBILITY_S} for asked in queue.asked)


def test_several_are_extended_with_one_request(queue: FakeQueue, held: Held) -> None:
    deliver(queue, held, "a", "b")
    beat(queue, held)
    assert queue.asked == [{"a": VISIBILITY_S, "b": VISIBILITY_S}]


@pytest.mark.parametrize("failures", [1, 2])
def test_requests_that_fail_are_made_again_in_time(queue: FakeQueue, held: Held, failures: int) -> None:
    deliver(queue, held, "a")
    queue.refuses = {"a": True}
    beat(queue, held, failures)
    queue.refuses = {}
    beat(queue, held)
    assert len(queue.asked) == failures + 1
    assert queue.hidden_until["a"] == queue.now + VISIBILITY_S


def test_what_the_queue_has_taken_back_is_let_go(
    queue: FakeQueue, held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    deliver(queue, held, "a", "b")
    queue.refuses = {"a": False}
    beat(queue, held)
    queue.refuses = {}
    beat(queue, held)
    assert queue.asked[-1] == {"b": VISIBILITY_S}
    assert [record.message for record in caplog.records] == ["message no longer held"]
    held.remove(message("a"))  # when its work ends, later


def test_nothing_is_asked_for_beyond_the_twelve_hours_of_sqs(
    queue: FakeQueue, held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    deliver(queue, held, "a")
    while queue.now < 13 * 60 * 60:
        beat(queue, held)
    assert max(queue.hidden_until.values()) <= 12 * 60 * 60
    assert queue.hidden_until["a"] > LONGEST_S - BEAT_S, "but for as long as can be"
    assert min(seconds for asked in queue.asked for seconds in asked.values()) > 0, "0 would hand it back"
    assert [record.message for record in caplog.records] == ["message no longer held"]


def test_all_are_let_go_at_once(queue: FakeQueue, held: Held) -> None:
    deliver(queue, held, "a", "b")
    assert held.clear() == [message("a"), message("b")]
    beat(queue, held)
    assert queue.asked == []


def test_a_request_under_way_cannot_hide_what_is_handed_back_meanwhile() -> None:
    began, go_on = threading.Event(), threading.Event()

    class SlowQueue(FakeQueue):
        def extend(self, delays: Mapping[str, int]) -> Mapping[str, bool]:
            began.set()
            assert go_on.wait(PATIENCE_S)
            return super().extend(delays)

    queue = SlowQueue()
    held = Held(queue, visibility_s=VISIBILITY_S, clock=queue.clock)
    deliver(queue, held, "a")
    queue.now = BEAT_S
    beating = threading.Thread(target=held.beat)
    removing = threading.Thread(target=held.remove, args=[message("a")])
    beating.start()
    assert began.wait(PATIENCE_S)
    removing.start()
    removing.join(0.1)
    assert removing.is_alive(), "it waits for the request"
    go_on.set()
    removing.join(PATIENCE_S)
    beating.join(PATIENCE_S)
    assert len(queue.asked) == 1
