"""The benchmark cases: the objects of each case, the work and the clients. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from benchmark.objects import MIB, Object, flat, large, mixed, small


class Work(Enum):
    COPY = "copy"  # into an empty bucket
    LIST = "list"  # both sides are already equal


@dataclass(frozen=True)
class Case:
    name: str
    about: str
    work: Work
    count: int
    #: The clients that run this case, as names of `clients.CLIENTS`.
    clients: tuple[str, ...]
    make: Callable[[int], list[Object]]
    #: Seconds by which the store delays every response.
    latency_s: float = 0.0

    def objects(self, scale: float) -> list[Object]:
        """Return the objects of the case, or the first part of them: a scale of 0.1 returns a tenth."""
        return self.make(max(1, round(self.count * scale)))


_COPY_CLIENTS = ("s3-syncer", "rclone", "aws", "s5cmd", "baseline")

CASES = {
    case.name: case
    for case in (
        Case("small", "10 KiB each", Work.COPY, 20_000, _COPY_CLIENTS, small),
        Case("mixed", "0 B to 16 MiB, log-uniform", Work.COPY, 2_000, _COPY_CLIENTS, mixed),
        Case("large", "256 MiB each", Work.COPY, 8, _COPY_CLIENTS, lambda count: large(count, 256 * MIB)),
        Case(
            *("no-change", "keys that are already equal", Work.LIST, 100_000),
            *(("s3-syncer", "rclone", "rclone-default", "baseline"), flat),
        ),
        Case(
            *("latency", "equal keys, every response 50 ms late", Work.LIST, 500_000),
            *(("s3-syncer", "rclone", "baseline"), flat),
            latency_s=0.05,
        ),
    )
}
