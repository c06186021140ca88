"""Two listings side by side, cut into pages. Pure.

Most pages of two buckets in sync are equal. They are compared column by column, without an object for each key.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import lt

from .compare import KeyDiff, KeyStatus, pages_in_sync
from .errors import Retryable
from .model import KeyPage, ListEntry

#: Keys of a page on each side: the keys of one ListObjectsV2 response. To list a page again costs one request a side.
PAGE_KEYS = 1000


class Unordered(Retryable):
    """A listing is not in the order of its keys' bytes, so a key that it has not shown may still exist."""


@dataclass(frozen=True, slots=True)
class DiffPage:
    """Two listings of the keys behind `after` up to `until`; None is the end of the range."""

    after: str
    until: str | None
    #: The number of keys, with or without a diff.
    keys: int
    diffs: list[KeyDiff]
    #: The keys that no request can name, which are not among the diffs.
    unnameable: Sequence[KeyDiff] = ()

    @property
    def cuts(self) -> list[str]:
        """Return the keys behind which the page and its second half begin.

        Each half has half of the diffs. A page of fewer than two diffs has no second half.
        """
        half = len(self.diffs) // 2
        return [self.after, self.diffs[half - 1].key] if half else [self.after]


def merge_listings(
    source: Iterable[KeyPage],
    target: Iterable[KeyPage],
    *,
    after: str = "",
    until: str | None = None,
    every: bool = True,
) -> Iterator[DiffPage]:
    """Merge two listings of a range by key, into pages that together hold every key of it.

    Without `every`, keys that the listings show as IN_SYNC get no diff. Raises Unordered if a listing is not in order:
    S3 lists in the order of the keys' UTF-8 bytes, which is the order of Python's strings.
    """
    left, right = _ListingCursor(source, "source"), _ListingCursor(target, "target")
    while True:
        end = min((key for side in (left, right) if (key := side.page_end()) is not None), default=None)
        yield _page(after, until if end is None else end, left.take(end), right.take(end), every=every)
        if end is None:
            return
        after = end


class _ListingCursor:
    """The keys of one listing that have been read and not yet been taken."""

    def __init__(self, listing: Iterable[KeyPage], name: str) -> None:
        self._listing, self._name = iter(listing), name
        self._read = KeyPage.of(())
        self._last = ""
        self._ended = False

    def page_end(self) -> str | None:
        """Return the last key of the next page, or None if the listing ends within it. Raises Unordered."""
        while len(self._read) < PAGE_KEYS and not self._ended:
            page = next(self._listing, None)
            if page is None:
                self._ended = True
                continue
            if page.keys:
                self._check_order(page.keys)
            self._read = self._read + page if self._read.keys or self._read.unnameable else page
        return self._read.keys[PAGE_KEYS - 1] if len(self._read) >= PAGE_KEYS else None

    def take(self, end: str | None) -> KeyPage:
        """Remove and return the entries up to and including `end`; None takes all of them."""
        read = self._read
        number = len(read) if end is None else bisect_right(read.keys, end)
        taken, self._read = read.part(0, number), read.part(number)
        if read.unnameable:
            taken = replace(taken, unnameable=read.unnameable_within("", end))
            behind = () if end is None else read.unnameable_within(end, None)
            self._read = replace(self._read, unnameable=behind)
        return taken

    def _check_order(self, keys: list[str]) -> None:
        every = [self._last, *keys]
        if not all(map(lt, every, keys)):
            before, behind = next((one, other) for one, other in pairwise(every) if one >= other)
            raise Unordered(f"the {self._name} lists {behind!r} after {before!r}")
        self._last = keys[-1]


def _page(after: str, until: str | None, source: KeyPage, target: KeyPage, *, every: bool) -> DiffPage:
    unnameable = _joined(source.unnameable, target.unnameable)
    if not every and pages_in_sync(source, target):
        return DiffPage(after, until, len(source), [], unnameable)
    diffs = list(_diffs(source, target))
    wanted = diffs if every else [diff for diff in diffs if diff.status is not KeyStatus.IN_SYNC]
    return DiffPage(after, until, len(diffs), wanted, unnameable)


def _joined(source: Iterable[ListEntry], target: Iterable[ListEntry]) -> list[KeyDiff]:
    """Return the diffs of entries in any order."""
    left, right = ({entry.key: entry for entry in entries} for entries in (source, target))
    return [KeyDiff(left.get(key), right.get(key)) for key in dict.fromkeys([*left, *right])]


def _diffs(source: Iterable[ListEntry], target: Iterable[ListEntry]) -> Iterator[KeyDiff]:
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
