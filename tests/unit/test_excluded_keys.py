"""A key that the filters exclude is never touched, by no kind of work and no command."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.in_memory_store import HttpSide, ListedBucket, Stored, at, capabilities_of_aws, stored

from s3_syncer.cli.output.explain_view import explanation_lines
from s3_syncer.core.deadline import Deadline
from s3_syncer.core.events import decode
from s3_syncer.core.filters import NO_FILTERS, Filters
from s3_syncer.core.multipart import Limits
from s3_syncer.core.proof import ReadOptions
from s3_syncer.core.units import MIB
from s3_syncer.core.upload_history import UploadHistory
from s3_syncer.core.work_items import DeletionWork, KeyWork, Malformed, PartsWork, RangeWork, Work
from s3_syncer.crt.small_object_copy import CrtSmallObjectCopier
from s3_syncer.operations.explain import Decision, Explanation, decide
from s3_syncer.queue.deletion_guard import DIRECT, DeletionGuard, Deletions
from s3_syncer.queue.dispositions import Ack, Disposition, Message
from s3_syncer.queue.s3_batch import BatchOperationsTasks
from s3_syncer.queue.worker import Worker
from s3_syncer.sync import converge as converge_module
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.content_check import ContentCheck
from s3_syncer.sync.converge import converge
from s3_syncer.sync.distributed_copy import DistributedCopier
from s3_syncer.sync.key_sweep import SweepOptions
from s3_syncer.sync.outcome import Outcome
from s3_syncer.sync.range_sweep import RangeSweeper
from s3_syncer.sync.sweep import Sweep
from s3_syncer.sync.transfer import Transfer

PREFIX = "photos/"

FILTERS = Filters.of(exclude=["*.tmp"], min_size=3, max_size=6)

#: Objects of the source and the target by key. The filters exclude each key.
EXCLUDED: dict[str, tuple[bytes | None, bytes | None]] = {
    "new.tmp": (b"new", None),
    "changed.tmp": (b"new", b"old"),
    "gone.tmp": (None, b"old"),
    "too small": (b"-", None),
    "too large": (b"seven b", None),
    "became too small": (b"-", b"old"),
    "became too large": (b"seven b", b"old"),
    "gone, and too small": (None, b"-"),
    "gone, and too large": (None, b"seven b"),
}

#: The same for keys that are mirrored.
MIRRORED: dict[str, tuple[bytes | None, bytes | None]] = {
    "new": (b"new", None),
    "changed": (b"new", b"old"),
    "gone": (None, b"old"),
    "became small enough": (b"new", b"seven b"),
    "became large enough": (b"new", b"-"),
}

BOTH = {**EXCLUDED, **MIRRORED}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converge_module, "CONFIRM_AFTER_S", 0.0)


class World:
    """Two buckets in memory with the objects of `sides`, and a worker with the filters."""

    def __init__(
        self,
        sides: dict[str, tuple[bytes | None, bytes | None]] | None = None,
        *,
        filters: Filters = FILTERS,
        deletions: Deletions = DIRECT,
    ) -> None:
        self.called: set[str] = set()
        self.source, self.target = (
            ListedBucket(self.objects(BOTH if sides is None else sides, side), on_call=self._note) for side in (0, 1)
        )
        known = capabilities_of_aws()
        limits = Limits(min_part=2)
        transfer = Transfer(self.source, self.target, memory=MIB, threads=1, limits=limits, capabilities=known)
        self.pair = BucketPair(self.source, self.target, transfer, capabilities=known, filters=filters)
        self.copier = DistributedCopier(self.source, self.target, transfer, prefix=PREFIX, threshold=4, filters=filters)
        context: Any = SimpleNamespace(source=self.source, target=self.target, pair=self.pair, small_object_copier=None)
        self.ranges = RangeSweeper(context, prefix=PREFIX, threads=2)
        self.worker = Worker(
            self.pair, self.ranges, self.copier, bucket="bucket", prefix=PREFIX, threads=2, deletions=deletions
        )
        self.small_objects = CrtSmallObjectCopier(
            HttpSide(self.source),
            HttpSide(self.target),
            transfer,
            source_prefix="",
            target_prefix="",
            tags=True,
            threads=2,
        )

    @staticmethod
    def objects(sides: dict[str, tuple[bytes | None, bytes | None]], side: int) -> dict[str, Stored]:
        return {key: stored(body) for key, pair in sides.items() if (body := pair[side]) is not None}

    def _note(self, operation: str, key: str) -> None:
        if operation != "list":
            self.called.add(key)

    def run(self, *works: Work, attempt: int = 1) -> list[Disposition]:
        messages = [Message(str(index), work.to_json(), attempt) for index, work in enumerate(works)]
        return list(self.worker.run(messages, Deadline()).values())

    def bodies(self) -> dict[str, bytes]:
        return {key: there.body for key, there in self.target.objects.items()}

    def has_only_mirrored_changes(self) -> bool:
        """Return True if each mirrored key is equal, and each excluded one is as it was."""
        expected = {key: old for key, (_, old) in EXCLUDED.items() if old is not None}
        expected |= {key: new for key, (new, _) in MIRRORED.items() if new is not None}
        return self.bodies() == expected


def whole(*keys: str) -> KeyWork:
    return KeyWork(tuple(PREFIX + key for key in keys))


# -- single keys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", [1, 2], ids=["first", "redelivered"])
def test_an_event_about_an_excluded_key_changes_nothing(attempt: int) -> None:
    world = World()
    assert set(world.run(*(whole(key) for key in BOTH), attempt=attempt)) == {Ack()}
    assert world.has_only_mirrored_changes()


@pytest.mark.parametrize(
    "work",
    [
        whole("new.tmp", "changed.tmp", "gone.tmp"),
        replace(whole("changed.tmp"), uploads=UploadHistory(1)),
        DeletionWork((f"{PREFIX}gone.tmp",)),
        DeletionWork((f"{PREFIX}gone.tmp",), released=True),
    ],
)
@pytest.mark.parametrize("attempt", [1, 2], ids=["first", "redelivered"])
def test_a_key_that_its_name_excludes_costs_no_request(work: Work, attempt: int) -> None:
    world = World()
    assert world.run(work, attempt=attempt) == [Ack()]
    assert (world.source.calls, world.target.calls) == ([], [])


@pytest.mark.parametrize("key", [key for key in EXCLUDED if not key.endswith(".tmp")])
def test_a_key_that_its_size_excludes_costs_one_read_of_each_side(key: str) -> None:
    world = World()
    outcome = converge(world.pair, key, Deadline())
    assert outcome.action == "excluded"
    assert "excluded by its size: " in outcome.reason
    assert world.source.calls in (["head", "tags"], ["take", "tags"], ["head"], ["take"])
    assert world.target.calls == ["head"]


def test_a_copy_whose_source_became_too_large_meanwhile_is_a_copy() -> None:
    world = World({"new": (b"new", None)})

    def grow(operation: str, key: str) -> None:
        if operation == "put":
            world.source.objects[key] = stored(b"seven b")

    world.target.on_call = grow
    assert converge(world.pair, "new", Deadline()) == Outcome("copy", "absent from the target", 3)
    assert converge(world.pair, "new", Deadline()).action == "excluded"
    assert world.bodies() == {"new": b"new"}


def test_a_key_that_the_filters_no_longer_exclude_is_mirrored() -> None:
    world = World(filters=NO_FILTERS)
    world.run(*(whole(key) for key in BOTH))
    assert world.bodies() == {key: body for key, (body, _) in BOTH.items() if body is not None}


@pytest.mark.parametrize("count", [0, 99], ids=["open guard", "shut guard"])
def test_a_deletion_that_was_sent_before_the_filters_excluded_its_key_is_not_done(count: int) -> None:
    world = World(deletions=Deletions(are_deferred=True, guard=DeletionGuard(lambda: count, 10)))
    works = [DeletionWork((PREFIX + key,), released=count > 10) for key in BOTH]
    world.run(*works)
    gone = {key for key, (body, _) in MIRRORED.items() if body is None}
    assert {key for key in BOTH if BOTH[key][1] is not None} - world.target.objects.keys() == gone


def test_excluded_keys_of_a_batch_are_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    World().run(*(whole(key) for key in EXCLUDED), whole("new"))
    lines = [cast(Any, record) for record in caplog.records]
    assert [(line.action, line.keys) for line in lines if line.action == "excluded"] == [("excluded", len(EXCLUDED))]
    assert [line.key for line in lines if line.action != "excluded"] == [f"{PREFIX}new"]


def test_each_excluded_key_is_a_debug_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    World().run(whole("new.tmp"))
    (line,) = [cast(Any, record) for record in caplog.records if record.levelno == logging.DEBUG]
    assert (line.action, line.key, line.reason) == ("excluded", f"{PREFIX}new.tmp", "excluded by the pattern '*.tmp'")


def test_a_task_of_a_job_says_that_its_key_is_excluded() -> None:
    world = World()
    queue: Any = SimpleNamespace(send=lambda works: not list(works))
    tasks = BatchOperationsTasks(world.worker, queue, bucket="bucket", prefix=PREFIX)
    keys = ("new.tmp", "became too large", "new")
    event = {
        "invocationSchemaVersion": "2.0",
        "invocationId": "7",
        "tasks": [{"taskId": key, "s3Key": PREFIX + key.replace(" ", "+"), "s3Bucket": "bucket"} for key in keys],
    }
    found = {each["taskId"]: each for each in tasks.run(event, Deadline(), grace_s=1)["results"]}
    assert {each["resultCode"] for each in found.values()} == {"Succeeded"}
    assert found["new.tmp"]["resultString"] == "excluded by the pattern '*.tmp'"
    assert found["became too large"]["resultString"].startswith("excluded by its size: 7 bytes are more than")
    assert found["new"]["resultString"] == "equal"


# -- copies by several workers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("filters", [Filters.of(exclude=["*.tmp"]), Filters.of(max_size=8)], ids=["name", "size"])
def test_parts_of_a_key_that_is_excluded_by_now_end_their_upload(filters: Filters) -> None:
    before = World({}, filters=NO_FILTERS)
    before.source.objects["large.tmp"] = stored(b"aaa", b"bbb", b"ccc")
    (ack,) = before.run(whole("large.tmp"))
    parts = [work for work in ack.more if isinstance(work, PartsWork)]
    assert before.target.under_way
    copier = DistributedCopier(
        before.source, before.target, cast(Any, before.pair.copier), prefix=PREFIX, threshold=4, filters=filters
    )
    before.target.calls.clear()
    for work in parts:
        assert copier.process_item(work, Deadline()) == []
    assert not before.target.under_way
    assert set(before.target.calls) == {"abort_upload"}
    assert not before.target.objects


# -- ranges and sweeps -------------------------------------------------------------------------------------------------


class Findings:
    """A listener that notes the keys that a sweep reports, with their actions."""

    def __init__(self) -> None:
        self.named: dict[str, str] = {}
        self.compared = 0

    def on_compared(self, keys: int) -> None:
        self.compared += keys

    def on_changed(self, key: str, outcome: Outcome) -> None:
        self.named[key] = outcome.action

    def on_skipped(self, key: str, outcome: Outcome) -> None:
        self.named[key] = outcome.action

    def on_failed(self, key: str, error: Exception) -> None:
        raise error

    def on_uncertain(self, key: str) -> None: ...

    def on_restart(self, why: str) -> None:
        self.compared = 0


def findings(world: World, options: SweepOptions, *, fast: bool = False) -> Findings:
    found, copier = Findings(), world.small_objects if fast else None
    sweep = Sweep(world.pair, world.source, world.target, found, options, threads=2, small_object_copier=copier)
    sweep.run(Deadline())
    return found


def swept(world: World, options: SweepOptions, *, fast: bool = False) -> dict[str, str]:
    return findings(world, options, fast=fast).named


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("fast", [False, True], ids=["converged", "small objects"])
def test_a_sweep_neither_copies_nor_deletes_nor_reports_an_excluded_key(full: bool, fast: bool) -> None:
    world = World()
    assert swept(world, SweepOptions(delete=True, full=full), fast=fast).keys() == MIRRORED.keys()
    assert world.has_only_mirrored_changes()
    assert not world.called & EXCLUDED.keys()


@pytest.mark.parametrize("full", [False, True])
def test_a_check_reports_no_excluded_key(full: bool) -> None:
    world = World()
    before = world.bodies()
    assert swept(world, SweepOptions(dry_run=True, full=full)).keys() == MIRRORED.keys()
    assert world.bodies() == before


#: Keys with equal objects, of which the filters exclude the first two.
EQUAL = {"same.tmp": (b"same", b"same"), "small": (b"-", b"-"), "same": (b"same", b"same")}


@pytest.mark.parametrize("options", [SweepOptions(), SweepOptions(delete=True), SweepOptions(dry_run=True, full=True)])
@pytest.mark.parametrize("shows_sizes", [True, False])
@pytest.mark.parametrize("is_ordered", [True, False])
def test_an_excluded_key_is_not_counted_as_compared(options: SweepOptions, shows_sizes: bool, is_ordered: bool) -> None:
    world = World({**BOTH, **EQUAL})
    for bucket in (world.source, world.target):
        bucket.list_sizes = shows_sizes
    if not is_ordered:
        world.target.list_order = lambda keys: sorted(keys, reverse=True)
    expected = len(MIRRORED) + 1
    # A listing that is out of order proves no absence, so only the keys of the source count.
    assert findings(world, options).compared == (expected if is_ordered else expected - 1)


def test_a_key_that_is_too_old_is_not_counted_as_compared() -> None:
    world = World({"old": (b"old", b"old"), "new": (b"new", None), "gone": (None, b"old")}, filters=NO_FILTERS)
    world.source.objects["new"] = replace(world.source.objects["new"], modified=60)
    assert findings(world, SweepOptions(since=at(60))).compared == 1


@pytest.mark.parametrize("options", [SweepOptions(delete=True), SweepOptions(dry_run=True)], ids=["migrate", "check"])
def test_sizes_that_the_listing_does_not_show_decide_after_a_read(options: SweepOptions) -> None:
    world = World()
    for bucket in (world.source, world.target):
        bucket.list_sizes = False
    assert swept(world, options).keys() == MIRRORED.keys()
    assert options.dry_run or world.has_only_mirrored_changes()


@pytest.mark.parametrize("full", [False, True])
def test_a_sweep_that_cannot_trust_the_order_of_a_listing_keeps_the_excluded_keys(full: bool) -> None:
    world = World()
    world.target.list_order = lambda keys: sorted(keys, reverse=True)
    assert swept(world, SweepOptions(delete=True, full=full)).keys() == MIRRORED.keys()
    kept = {key: old for key, (_, old) in BOTH.items() if old is not None}
    assert world.bodies() == {**kept, **{key: new for key, (new, _) in MIRRORED.items() if new is not None}}


@pytest.mark.parametrize("delete", [False, True])
def test_a_range_from_the_queue_leaves_the_excluded_keys(delete: bool) -> None:
    world = World()
    assert world.run(RangeWork(delete=delete)) == [Ack()]
    assert delete is world.has_only_mirrored_changes()
    assert not world.called & EXCLUDED.keys()


def test_a_range_applies_the_filters_of_its_sender_and_those_of_the_worker() -> None:
    world = World({"a.jpg": (b"one", None), "a.png": (b"two", None), "a.tmp": (b"new", None)})
    world.run(RangeWork(filters=Filters.of(["*.jpg", "*.tmp"])))
    assert world.bodies() == {"a.jpg": b"one"}


def test_the_parts_of_a_range_have_its_filters() -> None:
    world = World({f"{number:03}": (b"one", None) for number in range(20)})
    work = RangeWork(filters=Filters.of(["*5"]))
    ranges = RangeSweeper(cast(Any, world.ranges)._context, prefix=PREFIX, threads=2, slice_s=0.0)
    left: Sequence[Work] = ranges.run(work, Deadline.after(60))
    assert all(isinstance(part, RangeWork) and part.filters == work.filters for part in left)


def test_a_check_reads_and_counts_no_excluded_key() -> None:
    same = {"new.tmp": (b"same", b"same"), "new": (b"same", b"same"), "small": (b"-", b"-")}
    world, read, proofs = World(same), list[str](), Counter[str]()

    class Reader:
        def first_difference(self, key: str, *_: object) -> None:
            read.append(key)

    for reads_all in (True, False):
        options = ReadOptions(ignore_checksums=reads_all)
        check = ContentCheck(Reader(), options, lambda page, found: proofs.update(found))
        sweep_options = SweepOptions(dry_run=True, reads=options)
        found = Findings()
        Sweep(world.pair, world.source, world.target, found, sweep_options, threads=1, content_check=check).run(
            Deadline()
        )
        assert found.named == {}
    assert read == ["new"]
    assert proofs == {"bytes": 1, "etag": 1}


# -- explain -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("new.tmp", "excluded by the pattern '*.tmp'"),
        ("too large", "excluded by its size: 7 bytes are more than the maximum of 6B"),
        ("gone, and too small", "excluded by its size: 1 bytes are less than the minimum of 3B"),
    ],
)
def test_explain_names_the_filter(key: str, reason: str) -> None:
    world = World()
    before = world.bodies()
    decision = decide(world.pair, key, Deadline())
    assert decision == Decision("excluded", reason)
    assert decision.is_equal
    assert world.bodies() == before
    text = "\n".join(explanation_lines(Explanation(key, None, None, {}, decision, [], 60.0, [])))
    assert "now        nothing would be done, because the filters exclude it" in text
    assert f"rule       {reason}" in text
    assert "message    ignored: workers acknowledge each message about the key" in text


# -- the messages of ranges --------------------------------------------------------------------------------------------


def test_the_filters_of_a_range_survive_the_queue() -> None:
    work = RangeWork("a", filters=Filters.of(["*.jpg", "ü\n"], ["*.tmp"], 1, 2) & Filters.of(["a"]))
    assert decode(work.to_json(), "bucket") == work
    assert "filters" not in RangeWork().to_json()


@pytest.mark.parametrize("filters", ["[]", '{"names": [{}]}', '{"min_size": -1}'])
def test_a_range_with_invalid_filters_is_malformed(filters: str) -> None:
    with pytest.raises(Malformed, match='"filters" is invalid: '):
        decode(f'{{"s3-syncer": {{"work": "range", "filters": {filters}}}}}', "bucket")
