"""The sweep over buckets in memory: races with writers, stops, errors, and listings that are wrong.

If the order of calls matters, executors run their work at once, so that a seed determines everything.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest
from tests.support.in_memory_store import (
    LIST_PAGE,
    FoldedObjects,
    HttpSide,
    ListedBucket,
    OnTheSpot,
    md5_hex,
    opaque_etag,
    stored,
)

from s3_syncer.core import fence as fences
from s3_syncer.core import listing_diff as join_module
from s3_syncer.core.compare import ABSENT
from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import Permanent, Retryable, StoreUnusable, SyncError
from s3_syncer.core.fence import Fence, fenced, request
from s3_syncer.core.model import ObjectState
from s3_syncer.core.units import MIB
from s3_syncer.crt.small_object_copy import CrtSmallObjectCopier
from s3_syncer.sync import converge as converge_module
from s3_syncer.sync import sweep as sweep_module
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.converge import converge
from s3_syncer.sync.key_sweep import SweepOptions
from s3_syncer.sync.outcome import CHANGES, Outcome
from s3_syncer.sync.sweep import Sweep
from s3_syncer.sync.transfer import Transfer

TARGET_ONLY = "extra: absent from the source"

WRITES = {"put", "put_tags", "delete", "create_upload"}


@dataclass
class Notes:
    """A listener that records everything."""

    keys: int = 0
    changes: list[tuple[str, str]] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    differences: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    restarts: list[str] = field(default_factory=list)
    uncertain: list[str] = field(default_factory=list)

    def on_compared(self, keys: int) -> None:
        self.keys += keys

    def on_changed(self, key: str, outcome: Outcome) -> None:
        assert outcome.action in CHANGES
        self.changes.append((outcome.action, key))
        self.outcomes[key] = outcome

    def on_skipped(self, key: str, outcome: Outcome) -> None:
        assert key not in self.differences, "reported twice"
        self.differences[key] = f"{outcome.action}: {outcome.reason}"

    def on_failed(self, key: str, error: SyncError) -> None:
        assert key not in self.failures, "reported twice"
        self.failures[key] = str(error)

    def on_uncertain(self, key: str) -> None:
        self.uncertain.append(key)

    def on_restart(self, why: str) -> None:
        self.restarts.append(why)
        self.keys = 0
        self.differences.clear()
        self.failures.clear()


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join_module, "PAGE_KEYS", LIST_PAGE)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Confirm at once what the target does not keep."""
    monkeypatch.setattr(converge_module, "CONFIRM_AFTER_S", 0.0)


@pytest.fixture
def on_the_spot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "ThreadPoolExecutor", OnTheSpot)


class World:
    """Two buckets, and a clock that every store call advances."""

    def __init__(self, source: Iterable[str] = (), target: Iterable[str] = (), **target_options: Any) -> None:
        self.clock = 0
        self.hooks: list[Callable[[str, str, str], None]] = []
        self._lock = threading.RLock()
        self.source = ListedBucket(on_call=lambda operation, key: self._called("source", operation, key))
        self.target = ListedBucket(
            on_call=lambda operation, key: self._called("target", operation, key), **target_options
        )
        for key in source:
            self.write(key)
        for key in target:
            self.copy(key) if key in self.source.objects else self.litter(key)

    def _called(self, side: str, operation: str, key: str) -> None:
        with self._lock:
            self.tick()
            for hook in list(self.hooks):
                hook(side, operation, key)

    def tick(self) -> int:
        self.clock += 1
        self.source.clock = self.target.clock = self.clock
        return self.clock

    def write(self, key: str, body: bytes | None = None, **properties: Any) -> None:
        """Write to the source, as its owner does."""
        now = self.tick()
        self.source.objects[key] = stored(f"{key} {now}".encode() if body is None else body, modified=now, **properties)

    def litter(self, key: str) -> None:
        """Write to the target an object that the source does not have."""
        self.target.objects[key] = stored(b"litter", modified=self.tick())

    def copy(self, key: str, **changes: Any) -> None:
        """Give the target the object of the source, except for these changes."""
        self.target.objects[key] = replace(self.source.objects[key], modified=self.tick(), **changes)

    def pair(self, *, delete: bool = False) -> BucketPair:
        transfer = Transfer(self.source, self.target, memory=MIB, threads=1)
        return BucketPair(self.source, self.target, transfer, delete=delete)

    def small_object_copier(self) -> CrtSmallObjectCopier:
        transfer = Transfer(self.source, self.target, memory=MIB, threads=1)
        source, target = HttpSide(self.source), HttpSide(self.target)
        return CrtSmallObjectCopier(source, target, transfer, source_prefix="", target_prefix="", tags=True, threads=4)

    def sweep(
        self,
        rules: SweepOptions | None = None,
        *,
        threads: int = 4,
        fast: bool = False,
        notes: Notes | None = None,
        **range_: Any,
    ) -> tuple[Notes, str | None]:
        notes, deadline = notes or Notes(), range_.pop("deadline", Deadline())
        copier = self.small_object_copier() if fast else None
        sweep = Sweep(
            self.pair(),
            self.source,
            self.target,
            notes,
            rules or SweepOptions(),
            threads=threads,
            small_object_copier=copier,
        )
        return notes, next(iter(sweep.run(deadline, **range_)), None)

    def fail(self, side: str, operation: str, key: str, error: Exception) -> None:
        """Make this call fail from now on."""

        def hook(*call: str) -> None:
            if call == (side, operation, key):
                raise error

        self.hooks.append(hook)


def keys(count: int) -> list[str]:
    return [f"key {number:03}" for number in range(count)]


@pytest.mark.parametrize("fast", [False, True], ids=["converged", "small objects"])
def test_a_copied_key_counts_before_its_page_ends(fast: bool, on_the_spot: None) -> None:
    world, notes, counted = World(keys(3)), Notes(), list[int]()
    world.hooks.append(lambda side, operation, key: counted.append(notes.keys) if operation == "put" else None)
    world.sweep(fast=fast, notes=notes)
    assert counted == [0, 1, 2]
    assert notes.keys == 3


def test_no_key_counts_twice(on_the_spot: None) -> None:
    world, notes = World(keys(5)), Notes()
    for key in keys(2):
        world.copy(key)
    world.hooks.append(lambda side, operation, key: world.write(keys(4)[-1], b"newer") if operation == "list" else None)
    world.sweep(notes=notes)
    assert notes.keys == 5


class Writers:
    """Owners that write, tag and delete in the source between any two store calls, at random.

    If `live`, live sync runs beside the sweep. If `fast`, each event concerns the key of the next call, comes once, and
    is processed before that call.
    """

    def __init__(self, world: World, seed: int, budget: int, *, live: bool, fast: bool = False) -> None:
        self.world, self.rand, self.budget, self.live, self.fast = world, random.Random(seed), budget, live, fast
        self.touched: set[str] = set()
        self.events: list[str] = []
        self._busy = False
        world.hooks.append(self)

    def __call__(self, side: str, operation: str, key: str) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            while self.budget and self.rand.random() < 0.2:
                self.budget -= 1
                self.touch(key if self.fast and key in keys(30) else self.rand.choice(keys(30)))
            while self.live and self.events and (self.fast or self.rand.random() < 0.2):
                self.deliver()
        finally:
            self._busy = False

    def touch(self, key: str) -> None:
        objects, dice = self.world.source.objects, self.rand.random()
        self.touched.add(key)
        self.events += [key] * (1 if self.fast else self.rand.randint(1, 2))
        if dice < 0.3:
            objects.pop(key, None)
        elif dice < 0.5 and key in objects:
            objects[key] = replace(objects[key], tags={"n": str(self.budget)})
        else:
            self.world.write(key, metadata={"n": str(self.budget % 3)})

    def deliver(self) -> None:
        """Let live sync process an event, in random order."""
        key = self.events.pop(self.rand.randrange(len(self.events)))
        converge(self.world.pair(delete=True), key, Deadline())


def racing_world(seed: int) -> World:
    rand = random.Random(seed)
    world = World(rand.sample(keys(30), 20), rand.sample(keys(30), 20))
    for key in rand.sample(sorted(world.target.objects), 5):
        world.target.objects[key] = replace(world.target.objects[key], body=b"old", etag="0" * 32)
    return world


# -- racing ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("on_the_spot")
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("seed", range(100))
def test_a_sweep_that_races_with_writers_and_live_sync_ends_equal(seed: int, fast: bool) -> None:
    world = racing_world(seed)
    writers = Writers(world, seed, budget=60, live=True)

    notes, rest = world.sweep(SweepOptions(delete=True), fast=fast)
    writers.budget = 0
    while writers.events:
        writers.deliver()

    assert rest is None
    assert world.source.mirrored == world.target.mirrored
    assert set(notes.failures) <= writers.touched


@pytest.mark.usefixtures("on_the_spot")
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("seed", range(100))
def test_a_sweep_makes_every_key_equal_that_no_writer_touches(seed: int, fast: bool) -> None:
    world = racing_world(seed)
    writers = Writers(world, seed, budget=60, live=False)  # every event is lost

    world.sweep(SweepOptions(delete=True), fast=fast)
    writers.budget = 0

    source, target = world.source.mirrored, world.target.mirrored
    assert {key for key in keys(30) if source.get(key) != target.get(key)} <= writers.touched
    second, _ = world.sweep(
        SweepOptions(delete=True, full=True), fast=fast
    )  # a write of tags alone shows in no listing
    assert source == world.target.mirrored
    assert {key for _, key in second.changes} <= writers.touched
    assert not second.failures
    third, _ = world.sweep(SweepOptions(delete=True, full=True))
    assert not third.changes


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("seed", range(15))
def test_a_sweep_with_real_threads_ends_equal(seed: int, fast: bool) -> None:
    world = racing_world(seed)
    writers = Writers(world, seed, budget=200, live=True)

    world.sweep(SweepOptions(delete=True), threads=8, fast=fast)
    writers.budget = 0
    while writers.events:
        writers.deliver()

    assert world.source.mirrored == world.target.mirrored


@pytest.mark.usefixtures("on_the_spot")
def test_a_page_is_listed_again_after_it_was_changed() -> None:
    world = World(keys(3))

    def write_behind(side: str, operation: str, key: str) -> None:
        if (side, operation, key) == ("target", "put", "key 002"):
            world.hooks.clear()
            world.write("key 000", b"rewritten after its copy was made and verified")

    world.hooks.append(write_behind)
    notes, _ = world.sweep()

    assert world.source.mirrored == world.target.mirrored
    assert notes.changes[-1] == ("update", "key 000")


@pytest.mark.usefixtures("on_the_spot")
def test_a_key_that_keeps_changing_fails_and_the_other_keys_are_done() -> None:
    world = World(keys(7))

    def rewrite(side: str, operation: str, key: str) -> None:
        if (side, operation, key) == ("target", "put", "key 003"):
            world.write("key 003")

    world.hooks.append(rewrite)
    notes, rest = world.sweep()

    assert rest is None
    assert list(notes.failures) == ["key 003"]
    assert "the source kept changing" in notes.failures["key 003"]
    assert world.target.objects.keys() == set(keys(7))


@pytest.mark.usefixtures("on_the_spot")
@pytest.mark.parametrize("fast", [False, True], ids=["without", "with the small-object copier"])
@pytest.mark.parametrize(
    "rules",
    [SweepOptions(), SweepOptions(delete=True), SweepOptions(dry_run=True), SweepOptions(max_object_size=0)],
    ids=["copy", "delete", "dry run", "too large"],
)
def test_a_page_that_keeps_changing_ends_key_by_key(rules: SweepOptions, fast: bool) -> None:
    """Between two listings of the page a writer changes one of its keys, and live sync is a little late."""
    world, number = World(keys(3), ["extra"]), count(1)

    def busy(side: str, operation: str, key: str) -> None:
        if (side, operation) == ("source", "list"):
            written = next(number)
            world.write(keys(3)[written % 3], b"." * written)

    world.hooks.append(busy)
    notes, rest = world.sweep(rules, fast=fast)
    world.hooks.clear()

    assert (rest, notes.failures) == (None, {})
    if rules.dry_run:
        assert notes.differences == dict.fromkeys(keys(3), f"missing: {ABSENT}") | {"extra": TARGET_ONLY}
    elif rules.max_object_size == 0:
        assert {*notes.differences} <= {*keys(3), "extra"}
    else:
        assert world.target.objects.keys() == {*keys(3)} | (set() if rules.delete else {"extra"})
        assert world.sweep(SweepOptions(delete=True))[0].failures == {}
        assert world.target.mirrored == world.source.mirrored


# -- targets that do not keep what they are given ----------------------------------------------------------------------


def drops_headers(world: World) -> None:
    put = world.target.put

    def put_without_headers(key: str, data: bytes | bytearray, md5: bytes, state: ObjectState, *rest: Any) -> str:
        return put(key, data, md5, replace(state, headers={}), *rest)

    world.target.put = put_without_headers  # type: ignore[method-assign]


def keeps_nothing(world: World) -> None:
    put = world.target.put

    def put_and_forget(key: str, *arguments: Any) -> str:
        etag = put(key, *arguments)
        del world.target.objects[key]
        return etag

    world.target.put = put_and_forget  # type: ignore[method-assign]


NO_STORE = "the target does not keep Cache-Control: the source has 'no-store', the target has nothing"
NO_OBJECT = "the target does not keep the object: the source has 4 bytes, the target has nothing"


@pytest.mark.usefixtures("on_the_spot")
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("unordered", [False, True])
@pytest.mark.parametrize(
    ("flaw", "difference", "puts"),
    [(drops_headers, NO_STORE, 2), (keeps_nothing, NO_OBJECT, 2)],
    ids=["header", "object"],
)
def test_a_difference_that_copies_do_not_remove_fails_the_key(
    flaw: Callable[[World], None], difference: str, puts: int, unordered: bool, fast: bool
) -> None:
    world = World()
    for key in keys(2):
        world.write(key, b"body", headers={"Cache-Control": "no-store"})
    if unordered:
        world.source.list_order = lambda found: sorted(found, reverse=True)
    flaw(world)
    notes, rest = world.sweep(SweepOptions(full=True), fast=fast)
    assert rest is None
    assert notes.failures == dict.fromkeys(keys(2), difference)
    assert world.target.calls.count("put") <= 2 * puts


@pytest.mark.usefixtures("on_the_spot")
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(("flaw", "difference"), [(drops_headers, NO_STORE), (keeps_nothing, NO_OBJECT)])
def test_a_key_that_the_last_listing_changed_is_checked_once_more(
    flaw: Callable[[World], None], difference: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "MAX_PAGE_LISTINGS", 1)
    world = World()
    world.write("key", b"body", headers={"Cache-Control": "no-store"})
    flaw(world)
    notes, _ = world.sweep(SweepOptions(full=True), fast=fast)
    assert notes.failures == {"key": difference}


@pytest.mark.usefixtures("on_the_spot")
def test_a_late_write_over_a_copy_is_corrected_and_no_failure() -> None:
    world = World(keys(1))
    world.write("key 000", b"new", metadata={"version": "2"})
    late = replace(world.source.objects["key 000"], metadata={"version": "1"})

    def write_late(side: str, operation: str, key: str) -> None:
        if (side, operation) == ("source", "list") and world.target.calls.count("put") == 1:
            world.hooks.clear()
            world.target.objects["key 000"] = late

    world.hooks.append(write_late)
    notes, _ = world.sweep(SweepOptions(full=True))
    assert (world.target.calls.count("put"), notes.failures) == (2, {})
    assert world.target.mirrored == world.source.mirrored


@pytest.mark.usefixtures("on_the_spot")
def test_the_options_decide_about_a_key_deleted_from_the_source_during_the_sweep() -> None:
    for rules, there, differs in (
        (SweepOptions(), True, ["key 001"]),
        (SweepOptions(one_way=True), True, []),
        (SweepOptions(delete=True), False, []),
    ):
        world = World(keys(3), ["key 001"])
        world.write("key 001")  # so that the listings differ

        def vanish(side: str, operation: str, key: str, world: World = world) -> None:
            if (side, operation, key) == ("source", "head", "key 001"):
                world.source.objects.pop(key, None)

        world.hooks.append(vanish)
        notes, _ = world.sweep(rules)
        assert ("key 001" in world.target.objects, list(notes.differences)) == (there, differs)


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Permanent("refused"), Retryable("not now"), ValueError("a bug")])
@pytest.mark.parametrize(("side", "operation"), [("source", "take"), ("target", "put")])
@pytest.mark.parametrize("fast", [False, True])
def test_one_keys_failure_never_stops_the_rest(error: Exception, side: str, operation: str, fast: bool) -> None:
    world = World(keys(12))
    world.fail(side, operation, "key 004", error)
    if operation == "take":
        world.fail(side, "fetch", "key 004", error)

    notes, rest = world.sweep(fast=fast)

    assert rest is None
    assert list(notes.failures) == ["key 004"]
    assert str(error) in notes.failures["key 004"]
    assert world.target.objects.keys() == set(keys(12)) - {"key 004"}
    assert notes.keys == 12


@pytest.mark.parametrize(("side", "operation"), [("source", "list"), ("target", "list"), ("target", "put")])
def test_an_unusable_store_stops_everything(side: str, operation: str) -> None:
    world = World(keys(100))

    def dead(*call: str) -> None:
        if call[:2] == (side, operation):
            raise StoreUnusable("the store does not respond")

    world.hooks.append(dead)
    with pytest.raises(StoreUnusable, match="does not respond"):
        world.sweep()
    assert not world.target.objects
    assert world.target.count("put") <= 4  # one for each thread


def test_a_listing_that_breaks_stops_the_sweep_and_no_later_key_is_deleted() -> None:
    for side in ("source", "target"):
        world = World(keys(4), keys(30))
        calls = {"list": 0}

        def broken(*call: str, side: str = side, calls: dict[str, int] = calls) -> None:
            if call[:2] == (side, "list"):
                calls["list"] += 1
                if calls["list"] == 2:
                    raise Retryable("the connection broke")

        world.source.objects["key 020"] = stored(b"behind the break", modified=world.tick())
        world.hooks.append(broken)
        with pytest.raises(Retryable, match="the connection broke"):
            world.sweep(SweepOptions(delete=True))
        assert "key 020" in world.target.objects


# -- deleting ----------------------------------------------------------------------------------------------------------


def test_nothing_is_deleted_without_the_option() -> None:
    world = World(keys(3), keys(12))
    notes, _ = world.sweep()
    assert len(world.target.objects) == 12
    assert notes.differences == dict.fromkeys(keys(12)[3:], "extra: absent from the source")


def test_extra_keys_are_deleted_with_the_option() -> None:
    world = World(keys(3), keys(40))
    notes, _ = world.sweep(SweepOptions(delete=True))
    assert world.target.objects.keys() == set(keys(3))
    assert sorted(notes.changes) == [("delete", key) for key in keys(40)[3:]]
    assert not notes.differences


@pytest.mark.parametrize("most", [0, 1, 7, 36, 37, 100])
def test_the_delete_limit_holds_over_all_pages_and_threads(most: int) -> None:
    world = World(keys(3), keys(40))
    notes, _ = world.sweep(SweepOptions(delete=True, max_delete=most), threads=8)
    deleted = min(most, 37)
    assert world.target.count("delete") == deleted
    assert len(world.target.objects) == 40 - deleted
    assert len(notes.differences) == 37 - deleted
    assert set(notes.differences.values()) <= {
        f"extra: absent from the source, and the limit of {most} deletions is reached"
    }


def test_a_source_that_denies_access_keeps_the_key() -> None:
    world = World(keys(3), keys(4))
    world.fail("source", "head", "key 003", Permanent("access denied"))
    notes, _ = world.sweep(SweepOptions(delete=True))
    assert "key 003" in world.target.objects
    assert notes.failures == {"key 003": "access denied"}


@pytest.mark.usefixtures("on_the_spot")
def test_a_key_that_came_back_after_it_was_listed_is_not_deleted() -> None:
    world = World(keys(3), keys(4))

    def come_back(side: str, operation: str, key: str) -> None:
        if (side, operation, key) == ("source", "head", "key 003"):
            world.hooks.clear()
            world.write("key 003")

    world.hooks.append(come_back)
    notes, _ = world.sweep(SweepOptions(delete=True))
    assert world.target.count("delete") == 0
    assert world.source.mirrored == world.target.mirrored
    assert notes.changes == [("update", "key 003")]


# -- copies of keys that are deleted meanwhile -------------------------------------------------------------------------

STALE = "deleted from the source after this sweep wrote it over an older object: run `s3-syncer sync KEY`"
WITHOUT_DELETES = [SweepOptions(), SweepOptions(one_way=True), SweepOptions(delete=True, max_delete=0)]


def delete_during_the_copy(world: World, key: str, *, lose_the_response: bool = False) -> None:
    """Delete the key from the source while its copy is written, after live sync processed the deletion."""
    put = world.target.put

    def late_put(name: str, *arguments: Any) -> str:
        if name != key:
            return put(name, *arguments)
        if world.source.objects.pop(name, None):
            world.target.objects.pop(name, None)
        etag = put(name, *arguments)
        if lose_the_response:
            raise Retryable("the connection broke", "ConnectionBroke")
        return etag

    world.target.put = late_put  # type: ignore[method-assign]


@pytest.mark.usefixtures("on_the_spot")
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("unordered", [False, True])
@pytest.mark.parametrize("rules", WITHOUT_DELETES, ids=["plain", "one way", "limit is used up"])
def test_a_sweep_removes_a_late_copy_that_it_brought(rules: SweepOptions, unordered: bool, fast: bool) -> None:
    world = World(keys(3))
    if unordered:
        world.source.list_order = lambda found: sorted(found, reverse=True)
    delete_during_the_copy(world, "key 001")
    notes, _ = world.sweep(rules, fast=fast)
    assert world.target.mirrored == world.source.mirrored
    assert (notes.differences, notes.failures, notes.outcomes["key 001"].action) == ({}, {}, "undo")


@pytest.mark.usefixtures("on_the_spot")
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("rules", WITHOUT_DELETES, ids=["plain", "one way", "limit is used up"])
def test_a_sweep_names_a_late_copy_over_an_older_object(rules: SweepOptions, fast: bool) -> None:
    """Live sync deleted the older object meanwhile. The sweep cannot know that, so it must not delete."""
    world = World(keys(3), ["key 001"])
    world.write("key 001", b"longer than before")
    delete_during_the_copy(world, "key 001")
    notes, _ = world.sweep(rules, fast=fast)
    assert (notes.differences, notes.failures) == ({"key 001": f"stale: {STALE}"}, {})
    assert world.target.objects["key 001"].body == b"longer than before"


@pytest.mark.usefixtures("on_the_spot")
@pytest.mark.parametrize("fast", [False, True])
def test_a_sweep_with_deletes_deletes_a_late_copy_over_an_older_object(fast: bool) -> None:
    world = World(keys(3), ["key 001"])
    world.write("key 001", b"longer than before")
    delete_during_the_copy(world, "key 001")
    notes, _ = world.sweep(SweepOptions(delete=True), fast=fast)
    assert world.target.mirrored == world.source.mirrored
    assert (notes.differences, notes.failures) == ({}, {})


@pytest.mark.usefixtures("on_the_spot")
@pytest.mark.parametrize("fast", [False, True])
def test_a_sweep_removes_no_object_that_another_worker_wrote_over_its_copy(fast: bool) -> None:
    """Deletes are off for the other worker too: its object stays."""
    world = World(keys(3))

    def replaced(side: str, operation: str, key: str) -> None:
        if (side, operation) == ("source", "list") and "key 001" in world.target.objects:
            world.hooks.clear()
            world.target.objects["key 001"] = stored(b"newer than the copy", modified=world.tick())
            del world.source.objects["key 001"]

    world.hooks.append(replaced)
    notes, _ = world.sweep(fast=fast)
    assert world.target.objects["key 001"].body == b"newer than the copy"
    assert notes.differences == {"key 001": f"stale: {STALE}"}


@pytest.mark.usefixtures("on_the_spot")
@pytest.mark.parametrize("fast", [False, True])
def test_a_copy_whose_response_was_lost_is_removed_or_named(fast: bool) -> None:
    world = World(keys(3))
    delete_during_the_copy(world, "key 001", lose_the_response=True)
    notes, _ = world.sweep(fast=fast)
    assert "key 001" not in world.target.objects or "key 001" in notes.failures
    assert notes.differences == {}


@pytest.mark.usefixtures("on_the_spot")
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("unordered", [False, True])
@pytest.mark.parametrize("there", [False, True], ids=["brought", "updated"])
def test_a_sweep_that_is_stopped_answers_for_its_copies(there: bool, unordered: bool, fast: bool) -> None:
    world, deadline = World(keys(5), ["key 001"] if there else []), Deadline()
    world.write("key 001", b"longer than before")
    if unordered:
        world.source.list_order = lambda found: sorted(found, reverse=True)
    delete_during_the_copy(world, "key 001")

    def stop_after_the_copy(side: str, operation: str, key: str) -> None:
        if (side, operation, key) == ("target", "put", "key 001"):
            deadline.stop()

    world.hooks.append(stop_after_the_copy)
    notes, rest = world.sweep(fast=fast, deadline=deadline)
    assert rest is not None
    assert notes.differences == ({"key 001": f"stale: {STALE}"} if there else {})
    assert ("key 001" in world.target.objects) == there


@pytest.mark.usefixtures("on_the_spot")
@pytest.mark.parametrize("fast", [False, True])
def test_a_sweep_that_the_source_ends_names_each_of_its_copies(fast: bool) -> None:
    """The deletion of a copied key may have been acknowledged before the copy arrived."""
    world = World(keys(3))

    def fail(side: str, operation: str, key: str) -> None:
        if side == "source" and world.target.objects:
            raise StoreUnusable("the store is down")

    world.hooks.append(fail)
    notes = Notes()
    with pytest.raises(StoreUnusable):
        world.sweep(fast=fast, notes=notes)
    assert world.target.objects
    assert notes.differences.keys() | notes.failures.keys() >= world.target.objects.keys()
    assert all("Run `s3-syncer sync KEY`" in reason for reason in notes.differences.values())


@pytest.mark.usefixtures("on_the_spot")
def test_an_own_copy_that_the_target_refuses_to_delete_fails_the_key() -> None:
    world = World(keys(3))
    delete_during_the_copy(world, "key 001")
    world.fail("target", "delete", "key 001", Permanent("access denied", "AccessDenied"))
    notes, _ = world.sweep()
    assert list(notes.failures) == ["key 001"]


@pytest.mark.usefixtures("on_the_spot")
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_a_sweep_without_deletes_that_races_with_live_sync_leaves_no_copy_unnamed(seed: int, fast: bool) -> None:
    world = racing_world(seed)
    litter = {key for key in world.target.objects if key not in world.source.objects}
    writers = Writers(world, seed, budget=60, live=True, fast=True)
    notes, _ = world.sweep(SweepOptions(one_way=True), fast=fast)
    writers.budget = 0
    handed_over = [key for key, difference in notes.differences.items() if difference.startswith("stale")]
    for key in [*handed_over, *notes.failures]:
        converge(world.pair(delete=True), key, Deadline())
    while writers.events:
        writers.deliver()
    assert {key: found for key, found in world.target.mirrored.items() if key not in litter - writers.touched} == (
        world.source.mirrored
    )
    assert litter - writers.touched <= world.target.objects.keys()


# -- the small-object copier -------------------------------------------------------------------------------------------


def differing() -> World:
    """Return a world with a key for each kind of difference, and some more."""
    world = World(keys(12), keys(12))
    for key in ("absent", "key 000"):
        world.write(key, b"of another size")
    world.write("key 001", b"ONE")
    world.copy("key 001", body=b"TWO", etag=md5_hex(b"TWO"))
    world.copy("key 002", metadata={"not": "there"})
    world.write("key 002", world.source.objects["key 002"].body)
    world.write("key 003", b"carrying tags", tags={"colour": "red"})
    world.copy("key 004", etag="opaque", marker="of another")
    world.write("parts")
    world.source.objects["parts"] = stored(b"p", b"arts", modified=world.tick())
    world.clock += 10  # so that no object is new
    return world


def test_the_small_object_copier_copies_the_same_keys_as_the_sweep() -> None:
    ordinary, fast = differing(), differing()
    (expected, _), (notes, _) = ordinary.sweep(), fast.sweep(fast=True)
    assert notes.outcomes == expected.outcomes
    assert {key: outcome.reason for key, outcome in notes.outcomes.items()} == {
        "absent": "absent from the target",
        "key 000": "size",
        "key 001": "content",
        "key 002": "metadata",
        "key 003": "size",
        "key 004": "content",
        "parts": "absent from the target",
    }
    assert fast.source.mirrored == fast.target.mirrored
    assert not notes.failures


def test_a_difference_by_listing_costs_a_get_and_a_put() -> None:
    world = World(keys(12), keys(12))
    for key in keys(12):
        world.write(key, b"of another size")
    world.clock += 10
    notes, _ = world.sweep(fast=True)
    assert {action for action, _ in notes.changes} == {"update"}
    assert world.source.count("head", "take", "read") == 0
    assert world.target.count("head") == 1, "the first copy shows what the target keeps"
    assert (world.source.count("fetch"), world.target.count("put")) == (12, 12)


def test_equal_copies_whose_etags_are_no_md5s_are_not_copied_again() -> None:
    world = World(keys(12), ["key 011"])
    for key in keys(11):
        world.copy(key, etag=md5_hex(key.encode()), marker=world.source.objects[key].etag)
    notes, _ = world.sweep(fast=True)
    assert notes.changes == []


def test_an_object_is_copied_once_when_the_target_still_lists_what_was_there() -> None:
    world = World(keys(3), keys(3))
    for key in keys(3):
        world.write(key, b"of another size")
    world.clock += 10
    before, listing = dict(world.target.objects), world.target.listing

    def late(*arguments: Any, **options: Any) -> Any:
        return ListedBucket(before).listing(*arguments, **options) if world.target.count("list") < 4 else listing()

    def count(side: str, operation: str, key: str) -> None:
        if (side, operation) == ("source", "list"):
            world.target.calls.append("list")

    world.hooks.append(count)
    world.target.listing = late  # type: ignore[method-assign]
    notes, _ = world.sweep(fast=True)
    assert notes.failures == {}
    assert world.target.count("put") == 3


# -- listings without ETags or without order ---------------------------------------------------------------------------


def test_a_target_that_lists_no_etags_is_compared_key_by_key() -> None:
    world = World(keys(12), keys(12), etag=opaque_etag)
    world.target.list_etags = False
    world.write("key 005")
    notes, _ = world.sweep()
    assert notes.changes == [("update", "key 005")]
    assert world.source.mirrored == world.target.mirrored


def upper_first(keys: Iterable[str]) -> list[str]:
    """Return the keys in an order that S3 does not allow."""
    return sorted(keys, key=lambda key: (key[-1], key))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("delete", [False, True])
def test_with_an_unordered_listing_all_keys_are_copied_and_none_is_deleted(side: str, seed: int, delete: bool) -> None:
    rand = random.Random(seed)
    world = World(keys(30), rand.sample(keys(40), 30))
    getattr(world, side).list_order = upper_first
    for key in rand.sample(keys(30), 5):
        world.write(key)
    extra = world.target.objects.keys() - world.source.objects.keys()

    notes, rest = world.sweep(SweepOptions(delete=delete))

    assert rest is None
    assert notes.restarts == [notes.restarts[0]]
    assert f"the {side} lists" in notes.restarts[0]
    assert {key: world.target.mirrored[key] for key in keys(30)} == world.source.mirrored
    assert world.target.count("delete") == 0
    assert notes.differences.keys() == extra
    assert notes.keys == 30
    assert not notes.failures


def test_a_check_of_an_unordered_listing_changes_nothing() -> None:
    world = World(keys(30), keys(40)[10:])
    world.target.list_order = upper_first
    world.write("key 020")
    notes, _ = world.sweep(SweepOptions(dry_run=True))
    assert world.target.count(*WRITES) == 0
    assert notes.differences.keys() == {*keys(10), "key 020", *keys(40)[30:]}
    notes, _ = world.sweep(SweepOptions(dry_run=True, one_way=True))
    assert notes.differences.keys() == {*keys(10), "key 020"}


# -- dry runs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_check_changes_nothing_and_reports_every_difference(seed: int) -> None:
    world = racing_world(seed)
    source, target = world.source.mirrored, world.target.mirrored
    notes, _ = world.sweep(SweepOptions(dry_run=True))
    assert world.target.count(*WRITES) == 0
    assert notes.differences.keys() == {key for key in keys(30) if source.get(key) != target.get(key)}
    assert not notes.changes


def test_a_difference_is_reported_with_its_action_and_reason() -> None:
    world = World(keys(3), [*keys(2), "litter"])
    world.write("key 000", b"another size")
    notes, _ = world.sweep(SweepOptions(dry_run=True))
    assert notes.differences == {
        "key 000": "differs: size",
        "key 002": "missing: absent from the target",
        "litter": "extra: absent from the source",
    }


def test_a_key_that_two_listings_decide_needs_no_request() -> None:
    world = World(keys(40)[:20], keys(40)[20:])
    notes, _ = world.sweep(SweepOptions(dry_run=True))
    assert len(notes.differences) == 40
    assert world.source.count("head") == world.target.count("head") == 0


@pytest.mark.usefixtures("on_the_spot")
def test_a_difference_that_the_second_listing_does_not_show_is_not_reported() -> None:
    world = World(keys(3), ["key 000", "key 001", "litter"])
    looks = {"target": 0}

    def live_sync(side: str, operation: str, key: str) -> None:
        if (side, operation) == ("target", "list"):
            looks["target"] += 1
            if looks["target"] == 2:
                world.copy("key 002")
                del world.target.objects["litter"]

    world.hooks.append(live_sync)
    notes, _ = world.sweep(SweepOptions(dry_run=True))
    assert notes.differences == {}


@pytest.mark.usefixtures("on_the_spot")
@pytest.mark.parametrize("is_deleted", [False, True], ids=["written", "deleted"])
def test_a_change_that_is_mirrored_between_two_heads_is_no_difference(is_deleted: bool) -> None:
    world = World(keys(3), keys(3))

    def live_sync(side: str, operation: str, key: str) -> None:
        if (side, operation, key) == ("target", "head", "key 001"):
            world.hooks.clear()
            if is_deleted:
                del world.source.objects[key], world.target.objects[key]
            else:
                world.write(key, b"another size")
                world.copy(key)

    world.hooks.append(live_sync)
    notes, _ = world.sweep(SweepOptions(dry_run=True, full=True))
    assert world.hooks == []
    assert notes.differences == {}


def test_a_difference_of_two_heads_is_confirmed_by_one_listing_of_its_page() -> None:
    world = World(keys(3), keys(3))
    world.copy("key 001", tags={"a": "b"})
    notes, _ = world.sweep(SweepOptions(dry_run=True, full=True))
    assert notes.differences == {"key 001": "differs: tags"}
    assert world.source.count("list") == world.target.count("list") == 2
    assert world.source.count("head") == world.target.count("head") == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"headers": {"Content-Type": "a/b"}}, "header Content-Type"),
        ({"tags": {"a": "b"}}, "tags"),
    ],
)
def test_only_a_full_check_finds_a_difference_that_no_listing_shows(change: dict[str, Any], reason: str) -> None:
    world = World(keys(12), keys(12))
    world.copy("key 005", **change)
    plain, _ = world.sweep(SweepOptions(dry_run=True))
    full, _ = world.sweep(SweepOptions(dry_run=True, full=True))
    assert plain.differences == {}
    assert full.differences == {"key 005": f"differs: {reason}"}
    mended, _ = world.sweep(SweepOptions(full=True))
    assert len(mended.changes) == 1
    assert world.source.mirrored == world.target.mirrored


def another_tools_copy() -> World:
    """Return a world with a copy that nothing proves. Its bytes differ, and it is newer than the source."""
    world = World(keys(3), keys(2))
    world.write("key 002", b"the right bytes")
    world.target.objects["key 002"] = stored(b"other", b" bytes, 15", modified=world.tick())
    world.clock += 10
    return world


UNPROVEN = "content is not proven: the ETags cannot be compared, and the copy has no ETag marker"


def test_a_full_check_names_keys_with_unproven_content() -> None:
    world = another_tools_copy()
    full, _ = world.sweep(SweepOptions(dry_run=True, full=True))
    plain, _ = world.sweep(SweepOptions(dry_run=True))
    assert full.differences == {"key 002": f"unproven: {UNPROVEN}"}
    assert plain.differences == {}


@pytest.mark.parametrize("fast", [False, True])
def test_a_full_sweep_copies_a_key_with_unproven_content_once(fast: bool) -> None:
    world = another_tools_copy()
    assert world.sweep(fast=fast)[0].changes == []
    assert world.sweep(SweepOptions(full=True), fast=fast)[0].changes == [("update", "key 002")]
    assert world.source.mirrored == world.target.mirrored
    again, _ = world.sweep(SweepOptions(full=True), fast=fast)
    assert (again.changes, again.differences, again.failures) == ([], {}, {})


@pytest.mark.parametrize(("full", "reports"), [(False, {}), (True, {"key 002": "large: too large for this sweep"})])
def test_a_plain_range_leaves_no_key_with_unproven_content_to_another_worker(
    full: bool, reports: dict[str, str]
) -> None:
    """That worker would copy the object, which a plain sweep does not do."""
    world = another_tools_copy()
    notes, _ = world.sweep(SweepOptions(full=full, max_object_size=12))
    assert notes.differences == reports


# -- ranges and stops --------------------------------------------------------------------------------------------------


def test_with_one_way_a_key_that_only_the_target_has_is_no_difference() -> None:
    world = World(keys(3), keys(12))
    notes, _ = world.sweep(SweepOptions(one_way=True))
    assert not notes.differences
    assert world.source.count("head") == 0


def test_only_the_range_is_swept() -> None:
    world = World(keys(40))
    notes, rest = world.sweep(after="key 009", until="key 019")
    assert rest is None
    assert notes.keys == 10
    assert world.target.objects.keys() == set(keys(20)[10:])


def stop_after(world: World, puts: int) -> Deadline:
    deadline = Deadline()

    def hook(side: str, operation: str, key: str) -> None:
        if (side, operation) == ("target", "put") and world.target.count("put") >= puts:
            deadline.stop()

    world.hooks.append(hook)
    return deadline


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("puts", [1, 3, 4, 5, 6, 17, 39])
def test_a_stopped_sweep_can_be_run_again_and_copies_nothing_twice(puts: int, threads: int) -> None:
    world = World(keys(40))
    _, rest = world.sweep(deadline=stop_after(world, puts), threads=threads)
    assert rest is not None
    assert world.target.count("put") < puts + threads
    world.hooks.clear()
    _, rest = world.sweep()
    assert rest is None
    assert world.source.mirrored == world.target.mirrored
    assert world.target.count("put") == 40


@pytest.mark.parametrize("threads", [1, 8])
def test_slices_of_time_complete_the_sweep_and_copy_nothing_twice(threads: int) -> None:
    world, slices = World(keys(60)), 0
    rest: str | None = ""
    while rest is not None:
        before = rest
        notes, rest = world.sweep(
            after=rest, deadline=stop_after(world, world.target.count("put") + 7), threads=threads
        )
        world.hooks.clear()
        assert rest is None or rest > before or notes.changes, "no progress"
        slices += 1
        assert slices < 30
    assert world.source.mirrored == world.target.mirrored
    assert world.target.count("put") == 60


def test_a_stop_during_the_last_page_leaves_nothing_to_do_when_it_was_finished() -> None:
    world = World(keys(3))
    notes, rest = world.sweep(SweepOptions(), deadline=stop_after(world, 100))
    assert rest is None
    deadline = Deadline()
    world.hooks.append(lambda side, operation, key: deadline.stop())
    notes, rest = world.sweep(SweepOptions(), deadline=deadline)  # all equal: a stop has nothing to interrupt
    assert (notes.keys, rest) == (3, None)


def test_an_unordered_sweep_that_is_stopped_starts_again() -> None:
    world = World(keys(40))
    world.source.list_order = upper_first
    _, rest = world.sweep(after="key 000", deadline=stop_after(world, 3))
    assert rest == "key 000"


@pytest.mark.parametrize("fails", [False, True])
def test_a_key_with_a_lost_response_is_named(fails: bool) -> None:
    world, fence = World(keys(3)), Fence()

    def lose(side: str, operation: str, key: str) -> None:
        if (operation, key) == ("put", "key 001") and not fence.uncertain:
            with request(key):
                fences.check()
            if fails:
                raise StoreUnusable("no such bucket")

    world.hooks.append(lose)
    with fenced(fence):
        if fails:
            with pytest.raises(StoreUnusable):
                world.sweep()
        else:
            notes, _ = world.sweep()
            assert notes.uncertain == ["key 001"]
    assert fence.uncertain == {"key 001"}, "the worker of a queue sees it as well"


def folding(fold: Callable[[str], str], *keys: str) -> World:
    """Return a world with these keys in the source, and a target that folds keys."""
    world = World(keys)
    world.target.objects = FoldedObjects(fold)
    world.clock += 10
    return world


#: Folds: of slashes, of case, and one of which nothing is known.
FOLDS = {
    "/a": lambda key: key.lstrip("/"),
    "A": str.lower,
    "12": lambda key: key.replace("12", "21"),
}


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("key", FOLDS)
def test_a_key_that_the_target_lists_under_another_name_is_not_equal(key: str, fast: bool) -> None:
    world = folding(FOLDS[key], key)
    notes, _ = world.sweep(SweepOptions(delete=True), fast=fast)
    assert list(notes.failures) == [key]
    assert "the target does not list this key" in notes.failures[key]
    checked, _ = world.sweep(SweepOptions(dry_run=True, full=True))
    assert key in checked.differences


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("key", ["/a", "A"])
def test_a_sweep_overwrites_no_other_key(key: str, fast: bool) -> None:
    world = folding(FOLDS[key], "a", key)
    world.copy("a")
    notes, _ = world.sweep(fast=fast)
    assert list(notes.failures) == [key]
    assert world.target.mirrored == {"a": world.source.objects["a"].mirrored}
    del world.source.objects[key]
    notes, _ = world.sweep(SweepOptions(delete=True), fast=fast)
    assert (notes.changes, notes.failures, notes.differences) == ([], {}, {})
    assert list(world.target.objects) == ["a"]


def test_few_keys_show_the_small_object_copier_that_the_target_keeps_keys_apart() -> None:
    names = [f"Key {number:02}/" for number in range(40)]
    world = World(names)
    world.clock += 10
    notes, _ = world.sweep(fast=True)
    assert world.source.mirrored == world.target.mirrored
    assert notes.failures == {}
    assert world.target.count("lists") == 1, "the target does not rewrite a blank"
    assert world.source.count("fetch") >= 20, "most keys are copied with one GET and one PUT"


def test_a_copy_of_another_worker_since_the_listing_is_equal_if_the_target_lists_it() -> None:
    world = World(["1"])

    def write_other(side: str, operation: str, key: str) -> None:
        if (side, operation) == ("target", "head"):
            world.hooks.clear()
            world.copy("1")

    world.hooks.append(write_other)
    notes, _ = world.sweep()
    assert (notes.changes, notes.failures) == ([], {})
    assert world.target.count("lists") == 1


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("ordered", [True, False])
def test_an_archived_object_takes_one_head_and_the_others_are_copied(fast: bool, ordered: bool) -> None:
    world = World("abcd")
    for key in "bc":
        world.write(key, archived="GLACIER")
    if not ordered:
        world.source.list_order = lambda found: sorted(found, reverse=True)
    heads: list[str] = []
    world.hooks.append(
        lambda side, operation, key: heads.append(key) if (side, operation) == ("source", "head") else None
    )
    notes, _ = world.sweep(fast=fast)
    assert sorted(world.target.objects) == ["a", "d"]
    assert notes.differences == dict.fromkeys(
        "bc", "archived: the object is in GLACIER: restore it, then copy it again"
    )
    assert notes.failures == {}
    assert (heads.count("b"), heads.count("c")) == (1, 1)
