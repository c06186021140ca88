"""What converging a key does in each situation and how it reports it; see also test_interleavings.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle

import pytest
from tests.support.in_memory_store import MemoryBucket, Stored, stored

from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.errors import Permanent, Retryable
from s3_syncer.core.model import INLINE_BODY_MAX, ObjectState
from s3_syncer.core.multipart import MIB
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
def test_each_situation_is_mended_and_named(source: Stored | None, target: Stored | None, outcome: Outcome) -> None:
    left, right = buckets(source, target)
    assert run(left, right) == outcome
    assert [kept.mirrored for kept in left.objects.values()] == [kept.mirrored for kept in right.objects.values()]
    wrote = set(right.calls) & {"put", "put_tags", "delete"}
    assert bool(wrote) == (outcome.action in CHANGES)


def test_equal_objects_cost_one_look_at_each_side() -> None:
    source, target = buckets(ONE, ONE)
    run(source, target)
    assert source.calls == target.calls == ["head", "tags"]


def test_a_new_object_is_looked_at_and_read_at_once() -> None:
    source, target = buckets(ONE, None)
    run(source, target)
    assert source.calls == ["take", "tags", "head", "tags"]
    assert target.calls == ["head", "put", "put_tags"]


def test_what_is_known_to_be_large_is_not_read_with_a_look() -> None:
    source, target = buckets(ONE, None)
    pair = BucketPair(source, target, Transfer(source, target, memory=MIB, threads=1))
    assert converge(pair, KEY, Deadline(), size=INLINE_BODY_MAX + 1).action == "copy"
    assert source.calls == ["head", "tags", "read", "head", "tags"]
    assert target.objects[KEY].mirrored == ONE.mirrored


def test_a_deletion_is_looked_at_again_at_once() -> None:
    source, target = buckets(None, ONE)
    run(source, target)
    assert source.calls == ["head", "take"]


def test_tags_alone_are_not_worth_a_copy() -> None:
    source, target = buckets(RETAGGED, ONE)
    run(source, target)
    assert "read" not in source.calls
    assert "put" not in target.calls


def test_with_deletes_off_the_target_keeps_what_the_source_has_lost() -> None:
    source, target = buckets(None, ONE)
    assert run(source, target, delete=False) == Outcome("kept", "deleted from the source, and deletes are off")
    assert target.objects == {KEY: ONE}


def test_only_a_sure_look_says_that_the_source_has_nothing() -> None:
    class Unsure(MemoryBucket):
        def head(self, key: str, *, confirm_missing: bool = False) -> ObjectState | None:
            assert confirm_missing, "a deletion may follow from this"
            return super().head(key)

    _, target = buckets(None, ONE)
    run(Unsure(), target)
    assert not target.objects


class Restless(MemoryBucket):
    """Becomes the next of `versions` whenever it is read."""

    versions: Iterator[Stored]

    def read(self, key: str, etag: str, start: int, size: int) -> bytearray:
        data = super().read(key, etag, start, size)
        self.objects[key] = next(self.versions, self.objects[key])
        return data

    def whole(self, key: str) -> tuple[ObjectState, bytes] | None:
        whole = super().whole(key)
        self.objects[key] = next(self.versions, self.objects[key])
        return whole


def test_a_source_that_changes_meanwhile_is_copied_again_as_it_is_then() -> None:
    source, target = Restless({KEY: ONE}), MemoryBucket()
    source.versions = iter([TWO, ONE, TWO])
    assert run(source, target) == Outcome("update", "size", 4)
    assert target.objects[KEY].mirrored == TWO.mirrored


def test_a_source_that_never_rests_goes_back_to_the_queue() -> None:
    source, target = Restless({KEY: ONE}), MemoryBucket()
    source.versions = cycle([TWO, ONE])
    with pytest.raises(Retryable, match=f"gave up after {MAX_ATTEMPTS} attempts") as failure:
        run(source, target)
    assert failure.value.code == "KeepsChanging"
    assert target.calls.count("put") == MAX_ATTEMPTS


def test_a_target_that_another_deletes_between_the_copy_and_its_tags_is_looked_at_again() -> None:
    def delete_before_the_first_tags(operation: str, key: str) -> None:
        if operation == "put_tags" and target.calls.count("put_tags") == 1:
            target.objects.clear()

    source, _ = buckets(ONE, None)
    target = MemoryBucket(on_call=delete_before_the_first_tags)
    assert run(source, target).action == "copy"
    assert target.objects[KEY].mirrored == ONE.mirrored


def test_a_failure_is_passed_on_as_it_is() -> None:
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
