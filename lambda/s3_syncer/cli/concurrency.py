"""The numbers of requests at a time: the ceiling that the user gives, and what the stores get now."""

from __future__ import annotations

from dataclasses import dataclass

from ..stores.request_limiter import RequestLimiter, RequestLimiters

#: The ceiling of `--concurrency auto` for each store in each process, and for the keys and parts in progress. A process
#: copies about 1,500 small objects a second, which is so many requests at a time to a store that is 150 ms away.
AUTO = 256

#: The messages at a time of `serve --concurrency auto` from each queue. Each may hold an object of 1 MiB in memory.
AUTO_MESSAGES = 64


@dataclass(frozen=True, slots=True)
class Concurrency:
    """The requests that may be in flight to each store."""

    source: int = 0
    target: int = 0

    @classmethod
    def of(cls, limiters: RequestLimiters) -> Concurrency:
        """Return the present limits."""
        return cls(_value(limiters.source), _value(limiters.target))

    def __add__(self, other: Concurrency) -> Concurrency:
        return Concurrency(self.source + other.source, self.target + other.target)

    def __str__(self) -> str:
        """Return the part of a line for people."""
        return f"up to {self.source:,} source and {self.target:,} target requests at a time"


def _value(limiter: RequestLimiter | None) -> int:
    return 0 if limiter is None else limiter.value
