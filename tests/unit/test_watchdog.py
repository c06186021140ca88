"""The watchdog reports a thread that hangs, and no thread that is only idle."""

from __future__ import annotations

import pytest
from tests.support.clock import FakeClock

from s3_syncer.service.watchdog import THREAD_MAX_S, WORK_MAX_S, Activity, Watchdog


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def watchdog(clock: FakeClock) -> Watchdog:
    return Watchdog(clock)


def touch_after(watchdog: Watchdog, clock: FakeClock, seconds: float, *activities: Activity) -> None:
    clock.now += seconds
    for activity in activities:
        watchdog.touch(activity)


@pytest.mark.parametrize(
    ("silent", "max_s", "reason"),
    [
        ("receive", THREAD_MAX_S, "the receiver is stuck"),
        ("heartbeat", THREAD_MAX_S, "the visibility heartbeat is stuck"),
        ("work", WORK_MAX_S, "the work is stuck"),
    ],
)
def test_an_activity_without_a_touch_is_stuck_after_its_limit(
    watchdog: Watchdog, clock: FakeClock, silent: Activity, max_s: float, reason: str
) -> None:
    others = [activity for activity in ("receive", "response", "heartbeat", "work") if activity != silent]
    touch_after(watchdog, clock, max_s, *others)
    assert watchdog.stuck_reason(in_flight=1) == ""
    touch_after(watchdog, clock, 1, *others)
    assert watchdog.stuck_reason(in_flight=1).startswith(f"{reason}: no ")
    watchdog.touch(silent)
    assert watchdog.stuck_reason(in_flight=1) == ""


def test_work_without_messages_in_flight_is_never_stuck(watchdog: Watchdog, clock: FakeClock) -> None:
    touch_after(watchdog, clock, 10 * WORK_MAX_S, "receive", "heartbeat")
    assert watchdog.stuck_reason(in_flight=0) == ""


def test_polls_without_a_response_are_never_stuck(watchdog: Watchdog, clock: FakeClock) -> None:
    """An unusable queue makes the service degraded: a new process has the same problem."""
    touch_after(watchdog, clock, 10 * WORK_MAX_S, "receive", "heartbeat", "work")
    assert watchdog.stuck_reason(in_flight=1) == ""
    assert watchdog.idle_s("response") == 10 * WORK_MAX_S
