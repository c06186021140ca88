"""The classes of sizes that a sweep copies one after the other."""

from __future__ import annotations

import pytest

from s3_syncer.core.size_order import BOUNDS, ORDERS, Order, first_passes
from s3_syncer.core.units import GIB, MIB

SIZES = [0, 1, MIB - 1, MIB, MIB + 1, 64 * MIB - 1, 64 * MIB, 4 * GIB - 1, 4 * GIB, 5000 * GIB]


def test_an_order_by_key_has_no_pass_before_the_last_one() -> None:
    assert first_passes("key") == ()


@pytest.mark.parametrize("order", [order for order in ORDERS if order != "key"])
def test_a_size_is_in_one_pass_at_most_and_one_class_is_left_to_the_last_pass(order: Order) -> None:
    passes = first_passes(order)
    assert len(passes) == len(BOUNDS)
    assert all(sum(size in each for each in passes) <= 1 for size in SIZES)
    left = [size for size in SIZES if not any(size in each for each in passes)]
    assert left == (SIZES[-2:] if order == "size" else SIZES[:3])


@pytest.mark.parametrize("order", ["size", "size-desc"])
def test_the_passes_are_in_the_order_of_the_sizes(order: Order) -> None:
    def place(size: int) -> int:
        return next((number for number, each in enumerate(first_passes(order)) if size in each), len(BOUNDS))

    places = [place(size) for size in SIZES]
    assert places == sorted(places, reverse=order == "size-desc")
    assert set(places) == {0, 1, 2, 3}


def test_a_pass_is_described_by_its_sizes() -> None:
    assert [str(each) for each in first_passes("size-desc")] == [
        "objects of at least 4GiB",
        "objects of at least 64MiB and less than 4GiB",
        "objects of at least 1MiB and less than 64MiB",
    ]
    assert str(first_passes("size")[0]) == "objects of less than 1MiB"
