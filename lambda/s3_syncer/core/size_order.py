"""Copies in the order of their sizes: passes of a sweep, each for one class of sizes. Pure.

A pass for each class needs no list of the objects: its memory does not grow with the bucket, and it works like any
other sweep. Inside a class, the order is that of the keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from .units import GIB, MIB, format_size

Order = Literal["key", "size", "size-desc"]

ORDERS: tuple[Order, ...] = get_args(Order)

#: Sizes in bytes at which a class begins. Each one costs a listing of both buckets, so there are few. Below the first
#: one, requests bound the copies, and above it bytes. Objects of the last class take minutes each.
BOUNDS = (MIB, 64 * MIB, 4 * GIB)


@dataclass(frozen=True, slots=True)
class SizeClass:
    """The objects of at least `least` bytes and fewer than `below`; None is no limit."""

    least: int
    below: int | None

    def __contains__(self, size: int) -> bool:
        return self.least <= size and (self.below is None or size < self.below)

    def __str__(self) -> str:
        if self.below is None:
            return f"objects of at least {format_size(self.least)}"
        least = f"at least {format_size(self.least)} and " if self.least else ""
        return f"objects of {least}less than {format_size(self.below)}"


def first_passes(order: Order) -> Sequence[SizeClass]:
    """Return the classes to copy first. The class that is left is copied by the last pass, over all keys."""
    if order == "key":
        return ()
    classes = [SizeClass(least, below) for least, below in zip((0, *BOUNDS), (*BOUNDS, None), strict=True)]
    return classes[:-1] if order == "size" else classes[:0:-1]
