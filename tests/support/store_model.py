"""A model of a store and its clients in simulated time: latency, capacity and throttling.

Every run with the same arguments is the same. Times are in seconds.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from s3_syncer.core.concurrency_limit import ConcurrencyLimit


@dataclass
class StoreModel:
    """A store that is `distance_s` away, and serves `capacity` requests a second, one after the other.

    With more requests a second than `throttles_above`, it responds 503 to the further ones, as a token bucket of a
    tenth of a second. `noise` returns the factor for the distance of a request.
    """

    distance_s: float
    capacity: float
    throttles_above: float | None = None
    noise: Callable[[random.Random], float] = lambda _: 1.0
    _free_at: float = 0.0
    _tokens: float = 0.0
    _filled_at: float = 0.0

    def response(self, arrived: float) -> tuple[float, bool]:
        """Return the time at which the response to a request leaves the store, and True if it is a 503."""
        if self.throttles_above is not None:
            most = max(1.0, self.throttles_above / 10)
            self._tokens = min(most, self._tokens + (arrived - self._filled_at) * self.throttles_above)
            self._filled_at = arrived
            if self._tokens < 1:
                return arrived, True
            self._tokens -= 1
        self._free_at = max(self._free_at, arrived) + 1 / self.capacity
        return self._free_at, False

    @property
    def knee(self) -> float:
        """The number of requests in flight from which each further one only waits."""
        return self.capacity * self.distance_s + 1


@dataclass
class Client:
    """A client that always has another request to send, up to its limit, from `starts_at` on."""

    limit: ConcurrencyLimit
    starts_at: float = 0.0
    #: The requests that it would have in flight without a limit.
    demand: int = 10_000
    in_flight: int = 0
    served: int = 0
    throttled: int = 0
    #: The limit after each response, with its time.
    history: list[tuple[float, int]] = field(default_factory=list)

    def mean_limit(self, since: float) -> float:
        """Return the mean limit after the responses since that time."""
        found = [limit for at, limit in self.history if at >= since]
        return sum(found) / len(found)


class Model:
    """One store and its clients, which can be run for a while, changed, and run on."""

    def __init__(self, store: StoreModel, *clients: Client, seed: int = 0) -> None:
        self.store, self.clients, self.now = store, clients, 0.0
        self._rand, self._numbers = random.Random(seed), itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        for client in clients:
            self._at(client.starts_at, lambda client=client: self._send(client))

    def run(self, until: float) -> None:
        """Run the model until that time."""
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = until

    def throughput(self, seconds: float) -> float:
        """Run for so long. Return the requests that the store served, for each second."""
        before = sum(client.served for client in self.clients)
        self.run(self.now + seconds)
        return (sum(client.served for client in self.clients) - before) / seconds

    def _at(self, time: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), event))

    def _send(self, client: Client) -> None:
        if (pause_s := client.limit.pause_s(self.now)) > 0:
            self._at(self.now + pause_s, lambda: self._send(client))
            return
        while client.in_flight < min(client.limit.value, client.demand):
            client.in_flight += 1
            way_s = self.store.distance_s * self.store.noise(self._rand) / 2
            self._at(self.now + way_s, lambda began=self.now, way_s=way_s: self._arrive(client, began, way_s))

    def _arrive(self, client: Client, began: float, way_s: float) -> None:
        leaves_at, is_busy = self.store.response(self.now)
        self._at(leaves_at + way_s, lambda: self._end(client, began, is_busy))

    def _end(self, client: Client, began: float, is_busy: bool) -> None:
        if is_busy:
            client.throttled += 1
            client.limit.on_throttled(began, self.now)
        else:
            client.served += 1
            client.limit.on_response("GET", began, self.now, client.in_flight)
        client.in_flight -= 1
        client.history.append((self.now, client.limit.value))
        self._send(client)
