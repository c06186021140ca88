"""Compare `key_ranges.split` with `key_ranges.borders` as the cut of a queue range.

    PYTHONPATH=lambda .venv/bin/python scripts/devtools/cut_ranges.py [KEYS [KEYS_PER_SLICE [WORKERS]]]

Each row is one kind of keys and one way to cut. A simulated queue of ranges gives the time in slices, the ranges
processed and the listing requests of all cuts. A worker sweeps KEYS_PER_SLICE keys of a range, then cuts the rest.
"""

from __future__ import annotations

import heapq
import random
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from s3_syncer.core.key_ranges import Probe, borders, split

#: Keys of one listing response.
PAGE = 1000

#: Slices that the shortest range takes.
SHORTEST = 0.002


class Store:
    """Sorted keys, and the number of listing requests for them."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = sorted(set(keys))
        self.requests = 0

    def before(self, key: str | None) -> int:
        return len(self.keys) if key is None else bisect_right(self.keys, key)

    def look(self, after: str, until: str | None) -> Probe:
        self.requests += 1
        begin, end = self.before(after), self.before(until)
        page = self.keys[begin : min(end, begin + PAGE)]
        return Probe(tuple(page), full=len(page) == PAGE)

    def first(self, points: Sequence[str]) -> list[str | None]:
        self.requests += len(points)
        places = [self.before(point) for point in points]
        return [self.keys[place] if place < len(self.keys) else None for place in places]


Cut = Callable[[Store, str, str | None], list[str]]


def by_split(store: Store, after: str, until: str | None) -> list[str]:
    middle = split(store.look, after, until)
    return [] if middle is None else [middle]


def by_middle_border(store: Store, after: str, until: str | None) -> list[str]:
    cuts = borders(store.first, after, until)
    return [cuts[len(cuts) // 2]] if cuts else []


def by_all_borders(store: Store, after: str, until: str | None) -> list[str]:
    return borders(store.first, after, until)


CUTS: dict[str, Cut] = {"split": by_split, "borders, middle": by_middle_border, "borders, all": by_all_borders}


def spreads(number: int) -> Iterator[tuple[str, list[str]]]:
    dice = random.Random(1)  # noqa: S311

    def hexadecimal(digits: int) -> str:
        return f"{dice.getrandbits(4 * digits):0{digits}x}"

    def day() -> str:
        return f"{1 + dice.randrange(12):02}/{1 + dice.randrange(28):02}"

    every = range(number)
    yield "date paths, four years", [f"logs/{2022 + i * 4 // number}/{day()}/{hexadecimal(16)}.gz" for i in every]
    yield "date paths, one year", [f"app/logs/2026/{day()}/{hexadecimal(12)}.json" for _ in every]
    yield "UUIDs", [hexadecimal(32) for _ in every]
    yield "UUIDs below a prefix", [f"users/images/{hexadecimal(32)}" for _ in every]
    yield "numbers, 10 digits", [f"{i:010}" for i in every]
    yield "numbers, no padding", [f"item-{i}" for i in every]
    yield "one hot prefix (95 %)", [f"hot/2026/{i:09}" if i % 20 else f"{dice.choice('abcxyz')}/{i:09}" for i in every]
    yield "50 tenants, Zipf", [f"{min(49, int(dice.paretovariate(1)) - 1):02}/{hexadecimal(16)}" for _ in every]
    yield "one deep prefix", ["a/b/" * 20 + f"{i:08}" for i in every]


def migrate(store: Store, cut: Cut, slice_keys: int, workers: int) -> tuple[float, int, int]:
    """Return the slices of time, the ranges processed and the listing requests of all cuts."""
    queue: list[tuple[str, str | None]] = [("", None)]
    running: list[tuple[float, int, str | None, int, int]] = []
    now, ranges, store.requests = 0.0, 0, 0
    while queue or running:
        while queue and len(running) < workers:
            after, until = queue.pop(0)
            begin, end = store.before(after), store.before(until)
            swept, ranges = min(slice_keys, end - begin), ranges + 1
            heapq.heappush(running, (now + max(swept / slice_keys, SHORTEST), ranges, until, begin + swept, end))
        now, _, until, place, end = heapq.heappop(running)
        if place < end:
            rest = store.keys[place - 1]
            cuts = cut(store, rest, until)
            queue += zip([rest, *cuts], [*cuts, until], strict=True)
    return now, ranges, store.requests


def main(number: int = 500_000, slice_keys: int = 5_000, workers: int = 100) -> None:
    print(f"{number:,} keys, {slice_keys:,} keys a slice, {workers} workers\n")
    print("| keys | cut | parts | smallest and largest part | requests | slices | ranges | requests of all cuts |")
    print("|---|---|---|---|---|---|---|---|")
    for name, keys in spreads(number):
        store = Store(keys)
        for label, cut in CUTS.items():
            store.requests = 0
            places = [0, *map(store.before, cut(store, "", None)), len(store.keys)]
            parts = [(end - begin) / len(store.keys) for begin, end in pairwise(places)]
            figures = f"{len(parts)} | {min(parts):.1%}, {max(parts):.1%} | {store.requests}"
            slices, ranges, requests = migrate(store, cut, slice_keys, workers)
            print(f"| {name} | {label} | {figures} | {slices:.1f} | {ranges} | {requests:,} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
