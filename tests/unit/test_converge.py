"""The convergence of one key: writes and outcomes. See also test_interleavings.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest
from tests.support.in_memory_store import MemoryBucket, Stored, capabilities_of_aws, opaque_etag, stored

from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.errors import Permanent, Retryable
from s3_syncer.core.model import INLINE_BODY_MAX, MAX_METADATA_BYTES, ObjectState
from s3_syncer.core.units import MIB
from s3_syncer.stores.capabilities import SAMPLE_EVERY, TAGS_WITH_OBJECT, TAGS_WITH_OBJECT_CHECKS, properties_of
from s3_syncer.sync import converge as converge_module
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.converge import MAX_ATTEMPTS, converge
from s3_syncer.sync.outcome import CHANGES, Outcome
from s3_syncer.sync.transfer import Transfer
from s3_syncer.sync.write_checks import Unseen


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Confirm a finding at once: there is no other worker here."""
    monkeypatch.setattr(converge_module, "CONFIRM_AFTER_S", 0.0)


KEY = "key"
ONE, TWO = stored(b"one", tags={"colour": "red"}), stored(b"twoo")
RETAGGED = replace(ONE, tags={"colour": "blue"})


def buckets(source: Stored | None, target: Stored | None) -> tuple[MemoryBucket, MemoryBucket]:
    return MemoryBucket({KEY: source} if source else {}), MemoryBucket({KEY: target} if target else {})


def pair_of(source: MemoryBucket, target: MemoryBucket, *, delete: bool = True, proven: bool = False) -> BucketPair:
    """Return a pair. With `proven`, the target is known to keep ordinary objects and their tags."""
    transfer = Transfer(source, target, memory=MIB, threads=1, capabilities=capabilities_of_aws())
    if proven:
        for _ in range(TAGS_WITH_OBJECT_CHECKS):
            transfer.capabilities.record_kept(properties_of(ONE.look()) | {TAGS_WITH_OBJECT})
    return BucketPair(source, target, transfer, delete=delete, capabilities=transfer.capabilities)


def run(
    source: MemoryBucket,
    target: MemoryBucket,
    *,
    delete: bool = True,
    proven: bool = False,
    deadline: Deadline | None = None,
) -> Outcome:
    return converge(pair_of(source, target, delete=delete, proven=proven), KEY, deadline or Deadline())


@pytest.mark.parametrize(
    ("source", "target", "outcome"),
    [
        (None, None, Outcome("unchanged", "absent on both sides", is_gone=True)),
        (ONE, ONE, Outcome("unchanged", "equal")),
        (ONE, None, Outcome("copy", "absent from the target", 3)),
        (None, ONE, Outcome("delete", "absent from the source", is_gone=True)),
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
    run(source, target, proven=True)
    assert source.calls == ["take", "tags", "head", "tags"]
    assert target.calls == ["head", "put"]


@pytest.mark.parametrize(
    ("target", "calls"),
    [
        (TWO, ["take", "tags", "head", "tags"]),
        (stored(bytes(INLINE_BODY_MAX + 1)), ["head", "tags", "read", "head", "tags"]),
    ],
    ids=["small", "large"],
)
def test_an_event_reads_the_new_bytes_of_a_small_object_with_its_state(target: Stored, calls: list[str]) -> None:
    """The size in the target is the best guess: a large object is not read before the comparison."""
    source, target_bucket = buckets(ONE, target)
    outcome = converge(pair_of(source, target_bucket, proven=True), KEY, Deadline(), is_event=True)
    assert outcome.action == "update"
    assert source.calls == calls


def test_a_comparison_without_an_event_reads_no_bytes_of_an_equal_object() -> None:
    source, target = buckets(ONE, ONE)
    run(source, target)
    assert "take" not in source.calls


def test_a_large_object_is_compared_without_its_body() -> None:
    source, target = buckets(ONE, None)
    pair = pair_of(source, target)
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
    kept = Outcome("kept", "deleted from the source, and deletes are off", is_gone=True)
    assert run(source, target, delete=False) == kept
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


# -- the check of the target after a write -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "calls"),
    [
        (TWO, None, ["head", "put", "head"]),
        (ONE, None, ["head", "put", "head", "tags"]),
        (TWO, ONE, ["head", "put", "head"]),
        (RETAGGED, ONE, ["head", "tags", "put_tags", "head", "tags"]),
    ],
    ids=["new", "new with tags", "overwritten", "tags"],
)
def test_the_first_write_of_a_process_costs_one_more_head_of_the_target(
    source: Stored, target: Stored | None, calls: list[str]
) -> None:
    left, right = buckets(source, target)
    run(left, right)
    assert right.calls == calls


def test_tags_that_come_with_the_object_are_written_later_where_the_store_ignores_them() -> None:
    target = MemoryBucket()
    target.tags_with_object = False
    tagged = [stored(f"body {number}".encode(), tags={"a": str(number)}) for number in range(3)]
    writes(target, *tagged)
    assert [dict(there.tags) for there in target.objects.values()] == [each.tags for each in tagged]
    # Only the first copy is followed by a check that finds it without tags. The keys have a blank, so one is listed.
    assert target.calls == [
        *("head", "put", "head", "lists", "tags", "put_tags", "head", "tags"),
        *("head", "put", "put_tags"),
        *("head", "put", "put_tags"),
    ]


@pytest.mark.parametrize("is_there", [False, True])
def test_a_new_copy_whose_tags_are_refused_is_removed_again(is_there: bool) -> None:
    """A later plain sweep would take it for equal."""

    def refuse_tags(operation: str, key: str) -> None:
        if operation == "put_tags":
            raise Permanent("access denied", "AccessDenied")

    source, _ = buckets(replace(ONE, tags={"a": "b"}), None)
    target = MemoryBucket({KEY: TWO} if is_there else {}, on_call=refuse_tags)
    target.tags_with_object = False
    expected = "only --full finds that later" if is_there else "The copy was removed again"
    with pytest.raises(Permanent, match=expected):
        run(source, target)
    assert (KEY in target.objects) == is_there


def described(number: int, **headers: str) -> Stored:
    return stored(f"body {number}".encode(), headers={"Content-Type": "text/plain", **headers}, metadata={"by": "me"})


def writes(target: MemoryBucket, *objects: Stored, sample_every: int = SAMPLE_EVERY) -> list[int]:
    """Copy the objects to new keys; return the HEADs of the target that each of them takes."""
    source = MemoryBucket()
    capabilities = capabilities_of_aws(sample_every=sample_every)
    transfer = Transfer(source, target, memory=MIB, threads=1, capabilities=capabilities)
    pair, heads = BucketPair(source, target, transfer, capabilities=capabilities), []
    for number, original in enumerate(objects):
        source.objects[f"key {number}"], before = original, target.calls.count("head")
        assert converge(pair, f"key {number}", Deadline()).action == "copy"
        heads.append(target.calls.count("head") - before)
    return heads


def test_later_writes_of_the_same_properties_cost_no_request_more() -> None:
    assert writes(MemoryBucket(), *map(described, range(5))) == [2, 1, 1, 1, 1]


def test_a_new_header_or_metadata_name_is_checked_once() -> None:
    objects = [
        described(0),
        described(1, **{"Cache-Control": "no-store"}),
        described(2, **{"Cache-Control": "no-store"}),
        described(3, **{"Cache-Control": "max-age=60"}),
        replace(described(4), metadata={"By": "me"}),
        replace(described(5), metadata={"By": ""}),
        replace(described(6), metadata={"By": "Zo\u00eb"}),
        replace(described(7), metadata={"By": "us"}),
        replace(described(8), metadata={"By": "somebody else"}),
    ]
    assert writes(MemoryBucket(), *objects) == [2, 2, 1, 2, 2, 2, 2, 1, 2]


def test_one_write_in_so_many_is_checked_again() -> None:
    assert writes(MemoryBucket(), *map(described, range(9)), sample_every=4) == [2, 1, 1, 2, 1, 1, 1, 2, 1]


def test_an_object_that_is_found_equal_shows_what_the_target_keeps() -> None:
    source, target = buckets(described(0), described(0))
    pair = pair_of(source, target)
    assert converge(pair, KEY, Deadline()).action == "unchanged"
    source.objects["other"] = described(1)
    target.calls.clear()
    assert converge(pair, "other", Deadline()).action == "copy"
    assert target.calls == ["head", "put"]


def test_an_etag_that_proves_nothing_is_no_substitute_for_the_check() -> None:
    assert writes(MemoryBucket(etag=opaque_etag), *map(described, range(3))) == [2, 2, 2]


class Forgetful(MemoryBucket):
    """A target that answers as usual and does not keep what `lose` takes from each object."""

    def __init__(self, lose: Callable[[Stored], Stored | None], **options: Any) -> None:
        super().__init__(**options)
        self.lose = lose

    def put(self, key: str, *arguments: Any) -> str:
        etag = super().put(key, *arguments)
        self._lose(key)
        return etag

    def put_tags(self, key: str, tags: Mapping[str, str]) -> None:
        super().put_tags(key, tags)
        self._lose(key)

    def complete_upload(self, key: str, *arguments: Any) -> str:
        etag = super().complete_upload(key, *arguments)
        self._lose(key)
        return etag

    def _lose(self, key: str) -> None:
        kept = self.lose(self.objects.pop(key))
        if kept is not None:
            self.objects[key] = kept


CACHED = stored(b"one", headers={"Cache-Control": "max-age=60", "Content-Type": "text/plain"}, metadata={"By": "me"})


def without_header(kept: Stored) -> Stored:
    return replace(kept, headers={name: value for name, value in kept.headers.items() if name != "Cache-Control"})


def with_charset(kept: Stored) -> Stored:
    return replace(kept, headers={**kept.headers, "Content-Type": f"{kept.headers['Content-Type']}; charset=utf-8"})


FLAWS: list[tuple[str, Callable[[Stored], Stored | None], Stored, str]] = [
    ("header", without_header, CACHED, "Cache-Control: the source has 'max-age=60', the target has nothing"),
    (
        "changed header",
        with_charset,
        CACHED,
        "Content-Type: the source has 'text/plain', the target has 'text/plain; charset=utf-8'",
    ),
    (
        "case of a metadata name",
        lambda kept: replace(kept, metadata={"by": "me"}),
        CACHED,
        "the metadata: the source has {'By': 'me'}, the target has {'by': 'me'}",
    ),
    (
        "tags",
        lambda kept: replace(kept, tags={}),
        ONE,
        "the tags: the source has {'colour': 'red'}, the target has nothing",
    ),
    ("object", lambda kept: None, CACHED, "the object: the source has 3 bytes, the target has nothing"),
    (
        "bytes",
        lambda kept: replace(kept, body=kept.body[:2]),
        CACHED,
        "the size: the source has 3 bytes, the target has 2 bytes",
    ),
]


@pytest.mark.parametrize(("lose", "original", "finding"), [flaw[1:] for flaw in FLAWS], ids=[flaw[0] for flaw in FLAWS])
def test_what_a_target_does_not_keep_is_a_finding_after_two_copies(
    lose: Callable[[Stored], Stored | None], original: Stored, finding: str
) -> None:
    source, target = MemoryBucket({KEY: original}), Forgetful(lose)
    # A store that shows no object may show an older state, and another worker's PUT may have removed the tags.
    unseen = "the object" in finding or "the tags" in finding
    with pytest.raises(Unseen if unseen else Permanent) as failure:
        run(source, target)
    assert (failure.value.code, failure.value.reason) == ("StillDifferent", f"the target does not keep {finding}")
    assert target.calls.count("put") <= 2


class Stale(MemoryBucket):
    """A target that returns the state before the first write to a HEAD, until `is_fresh`."""

    is_fresh = False

    def __init__(self, objects: dict[str, Stored]) -> None:
        super().__init__(objects)
        self._before = MemoryBucket(dict(objects))

    def head(self, key: str, *, confirm_missing: bool = False, tags: bool = True) -> ObjectState | None:
        fresh = super().head(key, confirm_missing=confirm_missing, tags=tags)
        return fresh if self.is_fresh else self._before.head(key, tags=tags)


@pytest.mark.parametrize(
    ("now", "before"),
    [
        pytest.param(CACHED, None, id="the object"),
        pytest.param(CACHED, stored(b"longer"), id="its size"),
        pytest.param(CACHED, stored(b"two"), id="its bytes"),
        pytest.param(CACHED, replace(CACHED, headers={}), id="a header of the same bytes"),
    ],
)
def test_a_target_that_shows_an_older_state_after_a_write_is_tried_again_later(
    now: Stored, before: Stored | None
) -> None:
    """It was once a dead letter, although the next HEAD shows what was written."""
    source, target = MemoryBucket({KEY: now}), Stale({KEY: before} if before else {})
    target.clock = 100
    with pytest.raises(Unseen, match="does not keep"):
        run(source, target)
    target.is_fresh = True
    assert run(source, target).action == "unchanged"


def test_a_header_that_the_target_drops_from_the_same_bytes_is_seen_by_the_time_of_the_object() -> None:
    source = MemoryBucket({KEY: CACHED})
    target = Forgetful(without_header, objects={KEY: without_header(CACHED)})
    target.clock = 100
    with pytest.raises(Permanent, match="does not keep Cache-Control"):
        run(source, target)


def test_a_target_that_ignores_tags_is_found_by_a_change_of_tags_too() -> None:
    source = MemoryBucket({KEY: RETAGGED})
    target = Forgetful(lambda kept: replace(kept, tags=ONE.tags), objects={KEY: ONE})
    with pytest.raises(Unseen, match="does not keep the tags"):
        run(source, target)
    assert target.calls.count("put_tags") == 2


class Overwritten(MemoryBucket):
    """A target where another worker writes the same object without tags after each write of tags."""

    def put_tags(self, key: str, tags: Mapping[str, str]) -> None:
        super().put_tags(key, tags)
        self.objects[key] = replace(self.objects[key], tags={})


def test_tags_that_another_worker_overwrote_are_no_final_finding() -> None:
    """It was once a dead letter, although nothing is wrong with the target."""
    source, target = MemoryBucket({KEY: RETAGGED}), Overwritten({KEY: ONE})
    with pytest.raises(Unseen, match="does not keep the tags"):
        run(source, target)


def test_a_target_that_starts_to_lose_a_header_is_found_by_a_sample() -> None:
    source, target = MemoryBucket(), Forgetful(lambda kept: kept)
    capabilities = capabilities_of_aws(sample_every=4)
    transfer = Transfer(source, target, memory=MIB, threads=1, capabilities=capabilities)
    pair, found = BucketPair(source, target, transfer, capabilities=capabilities), []
    for number in range(8):
        if number == 1:
            target.lose = without_header
        source.objects[f"key {number}"] = CACHED
        try:
            converge(pair, f"key {number}", Deadline())
        except Permanent:
            found.append(number)
    assert found == [3, 4, 5, 6, 7], "from the first sample on, each write is checked"


def test_a_late_write_of_another_worker_is_corrected() -> None:
    late = replace(CACHED, headers={"Cache-Control": "no-store"})

    def write_late(operation: str, key: str) -> None:
        if operation == "head" and target.calls.count("put") == 1:
            target.objects[KEY] = late

    source = MemoryBucket({KEY: CACHED})
    target = MemoryBucket(on_call=write_late)
    assert run(source, target) == Outcome("update", "header Cache-Control", 3)
    assert target.objects[KEY].mirrored == CACHED.mirrored


def test_a_copy_that_no_comparison_can_prove_is_written_once() -> None:
    full = {"m": "x" * (MAX_METADATA_BYTES - 1)}
    source = MemoryBucket({KEY: stored(b"one", kms=True, etag="k1", metadata=full)})
    target = MemoryBucket()
    assert run(source, target).action == "copy"
    assert run(source, target) == Outcome(
        "update",
        "content cannot be proven: the ETags cannot be compared, and the metadata has no room for the ETag marker",
        3,
    )
    assert target.calls.count("put") == 2


@pytest.mark.parametrize("parts", [(b"a" * 100, b"b" * 50), (b"a" * 100,)])
def test_the_etag_of_a_completed_upload_proves_the_bytes(parts: tuple[bytes, ...]) -> None:
    source, target = MemoryBucket({KEY: stored(*parts, part_sizes=tuple(map(len, parts)))}), MemoryBucket()
    pair = pair_of(source, target, proven=True)
    assert converge(pair, KEY, Deadline(), size=INLINE_BODY_MAX + 1).action == "copy"
    assert target.calls.count("head") == 1


# -- content that no ETag and no marker proves -------------------------------------------------------------------------

UNPROVEN = "content is not proven: the ETags cannot be compared, and the copy has no ETag marker"


@pytest.mark.parametrize("modified", [0, 100], ids=["older", "newer"])
@pytest.mark.parametrize(
    ("source", "target"),
    [(ONE, stored(b"t", b"wo")), (stored(b"o", b"ne"), stored(b"two")), (ONE, stored(b"one", kms=True, etag="k"))],
    ids=["a copy in parts", "a source in parts", "an encrypted copy"],
)
def test_another_tools_copy_is_copied_once_whatever_its_time(source: Stored, target: Stored, modified: int) -> None:
    left, right = buckets(replace(source, tags={}, modified=50), replace(target, modified=modified))
    pair = pair_of(left, right)
    assert converge(pair, KEY, Deadline()) == Outcome("update", UNPROVEN, 3)
    assert right.objects[KEY].body == b"one"
    assert converge(pair, KEY, Deadline()) == Outcome("unchanged", "equal")


def test_a_plain_sweep_may_trust_times() -> None:
    source, target = buckets(replace(TWO, modified=1), stored(b"tw", b"oo", modified=2))
    pair = replace(pair_of(source, target), trusts_time=True)
    assert converge(pair, KEY, Deadline()) == Outcome("unchanged", "equal")


def test_a_target_that_drops_the_marker_is_a_finding_and_not_copied_for_ever() -> None:
    source = MemoryBucket({KEY: stored(b"o", b"ne")})
    target = Forgetful(lambda kept: replace(kept, marker=None))
    with pytest.raises(Permanent, match="does not keep the metadata s3-syncer-source-etag"):
        run(source, target)
    assert target.calls.count("put") == 2
