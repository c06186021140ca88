"""Deadlines: stopping, deriving, and reporting progress; and that each kind of work reports it."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.support.in_memory_store import HttpSide, ListedBucket, MemoryBucket, stored

from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.multipart import Limits
from s3_syncer.core.units import MIB
from s3_syncer.core.work_items import RangeWork
from s3_syncer.crt.small_object_copy import CrtSmallObjectCopier
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.context import SyncContext
from s3_syncer.sync.converge import converge
from s3_syncer.sync.range_sweep import RangeSweeper
from s3_syncer.sync.transfer import Transfer


class Progress:
    """Counts the reports of progress."""

    def __init__(self) -> None:
        self.reports = 0

    def __call__(self) -> None:
        self.reports += 1


def test_stopped_deadline_has_passed() -> None:
    deadline = Deadline()
    assert (deadline.is_stopped, deadline.passed()) == (False, False)
    deadline.stop()
    assert (deadline.is_stopped, deadline.passed()) == (True, True)
    with pytest.raises(OutOfTime, match="stopped on request"):
        deadline.check()


def test_deadline_in_the_past_has_passed_and_is_not_stopped() -> None:
    deadline = Deadline.after(-1)
    assert (deadline.is_stopped, deadline.passed()) == (False, True)
    with pytest.raises(OutOfTime, match="no time left"):
        deadline.check()


def test_only_progress_reports_progress() -> None:
    progress = Progress()
    deadline = Deadline.after(60).with_progress(progress)
    deadline.check()
    deadline.passed()
    deadline.timeout()
    assert not deadline.is_stopped
    assert progress.reports == 0
    deadline.progress()
    assert progress.reports == 1


def test_progress_is_reported_by_deadlines_made_from_a_watched_one() -> None:
    inner, outer = Progress(), Progress()
    deadline = Deadline().with_progress(outer).sooner(60).with_progress(inner)
    deadline.sooner().progress()
    assert (inner.reports, outer.reports) == (1, 1)


def test_watched_deadline_stops_with_its_outer_one() -> None:
    outer = Deadline()
    watched = outer.with_progress(Progress())
    outer.stop()
    assert watched.is_stopped


def test_planned_wait_reports_progress() -> None:
    progress = Progress()
    Deadline().with_progress(progress).sleep(0.01)
    assert progress.reports >= 1


def test_convergence_of_a_key_reports_progress() -> None:
    progress = Progress()
    source, target = MemoryBucket({"a": stored(b"one")}), MemoryBucket()
    pair = BucketPair(source, target, Transfer(source, target, memory=MIB, threads=1))
    converge(pair, "a", Deadline().with_progress(progress))
    assert progress.reports >= 1


def test_each_part_of_a_large_object_reports_progress() -> None:
    progress = Progress()
    source, target = MemoryBucket({"a": stored(b"abcd", b"efgh", b"ij")}), MemoryBucket()
    limits = Limits(min_part=2)
    transfer = Transfer(source, target, memory=MIB, threads=1, limits=limits)
    state = source.head("a")
    assert state is not None
    transfer.copy("a", state, Deadline().with_progress(progress))
    assert target.calls.count("upload_part") == progress.reports > 1


def test_each_small_object_over_the_crt_transport_reports_progress() -> None:
    progress = Progress()
    source, target = ListedBucket({str(number): stored(b"x") for number in range(10)}), ListedBucket()
    transfer = Transfer(source, target, memory=MIB, threads=1)
    sides: Any = HttpSide(source), HttpSide(target)
    copier = CrtSmallObjectCopier(*sides, transfer, source_prefix="", target_prefix="", tags=False, threads=2)
    assert (
        len(copier.copy(source.listed(), Deadline().with_progress(progress), lambda *_: None, lambda entry: None)) == 10
    )
    assert progress.reports >= 10


def range_sweeper(source: ListedBucket, target: ListedBucket) -> RangeSweeper:
    transfer = Transfer(source, target, memory=MIB, threads=1)
    context = SyncContext(cast(Any, source), cast(Any, target), transfer, BucketPair(source, target, transfer))
    return RangeSweeper(context, prefix="", threads=2)


def test_each_key_of_a_range_reports_progress() -> None:
    progress = Progress()
    source, target = ListedBucket({str(number): stored(b"x") for number in range(10)}), ListedBucket()
    range_sweeper(source, target).run(RangeWork(), Deadline().with_progress(progress))
    assert progress.reports >= 10


def test_each_page_of_equal_keys_reports_progress() -> None:
    progress = Progress()
    objects = {str(number): stored(b"x") for number in range(10)}
    source, target = ListedBucket(objects), ListedBucket(dict(objects))
    range_sweeper(source, target).run(RangeWork(), Deadline().with_progress(progress))
    assert target.calls.count("head") == 0
    assert progress.reports >= 1
