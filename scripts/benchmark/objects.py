"""The objects of a case. Bodies are generated from the names, because the data is too large to store.

Imports only the standard library, because the environment of the other clients imports this module as well.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

KIB, MIB = 1024, 1024 * 1024

#: Bytes of each object of `flat_keys`.
FLAT_SIZE = 10 * KIB


@dataclass(frozen=True)
class Object:
    key: str
    size: int

    def body(self) -> bytes:
        """Return the bytes: different for each key, and always the same for one key."""
        rng = random.Random(self.key)  # noqa: S311 - test data
        return b"".join(rng.randbytes(min(MIB, self.size - begin)) for begin in range(0, self.size, MIB))

    def md5(self) -> str:
        return hashlib.md5(self.body(), usedforsecurity=False).hexdigest()


def small(count: int) -> list[Object]:
    return [Object(f"small/{number % 100:02}/{number:07}", 10 * KIB) for number in range(count)]


def mixed(count: int) -> list[Object]:
    """Return objects from 0 B to 16 MiB, the same ones in each run.

    There are as many between 1 and 2 KiB as between 1 and 2 MiB.
    """
    rng = random.Random("mixed")  # noqa: S311 - test data
    return [
        Object(f"mixed/{number % 100:02}/{number:07}", log_uniform(rng.random(), 16 * MIB)) for number in range(count)
    ]


def large(count: int, size: int) -> list[Object]:
    return [Object(f"large/{number:03}", size) for number in range(count)]


def flat_keys(count: int) -> Iterator[str]:
    """Yield keys without a folder, like those of a content-addressed store or an upload service."""
    names = (hashlib.sha256(b"%d" % number).hexdigest() for number in range(count))
    return (f"{name[:8]}-{name[8:12]}-{name[12:24]}" for name in names)


def log_uniform(share: float, largest: int) -> int:
    """Return the size below which `share` of all sizes lie.

    The logarithms of the sizes are uniform from 0 B to `largest`.
    """
    return round(math.exp(share * math.log(largest + 1))) - 1


def write(objects: Sequence[Object], file: Path) -> None:
    file.write_text(json.dumps([(o.key, o.size) for o in objects]))


def read(file: Path) -> list[Object]:
    return [Object(key, size) for key, size in json.loads(file.read_text())]
