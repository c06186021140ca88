"""The numbers of requests at a time: the ceilings of the user and the system, and the present limits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from ..stores.request_limiter import RequestLimiter, RequestLimiters

#: The ceiling of `--concurrency auto` for each store in each process, and for the keys and parts in progress. A process
#: copies about 1,500 small objects a second, which is so many requests at a time to a store that is 150 ms away.
AUTO = 256

#: The messages at a time of `serve --concurrency auto` from each queue. Each may hold an object of 1 MiB in memory.
AUTO_MESSAGES = 64

#: Open files of a process that are no connections: standard streams, pipes to other processes, and modules that are
#: imported late.
OTHER_FILES = 64

#: Connections for each request at a time: two stores, and for each a connection over awscrt and one over boto3.
CONNECTIONS = 4

#: Open files that are enough for the highest ceiling, which a process need not exceed.
ENOUGH_FILES = 4096


@cache
def request_open_files() -> int:
    """Ask the system for ENOUGH_FILES open files; return how many this process may have.

    So may each of its child processes. Many systems allow 1,024 at first, and more on request.
    """
    try:
        import resource
    except ImportError:  # Windows counts connections apart
        return ENOUGH_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= ENOUGH_FILES:
        return ENOUGH_FILES
    allowed = ENOUGH_FILES if hard == unlimited else min(ENOUGH_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


def most_at_a_time(files: int) -> int:
    """Return the highest ceiling for a process that may open so many files. It is at least 1."""
    return max(1, (files - OTHER_FILES) // CONNECTIONS)


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
