"""Compute the delay before the next attempt: exponential, with a limit and jitter.

This module has the formula only. The values are where they are used:

- messages that return to the queue: REDELIVERY in `queue/dispositions.py`
- pauses of the service while a store or the queue is unusable: `pause_first_s` and `pause_max_s` in
  `service/service.py`
- pauses and repeats of a command while a store is unavailable or busy: `cli/sweeps/outage.py`
- pauses of the transports: `transport/pauses.py`, `crt/small_object_copy.py` and `crt/stream_copy.py`
- HTTP retries of boto3, which has its own formula: `retries` in `stores/clients.py`
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

#: Most doublings that are computed. 2**64 times any base is above every limit, and a float overflows at 2**1024.
_MAX_DOUBLINGS = 64


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with a limit and jitter.

    The delay is `base_s` seconds after the first failed attempt, then twice as long each time, up to `cap_s`.
    `jitter` is the share of each delay that is random, from 0.0 (none) to 1.0 (all of it).
    """

    base_s: float
    cap_s: float
    jitter: float = 0.0

    def delay_s(self, attempt: int, rand: Callable[[], float] = random.random) -> float:
        """Return the seconds to wait after attempt number `attempt`, which counts from 1.

        `rand` returns a number from 0.0 to 1.0.
        """
        ceiling_s = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS))
        return ceiling_s * (1 - self.jitter) + rand() * ceiling_s * self.jitter
