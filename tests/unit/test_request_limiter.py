"""The limiter of the requests to one store: permits for threads and for callbacks, in one queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from tests.support.clock import FakeClock
from tests.support.patience import PATIENCE_S

from s3_syncer.core import fence
from s3_syncer.core.concurrency_limit import ConcurrencyLimit
from s3_syncer.core.deadline import OutOfTime
from s3_syncer.core.errors import Busy, Changed, Transient
from s3_syncer.stores import request_limiter
from s3_syncer.stores.availability import Availability
from s3_syncer.stores.request_limiter import Permit, RequestLimiter, request_kind


def eventually(is_true: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < ends
        time.sleep(0.001)


def limiter(first: int = 2, clock: Callable[[], float] | None = None) -> RequestLimiter:
    return RequestLimiter(ConcurrencyLimit(8, first=first), clock=clock or FakeClock())


def test_no_more_requests_are_in_flight_than_the_limit_allows() -> None:
    found, lock, now, most = limiter(), threading.Lock(), 0, 0

    def work() -> None:
        nonlocal now, most
        with found.acquire("GET"):  # without `begin`, so that the limit stays where it is
            with lock:
                now += 1
                most = max(most, now)
            threading.Event().wait(0.001)
            with lock:
                now -= 1

    with ThreadPoolExecutor(16) as pool:
        for each in [pool.submit(work) for _ in range(200)]:
            each.result(PATIENCE_S)
    assert most == 2


def test_threads_and_callbacks_wait_in_one_queue() -> None:
    found, order = limiter(1), list[str]()
    permits: list[Permit] = []
    found.begin("GET", permits.append)  # type: ignore[arg-type]

    def callback(permit: Permit | None) -> None:
        assert permit is not None
        order.append("callback")
        permit.void()  # so that the limit stays where it is
        found.end(permit)

    def work() -> None:
        with found.acquire("GET"):
            order.append("thread")

    found.begin("GET", callback)
    thread = threading.Thread(target=work)
    thread.start()
    eventually(lambda: len(found._waiting) == 2)
    found.begin("GET", callback)
    assert order == []
    permits[0].void()
    found.end(permits[0])
    thread.join(PATIENCE_S)
    eventually(lambda: len(order) == 3)
    assert order == ["callback", "thread", "callback"]


def test_a_request_inside_a_request_to_the_same_store_needs_no_permit() -> None:
    """With a limit of 1 it would wait for itself."""
    source, target = limiter(1), limiter(1)
    with source.acquire("GET"), target.acquire("PUT"), source.acquire("LIST"):
        assert source._in_flight == 1
    assert source._in_flight == 0


def test_a_wait_for_a_permit_ends_with_the_error_of_the_check() -> None:
    found = limiter(1)

    def stopped() -> None:
        raise OutOfTime("stopped")

    def work() -> None:
        with found.acquire("GET", stopped):
            raise AssertionError("there was no permit")

    with ThreadPoolExecutor(1) as pool, found.acquire("GET"), pytest.raises(OutOfTime):
        pool.submit(work).result(PATIENCE_S)
    with found.acquire("GET"):  # the wait that ended holds no permit
        pass


def test_thousands_of_callbacks_need_no_deep_stack() -> None:
    found, ended = limiter(1), list[int]()
    permits: list[Permit] = []
    found.begin("GET", permits.append)  # type: ignore[arg-type]
    for number in range(5000):

        def at_once(permit: Permit | None, number: int = number) -> None:
            assert permit is not None
            ended.append(number)
            found.end(permit)

        found.begin("GET", at_once)
    found.end(permits[0])
    assert ended == list(range(5000))


def test_a_callback_that_fails_takes_no_permit_from_another_one(caplog: pytest.LogCaptureFixture) -> None:
    """The response raises the limit from 1 to 2, so both callbacks have their turn in the same moment."""
    found, permits, made = limiter(1), list[Permit](), list[str]()
    found.begin("GET", permits.append)  # type: ignore[arg-type]

    def fails(permit: Permit | None) -> None:
        assert permit is not None
        permit.end()
        raise ZeroDivisionError

    def works(permit: Permit | None) -> None:
        assert permit is not None
        permit.end()
        made.append("made")

    found.begin("GET", fails)
    found.begin("GET", works)
    found.end(permits[0])
    assert made == ["made"]
    assert found._in_flight == 0
    assert "ZeroDivisionError" in caplog.text


def test_a_callback_has_the_fence_of_the_thread_that_began_it() -> None:
    found, permits, fences = limiter(1), list[Permit](), list[fence.Fence | None]()
    found.begin("GET", permits.append)  # type: ignore[arg-type]
    expected = fence.Fence()
    with fence.fenced(expected):
        found.begin("GET", lambda _: fences.append(fence.current()))
    found.end(permits[0])
    assert fences == [expected]


def test_during_a_pause_threads_wait_and_callbacks_do_not() -> None:
    clock = FakeClock()
    found, turns = limiter(1, clock), list[Permit | None]()
    permits: list[Permit] = []
    found.begin("GET", permits.append)  # type: ignore[arg-type]
    found.begin("GET", turns.append)
    permits[0].note_throttled()
    found.end(permits[0])
    assert turns == [None], "a pause ends the wait of a callback"
    found.begin("GET", turns.append)
    assert turns == [None, None]

    def work() -> str:
        with found.acquire("GET"):
            return "made"

    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(work)
        eventually(lambda: len(found._waiting) == 1)
        assert not made.done()
        clock.now += 30
        assert made.result(PATIENCE_S) == "made"


@pytest.mark.parametrize(
    ("error", "value"),
    [
        (None, 4),
        (Changed("gone", "NoSuchKey"), 4),
        (Busy("slow down", "SlowDown"), 2),
        (Transient("broke", "ConnectionBroke"), 2),
        (Transient("internal error", "InternalError"), 4),
        (OutOfTime("given up"), 4),
        (ValueError("a bug"), 4),
    ],
)
def test_a_busy_store_and_a_lost_request_halve_the_limit(error: Exception | None, value: int) -> None:
    clock = FakeClock()
    found = limiter(4, clock)

    def send() -> None:
        clock.now += 1
        if error is not None:
            raise error

    with suppress(Exception):
        Availability(lambda: None, limiter=found, clock=clock).attempt(send, "get_object")
    assert (found.value, found._in_flight) == (value, 0)


def test_each_attempt_of_boto3_counts_and_the_last_one_shows_the_latency() -> None:
    clock = FakeClock()
    found = limiter(8, clock)

    def send() -> None:
        for status in (503, 503, 200):
            request_limiter.begin_attempt()
            clock.now += 1
            request_limiter.note_status(status)
            request_limiter.note_status(status)  # the same response, noted by two layers

    Availability(lambda: None, limiter=found, clock=clock).attempt(send, "put_object")
    assert found.value == 2


def test_sizes_of_one_kind_are_of_one_order() -> None:
    assert request_kind("put_object", 0) == request_kind("put_object", 10_000)
    assert request_kind("put_object", 8 * 2**20) != request_kind("put_object", 64 * 2**20)
    assert request_kind("put_object") != request_kind("get_object")
