"""Exponential backoff with a limit and jitter."""

from __future__ import annotations

import pytest

from s3_syncer.core.backoff import Backoff


def test_delay_doubles_up_to_the_cap() -> None:
    backoff = Backoff(5.0, 60.0)
    assert [backoff.delay_s(attempt) for attempt in range(1, 8)] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]


@pytest.mark.parametrize("attempt", [65, 1024, 1025, 1100, 10**9])
def test_delay_of_a_large_attempt_number_is_the_cap(attempt: int) -> None:
    assert Backoff(0.001, 900.0).delay_s(attempt) == 900.0


def test_equal_base_and_cap_give_a_constant_delay() -> None:
    assert {Backoff(5.0, 5.0).delay_s(attempt) for attempt in range(1, 10)} == {5.0}


@pytest.mark.parametrize(
    ("jitter", "chance", "delay_s"),
    [(0.0, 1.0, 8.0), (0.5, 0.0, 4.0), (0.5, 0.5, 6.0), (0.5, 1.0, 8.0), (1.0, 0.0, 0.0), (1.0, 1.0, 8.0)],
)
def test_jitter_is_the_random_share_of_the_delay(jitter: float, chance: float, delay_s: float) -> None:
    assert Backoff(2.0, 900.0, jitter).delay_s(3, lambda: chance) == delay_s


def test_delays_with_jitter_differ() -> None:
    assert len({Backoff(2.0, 900.0, jitter=0.5).delay_s(10) for _ in range(100)}) > 10
