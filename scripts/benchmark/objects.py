"""The objects that a case is about. Pure, and made anew from their names: nothing of this size is kept anywhere.

The standard library only, because the environment of the other clients imports it as well.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True)
class Object:
    key: str
    size: int

    def body(self) -> bytes:
        """The bytes, different for every key and always the same for one."""
        rng = random.Random(self.key)  # noqa: S311 - test data
        return b"".join(rng.randbytes(min(MIB, self.size - begin)) for begin in range(0, self.size, MIB))

    def md5(self) -> str:
        return hashlib.md5(self.body(), usedforsecurity=False).hexdigest()


def small(count: int) -> list[Object]:
    return [Object(f"small/{number % 100:02}/{number:07}", 10 * KIB) for number in range(count)]


def mixed(count: int) -> list[Object]:
    """Sizes from 0 B to 16 MiB, as many between 1 and 2 KiB as between 1 and 2 MiB; the same ones every time."""
    rng = random.Random("mixed")  # noqa: S311 - test data
    return [
        Object(f"mixed/{number % 100:02}/{number:07}", log_uniform(rng.random(), 16 * MIB)) for number in range(count)
    ]


def large(count: int, size: int) -> list[Object]:
    return [Object(f"large/{number:03}", size) for number in range(count)]


def flat(count: int) -> list[Object]:
    """Keys without a folder, as a content-addressed store or an upload service makes them."""
    names = (hashlib.sha256(b"%d" % number).hexdigest() for number in range(count))
    return [Object(f"{name[:8]}-{name[8:12]}-{name[12:24]}", 10 * KIB) for name in names]


def log_uniform(share: float, largest: int) -> int:
    """The size below which `share` of all are, when their logarithms are spread evenly from 0 B to `largest`."""
    return round(math.exp(share * math.log(largest + 1))) - 1


def write(objects: Sequence[Object], file: Path) -> None:
    file.write_text(json.dumps([(o.key, o.size) for o in objects]))


def read(file: Path) -> list[Object]:
    return [Object(key, size) for key, size in json.loads(file.read_text())]
