"""Part sizes and byte ranges within both stores' limits. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .errors import Permanent

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB


@dataclass(frozen=True, slots=True)
class Limits:
    """What a store accepts, in bytes and parts.

    The defaults are Lyve Cloud's (object, PUT and part sizes of its S3 API guide), which lie within those of AWS
    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html).
    """

    max_object: int = 5 * TIB
    min_part: int = 5 * MIB
    max_part: int = 4 * GIB
    max_parts: int = 10_000


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart copy: `number` counts from 1, `start` and `size` are bytes."""

    number: int
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How an object's bytes are cut: every part is `part_size` bytes but the last, which has the rest."""

    size: int
    part_size: int

    @property
    def count(self) -> int:
        return max(1, -(-self.size // self.part_size))

    def parts(self) -> Iterator[Part]:
        for number in range(1, self.count + 1):
            start = (number - 1) * self.part_size
            yield Part(number, start, min(self.part_size, self.size - start))


#: Size of a part where nothing else asks for another. Large enough that a request's fixed cost disappears, small
#: enough that several fit the smallest function.
DEFAULT_PART = 16 * MIB


def reproduce(size: int, count: int, first: int, *, largest_part: int, limits: Limits) -> Layout | None:
    """The source's own layout, if its first part explains its part count and the target accepts it.

    `largest_part` is the largest part in bytes that memory allows. With the same layout the target's multipart
    ETag comes out equal to the source's on every store that computes it as AWS does.
    """
    if not 1 <= first <= min(largest_part, limits.max_part):
        return None
    layout = Layout(size, first)
    if layout.count != count or count > limits.max_parts or (count > 1 and first < limits.min_part):
        return None
    return layout


def plan(size: int, *, largest_part: int, limits: Limits) -> Layout:
    """A layout of our own: DEFAULT_PART, or larger where the part count asks for it.

    Raises Permanent when the target does not take objects of this size, or a part would not fit `largest_part`.
    """
    if size > limits.max_object:
        raise Permanent(
            f"the object has {size} bytes and the target takes at most {limits.max_object}", "EntityTooLarge"
        )
    needed = -(-size // limits.max_parts)
    needed = -(-needed // MIB) * MIB  # whole MiB: readable, and aligned for stores that care
    if needed > largest_part:
        raise Permanent(
            f"an object of {size} bytes needs parts of {needed} bytes, more than the {largest_part} bytes of memory "
            "set aside for copies: give the worker more memory",
            "MemoryTooSmall",
        )
    part = max(needed, min(DEFAULT_PART, largest_part), limits.min_part)
    return Layout(size, part)
