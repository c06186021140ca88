"""Same or different, and why. Pure: the one place that decides whether a key needs work."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from operator import ge, lt

from .errors import Retryable
from .model import CONTENT_HEADERS, Listed, ObjectState, Stretch

#: Keys of a page, of each side: what one request lists, so that looking again costs one request a side.
PAGE_KEYS = 1000


@dataclass(frozen=True, slots=True)
class Difference:
    """Why two looks differ: `body` needs a new copy of the object, otherwise writing the tags is enough."""

    reason: str
    body: bool = True


def compare(source: ObjectState, target: ObjectState) -> Difference | None:
    """The first difference between two looks at one key, or None when the target mirrors the source.

    Content comes first, then headers and user metadata, tags last: the order of what it costs to mend.
    """
    reason = _content(source, target) or _headers(source, target)
    if reason is None and source.metadata != target.metadata:
        reason = "metadata"
    if reason is not None:
        return Difference(reason)
    if source.tags != target.tags:
        return Difference("tags", body=False)
    return None


def _content(source: ObjectState, target: ObjectState) -> str | None:
    if source.size != target.size:
        return "size"
    if source.etag == target.etag:
        return None
    if target.marker is not None:
        return None if target.marker == source.etag else "content"
    if source.md5 is not None and target.md5 is not None:
        return "content"
    # Neither ETag can tell, and there is no marker. If one would have fitted, this copy is not ours: another tool
    # wrote it, and size and time decide as `aws s3 sync` decides. If none would have fitted, it may be our own
    # copy of an older version, written late by a worker that then died; trusting its time would be a lie.
    if not source.marker_fits:
        return "content cannot be compared"
    return None if target.last_modified >= source.last_modified else "newer"


def _headers(source: ObjectState, target: ObjectState) -> str | None:
    for name in CONTENT_HEADERS:
        if source.headers.get(name) != target.headers.get(name):
            return f"header {name}"
    return None


class Unordered(Retryable):
    """A listing is not in the order of its keys' bytes, so nothing can be concluded from a key it has not shown."""


class Verdict(Enum):
    """What two listings tell of a key."""

    SAME = "same"
    SUSPECT = "suspect"  # only a full comparison can tell
    MISSING = "missing"  # absent from the target
    EXTRA = "extra"  # absent from the source


@dataclass(frozen=True, slots=True)
class Row:
    """One key of two listings side by side; at least one side has it."""

    source: Listed | None
    target: Listed | None

    @property
    def key(self) -> str:
        listed = self.source or self.target
        assert listed is not None
        return listed.key

    @property
    def verdict(self) -> Verdict:
        """SAME needs equal sizes and ETags and a target no older than its source: metadata alone may have changed."""
        if self.target is None:
            return Verdict.MISSING
        if self.source is None:
            return Verdict.EXTRA
        same = (
            self.source.size == self.target.size
            and self.source.etag == self.target.etag
            and self.source.etag is not None
            and self.target.last_modified >= self.source.last_modified
        )
        return Verdict.SAME if same else Verdict.SUSPECT


@dataclass(frozen=True, slots=True)
class Page:
    """What two listings tell of the keys behind `after` up to `until`; an `until` of None is the end of the range."""

    after: str
    until: str | None
    #: How many keys there are, whether or not they have a row.
    keys: int
    rows: list[Row]


def join(
    source: Iterable[Stretch],
    target: Iterable[Stretch],
    *,
    after: str = "",
    until: str | None = None,
    every: bool = True,
) -> Iterator[Page]:
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

    def __init__(self, listing: Iterable[Stretch], name: str) -> None:
        self._listing, self._name = iter(listing), name
        self._read = Stretch.of(())
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

    def take(self, end: str | None) -> Stretch:
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


def _page(after: str, until: str | None, source: Stretch, target: Stretch, *, every: bool) -> Page:
    if not every and _same(source, target):
        return Page(after, until, len(source), [])
    rows = list(_rows(source, target))
    wanted = rows if every else [row for row in rows if row.verdict is not Verdict.SAME]
    return Page(after, until, len(rows), wanted)


def _same(source: Stretch, target: Stretch) -> bool:
    """Whether every row would be SAME."""
    return (
        source.keys == target.keys
        and source.etags == target.etags
        and source.sizes == target.sizes
        and None not in source.etags
        and all(map(ge, target.times, source.times))
    )


def _rows(source: Iterable[Listed], target: Iterable[Listed]) -> Iterator[Row]:
    left, right = iter(source), iter(target)
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.key < other.key):
            yield Row(one, None)
            one = next(left, None)
        elif one is None or other.key < one.key:
            yield Row(None, other)
            other = next(right, None)
        else:
            yield Row(one, other)
            one, other = next(left, None), next(right, None)
