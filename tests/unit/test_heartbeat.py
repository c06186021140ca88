"""The visibility timeout of a message is extended while the work on it runs, and no longer."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest
from tests.support.patience import PATIENCE_S

from s3_syncer.queue.dispositions import Message
from s3_syncer.service.heartbeat import EXTENSIONS_PER_TIMEOUT, MAX_IN_FLIGHT_S, VisibilityHeartbeat

VISIBILITY_S = 60
INTERVAL_S = VISIBILITY_S / EXTENSIONS_PER_TIMEOUT


class VisibilityQueue:
    """A queue that notes the extensions, and until when each message is hidden."""

    def __init__(self) -> None:
        self.now = 0.0
        self.requests: list[dict[str, int]] = []
        self.refuses: dict[str, bool] = {}
        self.hidden_until: dict[str, float] = {}

    def clock(self) -> float:
        return self.now

    def extend(self, delays: Mapping[str, int]) -> Mapping[str, bool]:
        self.requests.append(dict(delays))
        for receipt, seconds in delays.items():
            if receipt not in self.refuses:
                self.hidden_until[receipt] = self.now + seconds
        return {receipt: self.refuses[receipt] for receipt in delays if receipt in self.refuses}


@pytest.fixture
def queue() -> VisibilityQueue:
    return VisibilityQueue()


@pytest.fixture
def heartbeat(queue: VisibilityQueue) -> VisibilityHeartbeat:
    return VisibilityHeartbeat(queue, visibility_timeout_s=VISIBILITY_S, clock=queue.clock)


def message(receipt: str) -> Message:
    return Message(f"id of {receipt}", "body", 1, receipt)


def deliver(queue: VisibilityQueue, heartbeat: VisibilityHeartbeat, *receipts: str) -> None:
    heartbeat.add([message(receipt) for receipt in receipts], queue.now)
    for receipt in receipts:
        queue.hidden_until[receipt] = queue.now + VISIBILITY_S


def advance(queue: VisibilityQueue, heartbeat: VisibilityHeartbeat, times: int = 1) -> None:
    for _ in range(times):
        queue.now += heartbeat.interval_s
        heartbeat.extend_due()


def test_a_message_done_within_one_interval_is_not_extended(
    queue: VisibilityQueue, heartbeat: VisibilityHeartbeat
) -> None:
    deliver(queue, heartbeat, "a")
    queue.now += INTERVAL_S / 2
    heartbeat.extend_due()
    heartbeat.remove(message("a"))
    advance(queue, heartbeat)
    assert queue.requests == []


def test_a_message_stays_hidden_for_as_long_as_its_work_takes(
    queue: VisibilityQueue, heartbeat: VisibilityHeartbeat
) -> None:
    queue.now = 7.0  # between two extensions
    deliver(queue, heartbeat, "a")
    queue.now = 0.0
    for _ in range(1000):
        advance(queue, heartbeat)
        assert queue.hidden_until["a"] - queue.now >= VISIBILITY_S / 2
    assert all(request == {"a": VISIBILITY_S} for request in queue.requests)


def test_several_messages_are_extended_with_one_request(queue: VisibilityQueue, heartbeat: VisibilityHeartbeat) -> None:
    deliver(queue, heartbeat, "a", "b")
    advance(queue, heartbeat)
    assert queue.requests == [{"a": VISIBILITY_S, "b": VISIBILITY_S}]


@pytest.mark.parametrize("failures", [1, 2])
def test_failed_extensions_are_repeated_before_the_timeout_ends(
    queue: VisibilityQueue, heartbeat: VisibilityHeartbeat, failures: int
) -> None:
    deliver(queue, heartbeat, "a")
    queue.refuses = {"a": True}
    advance(queue, heartbeat, failures)
    queue.refuses = {}
    advance(queue, heartbeat)
    assert len(queue.requests) == failures + 1
    assert queue.hidden_until["a"] == queue.now + VISIBILITY_S


def test_a_message_with_an_invalid_receipt_handle_is_no_longer_extended(
    queue: VisibilityQueue, heartbeat: VisibilityHeartbeat, caplog: pytest.LogCaptureFixture
) -> None:
    deliver(queue, heartbeat, "a", "b")
    queue.refuses = {"a": False}
    advance(queue, heartbeat)
    queue.refuses = {}
    advance(queue, heartbeat)
    assert queue.requests[-1] == {"b": VISIBILITY_S}
    assert [record.message for record in caplog.records] == ["visibility no longer extended"]
    heartbeat.remove(message("a"))  # when its work ends, later


def test_extensions_end_at_the_twelve_hours_of_sqs(
    queue: VisibilityQueue, heartbeat: VisibilityHeartbeat, caplog: pytest.LogCaptureFixture
) -> None:
    deliver(queue, heartbeat, "a")
    while queue.now < 13 * 60 * 60:
        advance(queue, heartbeat)
    assert max(queue.hidden_until.values()) <= 12 * 60 * 60
    assert queue.hidden_until["a"] > MAX_IN_FLIGHT_S - INTERVAL_S, "but not before"
    assert min(seconds for request in queue.requests for seconds in request.values()) > 0, "0 would release it"
    assert [record.message for record in caplog.records] == ["visibility no longer extended"]


def test_a_message_is_held_while_its_last_extension_lasts(
    queue: VisibilityQueue, heartbeat: VisibilityHeartbeat
) -> None:
    deliver(queue, heartbeat, "a")
    advance(queue, heartbeat, 8)
    queue.now += VISIBILITY_S - 1
    assert heartbeat.is_held(message("a"))
    queue.now += 1
    assert not heartbeat.is_held(message("a")), "the process was stopped, so nothing extended the message"
    heartbeat.extend_due()
    assert heartbeat.is_held(message("a")), "SQS accepts the receipt handle still: no other worker has the message"
    queue.refuses["a"] = False
    advance(queue, heartbeat)
    assert not heartbeat.is_held(message("a"))


def test_the_last_extension_ends_at_the_twelve_hours_of_sqs(
    queue: VisibilityQueue, heartbeat: VisibilityHeartbeat
) -> None:
    deliver(queue, heartbeat, "a")
    queue.now = MAX_IN_FLIGHT_S - 20
    heartbeat.extend_due()
    assert queue.requests[-1] == {"a": 20}
    queue.now += 19
    assert heartbeat.is_held(message("a"))
    queue.now += 1
    assert not heartbeat.is_held(message("a"))


def test_clear_ends_all_extensions_and_returns_the_messages(
    queue: VisibilityQueue, heartbeat: VisibilityHeartbeat
) -> None:
    deliver(queue, heartbeat, "a", "b")
    assert heartbeat.clear() == [message("a"), message("b")]
    advance(queue, heartbeat)
    assert queue.requests == []


def test_remove_waits_for_a_request_in_flight() -> None:
    began, go_on = threading.Event(), threading.Event()

    class SlowQueue(VisibilityQueue):
        def extend(self, delays: Mapping[str, int]) -> Mapping[str, bool]:
            began.set()
            assert go_on.wait(PATIENCE_S)
            return super().extend(delays)

    queue = SlowQueue()
    heartbeat = VisibilityHeartbeat(queue, visibility_timeout_s=VISIBILITY_S, clock=queue.clock)
    deliver(queue, heartbeat, "a")
    queue.now = INTERVAL_S
    extending = threading.Thread(target=heartbeat.extend_due)
    removing = threading.Thread(target=heartbeat.remove, args=[message("a")])
    extending.start()
    assert began.wait(PATIENCE_S)
    removing.start()
    removing.join(0.1)
    assert removing.is_alive(), "it waits for the request"
    go_on.set()
    removing.join(PATIENCE_S)
    extending.join(PATIENCE_S)
    assert len(queue.requests) == 1
