"""What does not work at all is tried again after a while, and longer each time."""

from __future__ import annotations

import logging

import pytest

from s3_syncer.core.circuit_breaker import FIRST_S, LONGEST_S, Pause


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pause(clock: Clock) -> Pause:
    return Pause(clock)


def test_nothing_is_paused_for_nothing(pause: Pause) -> None:
    assert (pause.failing, pause.left_s(), pause.reason) == (False, 0.0, "")


def test_each_pause_is_twice_as_long_up_to_a_limit(pause: Pause, clock: Clock) -> None:
    lengths = []
    for _ in range(7):
        pause.failed("wrong keys")
        lengths.append(pause.left_s())
        clock.now += pause.left_s()
        assert pause.left_s() == 0.0
    assert lengths == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S, LONGEST_S, LONGEST_S, LONGEST_S]


def test_what_was_under_way_when_it_failed_makes_it_no_longer(
    pause: Pause, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(30):
        pause.failed("wrong keys")
        clock.now += FIRST_S / 100
    assert pause.left_s() < FIRST_S
    assert len(caplog.records) == 1, "logged once"
    clock.now += FIRST_S
    pause.failed("wrong keys")
    assert pause.left_s() == 2 * FIRST_S


def test_once_it_works_it_is_as_if_it_had_never_failed(
    pause: Pause, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(4):
        pause.failed("wrong keys")
        clock.now += pause.left_s()
    assert (pause.failing, pause.reason) == (True, "wrong keys")
    pause.worked()
    pause.worked()
    assert (pause.failing, pause.left_s(), pause.reason) == (False, 0.0, "")
    assert [record.message for record in caplog.records][-2:] == ["pause", "resume"]
    pause.failed("again")
    assert pause.left_s() == FIRST_S
