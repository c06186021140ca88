"""What does not work at all is tried again after a while, and longer each time."""

from __future__ import annotations

import logging

import pytest

from s3_syncer.core.circuit_breaker import FIRST_S, LONGEST_S, CircuitBreaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(clock)


def test_nothing_is_paused_for_nothing(breaker: CircuitBreaker) -> None:
    assert (breaker.is_open, breaker.retry_in_s(), breaker.reason) == (False, 0.0, "")


def test_each_pause_is_twice_as_long_up_to_a_limit(breaker: CircuitBreaker, clock: Clock) -> None:
    lengths = []
    for _ in range(7):
        breaker.record_failure("wrong keys")
        lengths.append(breaker.retry_in_s())
        clock.now += breaker.retry_in_s()
        assert breaker.retry_in_s() == 0.0
    assert lengths == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S, LONGEST_S, LONGEST_S, LONGEST_S]


def test_what_was_under_way_when_it_failed_makes_it_no_longer(
    breaker: CircuitBreaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(30):
        breaker.record_failure("wrong keys")
        clock.now += FIRST_S / 100
    assert breaker.retry_in_s() < FIRST_S
    assert len(caplog.records) == 1, "logged once"
    clock.now += FIRST_S
    breaker.record_failure("wrong keys")
    assert breaker.retry_in_s() == 2 * FIRST_S


def test_once_it_works_it_is_as_if_it_had_never_failed(
    breaker: CircuitBreaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(4):
        breaker.record_failure("wrong keys")
        clock.now += breaker.retry_in_s()
    assert (breaker.is_open, breaker.reason) == (True, "wrong keys")
    breaker.record_success()
    breaker.record_success()
    assert (breaker.is_open, breaker.retry_in_s(), breaker.reason) == (False, 0.0, "")
    assert [record.message for record in caplog.records][-2:] == ["circuit open", "circuit closed"]
    breaker.record_failure("again")
    assert breaker.retry_in_s() == FIRST_S
