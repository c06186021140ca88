"""Part plans: for every size, the parts cover the object exactly and every store accepts them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s3_syncer.core.errors import Permanent
from s3_syncer.core.multipart import DEFAULT_PART, Limits, PartPlan, check_size, own_plan, reproduce_plan
from s3_syncer.core.units import GIB, MIB, TIB
from s3_syncer.settings import SMALLEST_BUDGET

LIMITS = Limits()

#: Sizes around every limit, and any other size.
SIZES = st.one_of(
    st.integers(1, LIMITS.max_object),
    st.integers(1, 100 * MIB),
    st.builds(
        lambda parts, part, more: min(max(1, parts * part + more), LIMITS.max_object),
        st.integers(1, LIMITS.max_parts),
        st.sampled_from([LIMITS.min_part, DEFAULT_PART, GIB // 2]),
        st.integers(-1, 1),
    ),
)


def assert_exact(layout: PartPlan, size: int, limits: Limits = LIMITS) -> None:
    """Check that the parts cover the object without a gap and are within the limits."""
    end = 0
    for expected, part in enumerate(layout.parts(), 1):
        assert part.number == expected
        assert part.start == end
        assert 0 < part.size <= min(layout.part_size, limits.max_part)
        end += part.size
        if end < size:
            assert part.size == layout.part_size >= limits.min_part
    assert end == size
    assert expected == layout.count <= limits.max_parts


@given(SIZES)
@example(1)
@example(LIMITS.max_object)
@example(DEFAULT_PART * LIMITS.max_parts)
@example(DEFAULT_PART * LIMITS.max_parts + 1)
def test_an_own_part_plan_fits_every_object_that_the_target_accepts(size: int) -> None:
    layout = own_plan(size, largest_part=LIMITS.max_part, limits=LIMITS)
    assert_exact(layout, size)


@given(SIZES, st.integers(SMALLEST_BUDGET, 8 * GIB))
def test_no_part_is_larger_than_memory_allows(size: int, memory: int) -> None:
    try:
        layout = own_plan(size, largest_part=memory, limits=LIMITS)
    except Permanent:
        assert size > LIMITS.max_parts * (memory - MIB)
    else:
        assert layout.part_size <= memory
        assert_exact(layout, size)


@given(SIZES, st.integers(1, 100), st.integers(1, 100), st.integers(1, 10_000))
def test_an_own_part_plan_keeps_to_other_limits(size: int, min_mb: int, above_mb: int, parts: int) -> None:
    limits = Limits(min_part=min_mb * MIB, max_part=(min_mb + above_mb) * MIB, max_parts=parts)
    try:
        layout = own_plan(size, largest_part=8 * GIB, limits=limits)
    except Permanent:
        assert size > parts * (limits.max_part - MIB)
    else:
        assert limits.min_part <= layout.part_size <= limits.max_part
        assert_exact(layout, size, limits)


def test_an_object_beyond_the_limit_fails_permanently() -> None:
    with pytest.raises(Permanent, match="takes at most 5497558138880") as refusal:
        check_size(5 * TIB + 1, LIMITS)
    assert refusal.value.code == "EntityTooLarge"


def test_an_object_that_needs_more_memory_fails_with_the_reason() -> None:
    with pytest.raises(Permanent, match="give the worker more memory") as refusal:
        own_plan(5 * TIB, largest_part=SMALLEST_BUDGET, limits=LIMITS)
    assert refusal.value.code == "MemoryTooSmall"


@given(SIZES, st.integers(LIMITS.min_part, 600 * MIB))
def test_a_part_plan_is_reproduced_from_its_part_count_and_first_part(size: int, part_size: int) -> None:
    source = PartPlan(size, part_size)
    first = next(source.parts()).size
    copied = reproduce_plan(size, source.count, first, largest_part=GIB, limits=LIMITS)
    if source.count > LIMITS.max_parts:
        assert copied is None
    else:
        assert copied is not None
        assert_exact(copied, size)
        assert [part.size for part in copied.parts()] == [part.size for part in source.parts()]


@given(SIZES, st.integers(-1, 20_000), st.integers(-1, 5 * GIB))
def test_a_reproduced_part_plan_has_the_part_count_of_the_source(size: int, count: int, first: int) -> None:
    copied = reproduce_plan(size, count, first, largest_part=GIB, limits=LIMITS)
    if copied is not None:
        assert copied.count == count
        assert next(copied.parts()).size == min(first, size)
        assert_exact(copied, size)


@pytest.mark.parametrize(
    ("size", "count", "first"),
    [
        pytest.param(20 * MIB, 2, 8 * MIB, id="more parts than told"),
        pytest.param(20 * MIB, 4, 8 * MIB, id="fewer parts than told"),
        pytest.param(20 * MIB, 5, 4 * MIB, id="parts too small for the target"),
        pytest.param(8 * GIB, 2, 4 * GIB, id="parts larger than memory"),
        pytest.param(10_001 * 5 * MIB, 10_001, 5 * MIB, id="too many parts"),
        pytest.param(20 * MIB, 1, 0, id="an empty first part"),
    ],
)
def test_a_part_plan_that_the_target_cannot_take_is_not_reproduced(size: int, count: int, first: int) -> None:
    assert reproduce_plan(size, count, first, largest_part=GIB, limits=LIMITS) is None


def test_a_single_part_may_have_any_size() -> None:
    layout = reproduce_plan(7, 1, 7, largest_part=GIB, limits=LIMITS)
    assert layout is not None
    assert [part.size for part in layout.parts()] == [7]
