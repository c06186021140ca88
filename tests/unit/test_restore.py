"""The restore of keys from the mirror: the reversed rules, races with writers, and live sync after it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from tests.support.in_memory_store import (
    Etag,
    ListedBucket,
    MemoryBucket,
    Stored,
    capabilities_of_aws,
    md5_etag,
    md5_hex,
    stored,
)

from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import Retryable, SyncError
from s3_syncer.core.model import WriteGuard
from s3_syncer.core.multipart import Limits, likely_plan
from s3_syncer.core.units import GIB, MIB
from s3_syncer.sync import converge as converge_module
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.converge import converge
from s3_syncer.sync.key_sweep import SweepOptions
from s3_syncer.sync.outcome import Outcome
from s3_syncer.sync.restore import FromMirror, RestoredCopies, RestoreGuards
from s3_syncer.sync.sweep import Sweep
from s3_syncer.sync.transfer import Transfer
from s3_syncer.sync.write_guards import WriteGuards

KEY = "folder/a key"


def opaque_etag(content: bytes | list[bytes]) -> str:
    """Return an ETag of a store that does not use MD5s, another one for each content."""
    return f"opaque-{md5_hex(repr(content).encode())}"


LIMITS = Limits(min_part=2)
PROPERTIES: dict[str, Any] = {
    "headers": {"Content-Type": "text/plain", "Cache-Control": "no-store", "Expires": "whenever"},
    "metadata": {"by": "a"},
    "tags": {"colour": "red"},
}
ONE, TWO, NEWER = stored(b"one", **PROPERTIES), stored(b"two", tags={"n": "2"}), stored(b"written by another program")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Confirm a finding at once: there is no other worker here."""
    monkeypatch.setattr(converge_module, "CONFIRM_AFTER_S", 0.0)


def mirrored(original: Stored, *, etag: Etag = md5_etag) -> Stored:
    """Return the object that live sync makes of the original in a store with these ETags."""
    source, mirror = MemoryBucket({KEY: original}), MemoryBucket(etag=etag)
    converge(live(source, mirror), KEY, Deadline())
    return mirror.objects[KEY]


def live(bucket: MemoryBucket, mirror: MemoryBucket) -> BucketPair:
    """Return the pair of live sync, which deletes."""
    transfer = Transfer(bucket, mirror, memory=MIB, threads=1, limits=LIMITS, capabilities=capabilities_of_aws())
    return BucketPair(bucket, mirror, transfer, capabilities=transfer.capabilities)


def back(mirror: MemoryBucket, bucket: MemoryBucket, *, overwrite: bool = False, tags: bool = True) -> BucketPair:
    """Return the pair of a restore."""
    direction = FromMirror(overwrite)
    transfer = Transfer(
        mirror,
        bucket,
        memory=MIB,
        threads=1,
        limits=LIMITS,
        capabilities=capabilities_of_aws(),
        direction=direction,
        tags=tags,
    )
    return BucketPair(mirror, bucket, transfer, delete=False, capabilities=transfer.capabilities, direction=direction)


def restore(mirror: MemoryBucket, bucket: MemoryBucket, **options: bool) -> Outcome:
    return converge(back(mirror, bucket, **options), KEY, Deadline())


def sides(mirror: Stored | None, bucket: Stored | None) -> tuple[MemoryBucket, MemoryBucket]:
    return MemoryBucket({KEY: mirror} if mirror else {}), MemoryBucket({KEY: bucket} if bucket else {})


def once(operation: str, change: Callable[[], object]) -> Callable[[str, str], None]:
    """Return an `on_call` that makes the change before the first such operation."""
    left = [change]

    def on_call(name: str, key: str) -> None:
        if name == operation and left:
            left.pop()()

    return on_call


# -- missing keys ------------------------------------------------------------------------------------------------------

IN_PARTS = stored(b"abcd", b"efgh", b"ij", **PROPERTIES)


@pytest.mark.parametrize("etag", [md5_etag, opaque_etag], ids=["MD5s", "opaque ETags"])
@pytest.mark.parametrize(
    "original",
    [
        pytest.param(ONE, id="in one piece"),
        pytest.param(stored(b"", **PROPERTIES), id="empty"),
        pytest.param(IN_PARTS, id="in parts"),
        pytest.param(stored(b"one", kms=True, etag="5" * 32, **PROPERTIES), id="encrypted with KMS"),
    ],
)
def test_a_missing_object_comes_back_with_every_property_and_without_a_marker(original: Stored, etag: Etag) -> None:
    mirror, bucket = sides(mirrored(original, etag=etag), None)
    outcome = restore(mirror, bucket)
    assert outcome.action == "copy"
    assert bucket.objects[KEY].mirrored == original.mirrored
    assert bucket.objects[KEY].marker is None
    assert not bucket.under_way


def test_the_etag_comes_back_if_the_mirror_has_the_same_parts() -> None:
    mirror, bucket = sides(mirrored(IN_PARTS), None)
    outcome = restore(mirror, bucket)
    assert bucket.objects[KEY].etag == IN_PARTS.etag
    assert not outcome.has_other_etag


def test_the_etag_comes_back_from_a_mirror_with_other_parts_if_the_tool_used_a_common_part_size() -> None:
    body = bytes(range(256)) * (20 * MIB // 256)
    original = stored(body[: 8 * MIB], body[8 * MIB : 16 * MIB], body[16 * MIB :])
    whole = stored(body, marker=original.etag)
    mirror, bucket = sides(whole, None)
    direction = FromMirror()
    transfer = Transfer(mirror, bucket, memory=64 * MIB, threads=1, direction=direction)
    pair = BucketPair(mirror, bucket, transfer, delete=False, direction=direction)
    assert not converge(pair, KEY, Deadline(), size=len(body)).has_other_etag
    assert bucket.objects[KEY].etag == original.etag


@pytest.mark.parametrize(
    ("size", "parts", "part"),
    [
        (20 * MIB, 3, 8),
        (33 * MIB, 3, 16),
        (16 * MIB, 2, 8),
        (10 * GIB, 640, 16),
        (10 * GIB, 2048, 5),
        (10 * GIB, 27, 380),
        (5 * MIB, 1, 5),
        (100 * MIB, 3, 34),
    ],
)
def test_the_usual_part_size_is_guessed(size: int, parts: int, part: int) -> None:
    plan = likely_plan(size, parts, largest_part=512 * MIB, limits=Limits())
    assert plan is not None
    assert (plan.count, plan.part_size) == (parts, part * MIB)


def test_no_part_size_is_guessed_that_cannot_be() -> None:
    assert likely_plan(10 * MIB, 7, largest_part=512 * MIB, limits=Limits()) is None
    assert likely_plan(10 * GIB, 2, largest_part=512 * MIB, limits=Limits()) is None


def test_an_object_of_another_tool_comes_back_too() -> None:
    mirror, bucket = sides(stored(b"foreign", **PROPERTIES), None)
    assert restore(mirror, bucket).action == "copy"
    assert bucket.objects[KEY] == mirror.objects[KEY]


def test_bytes_damaged_on_the_way_from_the_mirror_are_not_restored() -> None:
    mirror, bucket = sides(replace(ONE, marker=ONE.etag), None)
    mirror.objects[KEY] = replace(mirror.objects[KEY], body=b"0ne")
    with pytest.raises(Retryable, match="the MD5 of the bytes read is not the mirror's ETag"):
        restore(mirror, bucket)
    assert not bucket.objects


def test_another_etag_than_before_is_reported() -> None:
    mirror, bucket = sides(stored(b"one", marker="5" * 32), None)
    outcome = restore(mirror, bucket)
    assert outcome.has_other_etag
    assert outcome.reason == "absent from the target; the ETag is not the one of before"


@pytest.mark.parametrize(
    ("marker", "etag", "expected"),
    [
        (ONE.etag, md5_etag, True),
        (None, md5_etag, True),
        ("5" * 32, md5_etag, False),
        ("5" * 32, lambda _: "6" * 32, False),  # as with a KMS key
        (None, lambda _: "6" * 32, None),
        ("5" * 32, opaque_etag, None),
        (f"{'5' * 32}-2", md5_etag, None),
    ],
)
def test_a_restored_object_shows_if_it_has_the_md5_of_before(
    marker: str | None, etag: Etag, expected: bool | None
) -> None:
    mirror, bucket = sides(stored(b"one", marker=marker), None)
    bucket = MemoryBucket(etag=etag)
    assert restore(mirror, bucket).has_earlier_md5 is expected


# -- what the bucket has stays -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "outcome"),
    [
        (ONE, "unchanged: equal"),
        (TWO, "differs: content"),
        (NEWER, "differs: size"),
        (replace(ONE, tags={}), "differs: tags"),
        (replace(ONE, metadata={}), "differs: metadata"),
        (stored(b"one", kms=True, etag="5" * 32), "unproven: content is not proven"),
    ],
)
def test_an_object_that_the_bucket_has_stays(there: Stored, outcome: str) -> None:
    mirror, bucket = sides(mirrored(ONE), there)
    found = restore(mirror, bucket)
    assert f"{found.action}: {found.reason}".startswith(outcome)
    assert bucket.objects == {KEY: there}


@pytest.mark.parametrize("there", [TWO, NEWER, replace(ONE, tags={}), replace(ONE, metadata={})])
def test_with_overwrite_it_is_replaced(there: Stored) -> None:
    mirror, bucket = sides(mirrored(ONE), there)
    assert restore(mirror, bucket, overwrite=True).action == "update"
    assert bucket.objects[KEY].mirrored == ONE.mirrored
    assert "put_tags" not in bucket.calls, "no condition protects the object of another program from it"


def test_without_tags_an_overwritten_object_keeps_its_tags() -> None:
    mirror, bucket = sides(mirrored(replace(ONE, tags={})), TWO)
    assert restore(mirror, bucket, overwrite=True, tags=False).action == "update"
    assert (bucket.objects[KEY].body, bucket.objects[KEY].tags) == (b"one", TWO.tags)


def test_a_key_that_only_the_bucket_has_stays() -> None:
    mirror, bucket = sides(None, ONE)
    assert restore(mirror, bucket, overwrite=True).action == "kept"
    assert bucket.objects == {KEY: ONE}


@pytest.mark.parametrize("operation", ["put", "complete_upload"])
@pytest.mark.parametrize(("overwrite", "there"), [(False, None), (True, None), (True, TWO)])
def test_a_writer_between_the_comparison_and_the_write_never_loses(
    operation: str, overwrite: bool, there: Stored | None
) -> None:
    """Seen to fail with the guards of live sync, which read the target once more before a completion."""
    original = ONE if operation == "put" else IN_PARTS
    mirror, bucket = sides(mirrored(original), there)
    bucket.on_call = once(operation, lambda: bucket.objects.update({KEY: NEWER}))
    outcome = restore(mirror, bucket, overwrite=overwrite)
    assert outcome.action in ("differs", "unproven")
    assert bucket.objects == {KEY: NEWER}
    assert not bucket.under_way


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_writer_after_the_write_never_loses(overwrite: bool) -> None:
    mirror, bucket = sides(mirrored(ONE), TWO if overwrite else None)
    wrote = count()

    def on_call(operation: str, key: str) -> None:
        if operation == "put":
            next(wrote)
        elif operation == "head" and bucket.objects.get(KEY) == replace(ONE, marker=None) and next(wrote) == 1:
            bucket.objects[KEY] = NEWER

    bucket.on_call = on_call
    restore(mirror, bucket, overwrite=overwrite)
    assert bucket.objects == {KEY: NEWER}


@pytest.mark.parametrize("conditions", ["refused", "never met"])
def test_nothing_is_written_to_a_bucket_that_refuses_conditions(conditions: Any) -> None:
    mirror, bucket = sides(mirrored(ONE), None)
    bucket.conditions = conditions
    with pytest.raises(SyncError):
        restore(mirror, bucket)
    assert not bucket.objects


# -- live sync after a restore -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("etag", [md5_etag, opaque_etag], ids=["MD5s", "opaque ETags"])
@pytest.mark.parametrize("original", [ONE, IN_PARTS], ids=["in one piece", "in parts"])
def test_live_sync_finds_a_restored_object_equal_and_the_marker_stays(original: Stored, etag: Etag) -> None:
    copy = mirrored(original, etag=etag)
    mirror, bucket = MemoryBucket({KEY: copy}, etag=etag), MemoryBucket()
    restore(mirror, bucket)
    mirror.calls.clear()
    if etag is opaque_etag and original is IN_PARTS:
        assert bucket.objects[KEY].etag == original.etag
    assert converge(live(bucket, mirror), KEY, Deadline(), is_event=True).action == "unchanged"
    assert mirror.objects == {KEY: copy}


def test_live_sync_copies_an_object_with_another_etag_once() -> None:
    mirror, bucket = sides(mirrored(stored(b"one", kms=True, etag="5" * 32)), None)
    assert restore(mirror, bucket).has_other_etag
    actions = [converge(live(bucket, mirror), KEY, Deadline(), is_event=True).action for _ in range(3)]
    assert actions in (["update", "unchanged", "unchanged"], ["unchanged"] * 3)
    assert restore(mirror, bucket).action == "unchanged"


def test_a_late_deletion_does_not_delete_a_restored_object() -> None:
    mirror, bucket = sides(mirrored(ONE), None)
    restore(mirror, bucket)
    assert converge(live(bucket, mirror), KEY, Deadline()).action == "unchanged"
    assert KEY in mirror.objects
    assert KEY in bucket.objects


@pytest.mark.parametrize("operation", ["head", "take", "put"])
def test_a_deletion_by_live_sync_meanwhile_loses_no_restored_object(operation: str) -> None:
    """Live sync deletes the mirror's object before or after it was read. What came back stays."""
    mirror, bucket = sides(mirrored(ONE), None)

    def delete() -> None:
        converge(live(bucket, mirror), KEY, Deadline())

    (mirror if operation == "take" else bucket).on_call = once(operation, delete)
    outcome = restore(mirror, bucket)
    converge(live(bucket, mirror), KEY, Deadline(), is_event=True)
    assert bucket.objects.keys() == mirror.objects.keys()
    assert outcome.action == {"head": "unchanged", "take": "unchanged", "put": "kept"}[operation]
    assert (KEY in bucket.objects) == (operation == "put")


class World:
    """A bucket with a writer, its mirror with live sync, and a restore between them.

    The writer acts at one moment of the restore, and live sync handles the event of that at a later moment.
    """

    def __init__(self, mirror: Stored | None, bucket: Stored | None, *, etag: Etag) -> None:
        self.mirror = MemoryBucket({KEY: mirror} if mirror else {}, etag=etag)
        self.bucket = MemoryBucket({KEY: bucket} if bucket else {})
        self.moments: dict[int, Callable[[], object]] = {}
        self.calls = 0
        self._is_acting = False
        self.mirror.on_call = self.bucket.on_call = self._on_call

    def _on_call(self, operation: str, key: str) -> None:
        if self._is_acting:
            return
        self.calls += 1
        if action := self.moments.pop(self.calls, None):
            self._is_acting = True
            action()
            self._is_acting = False

    def sync(self) -> None:
        converge(live(self.bucket, self.mirror), KEY, Deadline(), is_event=True)

    def write(self) -> None:
        self.bucket.objects[KEY] = NEWER

    def delete(self) -> None:
        self.bucket.objects.pop(KEY, None)


@pytest.mark.parametrize("etag", [md5_etag, opaque_etag], ids=["MD5s", "opaque ETags"])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("there", [None, TWO], ids=["missing", "older"])
@pytest.mark.parametrize("act", [World.write, World.delete, World.sync], ids=["write", "delete", "late event"])
def test_a_restore_beside_a_writer_and_live_sync_loses_nothing(
    act: Callable[[World], None], there: Stored | None, overwrite: bool, etag: Etag
) -> None:
    """Every pair of moments: the writer acts at the first, and live sync handles the event at the second."""
    moments = 12
    for first in range(1, moments):
        for second in range(first + 1, moments + 1):
            world = World(mirrored(IN_PARTS, etag=etag), there, etag=etag)
            world.moments = {first: lambda world=world: act(world), second: world.sync}
            with suppress(SyncError):
                restore(world.mirror, world.bucket, overwrite=overwrite)
            world.moments.clear()
            acted = world.calls >= first
            for _ in range(2):
                world.sync()
            kept = [world.bucket.objects.get(KEY), world.mirror.objects.get(KEY)]
            moment = f"at calls {first} and {second}"
            assert (kept[0] and kept[0].mirrored) == (kept[1] and kept[1].mirrored), moment
            assert not world.bucket.under_way, moment
            if act is World.write and acted and not overwrite:
                assert kept[0] == NEWER, moment
            if act is not World.delete and there is not None:
                assert kept[0] is not None, moment


# -- a sweep -----------------------------------------------------------------------------------------------------------


class Events:
    """A listener that records everything."""

    def __init__(self) -> None:
        self.compared = 0
        self.changed: dict[str, Outcome] = {}
        self.skipped: dict[str, str] = {}
        self.failed: dict[str, str] = {}

    def on_compared(self, keys: int) -> None:
        self.compared += keys

    def on_changed(self, key: str, outcome: Outcome) -> None:
        assert key not in self.changed, "a restore writes each key once"
        self.changed[key] = outcome

    def on_skipped(self, key: str, outcome: Outcome) -> None:
        self.skipped[key] = outcome.action

    def on_failed(self, key: str, error: SyncError) -> None:
        self.failed[key] = error.reason

    def on_uncertain(self, key: str) -> None: ...

    def on_restart(self, why: str) -> None: ...


def sweep(mirror: ListedBucket, bucket: ListedBucket, *, overwrite: bool = False, dry_run: bool = False) -> Events:
    events, options = Events(), SweepOptions(dry_run=dry_run, ignores_times=True)
    Sweep(back(mirror, bucket, overwrite=overwrite), mirror, bucket, events, options, threads=2).run(Deadline())
    return events


def test_a_sweep_restores_the_missing_keys_and_reports_the_others() -> None:
    mirror = ListedBucket({"a": ONE, "b": ONE, "c": TWO, "d": IN_PARTS})
    bucket = ListedBucket({"b": ONE, "c": NEWER, "e": NEWER}, clock=9)
    events = sweep(mirror, bucket)
    assert events.changed.keys() == {"a", "d"}
    assert events.skipped == {"c": "differs", "e": "extra"}
    assert not events.failed
    assert bucket.mirrored == {**mirror.mirrored, "c": NEWER.mirrored, "e": NEWER.mirrored}


def test_a_second_sweep_needs_no_request_about_a_restored_key() -> None:
    mirror, bucket = ListedBucket({f"{n}": ONE for n in range(9)}, clock=1), ListedBucket(clock=9)
    sweep(mirror, bucket)
    for side in (mirror, bucket):
        side.calls.clear()
    events = sweep(mirror, bucket)
    assert (events.compared, events.changed, events.skipped) == (9, {}, {})
    assert set(mirror.calls) == set(bucket.calls) == {"list"}


def test_an_older_object_with_the_same_etag_needs_no_request_either() -> None:
    mirror, bucket = ListedBucket({"a": replace(ONE, modified=9)}), ListedBucket({"a": ONE})
    sweep(mirror, bucket)
    assert set(bucket.calls) == {"list"}


def test_a_dry_run_writes_nothing() -> None:
    mirror, bucket = ListedBucket({"a": ONE, "b": TWO}), ListedBucket({"b": ONE})
    events = sweep(mirror, bucket, dry_run=True)
    assert events.skipped == {"a": "missing", "b": "differs"}
    assert bucket.objects == {"b": ONE}


def test_each_restored_object_with_another_etag_is_written_once_and_is_no_difference() -> None:
    mirror = ListedBucket({"a": stored(b"one", marker="5" * 32), "b": ONE})
    bucket = ListedBucket(etag=opaque_etag)  # as with a KMS key: no ETag comes back
    events = sweep(mirror, bucket)
    assert events.changed.keys() == {"a", "b"}
    assert all(outcome.has_other_etag for outcome in events.changed.values())
    assert (events.skipped, events.failed) == ({}, {})


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("moment", range(60))
def test_a_sweep_never_replaces_what_another_program_writes_meanwhile(overwrite: bool, moment: int) -> None:
    """The other program writes at any moment. With overwrite, what was compared may be replaced, once."""
    keys = [f"{n}" for n in range(3)]
    mirror = ListedBucket(dict.fromkeys(keys, ONE))
    bucket = ListedBucket({keys[0]: TWO, keys[1]: TWO})
    calls: list[tuple[str, str]] = []

    def on_call(operation: str, key: str) -> None:
        if len(calls) == moment:
            bucket.objects.update(dict.fromkeys(keys, NEWER))
        calls.append((operation, key))

    mirror.on_call = lambda operation, key: on_call(f"mirror {operation}", key)
    bucket.on_call = on_call
    sweep(mirror, bucket, overwrite=overwrite)
    for key in keys if len(calls) > moment else ():
        was_attempted, is_seen = ("put", key) in calls[: moment + 1], ("head", key) in calls[moment:]
        may_be_replaced = overwrite and is_seen and not was_attempted
        assert may_be_replaced or bucket.objects[key] == NEWER


@pytest.mark.parametrize(
    ("owner", "rule", "careless"),
    [
        (FromMirror, "once_written", lambda direction: direction),
        (RestoreGuards, "guard", lambda guards, key, replaced: WriteGuard(None, None, conditional=False)),
        (RestoreGuards, "guard", lambda guards, key, replaced: guards._target.head(key) and None),
        (RestoredCopies, "has_attempted", lambda copies, key: False),
    ],
    ids=["replaces again after a conflict", "no condition", "no guard", "forgets what it wrote"],
)
def test_each_rule_is_needed(monkeypatch: pytest.MonkeyPatch, owner: type, rule: str, careless: object) -> None:
    """Without the rule, an object of another program is lost at some moment."""
    monkeypatch.setattr(owner, rule, careless)

    def sweep_at_every_moment() -> None:
        for moment in range(60):
            test_a_sweep_never_replaces_what_another_program_writes_meanwhile(True, moment)

    with pytest.raises(AssertionError):
        sweep_at_every_moment()


def test_the_guard_of_live_sync_is_too_late_for_a_restore(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the object that is there when the parts have been sent, and not the one that was compared."""
    monkeypatch.setattr(RestoreGuards, "complete", WriteGuards.complete)
    found = []

    def writer(bucket: MemoryBucket) -> None:
        bucket.objects[KEY] = NEWER
        found.append(KEY)

    mirror, bucket = sides(mirrored(IN_PARTS), None)
    bucket.on_call = once("upload_part", lambda: writer(bucket))
    restore(mirror, bucket)
    assert found
    assert bucket.objects[KEY].mirrored == IN_PARTS.mirrored, "the object of the other program was replaced"
