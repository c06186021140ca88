"""The pages that a sweep compares, and how it lists one of them again."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Protocol

from ..core.listing_diff import DiffPage, merge_listings
from ..stores.protocols import Listing


class PageListings(Protocol):
    """Lists pages of both buckets side by side."""

    def pages(self, after: str, until: str | None, *, every: bool) -> Iterator[DiffPage]:
        """Yield the pages of the keys behind `after` up to `until`; without `every`, keys in sync get no diff."""

    def again(self, page: DiffPage) -> DiffPage:
        """Return the page as the buckets list it now, with a diff for each key."""

    def source_keys(self, page: DiffPage) -> Collection[str]:
        """Return the keys of the page that the source lists now."""


class RangeListings:
    """Lists all keys of a range; a `PageListings`."""

    def __init__(self, source: Listing, target: Listing) -> None:
        self._source, self._target = source, target

    def pages(self, after: str, until: str | None, *, every: bool) -> Iterator[DiffPage]:
        source, target = (side.listing(after, until) for side in (self._source, self._target))
        return merge_listings(source, target, after=after, until=until, every=every)

    def again(self, page: DiffPage) -> DiffPage:
        diffs = [diff for part in self.pages(page.after, page.until, every=True) for diff in part.diffs]
        return replace(page, keys=len(diffs), diffs=diffs)

    def source_keys(self, page: DiffPage) -> Collection[str]:
        return {key for part in self._source.listing(page.after, page.until) for key in part.keys}
