"""Decide how many requests to one store may be in flight. Pure: the caller gives every time.

The limit grows fast until the store shows that it has enough, and then stays near the knee: the number from which a
further request only waits in the store. The store shows it in two ways:

- **Latency.** A request that queues in the store takes longer. The limit falls when the mean latency is MOST_DELAY
  above the lowest one. Each kind of request is compared with itself, because a listing takes longer than a HEAD.
- **Throttling.** After a 503, a 429 or a lost connection the limit is halved. If even one request at a time is too
  many, all requests pause.

The limit grows by its square root in each round trip, and falls by a share of itself. So of two runs beside each other,
the larger one loses more at each fall, and both end near equal shares. docs/adr/0015-adaptive-concurrency.md has the
reasons and the figures.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable

from .backoff import Backoff

#: The limit at the start. TCP also begins with 10 packets in flight: https://www.rfc-editor.org/rfc/rfc6928
FIRST = 10

#: Fewest responses of a round, at the start and later, and of one kind in a round. The mean of fewer is chance.
FIRST_ROUND, ROUND, ROUND_OF_KIND = 40, 150, 10

#: Delay by which the mean latency may exceed the lowest one, as a multiple of the lowest one.
MOST_DELAY = 1.5

#: Seconds of a delay that count as nothing: near stores respond in 1 ms, and a busy client adds more than that.
SMALL_DELAY_S = 0.02

#: Seconds for which the lowest latency counts, because a store can become slower for good.
LOWEST_S = 30.0

#: Share of the limit that must be in flight for the limit to grow: an unused limit proves nothing.
USED = 0.75

#: The limit is multiplied by this after a request was throttled or lost.
HALF = 0.5

#: After a delay, the limit falls to this share of the number that the latency shows as the knee. So the queue empties,
#: and the lowest latency is measured again. It is never multiplied by less than LARGEST_FALL.
BELOW_KNEE, LARGEST_FALL = 0.85, 0.25

#: A fall did not help if the latency stays above this share of what it was before the fall. Then the requests of this
#: limit are not the queue, and the lowest latency counts as this much higher than it was measured.
UNHELPFUL, HIGHER = 0.8, 1.25

#: Pause of all requests after one that was throttled although it was the only one. Half of it is jitter: processes that
#: were throttled together must not return together.
PAUSE = Backoff(base_s=1.0, cap_s=30.0, jitter=0.5)

#: Shortest latency in seconds that counts: the clock may be too coarse for a near store.
_SHORTEST_S = 1e-6


class ConcurrencyLimit:
    """The limit of the requests in flight to one store, from 1 to `most`.

    A request that began before the last fall of the limit counts for nothing: it shows the limit before the fall.
    """

    def __init__(self, most: int, *, first: int = FIRST, rand: Callable[[], float] = random.random) -> None:
        self.most, self._first, self._rand = most, min(first, most), rand
        self._limit, self._is_starting = float(self._first), True
        self._fell_at, self._fell_by_delay = -math.inf, False
        self._pauses, self._resumes_at = 0, -math.inf
        self._latencies: dict[Hashable, _Latency] = {}
        self._round: dict[Hashable, list[float]] = {}
        self._responses = self._peak = self._round_size = 0
        self._begin_round()

    @property
    def value(self) -> int:
        """The number of requests that may be in flight."""
        return int(self._limit)

    def pause_s(self, now: float) -> float:
        """Return the seconds for which no request may begin; 0.0 if one may begin now."""
        return max(0.0, self._resumes_at - now)

    def on_response(self, kind: Hashable, began: float, now: float, in_flight: int) -> None:
        """Note the response to a request that began then. `in_flight` counts this request, too.

        Requests of one `kind` take equally long while nothing queues.
        """
        self._pauses = 0
        if began < self._fell_at:
            return
        if in_flight >= USED * self._limit:
            growth = 1.0 if self._is_starting else 1 / math.sqrt(self._limit)
            self._limit = min(self._limit + growth, self.most)
        self._peak = max(self._peak, in_flight)
        self._round.setdefault(kind, []).append(now - began)
        self._responses += 1
        if self._responses >= self._round_size:
            self._end_round(now)

    def on_throttled(self, began: float, now: float) -> None:
        """Note that the store asked to slow down, in the response to a request that began then."""
        if began < self._fell_at:
            return
        if self._limit < 2:
            self._pauses += 1
            self._resumes_at = now + PAUSE.delay_s(self._pauses, self._rand)
        self._fall(HALF, now)

    def on_lost(self, began: float, now: float) -> None:
        """Note that a request that began then got no response."""
        if began >= self._fell_at:
            self._fall(HALF, now)

    def restart(self) -> None:
        """Begin again with the first limit, because the store serves requests again after an outage."""
        self._limit, self._is_starting = float(self._first), True
        self._pauses, self._resumes_at = 0, -math.inf
        self._begin_round()

    def _begin_round(self) -> None:
        self._round, self._responses, self._peak = {}, 0, 0
        self._round_size = max(FIRST_ROUND if self._is_starting else ROUND, int(self._limit))

    def _end_round(self, now: float) -> None:
        """Let the limit fall if the responses of the round came too late."""
        found = [
            (self._latencies.setdefault(kind, _Latency()), max(sum(times) / len(times), _SHORTEST_S), len(times))
            for kind, times in self._round.items()
            if len(times) >= ROUND_OF_KIND
        ]
        number = sum(responses for _, _, responses in found)
        if not number:
            return  # many kinds of requests: the round goes on
        fell_by_delay, self._fell_by_delay = self._fell_by_delay, False
        if fell_by_delay and sum(latency.change(mean) * n for latency, mean, n in found) > UNHELPFUL * number:
            for latency, _, _ in found:
                latency.count_lowest_as_higher()
        delay = knee = 0.0
        for latency, mean, responses in found:
            lowest = latency.note(mean, now)
            delay += responses * (mean - lowest) / max(lowest, SMALL_DELAY_S / MOST_DELAY)
            knee += responses * lowest / mean
        if delay <= MOST_DELAY * number:
            self._begin_round()
            return
        self._limit = min(self._limit, self._peak)
        self._fall(max(BELOW_KNEE * knee / number, LARGEST_FALL), now)
        self._fell_by_delay = True

    def _fall(self, factor: float, now: float) -> None:
        self._limit = max(1.0, self._limit * factor)
        self._is_starting, self._fell_at, self._fell_by_delay = False, now, False
        self._begin_round()


class _Latency:
    """The mean latencies of one kind of request in seconds: the last, and the lowest of about LOWEST_S."""

    def __init__(self) -> None:
        self._last = math.inf
        self._since, self._lowest, self._lowest_before = -math.inf, math.inf, math.inf

    def note(self, mean: float, now: float) -> float:
        """Note the mean of a round. Return the lowest one."""
        if now - self._since > LOWEST_S:
            self._since, self._lowest_before, self._lowest = now, self._lowest, math.inf
        self._last, self._lowest = mean, min(self._lowest, mean)
        return min(self._lowest, self._lowest_before)

    def change(self, mean: float) -> float:
        """Return the mean as a multiple of that of the round before."""
        return mean / self._last

    def count_lowest_as_higher(self) -> None:
        self._lowest, self._lowest_before = HIGHER * self._lowest, HIGHER * self._lowest_before
