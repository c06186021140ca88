"""Part sizes and byte ranges within both stores' limits. Pure arithmetic."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
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
class PartPlan:
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


@dataclass(frozen=True, slots=True)
class UploadedPart:
    """A part that an upload has got: its size in bytes, the ETag that the store gave it, and its age in seconds."""

    size: int
    etag: str
    age_s: float = 0.0


def check_size(size: int, limits: Limits) -> None:
    """Raises Permanent when the target does not take objects of this size in bytes."""
    if size > limits.max_object:
        raise Permanent(
            f"the object has {size} bytes and the target takes at most {limits.max_object}", "EntityTooLarge"
        )


#: Size of a part where nothing else asks for another. Large enough that a request's fixed cost disappears, small
#: enough that several fit the smallest function.
DEFAULT_PART = 16 * MIB


def reproduce(size: int, count: int, first: int, *, largest_part: int, limits: Limits) -> PartPlan | None:
    """The source's own layout, if its first part explains its part count and the target accepts it.

    `largest_part` is the largest part in bytes that memory allows. With the same layout the target's multipart
    ETag comes out equal to the source's on every store that computes it as AWS does.
    """
    if not 1 <= first <= min(largest_part, limits.max_part):
        return None
    layout = PartPlan(size, first)
    if layout.count != count or count > limits.max_parts or (count > 1 and first < limits.min_part):
        return None
    return layout


#: Bytes by which the parts of a layout of our own exceed whole MiB, the sizes that others cut their objects into. So
#: the parts of a copy in our layout are not taken for parts of a copy in the source's: see `parts.py`.
OWN_PLAN_OFFSET = 4 * KIB


def plan(size: int, *, largest_part: int, limits: Limits) -> PartPlan:
    """A layout of our own: parts of DEFAULT_PART, or more where the part count asks for it, and OWN bytes.

    Raises Permanent when a part would not fit `largest_part`.
    """
    needed = _own_part(-(-size // limits.max_parts))
    if needed > largest_part:
        raise Permanent(
            f"an object of {size} bytes needs parts of {needed} bytes, more than the {largest_part} bytes of memory "
            "set aside for copies: give the worker more memory",
            "MemoryTooSmall",
        )
    usual = _own_part(min(DEFAULT_PART, largest_part - MIB - OWN_PLAN_OFFSET))
    return PartPlan(size, max(needed, usual, _own_part(limits.min_part)))


def _own_part(size: int) -> int:
    """The smallest part of our own of at least `size` bytes."""
    return -(-(size - OWN_PLAN_OFFSET) // MIB) * MIB + OWN_PLAN_OFFSET


def is_own(layout: PartPlan) -> bool:
    """Whether the layout may be one that `plan` made."""
    return layout.part_size % MIB == OWN_PLAN_OFFSET % MIB or layout.count == 1


def matches_plan(layout: PartPlan, sent: Mapping[int, UploadedPart]) -> bool:
    """Whether an upload has got parts, and all of them are parts of this layout by their sizes."""
    sizes = {part.number: part.size for part in layout.parts()}
    return bool(sent) and all(sizes.get(number) == part.size for number, part in sent.items())


def contiguous_runs(numbers: Iterable[int], most: int) -> Iterator[tuple[int, int]]:
    """Part numbers in ascending order as runs of at most `most`: the first and the last of each."""
    first = last = None
    for number in numbers:
        if first is None or last is None:
            first = last = number
        elif number == last + 1 and number - first < most:
            last = number
        else:
            yield first, last
            first = last = number
    if first is not None and last is not None:
        yield first, last


def multipart_etag(etags: Mapping[int, str]) -> str | None:
    """The ETag that AWS gives an object of parts with these ETags; None where they are not MD5s."""
    try:
        md5s = b"".join(bytes.fromhex(etags[number]) for number in sorted(etags))
    except ValueError:
        return None
    if len(md5s) != 16 * len(etags):
        return None
    return f"{hashlib.md5(md5s, usedforsecurity=False).hexdigest()}-{len(etags)}"
