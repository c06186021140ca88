"""Request the pages of a listing, up to the one that is certainly the last.

Only a response that says `IsTruncated` false, or a page without entries, ends a listing. A page that names no next page
is continued behind its last entry. Some stores leave these fields out, and a listing that ended too early would show
keys as absent that exist.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from operator import ge
from typing import Any

from ..core import fence
from ..core.errors import Permanent, Retryable
from ..core.listing_diff import Unordered
from ..core.model import KeyPage, ListPage, Upload
from ..core.multipart import UploadedPart
from .responses import Response

#: Pages without an entry, one after the other, that count as a listing without an end. Stores may return such pages for
#: keys that were deleted.
MAX_EMPTY_PAGES = 10_000

#: The parameters of boto3 for the place of a page in its listing.
Position = Mapping[str, Any]


#: A store that encodes keys in another way than it says lists keys with a `%` or a blank that do not exist.
_DOUBTFUL = "% "

#: Keys with such a character that are looked up before the listing is an error: one may have been deleted meanwhile.
_LOOKUPS = 3


class KeyListing:
    """The keys of one bucket below a prefix. Safe to share between threads.

    `request` makes one request, and returns its page. `lists` returns True if the store lists a key under its own name.
    The first keys with a `%` and with a blank are looked up with it, which costs a request for each of them.
    """

    def __init__(
        self, bucket: str, prefix: str, request: Callable[[Position], ListPage], lists: Callable[[str], bool]
    ) -> None:
        self._bucket, self._prefix, self._request, self._lists = bucket, prefix, request, lists
        self._doubtful = set(_DOUBTFUL)  # the characters that no key has shown to be right
        self._start = "StartAfter"  # the parameter for the key behind which a listing begins

    def first(self, after: str) -> str | None:
        """Return the first key behind `after`, or None; `after` need not be a key."""
        # Two keys, because some stores list `after` itself: see `_between`.
        _, page = self._behind(after, MaxKeys=2)
        return next((key for key in page.keys.keys if key > after), None)

    def pages(self, after: str = "", until: str | None = None, *, in_order: bool = True) -> Iterator[KeyPage]:
        """Return the pages of the keys behind `after`, up to and including `until`, in the order of the store.

        The first page is requested at once, and each next page while the caller reads one. A page that cannot be read
        raises a SyncError, so a listing that ends is complete. With `in_order`, a page that is not in the order of its
        keys, or has one of them twice, raises Unordered. That is so even behind `until`: a later page might still have
        a key of the range. Without it, a page has each key once.
        """
        requested = self._requested(after, in_order=in_order)

        def request() -> KeyPage | None:
            return next(requested, None)

        ahead = ThreadPoolExecutor(1, thread_name_prefix="list")
        pending = ahead.submit(fence.carried(request))

        def pages() -> Iterator[KeyPage]:
            nonlocal pending
            try:
                while (page := pending.result()) is not None:
                    keys, is_beyond = page.keys, False
                    if in_order and keys:
                        if keys[0] < after or any(map(ge, keys, keys[1:])):
                            raise Unordered(f"{self._bucket} does not list its keys in the order of their bytes")
                        is_beyond = until is not None and keys[-1] >= until  # all further keys are behind the range
                    if not is_beyond:
                        pending = ahead.submit(fence.carried(request))
                    yield _between(page, after, until) if in_order else _within(page, after, until)
                    if is_beyond:
                        return
            finally:
                ahead.shutdown(wait=False)  # no wait: the thread of the page may be the one that closes the listing

        return pages()

    def _requested(self, after: str, *, in_order: bool) -> Iterator[KeyPage]:
        """Request the pages behind `after` one after the other, up to the last one."""
        behind: str | None = None  # the key behind which the store was asked to go on, because it gave no token
        repeats = Repeats(self._bucket)
        position: Position = {self._start: self._prefix + after} if after else {}
        if after and in_order:
            position, page = self._behind(after)
        else:
            page = self._request(position)
        while True:
            keys = page.keys.keys
            if behind is not None and keys and keys[0] < behind:
                raise self._cut_off()
            self._check_names(keys, position)
            yield page.keys
            if page.is_last:
                return
            if page.following is not None:
                repeats.check(page.following, keys)
                position, behind = page.following, None
                page = self._request(position)
                continue
            if not keys and page.keys.unnameable:
                raise self._cut_off()
            if not keys or keys == [behind]:  # some stores include StartAfter itself
                if page.is_last is False and (keys or behind is None):  # more keys are said to follow, and none does
                    raise self._cut_off()
                return
            if not in_order:
                raise self._cut_off()
            behind = keys[-1]
            position, page = self._behind(behind)

    def _behind(self, key: str, **options: int) -> tuple[Position, ListPage]:
        """Return the first page behind `key`, and its position.

        A store that knows only the first version of the listing ignores StartAfter, and names no next page. It is asked
        with the parameter of that version, Marker, from then on.
        """
        position: Position = {self._start: self._prefix + key, **options}
        page = self._request(position)
        if self._start == "Marker" or page.following is not None or not _begins_before(page, key):
            return position, page
        other: Position = {"Marker": self._prefix + key, **options}
        found = self._request(other)
        if _begins_before(found, key):
            return position, page
        self._start = "Marker"
        return other, found

    def _check_names(self, keys: list[str], position: Position) -> None:
        """Raise Permanent if the store lists keys under names that it does not know itself."""
        for character in sorted(self._doubtful):
            found = [key for key in keys if character in key][:_LOOKUPS]
            if any(map(self._lists, found)):
                self._doubtful.discard(character)
            elif found and any(key in found for key in self._request(position).keys.keys):
                raise Permanent(
                    f"list_objects_v2 in {self._bucket}: the store lists {found[0]!r} and has no such key: "
                    "it encodes keys in another way than it says",
                    "KeyEncoding",
                )

    def _cut_off(self) -> Retryable:
        return Retryable(
            f"list_objects_v2 in {self._bucket}: the listing is truncated but has no NextContinuationToken",
            "TruncatedListing",
        )


def _begins_before(page: ListPage, key: str) -> bool:
    return bool(page.keys.keys) and page.keys.keys[0] < key


def first_page(request: Callable[[Position], ListPage], bucket: str) -> KeyPage:
    """Return the first page with a key; a store may return empty pages before it."""
    position: Position = {}
    repeats = Repeats(bucket)
    while True:
        page = request(position)
        if page.keys.keys or page.keys.unnameable or page.is_last or page.following is None:
            return page.keys
        repeats.check(page.following, ())
        position = page.following


def uploads(request: Callable[[Position], Response], key: str) -> list[Upload]:
    """Return the uploads of exactly this key. `key` has the prefix of the bucket. Raises a SyncError."""
    found: list[Upload] = []
    for page in _responses(request, Response.upload_markers):
        found += page.uploads(key)
    return found


def parts(request: Callable[[Position], Response], after: int = 0, until: int | None = None) -> dict[int, UploadedPart]:
    """Return the parts of an upload by number, behind `after` up to `until`. Raises a SyncError."""
    found: dict[int, UploadedPart] = {}
    for page in _responses(request, Response.part_marker, {"PartNumberMarker": after} if after else {}):
        for number, part in page.parts().items():
            if until is not None and number > until:
                return found
            found[number] = part
    return found


def _responses(
    request: Callable[[Position], Response],
    following: Callable[[Response], tuple[Position, bool] | None],
    position: Position | None = None,
) -> Iterator[Response]:
    """Request the pages of uploads or parts.

    `following` returns the position behind a page, and True if the store names it; None if the page is empty.
    """
    position = position or {}
    repeats: Repeats | None = None
    while True:
        page = request(position)
        yield page
        if page.is_last or (found := following(page)) is None:
            return
        before, (position, is_named) = position, found
        if is_named:
            repeats = repeats or Repeats(page.bucket)
            repeats.check(position, page.entries)
        elif position == before:
            message = "the listing is truncated, and the store does not continue it behind its last entry"
            raise Permanent(f"{page.operation} in {page.bucket}: {message}", "TruncatedListing")


class Repeats:
    """Finds a listing that returns the same pages again and again, also with a new token for each of them.

    One page is kept in memory, and replaced after 1, 2, 4 and so on further pages (Brent's algorithm). So a cycle of
    any length is found, after at most about three rounds.
    """

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._position: Position = {}
        self._entries: Sequence[object] = ()
        self._pages, self._until, self._empty = 0, 1, 0

    def check(self, following: Position, entries: Sequence[object]) -> None:
        """Note a page and the position of the next one. Raises Retryable if the listing has no end."""
        if following == self._position:
            raise self._endless("the listing returned the same continuation token twice")
        if entries and entries == self._entries:
            raise self._endless("the listing returned the same page twice")
        self._empty = 0 if entries else self._empty + 1
        if self._empty > MAX_EMPTY_PAGES:
            raise self._endless(f"the listing has more than {MAX_EMPTY_PAGES} pages without an entry in a row")
        self._pages += 1
        if self._pages == self._until:
            self._position, self._entries = following, entries
            self._pages, self._until = 0, 2 * self._until

    def _endless(self, reason: str) -> Retryable:
        return Retryable(f"{self._bucket}: {reason}", "TruncatedListing")


def _between(page: KeyPage, after: str, until: str | None) -> KeyPage:
    """Return the keys of the range, from a page in order.

    Some stores include StartAfter itself. The key "" is the prefix itself, and is never in a range.
    """
    keys = page.keys
    found = page.part(bisect_right(keys, after), len(keys) if until is None else bisect_right(keys, until))
    return replace(found, unnameable=page.unnameable_within(after, until)) if page.unnameable else found


def _within(page: KeyPage, after: str, until: str | None) -> KeyPage:
    """Return the keys of the range, as `_between` does, from a page in any order.

    Each key is there once. A store may list each version of an object. A sweep without order checks each key itself.
    """
    found = {entry.key: entry for entry in page if entry.key > after and (until is None or entry.key <= until)}
    return replace(KeyPage.of(found.values()), unnameable=page.unnameable_within(after, until))
