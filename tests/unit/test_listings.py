"""A listing ends where the store says so, or with an empty page."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from s3_syncer.core.errors import Retryable
from s3_syncer.core.model import KeyPage, ListEntry, ListPage
from s3_syncer.stores.listings import KeyListing


def page(keys: Sequence[str], *, is_last: bool | None) -> ListPage:
    return ListPage(KeyPage.of(ListEntry(key, 1, None, None) for key in keys), is_last=is_last)


def listed(*pages: ListPage) -> list[str]:
    """Return the keys of a store that responds with these pages and never with a token."""
    left = list(pages)
    listing = KeyListing("bucket", "", lambda _position: left.pop(0), lambda _key: True)
    return [key for found in listing.pages() for key in found.keys]


@pytest.mark.parametrize("rest", [[], ["b"]], ids=["an empty page", "the key itself"])
def test_a_listing_without_tokens_ends_behind_its_last_key(rest: list[str]) -> None:
    assert listed(page(["a", "b"], is_last=None), page(rest, is_last=None))[:2] == ["a", "b"]


def test_a_store_that_promises_more_keys_and_lists_none_is_not_at_its_end() -> None:
    with pytest.raises(Retryable, match="the listing is truncated"):
        listed(page(["a", "b"], is_last=False), page(["b"], is_last=False))
