"""The limit of the requests in flight, against a model of a store.

Each test was seen to fail with a limit that stays where it is, or with the rule that it names switched off.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tests.support.store_model import Client, Model, StoreModel

from s3_syncer.core.concurrency_limit import FIRST, HALF, PAUSE, ConcurrencyLimit


def limit(most: int = 512) -> ConcurrencyLimit:
    return ConcurrencyLimit(most, rand=random.Random(1).random)


def lognormal(sigma: float) -> Callable[[random.Random], float]:
    return lambda rand: min(20.0, rand.lognormvariate(0, sigma))


def cached_half(rand: random.Random) -> float:
    """Return a factor of a store that has half of its objects in a cache."""
    return rand.choice((1.0, 4.0))


FAR = [(0.05, 2000.0), (0.05, 200.0), (0.15, 1000.0), (0.3, 1000.0)]
NEAR = [(0.001, 2000.0), (0.004, 2000.0)]


@pytest.mark.parametrize(("distance_s", "capacity"), [*NEAR, *FAR])
def test_it_uses_the_whole_capacity_of_a_store(distance_s: float, capacity: float) -> None:
    model = Model(StoreModel(distance_s, capacity), Client(limit()))
    model.run(5)
    assert model.throughput(20) > 0.98 * capacity


@pytest.mark.parametrize(("distance_s", "round_trips"), [(0.05, 10), (0.15, 10)])
def test_it_grows_fast_at_the_start(distance_s: float, round_trips: int) -> None:
    """It doubles in each round trip, as TCP does: from 10 to 200 in five of them."""
    client = Client(limit())
    Model(StoreModel(distance_s, 100_000), client).run(6 * distance_s)
    assert client.limit.value >= 200


@pytest.mark.parametrize(("distance_s", "capacity"), FAR)
def test_it_holds_near_the_knee(distance_s: float, capacity: float) -> None:
    store, client = StoreModel(distance_s, capacity), Client(limit())
    Model(store, client).run(50)
    assert 0.8 * store.knee < client.mean_limit(10) < max(2.2 * store.knee, 60)


def test_a_near_store_gets_no_long_queue() -> None:
    """The queue of a store that responds in a millisecond may take SMALL_DELAY_S, and not much more."""
    client = Client(limit())
    Model(StoreModel(0.001, 2000), client).run(50)
    assert client.mean_limit(10) / 2000 < 0.04


@pytest.mark.parametrize(
    ("noise", "share"),
    [(lognormal(0.3), 0.95), (lognormal(0.8), 0.8), (cached_half, 0.75)],
    ids=["0.3", "0.8", "cache"],
)
@pytest.mark.parametrize("seed", range(3))
def test_latencies_that_vary_do_not_stop_it(noise: Callable[[random.Random], float], share: float, seed: int) -> None:
    model = Model(StoreModel(0.05, 2000, noise=noise), Client(limit()), seed=seed)
    model.run(5)
    assert model.throughput(20) > share * 2000


def test_a_fall_that_did_not_help_is_not_repeated() -> None:
    """A first round with latencies that are low by chance would otherwise hold the limit down for good."""
    found = limit()
    for number in range(2000):  # the latency does not depend on the limit
        found.on_response("GET", number, number + (0.01 if number < 60 else 0.05), found.value)
    assert found.value > 100


@pytest.mark.parametrize("starts_at", [0.0, 10.0, 45.0])
@pytest.mark.parametrize("noise", [lambda _: 1.0, lognormal(0.3)], ids=["steady", "noisy"])
def test_two_runs_share_a_store(starts_at: float, noise: Callable[[random.Random], float]) -> None:
    first, second = Client(limit()), Client(limit(), starts_at=starts_at)
    model = Model(StoreModel(0.05, 500, noise=noise), first, second)
    model.run(starts_at + 40)
    before = first.served, second.served
    assert model.throughput(60) > 475
    shares = [(client.served - served) / 30_000 for client, served in zip((first, second), before, strict=True)]
    assert min(shares) > 0.4, shares


def test_two_runs_share_a_store_that_throttles() -> None:
    first, second = Client(limit()), Client(limit(), starts_at=10)
    model = Model(StoreModel(0.05, 5000, throttles_above=500, noise=lognormal(0.3)), first, second)
    model.run(40)
    before = first.served, second.served
    assert model.throughput(60) > 400
    shares = [client.served - served for client, served in zip((first, second), before, strict=True)]
    assert min(shares) > 0.35 * sum(shares), shares


def test_a_store_that_becomes_slower_gets_fewer_requests() -> None:
    store, client = StoreModel(0.05, 2000), Client(limit())
    model = Model(store, client)
    model.run(20)
    before, store.capacity = client.mean_limit(10), 400.0
    assert model.throughput(20) > 0.98 * 400
    assert client.mean_limit(30) < before / 2


def test_a_store_that_becomes_faster_gets_more_requests() -> None:
    store, client = StoreModel(0.05, 400), Client(limit())
    model = Model(store, client)
    model.run(20)
    store.capacity = 3000.0
    model.run(30)
    assert model.throughput(20) > 0.95 * 3000


def test_a_store_that_moves_away_is_used_again() -> None:
    """The lowest latency counts for LOWEST_S: a longer way to the store is no queue."""
    store, client = StoreModel(0.01, 2000), Client(limit())
    model = Model(store, client)
    model.run(20)
    store.distance_s = 0.1
    model.run(90)
    assert model.throughput(20) > 0.95 * 2000


@pytest.mark.parametrize("rate", [20, 100, 500, 1000])
def test_a_store_that_throttles_is_used_with_few_503(rate: int) -> None:
    client = Client(limit())
    model = Model(StoreModel(0.05, 10_000, throttles_above=rate), client)
    model.run(30)
    client.throttled = 0
    assert model.throughput(60) > min(0.9 * rate, 19)
    assert client.throttled < 0.1 * rate * 60


def test_a_throttled_request_halves_the_limit_once_for_all_that_were_in_flight() -> None:
    found = ConcurrencyLimit(64, first=64)
    for _ in range(10):
        found.on_throttled(1.0, 2.0)
    assert found.value == 64 * HALF
    found.on_throttled(2.5, 3.0)
    assert found.value == 64 * HALF * HALF
    assert found.pause_s(3.0) == 0


def test_a_lost_request_halves_the_limit() -> None:
    found = ConcurrencyLimit(64, first=64)
    found.on_lost(1.0, 61.0)
    found.on_lost(2.0, 61.0)
    assert found.value == 64 * HALF


def test_requests_pause_when_the_only_one_was_throttled() -> None:
    found, now, pauses = ConcurrencyLimit(64, first=1, rand=lambda: 1.0), 0.0, []
    for _ in range(7):
        found.on_throttled(now, now)
        pauses.append(found.pause_s(now))
        now += pauses[-1]
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert found.value == 1
    found.on_response("PUT", now, now, 1)
    for _ in range(2):  # from 2 to 1, and then to a pause
        found.on_throttled(now, now)
        now += 1
    assert found.pause_s(now - 1) == PAUSE.base_s


def test_it_begins_again_after_an_outage() -> None:
    found = ConcurrencyLimit(64, first=1)
    for number in range(5):
        found.on_throttled(number, number)
    found.restart()
    assert found.value == 1
    assert found.pause_s(5.0) == 0
    grown = limit()
    for number in range(5):
        grown.on_lost(number, number)
    grown.restart()
    assert grown.value == FIRST


def test_a_limit_that_is_not_used_does_not_grow() -> None:
    client = Client(limit(), demand=5)
    Model(StoreModel(0.05, 2000), client).run(60)
    assert client.limit.value == FIRST


def test_a_number_is_a_ceiling() -> None:
    client = Client(limit(64))
    Model(StoreModel(0.15, 2000), client).run(60)
    assert max(value for _, value in client.history) == 64
    assert ConcurrencyLimit(4).value == 4


def test_kinds_of_requests_are_compared_with_themselves() -> None:
    """A page of a listing that takes 20 times as long as a HEAD is no queue."""
    found, now = limit(), 0.0
    for number in range(4000):
        now += 0.001
        # First only HEAD, then one listing for each HEAD.
        is_listing = number > 1000 and number % 2
        found.on_response("LIST" if is_listing else "HEAD", now - (1.0 if is_listing else 0.05), now, found.value)
    assert found.value > 200


def test_a_run_is_repeatable() -> None:
    def run() -> list[tuple[float, int]]:
        client = Client(limit())
        Model(StoreModel(0.05, 1000, noise=lognormal(0.5)), client, seed=7).run(10)
        return client.history

    assert run() == run()
