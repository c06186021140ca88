"""Part sizes and byte ranges within both stores' limits. Pure arithmetic."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from .errors import Permanent
from .model import ObjectState
from .units import GIB, KIB, MIB, TIB


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a store, in bytes and parts.

    The defaults are Lyve Cloud's (object, PUT and part sizes of its S3 API guide), which lie within those of AWS
    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html).
    """

    max_object: int = 5 * TIB
    min_part: int = 5 * MIB
    max_part: int = 4 * GIB
    max_parts: int = 10_000


#: The limits of a store of which nothing is known.
USUAL_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart copy: `number` counts from 1, `start` and `size` are bytes."""

    number: int
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class PartPlan:
    """The division of an object into parts: each has `part_size` bytes, and the last one has the rest."""

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
    """A part that an upload has: its size in bytes, its ETag in the target, and its age in seconds."""

    size: int
    etag: str
    age_s: float = 0.0


def check_size(size: int, limits: Limits) -> None:
    """Raise Permanent if the target does not accept objects of this size in bytes."""
    if size > limits.max_object:
        raise Permanent(
            f"the object has {size} bytes and the target takes at most {limits.max_object}; if it takes more, set "
            "target.limits.max_object_mb (--target-max-object-mb)",
            "EntityTooLarge",
        )


#: Bytes of a part if nothing else demands another size. A part is large enough that the fixed cost of a request does
#: not matter, and small enough that several parts fit the memory of the smallest function.
DEFAULT_PART = 16 * MIB


def reproduce_plan(size: int, count: int, first: int, *, largest_part: int, limits: Limits) -> PartPlan | None:
    """Return the source's part plan, or None if it is unknown or the target does not accept it.

    The size of the source's `first` part must explain its part `count`. `largest_part` is the largest part in bytes
    that memory allows. With the same plan the target's multipart ETag equals the source's, on every store that computes
    it as AWS does.
    """
    if not 1 <= first <= min(largest_part, limits.max_part):
        return None
    plan = PartPlan(size, first)
    if plan.count != count or count > limits.max_parts or (count > 1 and first < limits.min_part):
        return None
    return plan


#: Whole MiB of the part sizes of common tools, most common first: AWS CLI and SDKs, rclone, s3fs, s3cmd, Hadoop.
_USUAL_PARTS_MIB = (8, 16, 5, 64, 32, 10, 15, 100, 128, 25, 50, 256, 512, 1024)


def likely_plan(size: int, count: int, *, largest_part: int, limits: Limits) -> PartPlan | None:
    """Return the most likely plan of another tool that divides `size` bytes into `count` parts, or None.

    Other tools cut objects into whole MiB, so with many parts only one size or none is possible. The ETag of the copy
    shows if the guess was right.
    """
    if count == 1:
        return reproduce_plan(size, 1, size, largest_part=largest_part, limits=limits)
    smallest, most = -(-size // (count * MIB)), (size - 1) // ((count - 1) * MIB)  # of whole MiB
    possible = [part for part in _USUAL_PARTS_MIB if smallest <= part <= most]
    part = possible[0] if possible else smallest
    return reproduce_plan(size, count, part * MIB, largest_part=largest_part, limits=limits)


#: Bytes by which the parts of this project's plans exceed whole MiB. Other tools cut objects into whole MiB. So a part
#: of this project's plan is not mistaken for a part of the source's plan: see `sync/distributed_copy.py`.
OWN_PLAN_OFFSET = 4 * KIB


def own_plan(size: int, *, largest_part: int, limits: Limits) -> PartPlan:
    """Return this project's plan: parts of DEFAULT_PART and OWN_PLAN_OFFSET, or more for many parts.

    Raises Permanent if a part would exceed `largest_part`, or the largest part of the target.
    """
    needed = _own_part(max(limits.min_part, -(-size // limits.max_parts)))
    if needed > limits.max_part:
        raise Permanent(
            f"an object of {size} bytes needs parts of {needed} bytes, and the target takes at most {limits.max_part}",
            "EntityTooLarge",
        )
    if needed > largest_part:
        raise Permanent(
            f"an object of {size} bytes needs parts of {needed} bytes, more than the {largest_part} bytes of memory "
            "set aside for copies: give the worker more memory",
            "MemoryTooSmall",
        )
    usual = _own_part(min(DEFAULT_PART, largest_part - MIB - OWN_PLAN_OFFSET, limits.max_part - MIB))
    return PartPlan(size, max(needed, usual))


def _own_part(size: int) -> int:
    """Return the smallest part size of this project's plans that is at least `size` bytes."""
    return -(-(size - OWN_PLAN_OFFSET) // MIB) * MIB + OWN_PLAN_OFFSET


def is_own_plan(plan: PartPlan) -> bool:
    """Return True if the plan may be one of `own_plan`."""
    return plan.part_size % MIB == OWN_PLAN_OFFSET % MIB or plan.count == 1


def is_resumable(state: ObjectState, plan: PartPlan) -> bool:
    """Return True if the source's ETag can prove that parts sent by other workers make up this object.

    That takes an ETag that is the hash over the part hashes of exactly this plan. A plan of `own_plan` never counts: a
    worker completes such an upload without a proof, so it must be the only one that sends parts to it.
    """
    return state.part_count == plan.count and not state.kms and not is_own_plan(plan)


def matches_plan(plan: PartPlan, sent: Mapping[int, UploadedPart]) -> bool:
    """Return True if an upload has parts, and the sizes of all of them are those of the plan."""
    sizes = {part.number: part.size for part in plan.parts()}
    return bool(sent) and all(sizes.get(number) == part.size for number, part in sent.items())


def contradicts(state: ObjectState, plan: PartPlan, md5s: Mapping[int, str]) -> bool:
    """Return True if the source's ETag is not the hash over the MD5s of these parts, as it should be.

    An ETag says nothing if it counts another number of parts, or under KMS. A contradiction proves that bytes differ
    only if the plan is exactly the source's: its first part and the number of parts can explain another plan too.
    """
    return state.part_count == plan.count and not state.kms and multipart_etag(md5s) != state.etag


def contiguous_runs(numbers: Iterable[int], most: int) -> Iterator[tuple[int, int]]:
    """Yield part numbers in ascending order as runs of at most `most`: the first and the last of each run."""
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
    """Return the ETag that AWS gives an object of parts with these ETags, or None if they are not MD5s."""
    try:
        md5s = b"".join(bytes.fromhex(etags[number]) for number in sorted(etags))
    except ValueError:
        return None
    if len(md5s) != 16 * len(etags):
        return None
    return f"{hashlib.md5(md5s, usedforsecurity=False).hexdigest()}-{len(etags)}"
