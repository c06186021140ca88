"""The convergence of one key: writes and outcomes. See also test_interleavings.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle

import pytest
from tests.support.in_memory_store import MemoryBucket, Stored, stored

from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.errors import Permanent, Retryable
from s3_syncer.core.model import INLINE_BODY_MAX, ObjectState
from s3_syncer.core.units import MIB
from s3_syncer.sync.converge import CHANGES, MAX_ATTEMPTS, BucketPair, Outcome, converge
from s3_syncer.sync.transfer import Transfer

KEY = "key"
ONE, TWO = stored(b"one", tags={"colour": "red"}), stored(b"twoo")
RETAGGED = replace(ONE, tags={"colour": "blue"})


def buckets(source: Stored | None, target: Stored | None) -> tuple[MemoryBucket, MemoryBucket]:
    return MemoryBucket({KEY: source} if source else {}), MemoryBucket({KEY: target} if target else {})


def run(
    source: MemoryBucket, target: MemoryBucket, *, delete: bool = True, deadline: Deadline | None = None
) -> Outcome:
    pair = BucketPair(source, target, Transfer(source, target, memory=MIB, threads=1), delete=delete)
    return converge(pair, KEY, deadline or Deadline())


@pytest.mark.parametrize(
    ("source", "target", "outcome"),
    [
        (None, None, Outcome("unchanged", "absent on both sides")),
        (ONE, ONE, Outcome("unchanged", "equal")),
        (ONE, None, Outcome("copy", "absent from the target", 3)),
        (None, ONE, Outcome("delete", "absent from the source")),
        (TWO, ONE, Outcome("update", "size", 4)),
        (RETAGGED, ONE, Outcome("tags", "tags")),
    ],
)
def test_each_difference_is_removed_and_reported(
    source: Stored | None, target: Stored | None, outcome: Outcome
) -> None:
    left, right = buckets(source, target)
    assert run(left, right) == outcome
    assert [kept.mirrored for kept in left.objects.values()] == [kept.mirrored for kept in right.objects.values()]
    wrote = set(right.calls) & {"put", "put_tags", "delete"}
    assert bool(wrote) == (outcome.action in CHANGES)


def test_equal_objects_cost_one_head_on_each_side() -> None:
    source, target = buckets(ONE, ONE)
    run(source, target)
    assert source.calls == target.calls == ["head", "tags"]


def test_a_new_object_is_compared_and_read_in_one_request() -> None:
    source, target = buckets(ONE, None)
    run(source, target)
    assert source.calls == ["take", "tags", "head", "tags"]
    assert target.calls == ["head", "put", "put_tags"]


def test_a_large_object_is_compared_without_its_body() -> None:
    source, target = buckets(ONE, None)
    pair = BucketPair(source, target, Transfer(source, target, memory=MIB, threads=1))
    assert converge(pair, KEY, Deadline(), size=INLINE_BODY_MAX + 1).action == "copy"
    assert source.calls == ["head", "tags", "read", "head", "tags"]
    assert target.objects[KEY].mirrored == ONE.mirrored


def test_a_deletion_is_compared_again_at_once() -> None:
    source, target = buckets(None, ONE)
    run(source, target)
    assert source.calls == ["head", "take"]


def test_tags_alone_are_not_worth_a_copy() -> None:
    source, target = buckets(RETAGGED, ONE)
    run(source, target)
    assert "read" not in source.calls
    assert "put" not in target.calls


def test_with_deletes_off_the_target_keeps_a_key_deleted_from_the_source() -> None:
    source, target = buckets(None, ONE)
    assert run(source, target, delete=False) == Outcome("kept", "deleted from the source, and deletes are off")
    assert target.objects == {KEY: ONE}


def test_a_missing_source_is_confirmed() -> None:
    class Unsure(MemoryBucket):
        def head(self, key: str, *, confirm_missing: bool = False) -> ObjectState | None:
            assert confirm_missing, "a deletion may follow"
            return super().head(key)

    _, target = buckets(None, ONE)
    run(Unsure(), target)
    assert not target.objects


class Restless(MemoryBucket):
    """A bucket with an object that becomes the next of `versions` at each read."""

    versions: Iterator[Stored]

    def read(self, key: str, etag: str, start: int, size: int) -> bytearray:
        data = super().read(key, etag, start, size)
        self.objects[key] = next(self.versions, self.objects[key])
        return data

    def whole(self, key: str) -> tuple[ObjectState, bytes] | None:
        whole = super().whole(key)
        self.objects[key] = next(self.versions, self.objects[key])
        return whole


def test_a_source_that_changes_during_the_copy_is_copied_again() -> None:
    source, target = Restless({KEY: ONE}), MemoryBucket()
    source.versions = iter([TWO, ONE, TWO])
    assert run(source, target) == Outcome("update", "size", 4)
    assert target.objects[KEY].mirrored == TWO.mirrored


def test_a_source_that_keeps_changing_goes_back_to_the_queue() -> None:
    source, target = Restless({KEY: ONE}), MemoryBucket()
    source.versions = cycle([TWO, ONE])
    with pytest.raises(Retryable, match=f"gave up after {MAX_ATTEMPTS} attempts") as failure:
        run(source, target)
    assert failure.value.code == "KeepsChanging"
    assert target.calls.count("put") == MAX_ATTEMPTS


def test_a_target_deleted_between_the_copy_and_its_tags_is_compared_again() -> None:
    def delete_before_the_first_tags(operation: str, key: str) -> None:
        if operation == "put_tags" and target.calls.count("put_tags") == 1:
            target.objects.clear()

    source, _ = buckets(ONE, None)
    target = MemoryBucket(on_call=delete_before_the_first_tags)
    assert run(source, target).action == "copy"
    assert target.objects[KEY].mirrored == ONE.mirrored


def test_an_error_is_raised_unchanged() -> None:
    error = Permanent("access denied", "AccessDenied")

    def refuse(operation: str, key: str) -> None:
        raise error

    source, target = buckets(ONE, None)
    source.on_call = refuse
    with pytest.raises(Permanent) as failure:
        run(source, target)
    assert failure.value is error
    assert target.calls == ["head"]


def test_past_the_deadline_nothing_is_written() -> None:
    source, target = buckets(ONE, None)
    with pytest.raises(OutOfTime):
        run(source, target, deadline=Deadline.after(-1))
    assert target.calls == []
