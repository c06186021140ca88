"""States and rests of the circuit breaker, on a fake clock."""

from __future__ import annotations

import logging

import pytest
from tests.support.clock import FakeClock

from s3_syncer.core.circuit_breaker import CircuitBreaker

FIRST_S = 5.0
MAX_S = 60.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breaker(clock: FakeClock) -> CircuitBreaker:
    return CircuitBreaker(first_s=FIRST_S, max_s=MAX_S, log=True, clock=clock)


def states(breaker: CircuitBreaker) -> list[str]:
    """Return the names of the states that the circuit breaker says it is in: always exactly one."""
    named = {"closed": breaker.is_closed, "open": breaker.is_open, "half-open": breaker.is_half_open}
    return [name for name, is_in in named.items() if is_in]


def test_circuit_is_closed_at_first(breaker: CircuitBreaker) -> None:
    assert states(breaker) == ["closed"]
    assert (breaker.retry_in_s(), breaker.reason) == (0.0, "")


def test_failure_opens_the_circuit_until_the_rest_is_over(breaker: CircuitBreaker, clock: FakeClock) -> None:
    breaker.record_failure("wrong keys")
    assert states(breaker) == ["open"]
    clock.now += FIRST_S - 0.1
    assert states(breaker) == ["open"]
    clock.now += 0.1
    assert states(breaker) == ["half-open"]
    assert (breaker.retry_in_s(), breaker.reason) == (0.0, "wrong keys")


def test_failed_trial_opens_the_circuit_again(breaker: CircuitBreaker, clock: FakeClock) -> None:
    breaker.record_failure("wrong keys")
    clock.now += FIRST_S
    breaker.record_failure("no such bucket")
    assert states(breaker) == ["open"]
    assert (breaker.retry_in_s(), breaker.reason) == (2 * FIRST_S, "no such bucket")


def test_successful_trial_closes_the_circuit(breaker: CircuitBreaker, clock: FakeClock) -> None:
    breaker.record_failure("wrong keys")
    clock.now += FIRST_S
    breaker.record_success()
    assert states(breaker) == ["closed"]


def test_success_of_an_earlier_request_closes_an_open_circuit(breaker: CircuitBreaker) -> None:
    breaker.record_failure("wrong keys")
    breaker.record_success()
    assert states(breaker) == ["closed"]
    assert breaker.retry_in_s() == 0.0


def test_each_rest_is_twice_as_long_up_to_the_limit(breaker: CircuitBreaker, clock: FakeClock) -> None:
    lengths = []
    for _ in range(7):
        breaker.record_failure("wrong keys")
        lengths.append(breaker.retry_in_s())
        clock.now += breaker.retry_in_s()
        assert breaker.retry_in_s() == 0.0
    assert lengths == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S, MAX_S, MAX_S, MAX_S]


def test_rests_are_equally_long_where_first_and_longest_are_equal(clock: FakeClock) -> None:
    breaker = CircuitBreaker(first_s=5.0, max_s=5.0, clock=clock)
    for _ in range(5):
        breaker.record_failure()
        assert breaker.retry_in_s() == 5.0
        clock.now += 5.0


def test_rest_keeps_its_limit_after_thousands_of_failures(breaker: CircuitBreaker, clock: FakeClock) -> None:
    for _ in range(2000):
        breaker.record_failure("wrong keys")
        clock.now += MAX_S
    breaker.record_failure("wrong keys")
    assert breaker.retry_in_s() == MAX_S


def test_failures_during_a_rest_neither_extend_it_nor_count(
    breaker: CircuitBreaker, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(30):
        breaker.record_failure("wrong keys")
        clock.now += FIRST_S / 100
    assert breaker.retry_in_s() < FIRST_S
    assert len(caplog.records) == 1, "logged once"
    clock.now += FIRST_S
    breaker.record_failure("wrong keys")
    assert breaker.retry_in_s() == 2 * FIRST_S


def test_success_resets_the_length_of_the_rest(
    breaker: CircuitBreaker, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(4):
        breaker.record_failure("wrong keys")
        clock.now += breaker.retry_in_s()
    assert breaker.reason == "wrong keys"
    breaker.record_success()
    breaker.record_success()
    assert (breaker.is_closed, breaker.retry_in_s(), breaker.reason) == (True, 0.0, "")
    assert [record.message for record in caplog.records][-2:] == ["circuit open", "circuit closed"]
    breaker.record_failure("again")
    assert breaker.retry_in_s() == FIRST_S


def test_each_record_has_the_time_since_the_first_failure(
    breaker: CircuitBreaker, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        breaker.record_failure("wrong keys")
        clock.now += breaker.retry_in_s()
    breaker.record_success()
    breaker.record_failure("wrong keys")
    assert [record.failing_s for record in caplog.records if hasattr(record, "failing_s")] == [0.0, 5.0, 15.0, 0.0]


def test_without_log_nothing_is_logged(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    breaker = CircuitBreaker(first_s=FIRST_S, max_s=MAX_S, clock=clock)
    breaker.record_failure("wrong keys")
    breaker.record_success()
    assert caplog.records == []


def test_several_failures_in_a_row_open_the_circuit(clock: FakeClock) -> None:
    breaker = CircuitBreaker(first_s=FIRST_S, max_s=MAX_S, trip_after=3, clock=clock)
    for _ in range(2):
        breaker.record_failure("late")
        breaker.record_failure("late")
        assert states(breaker) == ["closed"]
        breaker.end_trial()
    for _ in range(3):
        breaker.record_failure("late")
    assert states(breaker) == ["open"]
    assert breaker.retry_in_s() == FIRST_S
    breaker.end_trial()
    assert states(breaker) == ["open"], "that request may have begun before the pause"
    clock.now += FIRST_S
    breaker.record_failure("late")
    assert (states(breaker), breaker.retry_in_s()) == (["open"], 2 * FIRST_S)
    clock.now += 2 * FIRST_S
    breaker.end_trial()
    assert states(breaker) == ["closed"]


def test_a_certain_failure_opens_the_circuit_at_once(clock: FakeClock) -> None:
    breaker = CircuitBreaker(first_s=FIRST_S, max_s=MAX_S, trip_after=3, clock=clock)
    breaker.record_failure("wrong keys", is_certain=True)
    assert (states(breaker), breaker.retry_in_s()) == (["open"], FIRST_S)
