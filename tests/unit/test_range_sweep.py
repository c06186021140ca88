"""Ranges on a queue: their rests are processed until both sides are equal, and the delete limit holds."""

from __future__ import annotations

import json
import logging
import random
from collections import deque
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.in_memory_store import LIST_PAGE, ListedBucket, stored

from s3_syncer.core import key_ranges
from s3_syncer.core import listing_diff as join_module
from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.errors import Permanent, Retryable, StoreUnusable, SyncError
from s3_syncer.core.events import decode
from s3_syncer.core.key_ranges import FirstBehind, borders
from s3_syncer.core.listing_diff import Unordered
from s3_syncer.core.units import MIB
from s3_syncer.core.work_items import DeletionWork, KeyWork, Malformed, RangeWork, Work
from s3_syncer.queue.dispositions import Ack, DeadLetter, Message, Retry
from s3_syncer.queue.worker import Worker
from s3_syncer.sync import range_sweep as ranges_module
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.range_sweep import MAX_STALLED_HOPS, RangeSweeper
from s3_syncer.sync.sweep import PAGES
from s3_syncer.sync.transfer import Transfer

KEYS = [f"{number % 7}/{number:04}" for number in range(300)]


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join_module, "PAGE_KEYS", LIST_PAGE)


def connection(source: ListedBucket, target: ListedBucket) -> Any:
    pair = BucketPair(source, target, Transfer(source, target, memory=64 * MIB, threads=2))
    return SimpleNamespace(source=source, target=target, pair=pair, small_object_copier=None)


def worker(source: ListedBucket, target: ListedBucket, *, slice_s: float = 60) -> Worker:
    both = connection(source, target)
    ranges = RangeSweeper(both, prefix="", threads=1, slice_s=slice_s)
    return Worker(both.pair, ranges, cast(Any, None), bucket="bucket", prefix="", threads=1)


def work_off(both: Any, first: RangeWork, *, slice_s: float, prefix: str = "") -> tuple[list[RangeWork], list[KeyWork]]:
    """Process a range until no rest is left; return the ranges and the keys that became messages."""
    queue: deque[Work] = deque([first])
    done: list[RangeWork] = []
    keys: list[KeyWork] = []
    while queue:
        work = queue.popleft()
        if isinstance(work, KeyWork):
            keys.append(work)
            continue
        done.append(work)
        assert len(done) < 1000, "the ranges do not end"
        queue += RangeSweeper(both, prefix=prefix, threads=2, slice_s=slice_s).run(work, Deadline.after(60))
    return done, keys


def test_one_message_makes_everything_equal() -> None:
    source, target = ListedBucket({key: stored(key.encode()) for key in KEYS}), ListedBucket()
    done, keys = work_off(connection(source, target), RangeWork(), slice_s=60)
    assert target.mirrored == source.mirrored
    assert (len(done), keys) == (1, [])


def guarded_range(work: RangeWork, *, slice_s: float = 60) -> tuple[list[Work], dict[str, bytes]]:
    """Process a range where deletions are deferred; return the messages, and the target afterwards.

    The source lacks the keys `b` and `d` of the target.
    """
    source = ListedBucket({key: stored(b"1") for key in "ac"})
    target = ListedBucket({key: stored(b"1") for key in "abcd"})
    both = connection(source, target)
    ranges = RangeSweeper(both, prefix="", threads=1, slice_s=slice_s, defers_deletions=True)
    return list(ranges.run(work, Deadline.after(60))), target.mirrored


def test_a_range_without_a_limit_sends_its_deletions_to_the_guard() -> None:
    messages, target = guarded_range(RangeWork(delete=True))
    assert messages == [DeletionWork(("b",)), DeletionWork(("d",))]
    assert target.keys() == set("abcd")


def test_a_range_sends_a_bounded_number_of_deletions_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges_module, "MAX_DEFERRED", 2 * LIST_PAGE)
    keys = [f"{number:05}" for number in range(100 * LIST_PAGE)]
    both = connection(ListedBucket(), ListedBucket({key: stored(b"1") for key in keys}))
    ranges = RangeSweeper(both, prefix="", threads=1, defers_deletions=True)
    deferred: list[str] = []
    queue: deque[Work] = deque([RangeWork(delete=True)])
    while queue:
        work = queue.popleft()
        assert isinstance(work, RangeWork)
        left = ranges.run(work, Deadline.after(60))
        sent = [key for each in left if isinstance(each, DeletionWork) for key in each.keys]
        assert len(sent) <= (2 + 2 * PAGES) * LIST_PAGE, "beside the pages that were in flight or listed ahead"
        deferred += sent
        queue += (each for each in left if isinstance(each, RangeWork))
    assert sorted(deferred) == keys


def test_a_range_with_a_limit_deletes_by_itself() -> None:
    messages, target = guarded_range(RangeWork(delete=True, max_delete=2))
    assert messages == []
    assert target.keys() == set("ac")


def test_a_range_that_does_not_delete_sends_no_deletions() -> None:
    messages, target = guarded_range(RangeWork())
    assert messages == []
    assert target.keys() == set("abcd")


def test_a_range_longer_than_its_slice_is_cut_until_all_of_it_is_done() -> None:
    source, target = ListedBucket({key: stored(key.encode()) for key in KEYS}), ListedBucket()
    done, _ = work_off(connection(source, target), RangeWork(), slice_s=0)
    assert target.mirrored == source.mirrored
    assert len(done) > 10


@pytest.mark.parametrize("error", [Retryable("busy", "SlowDown"), StoreUnusable("gone"), Unordered("in disorder")])
def test_swept_keys_stay_done_if_the_rest_cannot_be_cut(error: SyncError, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = ListedBucket({key: stored(key.encode()) for key in KEYS}), ListedBucket()

    def fail(operation: str, key: str) -> None:
        raise error

    def failing_borders(first: FirstBehind, after: str, until: str | None) -> list[str]:
        source.on_call = fail
        return borders(first, after, until)

    monkeypatch.setattr(key_ranges, "borders", failing_borders)
    ranges = RangeSweeper(connection(source, target), prefix="", threads=2, slice_s=0)
    (left,) = ranges.run(RangeWork(until="9", delete=True, max_delete=5), Deadline.after(60))
    assert isinstance(left, RangeWork)
    assert left == RangeWork(max(target.objects), "9", delete=True, max_delete=5)


def test_a_divided_slice_ends_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = ListedBucket({key: stored(key.encode()) for key in KEYS}), ListedBucket()
    ranges = RangeSweeper(connection(source, target), prefix="", threads=2, slice_s=60)
    assert len(ranges.run(RangeWork(), Deadline.after(60), time_divisor=1_000_000)) > 1
    assert 0 < len(target.objects) < len(KEYS)


def stopped_at_first_put(target: ListedBucket) -> Deadline:
    """Return a deadline that passes while the first object is written."""
    deadline = Deadline()
    target.on_call = lambda operation, key: deadline.stop() if operation == "put" else None
    return deadline


def test_a_range_whose_pages_outlast_a_call_is_cut_without_a_request() -> None:
    source, target = ListedBucket({key: stored(key.encode()) for key in KEYS}), ListedBucket()
    ranges = RangeSweeper(connection(source, target), prefix="", threads=1, slice_s=60)
    work = RangeWork(until="9", delete=True, max_delete=5)
    parts = cast(list[RangeWork], ranges.run(work, stopped_at_first_put(target)))
    assert len(parts) >= 3, "two halves of the first page, and the pages behind it"
    assert parts[0].after == work.after
    assert [part.after for part in parts[1:]] == [part.until for part in parts[:-1]]
    assert parts[-1].until == work.until
    assert sum(part.max_delete or 0 for part in parts) == work.max_delete
    assert source.count("first") == 0


def test_a_single_page_that_outlasts_a_call_is_cut_in_the_middle() -> None:
    source, target = ListedBucket({key: stored(b"x") for key in "abcde"}), ListedBucket()
    ranges = RangeSweeper(connection(source, target), prefix="", threads=1, slice_s=60)
    parts = ranges.run(RangeWork(), stopped_at_first_put(target))
    assert parts == [RangeWork("", "b"), RangeWork("b", None)]


def test_a_page_with_one_difference_is_not_cut() -> None:
    source, target = ListedBucket({"a": stored(b"x")}), ListedBucket()
    ranges = RangeSweeper(connection(source, target), prefix="", threads=1, slice_s=60)
    deadline = Deadline()
    deadline.stop()
    assert ranges.run(RangeWork(), deadline) == [RangeWork()]


def rests_of(work: RangeWork, source: ListedBucket, target: ListedBucket, deadline: Deadline) -> list[RangeWork]:
    ranges = RangeSweeper(connection(source, target), prefix="", threads=1, slice_s=60)
    return cast(list[RangeWork], list(ranges.run(work, deadline)))


def passed() -> Deadline:
    return Deadline.after(-1)


def test_a_range_without_progress_is_handed_back_a_bounded_number_of_times() -> None:
    """No key of it is done in a call, however small its parts are cut."""
    source, target = ListedBucket({"a": stored(b"x"), "b": stored(b"x")}), ListedBucket()
    work = RangeWork(until="z")
    for number in range(1, MAX_STALLED_HOPS):
        work = rests_of(work, source, target, passed())[-1]
        assert work.stalled_hops == number
    with pytest.raises(Permanent, match=r"keys behind 'a' up to 'z' made no progress in 8 calls") as raised:
        rests_of(work, source, target, passed())
    assert raised.value.code == "NoProgress"


def test_a_range_without_progress_becomes_one_dead_letter_that_names_it() -> None:
    source, target = ListedBucket({"a": stored(b"x"), "b": stored(b"x")}), ListedBucket()
    deadline = Deadline.after(60)

    def time_is_over(operation: str, key: str) -> None:
        raise OutOfTime("no time left")

    source.on_call = lambda operation, key: None if operation == "list" else time_is_over(operation, key)
    message = Message("1", RangeWork(stalled_hops=MAX_STALLED_HOPS - 1).to_json())
    letter = worker(source, target).run([message], deadline)["1"]
    assert isinstance(letter, DeadLetter)
    assert "keys behind '' up to the last key" in letter.error
    assert letter.more == ()


def test_a_page_that_is_done_is_progress() -> None:
    source, target = ListedBucket({key: stored(key.encode()) for key in KEYS}), ListedBucket()
    ranges = RangeSweeper(connection(source, target), prefix="", threads=1, slice_s=0)
    left = cast(list[RangeWork], ranges.run(RangeWork(stalled_hops=MAX_STALLED_HOPS - 1), Deadline.after(60)))
    assert {work.stalled_hops for work in left} == {0}


def test_a_key_that_was_changed_is_progress() -> None:
    source, target = ListedBucket({key: stored(b"x") for key in "abcde"}), ListedBucket()
    work = RangeWork(stalled_hops=MAX_STALLED_HOPS - 1)
    assert {rest.stalled_hops for rest in rests_of(work, source, target, stopped_at_first_put(target))} == {0}


def test_a_call_that_the_service_stopped_counts_for_nothing() -> None:
    source, target = ListedBucket({key: stored(b"x") for key in "abcde"}), ListedBucket()
    stopped = Deadline()
    stopped.stop()
    work = RangeWork(stalled_hops=MAX_STALLED_HOPS - 1)
    rests = rests_of(work, source, target, stopped)
    assert {rest.stalled_hops for rest in rests} == {work.stalled_hops}


def test_the_longest_chain_of_a_large_sweep() -> None:
    """A sweep of 400 pages in calls that each end after their first page: the longest chain has 6 hops.

    So with pages of 1,000 keys, that is 400,000 keys at one page a minute. A chain grows with the number of characters
    in which keys differ, not with the number of keys: every call cuts its rest at the next character.
    """
    keys = [f"2026/{number:06}" for number in range(0, 1_000_000, 500)]
    source, target = ListedBucket({key: stored(b"x") for key in keys}), ListedBucket()
    bench, messages, longest = worker(source, target, slice_s=0), deque([RangeWork().to_json()]), 0
    while messages:
        work = cast(RangeWork, decode(messages[0], "bucket"))
        done = bench.run([Message("1", messages.popleft())], Deadline.after(600))["1"]
        assert isinstance(done, Ack)
        assert all(each.hops == work.hops + 1 for each in done.more)
        longest = max(longest, work.hops)
        messages += [each.to_json() for each in done.more]
    assert len(target.objects) == len(keys)
    assert longest == 6


@pytest.mark.parametrize("most", [None, 0, 3, 40])
def test_the_parts_of_a_rest_follow_each_other_and_divide_the_limit_of_deletions(most: int | None) -> None:
    source, target = ListedBucket({key: stored(key.encode()) for key in KEYS}), ListedBucket()
    ranges = RangeSweeper(connection(source, target), prefix="", threads=2, slice_s=0)
    parts = ranges.run(RangeWork(until="9", delete=True, max_delete=most), Deadline.after(60))
    assert len(parts) > 2
    edges = [(part.after, part.until) for part in parts if isinstance(part, RangeWork)]
    assert [after for after, _ in edges] == [max(target.objects), *(until for _, until in edges[:-1])]
    assert edges[-1][1] == "9"
    limits = [part.max_delete for part in parts if isinstance(part, RangeWork)]
    assert limits == [None] * len(parts) if most is None else sum(map(int, filter(None, limits))) == most


def test_the_delete_limit_holds_over_all_parts_of_a_range() -> None:
    source = ListedBucket({KEYS[0]: stored(b"kept")})
    target = ListedBucket({key: stored(key.encode()) for key in KEYS})
    work_off(connection(source, target), RangeWork(delete=True, max_delete=40), slice_s=0)
    assert len(KEYS) - len(target.objects) <= 40


def test_the_delete_limit_holds_when_a_range_is_delivered_again() -> None:
    """The worker crashes, and nothing has counted its deletions; another worker gets the same message."""
    target = ListedBucket({key: stored(key.encode()) for key in KEYS})
    source = ListedBucket({KEYS[0]: stored(b"kept")})
    message = Message("1", RangeWork(delete=True, max_delete=40).to_json())
    alive = True

    def die(operation: str, key: str) -> None:
        nonlocal alive
        alive = alive and len(target.objects) > len(KEYS) - 30
        if not alive:
            raise StoreUnusable("no answer")

    target.on_call = die
    assert isinstance(worker(source, target).run([message], Deadline.after(60))["1"], Retry)
    assert len(KEYS) - len(target.objects) == 30

    target.on_call = lambda operation, key: None
    again = worker(source, target).run([replace(message, attempt=2)], Deadline.after(60))["1"]
    assert again == Ack()
    assert len(KEYS) - len(target.objects) <= 40
    assert KEYS[0] in target.objects
    assert target.objects[KEYS[0]].body == b"kept", "it still copies"


def test_a_range_that_is_delivered_again_logs_that_it_deletes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    target = ListedBucket({key: stored(key.encode()) for key in KEYS})
    message = Message("1", RangeWork(delete=True, max_delete=40).to_json(), attempt=2)
    worker(ListedBucket(), target).run([message], Deadline.after(60))
    assert len(target.objects) == len(KEYS)
    (line,) = (record for record in caplog.records if getattr(record, "action", "") == "delete-limit")
    assert "delivered again" in line.reason  # type: ignore[attr-defined]


def test_without_a_delete_limit_a_range_that_is_delivered_again_deletes() -> None:
    target = ListedBucket({key: stored(key.encode()) for key in KEYS})
    message = Message("1", RangeWork(delete=True).to_json(), attempt=2)
    worker(ListedBucket(), target).run([message], Deadline.after(60))
    assert target.objects == {}


def test_without_a_delete_limit_every_key_that_the_source_lacks_is_deleted() -> None:
    source = ListedBucket({KEYS[0]: stored(b"kept")})
    target = ListedBucket({key: stored(key.encode()) for key in KEYS})
    work_off(connection(source, target), RangeWork(delete=True), slice_s=0)
    assert target.mirrored == source.mirrored


def test_a_range_without_delete_deletes_nothing() -> None:
    target = ListedBucket({key: stored(key.encode()) for key in KEYS})
    work_off(connection(ListedBucket(), target), RangeWork(), slice_s=60)
    assert len(target.objects) == len(KEYS)


def test_an_archived_object_becomes_a_message_and_delays_nothing() -> None:
    source, target = ListedBucket({key: stored(b"body") for key in "abc"}), ListedBucket()
    source.objects["b"] = stored(b"body", archived="GLACIER")
    _, keys = work_off(connection(source, target), RangeWork(), slice_s=60)
    assert keys == [KeyWork(("b",))]
    assert sorted(target.objects) == ["a", "c"]


def test_a_key_that_fails_becomes_a_message_and_delays_nothing() -> None:
    poisoned = random.Random(3).sample(KEYS, 3)

    def refuse(operation: str, key: str) -> None:
        if operation == "put" and key in poisoned:
            raise Permanent("the key is refused", "InvalidArgument")

    source = ListedBucket({key: stored(key.encode()) for key in KEYS})
    target = ListedBucket(on_call=refuse)
    _, keys = work_off(connection(source, target), RangeWork(), slice_s=60, prefix="photos/")
    assert sorted(key for work in keys for key in work.keys) == sorted("photos/" + key for key in poisoned)
    assert target.objects.keys() == set(KEYS) - set(poisoned)


def test_each_range_logs_a_line_with_its_counts(caplog: pytest.LogCaptureFixture) -> None:
    """Metric filters in monitoring.tf count these lines, and `migrate --workers queue` follows them."""
    caplog.set_level(logging.INFO)

    def refuse(operation: str, key: str) -> None:
        if operation == "put" and key == "c":
            raise Permanent("the key is refused", "InvalidArgument")

    source = ListedBucket({key: stored(key.encode() * 5) for key in "abcy"})
    target = ListedBucket({"a": stored(b"aaaaa"), "x": stored(b"x"), "z": stored(b"z")}, on_call=refuse)
    work_off(connection(source, target), RangeWork("", "y", delete=True), slice_s=60)
    (line,) = (vars(record) for record in caplog.records if getattr(record, "action", "") == "range")
    told = {name: line[name] for name in ("after", "until", "keys", "changed", "deleted", "bytes", "failed")}
    assert told == {"after": "", "until": "y", "keys": 5, "changed": 3, "deleted": 1, "bytes": 10, "failed": 1}


def test_a_large_object_becomes_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges_module, "MAX_OBJECT_IN_RANGE", 10)
    source, target = ListedBucket({"large": stored(b"x" * 11), "small": stored(b"x" * 10)}), ListedBucket()
    _, keys = work_off(connection(source, target), RangeWork(), slice_s=60)
    assert keys == [KeyWork(("large",))]
    assert target.objects.keys() == {"small"}


@pytest.mark.parametrize("there", [False, True], ids=["brought", "updated"])
def test_a_range_without_deletes_leaves_no_late_copy_behind(there: bool) -> None:
    """The source's object is deleted while the range copies it. Live sync decides about an updated object."""
    source, target = ListedBucket({"key": stored(b"new")}), ListedBucket({"key": stored(b"older")} if there else {})

    def delete(operation: str, key: str) -> None:
        if operation == "put":
            source.objects.clear()

    target.on_call = delete
    _, keys = work_off(connection(source, target), RangeWork(), slice_s=60, prefix="photos/")
    assert keys == ([KeyWork(("photos/key",))] if there else [])
    assert ("key" in target.objects) == there


def test_a_range_that_the_source_ends_leaves_messages_for_its_copies() -> None:
    """A deletion may have been acknowledged before they arrived, and the next delivery does not know them."""
    source = ListedBucket({key: stored(b"new") for key in ("a", "b")})
    target = ListedBucket()

    def fail(operation: str, key: str) -> None:
        if target.objects:
            raise StoreUnusable("the store is down")

    source.on_call = fail
    message = Message("1", RangeWork().to_json())
    disposition = worker(source, target).run([message], Deadline.after(60))["1"]
    assert isinstance(disposition, Retry)
    assert target.objects
    assert {key for work in disposition.more for key in cast(KeyWork, work).keys} == target.objects.keys()


def test_a_range_that_starts_after_the_deadline_is_returned_whole() -> None:
    source, target = ListedBucket({key: stored(b"x") for key in KEYS}), ListedBucket()
    passed = Deadline.after(0)
    try:
        left = RangeSweeper(connection(source, target), prefix="", threads=2).run(RangeWork("a", "z"), passed)
    except OutOfTime:
        left = [RangeWork("a", "z")]
    assert all(isinstance(work, RangeWork) for work in left)
    assert target.objects == {}


@pytest.mark.parametrize("full", [False, True])
def test_only_a_full_range_finds_what_no_listing_shows(full: bool) -> None:
    """Events about tags and about metadata were lost. No time shows the change of metadata."""
    source = ListedBucket({"equal": stored(b"x"), "metadata": stored(b"x", metadata={"v": "1"}), "tags": stored(b"x")})
    target = ListedBucket({key: replace(found, modified=1) for key, found in source.objects.items()})
    source.objects["metadata"] = stored(b"x", metadata={"v": "2"})
    source.objects["tags"] = stored(b"x", tags={"colour": "red"})
    work_off(connection(source, target), RangeWork(full=full), slice_s=60)
    assert (target.mirrored == source.mirrored) == full


def test_a_full_range_makes_two_requests_for_an_equal_object_on_each_side() -> None:
    source = ListedBucket({"key": stored(b"x")})
    target = ListedBucket(source.objects)
    work_off(connection(source, target), RangeWork(full=True), slice_s=60)
    for side in (source, target):
        assert [call for call in side.calls if call != "list"] == ["head", "tags"]


@pytest.mark.parametrize("attempt", [1, 2], ids=["first delivery", "delivered again"])
def test_the_parts_of_a_full_range_are_full(attempt: int) -> None:
    source = ListedBucket({key: stored(key.encode()) for key in KEYS})
    ranges = RangeSweeper(connection(source, ListedBucket()), prefix="", threads=2, slice_s=0)
    work = RangeWork(delete=True, max_delete=5, full=True)
    parts = ranges.run(work, Deadline.after(60), redelivered=attempt > 1)
    assert len(parts) > 2
    assert all(isinstance(part, RangeWork) and part.full for part in parts)


@pytest.mark.parametrize("full", [1, "true", None])
def test_full_is_true_or_false(full: object) -> None:
    with pytest.raises(Malformed, match='"full" must be true or false'):
        decode(json.dumps({"s3-syncer": {"work": "range", "full": full}}), "bucket")


@pytest.mark.parametrize(
    "work", [RangeWork(), RangeWork("a", "ü/€", True, 0), RangeWork("", None, True, None), RangeWork(full=True)]
)
def test_a_range_equals_its_decoded_message(work: RangeWork) -> None:
    assert decode(work.to_json(), "bucket") == work
