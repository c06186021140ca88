"""Cuts of a range of keys: inside the range, with a key in each part, and for few requests."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3_syncer.core.key_ranges import borders


class SortedKeys:
    """Sorted keys, and the number of requests for the first key behind a point."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = sorted(set(keys))
        self.requests = 0

    def first(self, points: Sequence[str]) -> list[str | None]:
        self.requests += len(points)
        places = [bisect_right(self.keys, point) for point in points]
        return [self.keys[place] if place < len(self.keys) else None for place in places]

    def before(self, key: str) -> int:
        return bisect_right(self.keys, key)


def uniform(source: random.Random) -> str:
    return f"{source.getrandbits(128):032x}"


def sequential(source: random.Random) -> str:
    return f"logs/2026/{source.randrange(10**9):09d}"


def clustered(source: random.Random) -> str:
    return f"{source.choice('abc')}/{source.choice(['raw', 'done'])}/{source.randrange(10**8):08d}"


def one_deep_prefix(source: random.Random) -> str:
    return "same/" * 20 + f"{source.randrange(10**7):07d}"


def any_unicode(source: random.Random) -> str:
    return "".join(
        chr(source.choice([source.randrange(32, 0xD800), source.randrange(0xE000, 0x110000)])) for _ in "12345"
    )


def two_prefixes_far_apart(source: random.Random) -> str:
    return ("a/" if source.random() < 0.01 else "z/") + f"{source.randrange(10**6):06d}"


def chinese_names(source: random.Random) -> str:
    return "photos/" + "".join(chr(source.randrange(0x4E00, 0xA000)) for _ in "123") + ".jpg"


SPREADS = [uniform, sequential, clustered, one_deep_prefix, any_unicode, chinese_names, two_prefixes_far_apart]


@pytest.mark.parametrize("spread", SPREADS, ids=lambda spread: spread.__name__)
def test_a_large_range_is_cut(spread: Callable[[random.Random], str]) -> None:
    source = random.Random(1)
    store = SortedKeys(spread(source) for _ in range(5000))
    assert borders(store.first, "", None)
    middle = store.keys[len(store.keys) // 2]
    assert borders(store.first, middle, None)
    assert borders(store.first, "", middle)


@pytest.mark.parametrize("spread", SPREADS, ids=lambda spread: spread.__name__)
def test_a_cut_takes_few_requests(spread: Callable[[random.Random], str]) -> None:
    source = random.Random(8)
    store = SortedKeys(spread(source) for _ in range(10_000))
    borders(store.first, "", None)
    assert store.requests <= 60


@pytest.mark.parametrize("spread", SPREADS, ids=lambda spread: spread.__name__)
def test_repeated_cuts_lead_to_small_parts(spread: Callable[[random.Random], str]) -> None:
    """Large parts are cut again until all parts are small: the number of cuts stays small."""
    source = random.Random(9)
    store = SortedKeys(spread(source) for _ in range(10_000))
    ranges: list[tuple[str, str | None]] = [("", None)]
    cuts = 0
    while ranges:
        after, until = ranges.pop()
        end = len(store.keys) if until is None else store.before(until)
        if end - store.before(after) <= len(store.keys) / 20:
            continue
        found = borders(store.first, after, until)
        assert found
        cuts += 1
        ranges += zip([after, *found], [*found, until], strict=True)
    assert cuts <= 40


@pytest.mark.parametrize("keys", [[], ["a"], ["same"]])
def test_a_range_with_fewer_than_two_keys_is_not_cut(keys: list[str]) -> None:
    assert borders(SortedKeys(keys).first, "", None) == []


@given(st.sets(st.text(alphabet="/ab0\u1234", max_size=6) | st.text(max_size=3), max_size=40), st.data())
@settings(max_examples=300)
def test_each_part_has_a_key(keys: set[str], data: st.DataObject) -> None:
    keys = {key for key in keys if key and key.isprintable()}
    ends = st.sampled_from(["", *sorted(keys)])
    after, until = data.draw(ends), data.draw(st.none() | ends)
    store = SortedKeys(keys)
    cuts = borders(store.first, after, until)
    edges = [after, *cuts, *([until] if until is not None else [])]
    if cuts:
        assert edges == sorted(set(edges))
        parts = [store.before(right) - store.before(left) for left, right in pairwise([*edges, "\U0010ffff" * 9])]
        assert all(parts[: len(cuts) + 1])


@given(st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6), min_size=2, max_size=60))
@settings(max_examples=100)
def test_repeated_cuts_end_with_parts_that_hold_every_key_once(keys: set[str]) -> None:
    store = SortedKeys(keys)
    ranges: list[tuple[str, str | None]] = [("", None)]
    found: list[str] = []
    for _ in range(10 * len(keys)):
        if not ranges:
            break
        after, until = ranges.pop()
        cuts = borders(store.first, after, until)
        ranges += list(zip([after, *cuts], [*cuts, until], strict=True)) if cuts else []
        if not cuts:
            end = len(store.keys) if until is None else store.before(until)
            found += store.keys[store.before(after) : end]
    assert ranges == []
    assert sorted(found) == store.keys


@given(st.sets(st.text("abc", min_size=1, max_size=4), min_size=2), st.text("abc", max_size=4), st.randoms())
@settings(max_examples=500)
def test_a_store_without_order_breaks_no_cut(keys: set[str], after: str, dice: random.Random) -> None:
    """The listing of the range detects the disorder.

    Seen to fail with IndexError without the check of the length.
    """

    def first(points: Sequence[str]) -> list[str | None]:
        return [dice.choice([None, *sorted(key for key in keys if key > point)]) for point in points]

    cuts = borders(first, after, None)
    assert cuts == sorted(cuts)
