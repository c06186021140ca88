"""Distributed copies: the division of large objects, the parts sent, and the end of failed uploads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.support.in_memory_store import MemoryBucket, Stored, md5_etag, md5_hex, opaque_etag, stored

from s3_syncer.core import multipart as layout_module
from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.errors import Permanent, Retryable, StoreUnusable
from s3_syncer.core.model import ObjectState
from s3_syncer.core.multipart import Limits, PartPlan, contiguous_runs
from s3_syncer.core.units import GIB, MIB, TIB
from s3_syncer.core.upload_history import UploadHistory
from s3_syncer.core.work_items import KeyWork, PartsWork, Work
from s3_syncer.sync import distributed_copy as parts_module
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.distributed_copy import ITEM_SIZE, MAX_ITEMS, RECHECK_MIN_S, DistributedCopier
from s3_syncer.sync.transfer import Transfer
from s3_syncer.sync.upload_decision import ABANDONED_AFTER_S, MAX_UPLOAD_ATTEMPTS

KEY = "large"
PREFIX = "photos/"
OBJECT = stored(b"aaa", b"bbb", b"ccc", b"d", metadata={"by": "a"})


class Bench:
    """Two buckets in memory and a distributed copier; items are processed one by one, as from a queue."""

    def __init__(self, original: Stored | None = OBJECT, **options: Any) -> None:
        self.source = MemoryBucket({KEY: original} if original else {})
        self.target = MemoryBucket(**options)
        transfer = Transfer(self.source, self.target, memory=MIB, threads=1, limits=Limits(min_part=2))
        self.pair = BucketPair(self.source, self.target, transfer)
        self.parts = DistributedCopier(self.source, self.target, transfer, prefix=PREFIX, threshold=4)

    def begin(self, uploads: UploadHistory | None = None, *, redelivered: bool = False) -> Sequence[Work]:
        outcome = self.parts.converge(self.pair, KEY, Deadline(), uploads=uploads, redelivered=redelivered)
        assert outcome.action in ("multipart", "unchanged", "copy", "update", "tags", "delete")
        return outcome.more

    def items(self) -> list[PartsWork]:
        *items, watch = self.begin()
        assert watch == recheck(attempts=1)
        assert all(isinstance(item, PartsWork) for item in items)
        return [item for item in items if isinstance(item, PartsWork)]

    def do(self, item: PartsWork, deadline: Deadline | None = None) -> Sequence[Work]:
        return self.parts.process_item(item, deadline or Deadline())


class AnyText(str):
    """A text that equals every other, for the fields of a history that name uploads and versions."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str)

    __hash__ = str.__hash__


def recheck(attempts: int = 0, waited_s: int = 0) -> KeyWork:
    """Return the recheck after so many uploads, and so many seconds without a change."""
    delay_s = max(RECHECK_MIN_S, waited_s)
    history = UploadHistory(attempts, seen=AnyText(), waited_s=waited_s + delay_s, counted=AnyText(), etag=AnyText())
    return KeyWork((PREFIX + KEY,), delay_s=delay_s, uploads=history)


def history_of(work: Work) -> UploadHistory:
    assert isinstance(work, KeyWork)
    assert work.uploads is not None
    return work.uploads


LOOK = [KeyWork((PREFIX + KEY,), uploads=UploadHistory(1, counted=AnyText(), etag=AnyText()))]


@pytest.fixture(autouse=True)
def an_item_for_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "ITEM_SIZE", 3)
    monkeypatch.setattr(layout_module, "OWN_PLAN_OFFSET", 4)


# -- without errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "backwards"])
def test_the_item_that_sends_the_last_part_completes_the_upload_and_rechecks_the_key(order: int) -> None:
    bench = Bench()
    items = bench.items()[::order]
    assert [bench.do(item) for item in items] == [[], [], LOOK]
    assert bench.target.objects[KEY].mirrored == OBJECT.mirrored
    assert bench.target.objects[KEY].etag == OBJECT.etag
    assert not bench.target.under_way
    assert bench.begin() == ()


def test_an_object_up_to_the_threshold_is_copied_at_once() -> None:
    bench = Bench(stored(b"abcd"))
    assert bench.begin() == ()
    assert bench.target.objects[KEY].body == b"abcd"


def test_a_part_that_is_requested_twice_is_sent_once() -> None:
    bench = Bench()
    first, *_ = bench.items()
    for _ in range(2):
        assert bench.do(first) == []
    assert bench.target.calls.count("upload_part") == 2, "the last part is sent with the creation of the upload"


def test_an_item_without_its_upload_is_done() -> None:
    bench = Bench()
    items = bench.items()
    bench.target.abort_upload(KEY, items[0].upload)
    assert [bench.do(item) for item in items] == [[], [], []]


def test_tags_follow_with_the_recheck_of_the_key() -> None:
    bench = Bench(stored(b"aaa", b"bb", tags={"colour": "red"}))
    for item in bench.items():
        bench.do(item)
    assert bench.begin() == ()
    assert bench.target.objects[KEY].tags == {"colour": "red"}


# -- dividing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "part_size"), [(2 * GIB, 16 * MIB), (5 * TIB, 525 * MIB), (100 * GIB, 8 * MIB), (GIB + 1, 64 * MIB)]
)
def test_items_cover_all_parts_and_have_about_the_same_size(
    size: int, part_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "ITEM_SIZE", ITEM_SIZE)
    layout = PartPlan(size, part_size)
    state = ObjectState(size, "e", Bench().source.objects[KEY].look().last_modified)
    items = list(parts_module._items(KEY, state, layout, "u", range(1, layout.count + 1), 1))
    assert [number for item in items for number in range(item.first, item.last + 1)] == [*range(1, layout.count + 1)]
    assert len(items) <= 2 * MAX_ITEMS
    whole = items[:-1]
    assert all((item.last - item.first + 1) * part_size > min(ITEM_SIZE, size / MAX_ITEMS) / 2 for item in whole)
    assert size < 2 * GIB or len(items) >= 10


def test_runs_do_not_bridge_gaps() -> None:
    assert list(contiguous_runs([1, 2, 3, 5, 7, 8, 9, 10], 3)) == [(1, 3), (5, 5), (7, 9), (10, 10)]
    assert list(contiguous_runs([], 3)) == []


# -- other workers -----------------------------------------------------------------------------------------------------


def test_a_second_message_leaves_an_active_upload_alone() -> None:
    bench = Bench()
    bench.items()
    assert bench.begin() == (recheck(),)
    assert len(bench.target.under_way) == 1


def test_an_abandoned_upload_of_the_same_object_is_continued() -> None:
    bench = Bench()
    items = bench.items()
    bench.do(items[1])
    bench.target.age_s = ABANDONED_AFTER_S
    *again, watch = bench.begin(UploadHistory(1))
    assert [replace(item, uploads=items[0].uploads) for item in again if isinstance(item, PartsWork)] == [
        items[0],
        items[2],
    ]
    assert watch == recheck(attempts=1)


def test_an_abandoned_upload_of_another_object_is_aborted() -> None:
    bench = Bench()
    first, *_ = bench.items()
    bench.do(first)
    bench.target.age_s = ABANDONED_AFTER_S
    bench.source.objects[KEY] = stored(b"zzz", b"yyy", b"xxx", b"w")
    *again, _ = bench.begin(UploadHistory(1))
    assert {item.upload for item in again if isinstance(item, PartsWork)} == {"upload-2"}
    assert [*bench.target.under_way] == ["upload-2"]


def test_the_upload_of_a_deleted_key_is_aborted_and_the_key_is_checked_once_more() -> None:
    """Each message of the key once checked it every 30 s for an hour, until the upload was abandoned."""
    bench = Bench()
    first, *_ = bench.items()
    del bench.source.objects[KEY]
    assert bench.begin(UploadHistory(1)) == (recheck(attempts=1),)
    assert not bench.target.under_way
    assert bench.begin(UploadHistory(1)) == ()
    assert bench.do(first) == []


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "original", [OBJECT, stored(b"aaaa", b"bbbb", b"cccc", b"d")], ids=["any plan", "like our own"]
)
def test_parts_with_other_bytes_are_never_completed(original: Stored, number: int) -> None:
    bench = Bench(original)
    items = bench.items()
    for item in items[:-1]:
        bench.do(item)
    parts = bench.target.under_way[items[0].upload][1]
    parts[3] = original.body[2 * original.part_sizes[0] : 3 * original.part_sizes[0]]
    parts[number] = b"z" * len(parts[number])
    (check,) = bench.do(items[-1])
    assert (bench.target.objects, bench.target.under_way) == ({}, {})
    failed = UploadHistory(
        1, failure="the parts of the upload do not give the source's ETag", counted=AnyText(), etag=AnyText()
    )
    assert history_of(check) == failed, "the plan is the source's, so the bytes were wrong"
    *_, watch = bench.begin(history_of(check))
    assert history_of(watch).attempts == 2, "each upload is counted"


def test_if_part_etags_are_no_md5s_an_abandoned_upload_is_not_continued() -> None:
    bench = Bench(etag=opaque_etag)
    items = bench.items()
    bench.do(items[0])
    bench.target.age_s = ABANDONED_AFTER_S
    *again, _ = bench.begin(UploadHistory(1))
    assert len(again) == 3
    (check,) = [bench.do(item) for item in again if isinstance(item, PartsWork)][-1]
    assert check == KeyWork(
        (PREFIX + KEY,), uploads=UploadHistory(2, seen=AnyText(), counted=AnyText(), etag=AnyText())
    )
    assert bench.target.objects[KEY].mirrored == OBJECT.mirrored


def test_of_two_uploads_created_at_the_same_time_the_first_continues() -> None:
    bench = Bench()
    create = bench.target.create_upload

    def create_second(key: str, state: ObjectState, marker: str | None) -> str:
        create(key, state, marker)
        return create(key, state, marker)

    bench.target.create_upload = create_second  # type: ignore[method-assign]
    assert bench.begin() == (recheck(),)
    assert [*bench.target.under_way] == ["upload-1"]


def test_the_upload_of_a_lost_message_is_aborted_if_its_key_is_equal() -> None:
    bench = Bench()
    bench.items()
    bench.target.objects[KEY] = OBJECT
    assert bench.begin(redelivered=True) == (recheck(),), "another worker may be active"
    bench.target.age_s = ABANDONED_AFTER_S
    assert bench.begin(UploadHistory()) == (recheck(),)
    assert not bench.target.under_way
    assert bench.begin(UploadHistory()) == ()


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", [None, stored(b"aaa", b"bbb", b"zzz", b"d"), stored(b"small")])
def test_a_changed_source_aborts_the_upload_and_rechecks_the_key(now: Stored | None) -> None:
    bench = Bench()
    items = bench.items()
    bench.do(items[0])
    bench.source.objects.pop(KEY)
    if now:
        bench.source.objects[KEY] = now
    assert bench.do(items[1]) == [KeyWork((PREFIX + KEY,), uploads=items[1].uploads)]
    assert not bench.target.under_way
    assert bench.do(items[2]) == [], "one recheck is enough"


def test_after_another_change_the_recheck_of_the_upload_copies_the_next_version() -> None:
    bench = Bench()
    *items, watch = bench.begin(UploadHistory(1, etag="the version before"))
    bench.source.objects[KEY] = stored(b"aaa", b"bbb", b"ccc", b"e")
    assert isinstance(items[0], PartsWork)
    assert bench.do(items[0]) == [], "each upload has a recheck"
    assert history_of(watch).versions == 1
    assert not bench.target.under_way
    *_, watch = bench.begin(history_of(watch))
    assert history_of(watch).versions == 2


def test_parts_that_were_not_sent_in_time_become_an_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "ITEM_SIZE", 100)
    bench = Bench()
    (item,) = bench.items()
    deadline = Deadline()

    def stop_after_the_second(operation: str, key: str) -> None:
        if operation == "upload_part" and bench.target.calls.count("upload_part") == 3:
            deadline.stop()

    bench.target.on_call = stop_after_the_second
    (rest,) = bench.do(item, deadline)
    assert isinstance(rest, PartsWork)
    assert (rest.first, rest.last) == (3, 3)
    assert bench.do(rest) == LOOK
    assert bench.target.objects[KEY].mirrored == OBJECT.mirrored


def test_an_item_of_which_nothing_was_done_is_retried() -> None:
    bench = Bench()
    first, *_ = bench.items()
    late = Deadline()
    late.stop()
    with pytest.raises(OutOfTime):
        bench.do(first, late)
    assert bench.target.under_way


@pytest.mark.parametrize("error", [Retryable("slow down"), StoreUnusable("no answer")])
def test_a_temporary_error_keeps_the_upload(error: Exception) -> None:
    bench = Bench()
    first, *_ = bench.items()
    bench.target.on_call = lambda operation, key: _raise_at(operation, "upload_part", error)
    with pytest.raises(type(error)):
        bench.do(first)
    assert bench.target.under_way


def test_a_permanent_error_aborts_the_upload() -> None:
    bench = Bench()
    first, *_ = bench.items()
    bench.target.on_call = lambda operation, key: _raise_at(operation, "upload_part", Permanent("access denied"))
    with pytest.raises(Permanent):
        bench.do(first)
    assert not bench.target.under_way


def test_a_key_gives_up_after_too_many_uploads() -> None:
    bench = Bench()
    with pytest.raises(Permanent, match=f"gave up after {MAX_UPLOAD_ATTEMPTS} multipart uploads of this object"):
        bench.begin(UploadHistory(MAX_UPLOAD_ATTEMPTS))
    assert not bench.target.under_way


@pytest.mark.parametrize("options", [{}, {"etag": opaque_etag}], ids=["md5", "opaque"])
def test_a_target_that_drops_a_property_of_a_large_object_gets_two_copies_and_a_finding(options: Any) -> None:
    # Without the number of uploads in the items and in the check after them, the copies never ended.
    bench = Bench(**options)
    works, errors = [*bench.begin()], []
    while works and bench.target.created < 20:
        work = works.pop(0)
        if isinstance(work, PartsWork):
            works += bench.do(work)
            if KEY in bench.target.objects:
                bench.target.objects[KEY] = replace(bench.target.objects[KEY], metadata={})
            continue
        assert isinstance(work, KeyWork)
        try:
            works += bench.begin(work.uploads)
        except Permanent as error:
            errors.append(error)
    assert bench.target.created == 2
    assert {str(error) for error in errors} == {
        "the target does not keep the metadata: the source has {'by': 'a'}, the target has nothing"
    }


def test_a_failure_right_after_the_creation_leaves_no_upload() -> None:
    bench = Bench()
    bench.target.on_call = lambda operation, key: (
        _raise_at(operation, "uploads", Retryable("slow down")) if bench.target.created else None
    )
    with pytest.raises(Retryable, match="slow down"):
        bench.begin()
    assert not bench.target.under_way


@pytest.mark.parametrize("operation", ["uploads", "parts"])
def test_without_a_listing_of_uploads_one_worker_copies_the_object(operation: str) -> None:
    bench = Bench()
    bench.target.on_call = lambda called, key: _raise_at(called, operation, Permanent("NotImplemented"))
    assert bench.begin() == ()
    assert bench.target.objects[KEY].mirrored == OBJECT.mirrored
    assert not bench.target.under_way


def test_an_object_beyond_the_limit_of_the_target_fails_with_the_reason() -> None:
    bench = Bench()
    bench.parts._transfer._limits = Limits(max_object=9, min_part=2)
    with pytest.raises(Permanent, match="the object has 10 bytes and the target takes at most 9"):
        bench.begin()


def _raise_at(called: str, operation: str, error: Exception) -> None:
    if called == operation:
        raise error


# -- part plans --------------------------------------------------------------------------------------------------------


def test_an_own_part_plan_differs_from_the_plans_of_other_tools() -> None:
    own = layout_module.own_plan(300 * MIB, largest_part=GIB, limits=Limits())
    assert layout_module.is_own_plan(own)
    assert not any(layout_module.is_own_plan(PartPlan(GIB, size * MIB)) for size in (5, 8, 16, 100))


def test_the_etag_of_a_multipart_object_is_computed_as_aws_does() -> None:
    pieces = [b"aaa", b"bb"]
    etags = {number: md5_hex(piece) for number, piece in enumerate(pieces, 1)}
    assert layout_module.multipart_etag(etags) == md5_etag(pieces)
    assert layout_module.multipart_etag({1: "no md5"}) is None
    assert layout_module.multipart_etag({1: "ab"}) is None
