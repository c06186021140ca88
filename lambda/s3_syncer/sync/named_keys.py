"""The pages of a sweep over named keys: only these keys are looked up, by listings or one by one.

A listing of a store shows up to 1,000 keys for a request, so it is cheaper if the named keys are close together. One
page of a listing decides: if it shows too few of them, the rest is looked up one by one, several keys at a time.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from ..core.compare import KeyDiff, KeyStatus
from ..core.deadline import OutOfTime
from ..core.errors import StoreUnusable, SyncError
from ..core.fence import carried
from ..core.listing_diff import DiffPage, Unordered
from ..core.model import KeyPage, ListEntry, ObjectState, is_nameable
from ..stores.protocols import Listing

#: Named keys that each page of a listing must decide. AWS charges for a LIST what it charges for 12 HEADs, and a page
#: of 1,000 keys takes several times as long as a HEAD.
MIN_KEYS_PER_PAGE = 12

#: A character behind almost every character of a key, and the first one that every store accepts.
_LATE, _FIRST = "\ufffd", " "


@dataclass(frozen=True, slots=True)
class NamedPage(DiffPage):
    """A page of named keys, in order. Other keys between them do not belong to it."""

    names: Sequence[str] = ()


class NamedSource(Listing, Protocol):
    """The bucket that is copied from: see `stores.bucket.Bucket`."""

    def head(self, key: str, *, confirm_missing: bool = False, tags: bool = True) -> ObjectState | None: ...


class NamedTarget(Listing, Protocol):
    """The bucket that is copied to: see `stores.bucket.Bucket`."""

    def entry(self, key: str) -> ListEntry | None: ...


@dataclass(frozen=True, slots=True)
class NamedBatch:
    """Different keys in order. `entries` has those of the source, if an inventory shows them."""

    names: Sequence[str]
    entries: Mapping[str, ListEntry] | None = None


class NamedKeys:
    """Looks up named keys; a `page_listings.PageListings`.

    Several threads may iterate its pages: each gets a part.
    A key of the target counts as found only if a listing shows it, because a store may respond with the object of
    another key: see `key_identity.py`. So a single key takes a HEAD of the source, and a LIST of the target.
    """

    def __init__(
        self, source: NamedSource, target: NamedTarget, batches: Iterator[NamedBatch], *, threads: int
    ) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="lookup")
        self._source = _Lookup(source, lambda key: _entry_of_head(source, key), self._pool)
        self._target = _Lookup(target, target.entry, self._pool)
        self._batches, self._lock = batches, threading.Lock()
        #: The number of named keys that a bucket has, of those that neither bucket has, and one of the latter.
        self.found, self.absent, self.absent_key = 0, 0, ""

    def pages(self, after: str, until: str | None, *, every: bool) -> Iterator[DiffPage]:  # noqa: ARG002
        """Yield pages until no batch is left; the names are the range."""
        while (batch := self._next()) is not None:
            names = [name for name in batch.names if is_nameable(name)]
            page = self._page(names, batch.entries)
            self._count(names, page)
            odd = [KeyDiff(_unknown(name), None) for name in batch.names if not is_nameable(name)]
            diffs = page.diffs if every else [diff for diff in page.diffs if diff.status is not KeyStatus.IN_SYNC]
            yield replace(page, keys=len(page.diffs) + len(odd), diffs=diffs, unnameable=odd)

    def _next(self) -> NamedBatch | None:
        with self._lock:
            return next(self._batches, None)

    def again(self, page: DiffPage) -> DiffPage:
        return self._page(_names(page), None)

    def source_keys(self, page: DiffPage) -> Collection[str]:
        """Return the keys that the source has now. One that cannot be read is not known to be there."""
        found = self._source.entries(_names(page))
        return {key for key, entry in found.items() if entry != _unknown(key)}

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _page(self, names: Sequence[str], known: Mapping[str, ListEntry] | None) -> NamedPage:
        ours = self._source.entries(names) if known is None else known
        theirs = self._target.entries(names)
        diffs = [KeyDiff(ours.get(name), theirs.get(name)) for name in names if name in ours or name in theirs]
        first, last = (names[0], names[-1]) if names else ("", "")
        return NamedPage(_just_before(first), last, len(diffs), diffs, (), tuple(names))

    def _count(self, names: Sequence[str], page: NamedPage) -> None:
        there = {diff.key for diff in page.diffs}
        absent = [name for name in names if name not in there]
        with self._lock:
            self.found += len(there)
            self.absent += len(absent)
            self.absent_key = self.absent_key or next(iter(absent), "")


class _Lookup:
    """Finds the listing entries of keys in one bucket."""

    def __init__(self, bucket: Listing, find: Callable[[str], ListEntry | None], pool: ThreadPoolExecutor) -> None:
        self._bucket, self._find, self._pool = bucket, find, pool
        self._is_in_order = True

    def entries(self, names: Sequence[str]) -> Mapping[str, ListEntry]:
        """Return the entries of those keys that the bucket has. The names are in order. Raises a SyncError."""
        found: dict[str, ListEntry] = {}
        rest = names
        if len(names) >= MIN_KEYS_PER_PAGE and self._is_in_order:
            try:
                rest = self._list(names, found)
            except Unordered:  # each key is then looked up by itself
                self._is_in_order, rest = False, names
                found.clear()
        for entry in self._pool.map(carried(self._find), rest):
            if entry is not None:
                found[entry.key] = entry
        return found

    def _list(self, names: Sequence[str], found: dict[str, ListEntry]) -> Sequence[str]:
        """Add the entries that a listing shows, and return the names that it does not decide."""
        wanted = set(names)
        for pages, page in enumerate(self._bucket.listing(_just_before(names[0]), names[-1]), start=1):
            found.update(_entries(page, wanted))
            decided = bisect_right(names, page.keys[-1]) if page.keys else 0
            if decided < pages * MIN_KEYS_PER_PAGE and page.keys and page.keys[-1] != names[-1]:
                return names[decided:]
        return ()


def _entries(page: KeyPage, wanted: Collection[str]) -> Iterator[tuple[str, ListEntry]]:
    for key, size, etag, modified in zip(page.keys, page.sizes, page.etags, page.times, strict=True):
        if key in wanted:
            yield key, ListEntry(key, size, etag, modified, page.archives.get(key))


def _names(page: DiffPage) -> Sequence[str]:
    assert isinstance(page, NamedPage)
    return page.names


def _entry_of_head(source: NamedSource, key: str) -> ListEntry | None:
    """Return the entry of a key. The check of a key that cannot be read reports the error."""
    try:
        state = source.head(key, confirm_missing=True, tags=False)
    except (OutOfTime, StoreUnusable):
        raise
    except SyncError:
        return _unknown(key)
    return None if state is None else ListEntry(key, state.size, state.etag, state.last_modified, state.archive)


def _unknown(key: str) -> ListEntry:
    return ListEntry(key, None, None, None)


def _just_before(key: str) -> str:
    """Return a text before the key, with few keys in between."""
    if not key or key[-1] <= _FIRST:
        return key[:-1]
    before = ord(key[-1]) - 1
    if 0xD800 <= before <= 0xDFFF:  # a surrogate is no character of a key
        before = 0xD7FF
    return key[:-1] + chr(before) + _LATE
