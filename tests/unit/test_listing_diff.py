"""Two listings merged by key, and the status of each key."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from s3_syncer.core import listing_diff as join_module
from s3_syncer.core.compare import KeyDiff, KeyStatus
from s3_syncer.core.listing_diff import PAGE_KEYS, DiffPage, Unordered, merge_listings
from s3_syncer.core.model import Archive, KeyPage, ListEntry

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=1)


def listed(key: str, *, size: int = 1, etag: str | None = "e", modified: datetime = NOON) -> ListEntry:
    return ListEntry(key, size, etag, modified)


def listing(keys: Iterable[str]) -> list[KeyPage]:
    return [KeyPage.of(listed(key) for key in keys)]


def in_pieces(entries: Sequence[ListEntry], rand: random.Random) -> Iterator[KeyPage]:
    """Yield a listing in pages of any length, some of them empty."""
    start = 0
    while start < len(entries):
        end = start + rand.randint(0, 7)
        yield KeyPage.of(entries[start:end])
        start = end


def rows_of(pages: Iterable[DiffPage]) -> list[KeyDiff]:
    return [row for page in pages for row in page.diffs]


ALPHABET = "a/b é\U0001f600ﬁ~"


def some_keys(rand: random.Random) -> list[str]:
    return sorted({"".join(rand.choices(ALPHABET, k=rand.randint(1, 3))) for _ in range(rand.randint(0, 60))})


@pytest.mark.parametrize("seed", range(50))
def test_every_key_comes_once_and_in_order(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rand = random.Random(seed)
    monkeypatch.setattr(join_module, "PAGE_KEYS", rand.choice([1, 4, 1000]))
    keys = some_keys(rand)
    left = [key for key in keys if rand.random() < 0.7]
    right = [key for key in keys if rand.random() < 0.7]

    rows = rows_of(merge_listings(listing(left), listing(right)))

    assert [row.key for row in rows] == sorted({*left, *right})
    assert [row.key for row in rows if row.source] == left
    assert [row.key for row in rows if row.target] == right


@pytest.mark.parametrize("seed", range(200))
def test_the_keys_left_out_are_those_in_sync(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rand = random.Random(seed)
    monkeypatch.setattr(join_module, "PAGE_KEYS", rand.choice([1, 3, 5, 1000]))
    drift = rand.choice([0, 0.01, 0.1])  # with a small drift some pages have none

    def drifted(entry: ListEntry) -> Iterator[ListEntry]:
        changes: dict[str, Any] = {"size": 2, "etag": rand.choice(["f", None]), "modified": NOON - timedelta(seconds=1)}
        if rand.random() >= drift:
            yield entry
        elif rand.random() < 0.8:
            name = rand.choice(list(changes))
            yield listed(entry.key, **{name: changes[name]})

    source = [listed(key, etag=None if rand.random() < drift / 4 else "e") for key in some_keys(rand)]
    target = [other for entry in source for other in drifted(entry)]
    target += [listed(f"\U0001ffff{number}") for number in range(3) if rand.random() < drift]

    def pages(*, every: bool) -> list[DiffPage]:
        return list(merge_listings(in_pieces(source, rand), in_pieces(target, rand), every=every))

    full, short = pages(every=True), pages(every=False)
    assert rows_of(short) == [row for row in rows_of(full) if row.status is not KeyStatus.IN_SYNC]
    assert [(page.after, page.until, page.keys) for page in short] == [
        (page.after, page.until, page.keys) for page in full
    ]
    assert [page.keys for page in full] == [len(page.diffs) for page in full]
    for page in full:
        for side in ([row for row in page.diffs if row.source], [row for row in page.diffs if row.target]):
            assert len(side) <= join_module.PAGE_KEYS, "to list the page again takes one request"


def test_the_order_is_that_of_the_keys_bytes() -> None:
    keys = ["~", "é", "ﬁ", "\U0001f600"]  # in UTF-16, the order of some stores, the last two are swapped
    assert sorted(keys) == sorted(keys, key=str.encode) == keys
    assert len(rows_of(merge_listings(listing(keys), []))) == len(keys)


def test_a_key_that_no_request_can_name_comes_once_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cursor then forgets it. Otherwise the rest of a long listing would grow with each page."""
    monkeypatch.setattr(join_module, "PAGE_KEYS", 2)
    odd = [f"k{number}\udc80" for number in range(9)]
    pages = [
        KeyPage.of([listed(key[:2]), listed(f"{key[:2]}!"), listed(key), listed(f"{key[:2]}\U0001f600")]) for key in odd
    ]
    pages = [page.with_unnameable_apart() for page in pages]
    found = list(merge_listings(pages, pages))
    assert [diff.key for page in found for diff in page.unnameable] == odd
    assert all(page.after < diff.key <= (page.until or "l") for page in found for diff in page.unnameable)
    cursor = join_module._ListingCursor(pages, "source")
    while (end := cursor.page_end()) is not None:
        cursor.take(end)
        assert len(cursor._read.unnameable) <= 1


def test_the_rest_of_a_listing_has_only_its_own_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would grow with each page."""
    monkeypatch.setattr(join_module, "PAGE_KEYS", 2)
    names = [f"k{number}{letter}" for number in range(9) for letter in "abc"]
    archived = [replace(listed(name), archive=Archive("GLACIER")) for name in names]
    pages = [KeyPage.of(archived[start : start + 3]) for start in range(0, len(archived), 3)]
    cursor, taken = join_module._ListingCursor(pages, "source"), list[ListEntry]()
    while (end := cursor.page_end()) is not None:
        taken += cursor.take(end)
        assert cursor._read.archives.keys() == set(cursor._read.keys)
    taken += cursor.take(None)
    assert [entry.archive for entry in taken] == [Archive("GLACIER")] * len(names)


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("in_one", [True, False])
@pytest.mark.parametrize("keys", [["b", "a"], ["a", "c", "b"], ["a", "a"], ["a", "B"], ["\U0001f600", "ﬁ"]])
def test_a_listing_out_of_order_is_detected(side: str, in_one: bool, keys: list[str]) -> None:
    wrong = listing(keys) if in_one else [stretch for key in keys for stretch in listing([key])]
    sides = (wrong, listing("abc")) if side == "source" else (listing("abc"), wrong)
    with pytest.raises(Unordered, match=re.escape(f"the {side} lists {keys[-1]!r} after {keys[-2]!r}")):
        list(merge_listings(*sides))


@pytest.mark.parametrize(
    ("source", "target", "status"),
    [
        (listed("k"), None, KeyStatus.SOURCE_ONLY),
        (None, listed("k"), KeyStatus.TARGET_ONLY),
        (listed("k"), listed("k"), KeyStatus.IN_SYNC),
        (listed("k"), listed("k", modified=LATER), KeyStatus.IN_SYNC),
        (listed("k", modified=LATER), listed("k"), KeyStatus.CHECK),  # its metadata may have changed
        (listed("k", size=2), listed("k"), KeyStatus.CHECK),
        (listed("k", etag="f"), listed("k"), KeyStatus.CHECK),
        (listed("k"), listed("k", etag=None), KeyStatus.CHECK),
        (listed("k", etag=None), listed("k"), KeyStatus.CHECK),
        (listed("k", etag=None), listed("k", etag=None), KeyStatus.CHECK),  # a missing ETag proves nothing
    ],
)
def test_the_status_of_a_key(source: ListEntry | None, target: ListEntry | None, status: KeyStatus) -> None:
    row = KeyDiff(source, target)
    assert (row.key, row.status) == ("k", status)


@pytest.mark.parametrize("count", [0, 1, PAGE_KEYS - 1, PAGE_KEYS, PAGE_KEYS + 1, 3 * PAGE_KEYS])
@pytest.mark.parametrize("until", [None, "z"])
def test_pages_cover_the_whole_range_and_never_overlap(count: int, until: str | None) -> None:
    keys = [f"k{number:05}" for number in range(count)]
    pages = list(merge_listings(listing(keys), [], after="a", until=until))

    assert [row.key for row in rows_of(pages)] == keys
    assert [pages[0].after, *(page.until for page in pages)] == [*(page.after for page in pages), until]
    assert pages[0].after == "a"
    assert all(len(page.diffs) <= PAGE_KEYS for page in pages)
