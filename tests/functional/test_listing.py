"""What a bucket makes of the pages of a listing: the range, the order, the next page ahead. No store is asked."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from s3_syncer.bucket import Bucket
from s3_syncer.errors import StoreUnusable
from s3_syncer.join import Unordered
from s3_syncer.model import Listed, Stretch

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

#: Seconds that nothing here takes, however busy the machine is.
PATIENCE_S = 60


class Pages:
    """Pages to be had one after the other, whatever position they are asked for at."""

    def __init__(self, *pages: Sequence[str] | Exception) -> None:
        self.pages, self.asked = pages, list[Mapping[str, Any]]()
        self.all_asked = threading.Event()

    def __call__(self, position: Mapping[str, Any]) -> tuple[Stretch, str | None]:
        number = len(self.asked)
        self.asked.append(position)
        if number == len(self.pages) - 1:
            self.all_asked.set()
        page = self.pages[number]
        if isinstance(page, Exception):
            raise page
        entries = Stretch.of(Listed(key, 1, "e", NOON) for key in page)
        return entries, str(number) if number < len(self.pages) - 1 else None


def bucket(pages: Pages) -> Bucket:
    made = Bucket("bucket", "", cast(Any, None), tags=False)
    made.pages = pages
    return made


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
def test_only_what_is_of_the_range_is_shown(after: str, until: str | None, keys: str) -> None:
    assert listed(Pages("abc", "def"), after, until) == list(keys)


def test_what_lies_behind_the_range_is_not_asked_for() -> None:
    pages = Pages("abc", "def", "ghi")
    assert listed(pages, until="c") == ["a", "b", "c"]
    assert pages.asked == [{}]


def test_pages_that_come_empty_are_no_end() -> None:
    assert listed(Pages("", "a", "", "b")) == ["a", "b"]


@pytest.mark.parametrize("pages", [Pages("acb"), Pages("abc", "fed")], ids=["first page", "second page"])
def test_keys_out_of_order_are_noticed(pages: Pages) -> None:
    with pytest.raises(Unordered):
        listed(pages)


def test_keys_before_the_range_are_out_of_order() -> None:
    with pytest.raises(Unordered):
        listed(Pages("abc"), "b")


def test_in_whatever_order_every_key_of_the_range_is_shown() -> None:
    assert listed(Pages("zb", "ya", "c"), "a", "x", in_order=False) == ["b", "c"]


def test_the_first_page_is_asked_for_at_once_and_the_next_while_one_is_read() -> None:
    one = Pages("a")
    bucket(one).listing()
    assert one.all_asked.wait(PATIENCE_S)
    two = Pages("a", "b")
    assert next(bucket(two).listing()).keys == ["a"]
    assert two.all_asked.wait(PATIENCE_S)


def test_a_page_that_cannot_be_had_ends_it() -> None:
    shown = bucket(Pages("a", StoreUnusable("gone"))).listing()
    assert next(shown).keys == ["a"]
    with pytest.raises(StoreUnusable):
        next(shown)
