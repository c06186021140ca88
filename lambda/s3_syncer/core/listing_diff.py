"""Two listings side by side, cut into pages. Pure.

Most pages of two buckets in sync are the same, and those are compared without a look at each key.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from operator import lt

from .compare import KeyDiff, KeyStatus, pages_in_sync
from .errors import Retryable
from .model import KeyPage, ListEntry

#: Keys of a page, of each side: what one request lists, so that looking again costs one request a side.
PAGE_KEYS = 1000


class Unordered(Retryable):
    """A listing is not in the order of its keys' bytes, so nothing can be concluded from a key it has not shown."""


@dataclass(frozen=True, slots=True)
class DiffPage:
    """What two listings tell of the keys behind `after` up to `until`; an `until` of None is the end of the range."""

    after: str
    until: str | None
    #: How many keys there are, whether or not they have a row.
    keys: int
    rows: list[KeyDiff]


def merge_listings(
    source: Iterable[KeyPage],
    target: Iterable[KeyPage],
    *,
    after: str = "",
    until: str | None = None,
    every: bool = True,
) -> Iterator[DiffPage]:
    """Merges two listings of a range by key, into pages that leave no key of it out.

    Without `every`, keys that the listings show to be the SAME get no row. Raises Unordered when a listing is not in
    order: stores list in the order of the keys' UTF-8 bytes, which is the order of Python's strings.
    """
    left, right = _Side(source, "source"), _Side(target, "target")
    while True:
        end = min((key for side in (left, right) if (key := side.reach()) is not None), default=None)
        yield _page(after, until if end is None else end, left.take(end), right.take(end), every=every)
        if end is None:
            return
        after = end


class _Side:
    """One listing, as far as it has been read and not been taken."""

    def __init__(self, listing: Iterable[KeyPage], name: str) -> None:
        self._listing, self._name = iter(listing), name
        self._read = KeyPage.of(())
        self._last = ""
        self._ended = False

    def reach(self) -> str | None:
        """The last key of the next page, None when the listing ends within it. Raises Unordered."""
        while len(self._read) < PAGE_KEYS and not self._ended:
            stretch = next(self._listing, None)
            if stretch is None:
                self._ended = True
            elif stretch.keys:
                self._check(stretch.keys)
                self._read = self._read + stretch if self._read.keys else stretch
        return self._read.keys[PAGE_KEYS - 1] if len(self._read) >= PAGE_KEYS else None

    def take(self, end: str | None) -> KeyPage:
        """The keys up to and including `end`, None for all there are."""
        number = len(self._read) if end is None else bisect_right(self._read.keys, end)
        taken, self._read = self._read.part(0, number), self._read.part(number)
        return taken

    def _check(self, keys: list[str]) -> None:
        every = [self._last, *keys]
        if not all(map(lt, every, keys)):
            before, behind = next((one, other) for one, other in pairwise(every) if one >= other)
            raise Unordered(f"the {self._name} lists {behind!r} after {before!r}")
        self._last = keys[-1]


def _page(after: str, until: str | None, source: KeyPage, target: KeyPage, *, every: bool) -> DiffPage:
    if not every and pages_in_sync(source, target):
        return DiffPage(after, until, len(source), [])
    rows = list(_rows(source, target))
    wanted = rows if every else [row for row in rows if row.status is not KeyStatus.IN_SYNC]
    return DiffPage(after, until, len(rows), wanted)


def _rows(source: Iterable[ListEntry], target: Iterable[ListEntry]) -> Iterator[KeyDiff]:
    left, right = iter(source), iter(target)
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.key < other.key):
            yield KeyDiff(one, None)
            one = next(left, None)
        elif one is None or other.key < one.key:
            yield KeyDiff(None, other)
            other = next(right, None)
        else:
            yield KeyDiff(one, other)
            one, other = next(left, None), next(right, None)
