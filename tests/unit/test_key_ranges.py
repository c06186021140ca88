"""Cutting a range of keys: always inside it, never losing a key, and near enough to the middle to be worth it."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3_syncer.core.key_ranges import Probe, borders, split

PAGE = 50


class Store:
    """Sorted keys that list a page at a time."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = sorted(set(keys))
        self.requests = 0

    def look(self, after: str, until: str | None) -> Probe:
        self.requests += 1
        begin = bisect_right(self.keys, after)
        end = len(self.keys) if until is None else bisect_right(self.keys, until)
        page = self.keys[begin : min(end, begin + PAGE)]
        return Probe(tuple(page), full=len(page) == PAGE)

    def first(self, points: Sequence[str]) -> list[str | None]:
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


def two_heaps_far_apart(source: random.Random) -> str:
    return ("a/" if source.random() < 0.01 else "z/") + f"{source.randrange(10**6):06d}"


SPREADS = [uniform, sequential, clustered, one_deep_prefix, any_unicode, two_heaps_far_apart]


@pytest.mark.parametrize("spread", SPREADS, ids=lambda spread: spread.__name__)
def test_neither_side_of_a_cut_has_less_than_a_tenth(spread: Callable[[random.Random], str]) -> None:
    source = random.Random(7)
    store = Store(spread(source) for _ in range(10_000))
    cut = split(store.look, "", None)
    assert cut is not None
    assert 0.1 <= store.before(cut) / len(store.keys) <= 0.9


@pytest.mark.parametrize("spread", SPREADS, ids=lambda spread: spread.__name__)
def test_a_cut_costs_a_bounded_number_of_requests(spread: Callable[[random.Random], str]) -> None:
    source = random.Random(8)
    store = Store(spread(source) for _ in range(10_000))
    split(store.look, "", None)
    assert store.requests <= 250


def test_a_range_of_one_page_is_not_cut() -> None:
    assert split(Store("abc").look, "", None) is None


keys = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6), min_size=PAGE + 1, unique=True
)


@settings(max_examples=150)
@given(keys, st.data())
def test_any_cut_lies_inside_its_range_with_a_key_on_either_side(names: list[str], data: st.DataObject) -> None:
    store = Store(names)
    after = data.draw(st.sampled_from(["", *store.keys[:3]]))
    until = data.draw(st.sampled_from([None, store.keys[-1], store.keys[-2]]))
    cut = split(store.look, after, until)
    begin, end = store.before(after), len(store.keys) if until is None else store.before(until)
    if end - begin < PAGE:
        assert cut is None
    elif cut is not None:
        assert after < cut
        assert until is None or cut <= until
        assert begin < store.before(cut)


@settings(max_examples=50)
@given(keys)
def test_cutting_again_and_again_ends_with_pages_that_hold_every_key_once(names: list[str]) -> None:
    store = Store(names)
    ranges: list[tuple[str, str | None]] = [("", None)]
    found: list[str] = []
    for _ in range(10 * len(names)):
        if not ranges:
            break
        after, until = ranges.pop()
        cut = split(store.look, after, until)
        end = len(store.keys) if until is None else store.before(until)
        if cut is None or store.before(cut) >= end:  # nothing behind the cut: not worth one
            found += store.keys[store.before(after) : end]
        else:
            ranges += [(after, cut), (cut, until)]
    assert ranges == []
    assert sorted(found) == store.keys


@given(st.sets(st.text(alphabet="/ab0\u1234", max_size=6) | st.text(max_size=3), max_size=40), st.data())
@settings(max_examples=300)
def test_borders_leave_a_key_in_each_part(keys: set[str], data: st.DataObject) -> None:
    keys = {key for key in keys if key and key.isprintable()}
    ends = st.sampled_from(["", *sorted(keys)])
    after, until = data.draw(ends), data.draw(st.none() | ends)
    store = Store(keys)
    cuts = borders(store.first, after, until)
    edges = [after, *cuts, *([until] if until is not None else [])]
    if cuts:
        assert edges == sorted(set(edges))
        parts = [store.before(right) - store.before(left) for left, right in pairwise([*edges, "\U0010ffff" * 9])]
        assert all(parts[: len(cuts) + 1])


@pytest.mark.parametrize("spread", SPREADS)
def test_borders_cut_whatever_is_worth_it(spread: Callable[[random.Random], str]) -> None:
    source = random.Random(1)
    store = Store(spread(source) for _ in range(5000))
    assert borders(store.first, "", None)
    middle = store.keys[len(store.keys) // 2]
    assert borders(store.first, middle, None)
    assert borders(store.first, "", middle)
