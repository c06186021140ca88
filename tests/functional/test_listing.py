"""The listing of a bucket: its range, its order, and pages requested ahead. No store takes part."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from tests.support.patience import PATIENCE_S

from s3_syncer.core import listing_diff as join_module
from s3_syncer.core.errors import Retryable, StoreUnusable
from s3_syncer.core.key_ranges import borders
from s3_syncer.core.listing_diff import Unordered, merge_listings
from s3_syncer.core.model import KeyPage, ListEntry, ListPage
from s3_syncer.stores.bucket import Bucket
from s3_syncer.stores.protocols import Transport

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class UnusedTransport:
    """A transport that expects no request; tests override one method."""

    def list_page(self, position: Mapping[str, Any]) -> ListPage | None:
        raise AssertionError(f"no listing was expected: {position}")

    def try_call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        raise AssertionError(f"no request was expected: {operation} {parameters}")


class Pages(UnusedTransport):
    """Return the same pages in turn, whatever the position of the request."""

    def __init__(self, *pages: Sequence[str] | Exception) -> None:
        self.pages, self.positions = pages, list[Mapping[str, Any]]()
        self.all_requested = threading.Event()

    def list_page(self, position: Mapping[str, Any]) -> ListPage:
        number = len(self.positions)
        self.positions.append(position)
        if number == len(self.pages) - 1:
            self.all_requested.set()
        page = self.pages[number]
        if isinstance(page, Exception):
            raise page
        entries = KeyPage.of(ListEntry(key, 1, "e", NOON) for key in page)
        is_last = number == len(self.pages) - 1
        return ListPage(entries, None if is_last else {"ContinuationToken": str(number)}, is_last)


def bucket(transport: Transport) -> Bucket:
    return Bucket("bucket", "", cast(Any, None), tags=False, transport=transport)


def listed(pages: Pages, after: str = "", until: str | None = None, *, in_order: bool = True) -> list[str]:
    return [key for stretch in bucket(pages).listing(after, until, in_order=in_order) for key in stretch.keys]


@pytest.mark.parametrize(
    ("after", "until", "keys"),
    [
        ("", None, "abcdef"),
        ("a", None, "bcdef"),  # some stores take StartAfter for inclusive
        ("", "d", "abcd"),
        ("a", "dd", "bcd"),
        ("a", "b", "b"),
        ("a", "aa", ""),
    ],
)
def test_only_keys_of_the_range_are_returned(after: str, until: str | None, keys: str) -> None:
    assert listed(Pages("abc", "def"), after, until) == list(keys)


def test_no_page_behind_the_range_is_requested() -> None:
    pages = Pages("abc", "def", "ghi")
    assert listed(pages, until="c") == ["a", "b", "c"]
    assert pages.positions == [{}]


def test_an_empty_page_does_not_end_the_listing() -> None:
    assert listed(Pages("", "a", "", "b")) == ["a", "b"]


@pytest.mark.parametrize(
    "pages", [Pages("acb"), Pages("abc", "fed"), Pages("abb")], ids=["first page", "second page", "a key twice"]
)
def test_keys_out_of_order_raise_unordered(pages: Pages) -> None:
    with pytest.raises(Unordered):
        listed(pages)


def test_a_key_before_the_range_is_out_of_order() -> None:
    with pytest.raises(Unordered):
        listed(Pages("abc", "d"), "b")


def test_without_order_every_key_of_the_range_is_returned() -> None:
    assert listed(Pages("zb", "ya", "c"), "a", "x", in_order=False) == ["b", "c"]


def test_without_order_a_page_has_each_key_once() -> None:
    assert listed(Pages("baab", "cbc"), in_order=False) == ["b", "a", "c", "b"]


def test_pages_are_requested_ahead() -> None:
    one = Pages("a")
    bucket(one).listing()
    assert one.all_requested.wait(PATIENCE_S)
    two = Pages("a", "b")
    assert next(bucket(two).listing()).keys == ["a"]
    assert two.all_requested.wait(PATIENCE_S)


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("keys", ["", "a"], ids=["empty pages", "the same page"])
def test_the_same_continuation_token_twice_is_an_error(keys: str, in_order: bool) -> None:
    """Some stores return the same continuation token again and again."""
    requests = itertools.count(1)

    class SameToken(UnusedTransport):
        def list_page(self, position: Mapping[str, Any]) -> ListPage | None:
            assert next(requests) < 10, "an endless listing"
            entries = KeyPage.of(ListEntry(key, 1, "e", NOON) for key in keys)
            return ListPage(entries, {"ContinuationToken": "the token"}, is_last=False)

    with pytest.raises(Retryable, match="the same continuation token twice"):
        list(bucket(SameToken()).listing(in_order=in_order))


ENDLESS: Mapping[str, Mapping[str, Any]] = {
    "list_parts": {"NextPartNumberMarker": 1, "Parts": [{"PartNumber": 1, "Size": 5, "ETag": '"e"'}]},
    "list_multipart_uploads": {"NextKeyMarker": "key", "NextUploadIdMarker": "id", "Uploads": []},
}


@pytest.mark.parametrize("operation", ENDLESS)
def test_the_same_marker_of_parts_or_uploads_twice_is_an_error(operation: str) -> None:
    requests = itertools.count(1)

    class Endless(UnusedTransport):
        def try_call(self, requested: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
            assert requested == operation
            assert next(requests) < 10, "an endless listing"
            return {"IsTruncated": True, **ENDLESS[operation]}

    made = bucket(Endless())
    with pytest.raises(Retryable, match="the same continuation token twice"):
        made.parts("key", "id") if operation == "list_parts" else made.uploads("key")


class InUtf16(UnusedTransport):
    """A store with the order of the keys in UTF-16."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = sorted(keys, key=self.place)

    @staticmethod
    def place(key: str) -> bytes:
        return key.encode("utf-16-be")

    def list_page(self, position: Mapping[str, Any]) -> ListPage:
        after = position.get("ContinuationToken") or position.get("StartAfter", "")
        behind = [key for key in self.keys if self.place(key) > self.place(after)]
        page = behind[: position.get("MaxKeys", 5)]
        is_last = len(page) == len(behind)
        following = None if is_last else {"ContinuationToken": page[-1]}
        return ListPage(KeyPage.of(ListEntry(key, 1, "e", NOON) for key in page), following, is_last)


def test_ranges_that_are_cut_raise_unordered_or_return_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each range ends at the first page that goes beyond it, in any order."""
    monkeypatch.setattr(join_module, "PAGE_KEYS", 5)
    for seed in range(1700, 1800):
        rand = random.Random(seed)
        letters = rand.sample("aBbzZMﬀﬁ😀😎一~", rand.randint(2, 6))
        keys = {"".join(rand.choices(letters, k=rand.randint(1, 4))) for _ in range(rand.randint(5, 200))}
        made = bucket(InUtf16(keys))
        with suppress(Unordered):
            assert keys_listed_in_ranges(made, rand) == keys, seed


def keys_listed_in_ranges(made: Bucket, rand: random.Random) -> set[str]:
    """Return the keys that ranges list; ranges are cut now and then, and listed in any order."""
    todo: list[tuple[str, str | None]] = [("", None)]
    shown: set[str] = set()
    while todo:
        begin, end = todo.pop(rand.randrange(len(todo)))
        for page in merge_listings(made.listing(begin, end), [], after=begin, until=end):
            shown |= {row.key for row in page.diffs}
            if page.until is not None and page.until != end and rand.random() < 0.4:
                cuts = borders(lambda points: [made.first(point) for point in points], page.until, end)
                todo += zip([page.until, *cuts], [*cuts, end], strict=True)
                break
    return shown


def test_a_page_that_fails_raises_its_error() -> None:
    shown = bucket(Pages("a", StoreUnusable("gone"))).listing()
    assert next(shown).keys == ["a"]
    with pytest.raises(StoreUnusable):
        next(shown)
