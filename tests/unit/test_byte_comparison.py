"""The comparison of the bytes of two objects: every range, bounded memory, and an early end."""

from __future__ import annotations

import pytest
from tests.support.in_memory_store import MemoryBucket, stored

from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.errors import Changed
from s3_syncer.sync import byte_comparison
from s3_syncer.sync.bandwidth import BandwidthLimiter
from s3_syncer.sync.byte_comparison import ByteComparer

READ = 16


@pytest.fixture(autouse=True)
def short_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_comparison, "READ_SIZE", READ)


class Buckets:
    """A source and a target with one object each."""

    def __init__(self, ours: bytes, theirs: bytes, *, memory: int = 8 * READ, threads: int = 4) -> None:
        self.source, self.target = MemoryBucket({"key": stored(ours)}), MemoryBucket({"key": stored(theirs)})
        self.comparer = ByteComparer(
            self.source, self.target, memory=memory, bandwidth=BandwidthLimiter(), threads=threads
        )

    def first_difference(self, deadline: Deadline | None = None) -> int | None:
        source, target = self.source.look("key"), self.target.look("key")
        assert source is not None
        assert target is not None
        return self.comparer.first_difference("key", source, target, deadline or Deadline())


@pytest.mark.parametrize("size", [0, 1, READ - 1, READ, READ + 1, 40 * READ, 40 * READ + 5])
def test_equal_objects_have_no_difference_and_are_read_once(size: int) -> None:
    buckets = Buckets(bytes(size), bytes(size))
    assert buckets.first_difference() is None
    assert buckets.comparer.bytes_read == 2 * size
    assert buckets.source.calls.count("read") == buckets.target.calls.count("read") == -(-size // READ)


@pytest.mark.parametrize("offset", [0, 1, READ - 1, READ, READ + 1, 20 * READ + 7, 40 * READ + 4])
def test_the_first_difference_is_found_at_its_offset(offset: int) -> None:
    ours = bytes(40 * READ + 5)
    theirs = ours[:offset] + b"\1" * (len(ours) - offset)
    assert Buckets(ours, theirs).first_difference() == offset


def test_a_difference_at_the_start_ends_the_read_early() -> None:
    buckets = Buckets(b"\1" + bytes(1000 * READ), bytes(1000 * READ + 1))
    assert buckets.first_difference() == 0
    assert buckets.source.calls.count("read") <= byte_comparison.RANGES + 4


def test_a_budget_for_one_range_is_enough() -> None:
    assert Buckets(bytes(10 * READ), bytes(10 * READ), memory=2 * READ).first_difference() is None


@pytest.mark.parametrize("side", ["source", "target"])
def test_another_object_is_not_compared(side: str) -> None:
    buckets = Buckets(bytes(3 * READ), bytes(3 * READ))
    source, target = buckets.source.look("key"), buckets.target.look("key")
    getattr(buckets, side).objects["key"] = stored(b"other" * READ)
    assert source is not None
    assert target is not None
    with pytest.raises(Changed):
        buckets.comparer.first_difference("key", source, target, Deadline())


def test_a_stop_ends_the_comparison_between_two_ranges() -> None:
    deadline = Deadline()
    buckets = Buckets(bytes(100 * READ), bytes(100 * READ), threads=1)
    buckets.source.on_call = lambda operation, key: deadline.stop() if operation == "read" else None
    with pytest.raises(OutOfTime):
        buckets.first_difference(deadline)
    assert buckets.source.calls.count("read") == 1
