"""The benchmark cases: the objects of each case, the work and the clients. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from benchmark.objects import MIB, Object, large, mixed, small


class Work(Enum):
    COPY = "copy"  # into an empty bucket
    LIST = "list"  # both sides are already equal


@dataclass(frozen=True)
class Distance:
    """The round trip to each store in milliseconds. Zero is a store on this machine, without a relay."""

    source_ms: float = 0.0
    target_ms: float = 0.0

    def __str__(self) -> str:
        return f"source {self.source_ms:g} ms and target {self.target_ms:g} ms away" if self != HERE else ""


HERE = Distance()

#: A source in the region of the client, and a target on another continent's near coast.
FAR = Distance(4.0, 50.0)


@dataclass(frozen=True)
class Case:
    name: str
    about: str
    work: Work
    count: int
    #: The clients that run this case, as names of `clients.CLIENTS`.
    clients: tuple[str, ...]
    #: None: the stores of a case about listings make their keys themselves.
    make: Callable[[int], list[Object]] | None = None
    distance: Distance = HERE
    #: True: the stores have tags and the ETags of parts, as AWS has. Those of the other cases have neither.
    like_aws: bool = False
    #: True: the objects of the source are uploaded in parts. It takes stores that show them.
    in_parts: bool = False
    #: True: s3-syncer copies tags.
    tags: bool = False

    def number(self, scale: float) -> int:
        """Return the number of objects: a scale of 0.1 gives a tenth of them, one of 10 ten times as many."""
        return max(1, round(self.count * scale))

    def objects(self, number: int) -> list[Object]:
        """Return so many objects for the source, or none for a case about listings."""
        return self.make(number) if self.make else []


_PEERS = ("aws", "s5cmd", "baseline")
_RCLONE = ("rclone-4", "rclone-16", "rclone-64", "rclone-256")
_COPY = ("s3-syncer", "restore", *_RCLONE, *_PEERS)
_BOTH = ("s3-syncer", *_RCLONE)
_PARTS = (*_BOTH, "rclone-parts")
_LARGE = (*_PARTS, *_PEERS)
_LIST = ("s3-syncer", "rclone-64", "rclone-256", "baseline")


def _large(count: int) -> list[Object]:
    return large(count, 256 * MIB)


CASES = {
    case.name: case
    for case in (
        Case("small", "10 KiB each", Work.COPY, 20_000, _COPY, small),
        Case("small-tags", "10 KiB each, tags on", Work.COPY, 2_000, _BOTH, small, like_aws=True, tags=True),
        Case("mixed", "0 B to 16 MiB, log-uniform", Work.COPY, 2_000, _COPY, mixed),
        Case("large", "256 MiB each", Work.COPY, 8, _LARGE, _large),
        Case(
            *("large-parts", "256 MiB each, in parts of 16 MiB", Work.COPY, 4, _PARTS, _large),
            like_aws=True,
            in_parts=True,
        ),
        Case("no-change", "keys that are already equal", Work.LIST, 100_000, (*_LIST, "rclone-default")),
        Case("wan-small", "10 KiB each", Work.COPY, 20_000, ("s3-syncer", "restore", *_RCLONE), small, FAR),
        Case("wan-mixed", "0 B to 16 MiB, log-uniform", Work.COPY, 2_000, _BOTH, mixed, FAR),
        Case("wan-large", "256 MiB each", Work.COPY, 8, _PARTS, _large, FAR),
        Case("wan-no-change", "keys that are already equal", Work.LIST, 500_000, _LIST, distance=FAR),
    )
}
