"""The bandwidth limit and the deadline that ends its waits, with a clock that only sleeps advance."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta

import pytest
from tests.support.clock import FakeClock

from s3_syncer.core import deadline as deadline_module
from s3_syncer.core.bandwidth_timetable import BandwidthTimetable
from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.sync import bandwidth as bandwidth_module
from s3_syncer.sync.bandwidth import BandwidthLimiter


def limiter(bytes_per_s: int) -> BandwidthLimiter:
    return BandwidthLimiter(BandwidthTimetable.parse(f"{bytes_per_s}B"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(bandwidth_module, "time", clock)
    monkeypatch.setattr(deadline_module, "time", clock)
    return clock


def test_the_first_wait_is_none_and_each_later_one_pays_for_the_one_before(clock: FakeClock) -> None:
    pace, turns = limiter(100), []
    for size in (50, 200, 0, 100):
        pace.wait(size, Deadline())
        turns.append(clock.now - 1000)
    assert turns == pytest.approx([0, 0.5, 2.5, 2.5])


def test_a_pause_earns_no_burst(clock: FakeClock) -> None:
    pace = limiter(100)
    pace.wait(100, Deadline())
    clock.now += 60
    pace.wait(100, Deadline())
    pace.wait(100, Deadline())
    assert clock.now == pytest.approx(1061)


#: Seconds of the clock of the tests at Monday 00:00.
MIDNIGHT = 1000


def windows(timetable: str, clock: FakeClock) -> BandwidthLimiter:
    """Return a limiter that reads the local time from the clock of the tests."""
    began = datetime(2026, 11, 30)
    return BandwidthLimiter(
        BandwidthTimetable.parse(timetable), lambda: began + timedelta(seconds=clock.now - MIDNIGHT)
    )


def test_wait_follows_a_limit_that_changes(clock: FakeClock) -> None:
    """Of 1,200 bytes, 600 pass in the last minute of the slow window, and 600 in 6 s of the fast one."""
    pace = windows("00:00,10B 00:01,100B", clock)
    pace.wait(1200, Deadline())
    pace.wait(0, Deadline())
    assert clock.now - MIDNIGHT == pytest.approx(66, abs=bandwidth_module._REREAD_S)


def test_wait_ends_with_the_limit(clock: FakeClock) -> None:
    pace = windows("00:00,1B 00:01,off", clock)
    assert pace.limits
    pace.wait(10**9, Deadline())
    pace.wait(10**9, Deadline())
    assert clock.now - MIDNIGHT == pytest.approx(60, abs=bandwidth_module._REREAD_S)
    assert not pace.limits
    pace.wait(10**9, Deadline())
    assert clock.now - MIDNIGHT == pytest.approx(60, abs=bandwidth_module._REREAD_S)


def test_bytes_that_passed_without_a_limit_delay_nothing(clock: FakeClock) -> None:
    pace, turns = windows("00:00,off 00:01,100B", clock), []
    pace.wait(10**9, Deadline())
    clock.now = MIDNIGHT + 60
    for _ in range(3):
        pace.wait(100, Deadline())
        turns.append(clock.now - MIDNIGHT)
    assert turns == pytest.approx([60, 61, 62])


def test_without_a_limit_no_thread_waits(clock: FakeClock) -> None:
    for _ in range(10):
        BandwidthLimiter().wait(10**15, Deadline())
    assert clock.now == 1000


def test_no_thread_waits_longer_than_the_deadline(clock: FakeClock) -> None:
    pace, deadline = limiter(1), Deadline.after(3)
    pace.wait(10**6, deadline)
    with pytest.raises(OutOfTime, match="no time left"):
        pace.wait(1, deadline)
    assert clock.now == pytest.approx(1003, abs=0.2)


def test_a_stop_ends_the_waits() -> None:
    pace, deadline, ended = limiter(1), Deadline(), []
    pace.wait(10**6, deadline)

    def wait() -> None:
        with pytest.raises(OutOfTime, match="stopped on request"):
            pace.wait(1, deadline)
        ended.append(True)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    deadline.stop()
    thread.join(timeout=60)
    assert ended


def test_a_sooner_deadline_ends_with_its_outer_one_and_not_the_other_way_round(clock: FakeClock) -> None:
    outer = Deadline.after(10)
    assert outer.sooner(20).at == 1010
    assert outer.sooner(5).at == 1005
    inner, other = outer.sooner(), outer.sooner()
    inner.stop()
    assert inner.passed()
    assert not other.passed()
    assert not outer.passed()
    outer.stop()
    assert other.passed()


def test_the_clock_is_the_monotonic_one() -> None:
    before = time.monotonic()
    assert before <= Deadline.after(5).at - 5 <= time.monotonic()
