"""What is measured: the work, and who does it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from benchmark.objects import MIB, Object, flat, large, mixed, small


class Work(Enum):
    COPY = "copy"  # into an empty bucket
    LOOK = "look"  # both sides are equal already


@dataclass(frozen=True)
class Case:
    name: str
    about: str
    work: Work
    count: int
    #: Those of the clients that have something to show here; each of them is one of `clients.CLIENTS`.
    clients: tuple[str, ...]
    make: Callable[[int], list[Object]]
    #: Seconds that every answer is held back.
    latency_s: float = 0.0

    def objects(self, scale: float) -> list[Object]:
        """The objects, or the first few of them: a scale of 0.1 takes a tenth."""
        return self.make(max(1, round(self.count * scale)))


_COPIERS = ("s3-syncer", "rclone", "aws", "s5cmd", "floor")

CASES = {
    case.name: case
    for case in (
        Case("small", "10 KiB each", Work.COPY, 20_000, _COPIERS, small),
        Case("mixed", "0 B to 16 MiB, log-uniform", Work.COPY, 2_000, _COPIERS, mixed),
        Case("large", "256 MiB each", Work.COPY, 8, _COPIERS, lambda count: large(count, 256 * MIB)),
        Case(
            *("no-change", "keys that are equal already", Work.LOOK, 100_000),
            *(("s3-syncer", "rclone", "rclone-default", "floor"), flat),
        ),
        Case(
            *("latency", "equal keys, every answer 50 ms late", Work.LOOK, 500_000),
            *(("s3-syncer", "rclone", "floor"), flat),
            latency_s=0.05,
        ),
    )
}
