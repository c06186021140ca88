"""Two listings side by side, and what may be concluded from them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from s3_syncer.compare import Row, Unordered, Verdict, join
from s3_syncer.model import Listed
from s3_syncer.sweep import PAGE_KEYS, cut

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=1)


def listed(key: str, *, size: int = 1, etag: str | None = "e", modified: datetime = NOON) -> Listed:
    return Listed(key, size, etag, modified)


def listing(keys: Iterable[str]) -> list[Listed]:
    return [listed(key) for key in keys]


@pytest.mark.parametrize("seed", range(50))
def test_every_key_comes_once_and_in_order(seed: int) -> None:
    rand = random.Random(seed)
    alphabet = "a/b é\U0001f600ﬁ~"
    keys = sorted({"".join(rand.choices(alphabet, k=rand.randint(1, 3))) for _ in range(rand.randint(0, 60))})
    left = [key for key in keys if rand.random() < 0.7]
    right = [key for key in keys if rand.random() < 0.7]

    rows = list(join(listing(left), listing(right)))

    assert [row.key for row in rows] == sorted({*left, *right})
    assert [row.key for row in rows if row.source] == left
    assert [row.key for row in rows if row.target] == right


def test_the_order_is_that_of_the_keys_bytes() -> None:
    keys = ["~", "é", "ﬁ", "\U0001f600"]  # in UTF-16, as some stores sort, the last two change places
    assert sorted(keys) == sorted(keys, key=str.encode) == keys
    assert len(list(join(listing(keys), []))) == len(keys)


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("keys", [["b", "a"], ["a", "c", "b"], ["a", "a"], ["a", "B"], ["\U0001f600", "ﬁ"]])
def test_a_listing_out_of_order_is_noticed(side: str, keys: list[str]) -> None:
    sides = (listing(keys), listing("abc")) if side == "source" else (listing("abc"), listing(keys))
    with pytest.raises(Unordered, match=re.escape(f"the {side} lists {keys[-1]!r} after {keys[-2]!r}")):
        list(join(*sides))


@pytest.mark.parametrize(
    ("source", "target", "verdict"),
    [
        (listed("k"), None, Verdict.MISSING),
        (None, listed("k"), Verdict.EXTRA),
        (listed("k"), listed("k"), Verdict.SAME),
        (listed("k"), listed("k", modified=LATER), Verdict.SAME),
        (listed("k", modified=LATER), listed("k"), Verdict.SUSPECT),  # its metadata may be new
        (listed("k", size=2), listed("k"), Verdict.SUSPECT),
        (listed("k", etag="f"), listed("k"), Verdict.SUSPECT),
        (listed("k"), listed("k", etag=None), Verdict.SUSPECT),
        (listed("k", etag=None), listed("k"), Verdict.SUSPECT),
        (listed("k", etag=None), listed("k", etag=None), Verdict.SUSPECT),  # nothing is not equal to nothing
    ],
)
def test_verdicts(source: Listed | None, target: Listed | None, verdict: Verdict) -> None:
    row = Row(source, target)
    assert (row.key, row.verdict) == ("k", verdict)


@pytest.mark.parametrize("count", [0, 1, PAGE_KEYS - 1, PAGE_KEYS, PAGE_KEYS + 1, 3 * PAGE_KEYS])
@pytest.mark.parametrize("until", [None, "z"])
def test_pages_cover_the_whole_range_and_never_overlap(count: int, until: str | None) -> None:
    keys = [f"k{number:05}" for number in range(count)]
    pages = list(cut(join(listing(keys), []), "a", until))

    assert [row.key for page in pages for row in page.rows] == keys
    assert [pages[0].after, *(page.until for page in pages)] == [*(page.after for page in pages), until]
    assert pages[0].after == "a"
    assert all(len(page.rows) <= PAGE_KEYS for page in pages)
