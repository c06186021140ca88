"""The copy of one object: equal, pinned, verified, within its memory, and without remains if it fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import pytest
from tests.support.in_memory_store import Etag, MemoryBucket, Stored, at, md5_etag, md5_hex, opaque_etag, stored

from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.errors import Changed, Permanent, Retryable
from s3_syncer.core.model import MAX_METADATA_BYTES, ObjectState
from s3_syncer.core.multipart import Limits, Part
from s3_syncer.core.units import KIB, MIB, TIB
from s3_syncer.sync import transfer as transfer_module
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.converge import converge
from s3_syncer.sync.transfer import Transfer

KEY = "folder/a file"
LIMITS = Limits(min_part=2)
PROPERTIES: dict[str, Any] = {
    "headers": {"Content-Type": "text/plain", "Cache-Control": "no-store", "Expires": "whenever"},
    "metadata": {"by": "a"},
    "tags": {"colour": "red"},
}


def copy(
    source: MemoryBucket,
    target: MemoryBucket,
    *,
    state: ObjectState | None = None,
    deadline: Deadline | None = None,
    memory: int = MIB,
    threads: int = 4,
) -> None:
    """Compare KEY and copy it as a worker does."""
    state = state or source.head(KEY)
    assert state is not None
    transfer = Transfer(source, target, memory=memory, threads=threads, limits=LIMITS)
    transfer.copy(KEY, state, deadline or Deadline())


def copied(original: Stored, target: MemoryBucket | None = None, **options: Any) -> Stored:
    """Return the object that the target has after a copy."""
    target = target or MemoryBucket()
    copy(MemoryBucket({KEY: original}), target, **options)
    assert not target.under_way
    return target.objects[KEY]


# -- properties --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "original",
    [
        pytest.param(stored(b"one", **PROPERTIES), id="in one piece"),
        pytest.param(stored(b"", **PROPERTIES), id="empty"),
        pytest.param(stored(b"one ", b"two ", b"three", **PROPERTIES), id="in parts"),
        pytest.param(stored(b"one", kms=True, etag="k1", **PROPERTIES), id="encrypted"),
        pytest.param(stored(b"one"), id="bare"),
    ],
)
def test_every_mirrored_property_is_copied(original: Stored) -> None:
    assert copied(original).mirrored == original.mirrored


def test_properties_that_the_source_lost_are_removed_from_the_target() -> None:
    target = MemoryBucket({KEY: stored(b"old", **PROPERTIES)})
    assert copied(stored(b"one"), target).mirrored == stored(b"one").mirrored


def test_tags_are_written_only_if_there_are_some() -> None:
    target = MemoryBucket()
    copied(stored(b"one"), target)
    assert target.calls == ["put"]


# -- one piece or parts ------------------------------------------------------------------------------------------------


def test_the_part_plan_of_the_source_is_reproduced_so_the_etags_are_equal() -> None:
    original = stored(b"abcd", b"efgh", b"ij")
    target = MemoryBucket()
    assert copied(original, target).etag == original.etag
    assert target.calls.count("upload_part") == 3


def test_a_multipart_upload_of_one_part_stays_one() -> None:
    original = stored(b"abcd", part_sizes=(4,), etag=md5_etag([b"abcd"]))
    assert copied(original).etag == original.etag


@pytest.mark.parametrize("part_sizes", [(), (3, 7), (4, 2, 2, 2)], ids=["unknown", "growing", "shrinking"])
def test_an_unknown_or_irregular_part_plan_is_not_reproduced(part_sizes: tuple[int, ...]) -> None:
    original = stored(b"abc", b"defghij", part_sizes=part_sizes)
    target = MemoryBucket()
    assert copied(original, target).body == original.body
    assert target.calls == ["put"]


def test_an_object_larger_than_half_the_memory_is_copied_with_an_own_part_plan() -> None:
    original = stored(bytes(range(256)) * (9 * MIB // 256))
    target = MemoryBucket()
    result = copied(original, target, memory=2 * MIB)
    assert result.body == original.body
    assert result.marker == original.etag
    assert target.calls.count("upload_part") == 9


# -- permanent errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (ObjectState(3, md5_hex(b"one"), at(0), archived="GLACIER"), "InvalidObjectState"),
        (ObjectState(6 * TIB, "large", at(0)), "EntityTooLarge"),
        (ObjectState(TIB, "large", at(0)), "MemoryTooSmall"),
    ],
    ids=["archived", "too large for the target", "too large for the memory"],
)
def test_an_object_that_cannot_be_copied_fails_permanently_before_any_read(state: ObjectState, code: str) -> None:
    source, target = MemoryBucket({KEY: stored(b"one")}), MemoryBucket()
    with pytest.raises(Permanent) as refusal:
        copy(source, target, state=state)
    assert refusal.value.code == code
    assert source.calls == target.calls == []


# -- pinned and verified -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", [stored(b"two"), None], ids=["overwritten", "deleted"])
@pytest.mark.parametrize("before", [stored(b"one"), stored(b"one ", b"two")], ids=["in one piece", "in parts"])
def test_a_source_that_changed_after_the_comparison_is_not_copied(before: Stored, now: Stored | None) -> None:
    source, target = MemoryBucket({KEY: before}), MemoryBucket()
    state = source.head(KEY)
    source.objects = {KEY: now} if now else {}
    with pytest.raises(Changed):
        copy(source, target, state=state)
    assert not target.objects
    assert not target.under_way


def test_a_source_that_changes_between_two_parts_is_not_copied() -> None:
    reads: list[str] = []

    def overwrite_after_two(operation: str, key: str) -> None:
        reads.append(operation)
        if reads.count("read") == 3:
            source.objects[KEY] = stored(b"ABCD", b"EFGH", b"IJKL", b"MN")

    source = MemoryBucket({KEY: stored(b"abcd", b"efgh", b"ijkl", b"mn")}, on_call=overwrite_after_two)
    target = MemoryBucket()
    with pytest.raises(Changed):
        copy(source, target, threads=1)
    assert not target.objects
    assert not target.under_way


class Corrupting(MemoryBucket):
    """A bucket that returns every body with one flipped bit."""

    def read(self, key: str, etag: str, start: int, size: int) -> bytearray:
        data = super().read(key, etag, start, size)
        data[0] ^= 1
        return data


def test_bytes_that_do_not_hash_to_the_source_etag_are_not_written() -> None:
    source, target = Corrupting({KEY: stored(b"one")}), MemoryBucket()
    with pytest.raises(Retryable, match="is not the source's ETag") as failure:
        copy(source, target)
    assert failure.value.code == "BadDigest"
    assert not target.objects


class DamagedOnce(MemoryBucket):
    """Turns one bit of the read that starts at `start`, the first time."""

    start: int | None = None

    def read(self, key: str, etag: str, start: int, size: int) -> bytearray:
        data = super().read(key, etag, start, size)
        if start == self.start:
            self.start = None
            data[-1] ^= 1
        return data


@pytest.mark.parametrize("etag", [md5_etag, opaque_etag])
@pytest.mark.parametrize("start", [0, 4, 8], ids=["first part", "second part", "last part"])
def test_parts_that_do_not_hash_to_the_source_etag_are_not_completed(start: int, etag: Etag) -> None:
    original = stored(b"one ", b"two ", b"xyz")
    source, target = DamagedOnce({KEY: original}), MemoryBucket(etag=etag)
    source.start = start
    with pytest.raises(Changed, match="do not give the source's ETag") as failure:
        copy(source, target)
    assert failure.value.code == "BadDigest"
    assert (target.objects, target.under_way) == ({}, {})
    copy(source, target)
    assert target.objects[KEY].body == original.body


def test_parts_that_differ_twice_in_the_same_way_are_not_sent_a_third_time() -> None:
    """Such an object was once sent five times for each delivery of its message."""
    source, target = Corrupting({KEY: stored(b"one ", b"two ", b"xyz")}), MemoryBucket()
    transfer = Transfer(source, target, memory=MIB, threads=1, limits=LIMITS)
    with pytest.raises(Permanent, match="two copies had the same bytes"):
        converge(BucketPair(source, target, transfer), KEY, Deadline())
    assert target.calls.count("upload_part") == 6
    assert (target.objects, target.under_way) == ({}, {})


@pytest.mark.parametrize(
    "original",
    [
        pytest.param(stored(b"abcd", b"efg", b"hij"), id="other parts than the first explains"),
        pytest.param(stored(b"abcd", b"efgh", b"ij", kms=True), id="encrypted"),
        pytest.param(stored(b"abcd", b"efgh", b"ij", etag=f"{'0' * 32}-4"), id="another number of parts"),
    ],
)
def test_an_etag_that_is_no_hash_over_the_plan_proves_nothing(original: Stored) -> None:
    assert copied(original).body == original.body


@pytest.mark.parametrize("original", [stored(b"one"), stored(b"one ", b"two")], ids=["in one piece", "in parts"])
def test_every_write_carries_the_md5_of_the_bytes_read(original: Stored) -> None:
    class Recording(MemoryBucket):
        digests: dict[bytes, bytes]

        def put(self, key: str, data: bytes | bytearray, md5: bytes, *rest: Any) -> str:
            self.digests[bytes(data)] = md5
            return super().put(key, data, md5, *rest)

        def upload_part(self, key: str, upload: str, part: Part, data: bytes | bytearray, md5: bytes) -> str:
            self.digests[bytes(data)] = md5
            return super().upload_part(key, upload, part, data, md5)

    target = Recording()
    target.digests = {}
    copied(original, target)
    assert b"".join(target.digests) == original.body
    assert {data: bytes.fromhex(md5_hex(data)) for data in target.digests} == target.digests


# -- nothing is left behind --------------------------------------------------------------------------------------------


def raising(operation: str, error: BaseException, after: int = 0) -> Callable[[str, str], None]:
    """Return a hook that makes an operation fail after `after` calls that succeed."""
    left = [after]
    lock = threading.Lock()

    def fail(called: str, key: str) -> None:
        if called == operation:
            with lock:
                left[0] -= 1
                if left[0] < 0:
                    raise error

    return fail


FAILURES = [
    Retryable("the store asks to slow down", "SlowDown"),
    Changed("the multipart upload is gone", "NoSuchUpload"),
    Permanent("access denied", "AccessDenied"),
    RuntimeError("a bug"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("side", "operation", "after"),
    [
        ("source", "read", 0),
        ("source", "read", 3),
        ("target", "upload_part", 0),
        ("target", "upload_part", 3),
        ("target", "complete_upload", 0),
    ],
)
def test_a_failure_aborts_the_upload_and_is_reported(
    side: str, operation: str, after: int, error: BaseException
) -> None:
    faults = {side: raising(operation, error, after)}
    original = stored(b"abcd", b"efgh", b"ijkl", b"mn")
    source = MemoryBucket({KEY: original}, **_hook(faults.get("source")))
    target = MemoryBucket(**_hook(faults.get("target")))
    with pytest.raises(type(error)) as failure:
        copy(source, target)
    assert failure.value is error
    assert target.calls[-1] == "abort_upload"
    assert not target.under_way
    assert not target.objects


def _hook(on_call: Callable[[str, str], None] | None) -> dict[str, Any]:
    return {"on_call": on_call} if on_call else {}


def test_an_abort_that_fails_does_not_hide_the_first_error() -> None:
    def fail(operation: str, key: str) -> None:
        if operation in ("upload_part", "abort_upload"):
            raise Retryable(f"{operation} failed")

    with pytest.raises(Retryable, match="upload_part failed"):
        copy(MemoryBucket({KEY: stored(b"abcd", b"ef")}), MemoryBucket(on_call=fail))


def test_after_a_failure_waiting_parts_do_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    told = threading.Event()

    def noting(futures: Iterable[Future[str]], **options: Any) -> Any:
        if not options:  # the wait for the parts in flight after the failure
            told.set()
        return wait(futures, **options)

    def fail(operation: str, key: str) -> None:
        if operation == "read":
            assert source.calls.count("read") == 1 or told.wait(60)
            raise Retryable("no")

    monkeypatch.setattr(transfer_module, "wait", noting)
    source = MemoryBucket({KEY: stored(*(b"abcd" for _ in range(50)))}, on_call=fail)
    with pytest.raises(Retryable):
        copy(source, MemoryBucket(), threads=1)
    assert source.calls.count("read") <= 2, "the part that failed, and one that was in flight"


def test_parts_in_flight_end_before_the_upload_is_aborted() -> None:
    first = threading.Lock()

    def slow_but_the_first(operation: str, key: str) -> None:
        if operation == "upload_part" and first.acquire(blocking=False):
            raise Retryable("no")
        if operation == "upload_part":
            time.sleep(0.05)

    target = MemoryBucket(on_call=slow_but_the_first)
    with pytest.raises(Retryable):
        copy(MemoryBucket({KEY: stored(*(b"abcd" for _ in range(8)))}), target)
    assert target.calls[-1] == "abort_upload"
    assert not target.under_way


def test_after_the_deadline_no_part_starts_and_the_upload_is_aborted() -> None:
    source, target = MemoryBucket({KEY: stored(b"abcd", b"efgh", b"ij")}), MemoryBucket()
    with pytest.raises(OutOfTime):
        copy(source, target, deadline=Deadline.after(-1))
    assert "read" not in source.calls
    assert not target.under_way


# -- memory ------------------------------------------------------------------------------------------------------------


class Gauge:
    """The bytes in memory: from a read to the end of the write of these bytes."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        with self._lock:
            self.now += size
            self.most = max(self.most, self.now)


class GaugedSource(MemoryBucket):
    gauge: Gauge

    def read(self, key: str, etag: str, start: int, size: int) -> bytearray:
        self.gauge.add(size)
        time.sleep(0.001)
        return super().read(key, etag, start, size)


class GaugedTarget(MemoryBucket):
    gauge: Gauge

    def put(self, key: str, data: bytes | bytearray, md5: bytes, *rest: Any) -> str:
        try:
            return super().put(key, data, md5, *rest)
        finally:
            self.gauge.add(-len(data))

    def upload_part(self, key: str, upload: str, part: Part, data: bytes | bytearray, md5: bytes) -> str:
        try:
            return super().upload_part(key, upload, part, data, md5)
        finally:
            self.gauge.add(-len(data))


def test_all_copies_together_stay_within_the_memory_and_use_it() -> None:
    memory = 64 * KIB
    objects: dict[str, Stored] = {}
    for number in range(12):
        objects[f"small {number}"] = stored(bytes([number]) * (number * KIB))
        objects[f"parts {number}"] = stored(*(bytes([number]) * (5 * KIB) for _ in range(6)), b"rest")
        objects[f"large parts {number}"] = stored(bytes(60 * KIB), bytes(7))
    source, target = GaugedSource(objects), GaugedTarget()
    source.gauge = target.gauge = Gauge()
    transfer = Transfer(source, target, memory=memory, threads=8, limits=LIMITS)

    def run(key: str) -> None:
        state = source.head(key)
        assert state is not None
        transfer.copy(key, state, Deadline())

    with ThreadPoolExecutor(8) as workers:
        list(workers.map(run, objects))

    assert {key: copy.mirrored for key, copy in target.objects.items()} == {
        key: original.mirrored for key, original in objects.items()
    }
    assert source.gauge.now == 0
    assert memory // 2 < source.gauge.most <= memory


def test_memory_is_released_when_a_copy_fails() -> None:
    source = MemoryBucket({KEY: stored(bytes(20))}, on_call=raising("read", Retryable("no")))
    transfer = Transfer(source, MemoryBucket(), memory=40, threads=1, limits=LIMITS)
    state = source.head(KEY)
    assert state is not None
    for _ in range(10):  # without a release, the third would wait for ever
        with pytest.raises(Retryable):
            transfer.copy(KEY, state, Deadline())


# -- the marker --------------------------------------------------------------------------------------------------------


class Copies:
    """A worker that copies one object after the other to a target."""

    def __init__(self, target: MemoryBucket) -> None:
        self.source, self.target = MemoryBucket(), target
        self._transfer = Transfer(self.source, target, memory=MIB, threads=1, limits=LIMITS)

    def of(self, original: Stored) -> str | None:
        """Copy the object, and return the marker of the copy."""
        self.source.objects[KEY] = original
        self.target.calls.clear()
        state = self.source.head(KEY)
        assert state is not None
        self._transfer.copy(KEY, state, Deadline())
        return self.target.objects[KEY].marker


ONE, TWO = stored(b"one"), stored(b"two")
FULL: Mapping[str, str] = {"m": "x" * (MAX_METADATA_BYTES - 1)}


def test_no_marker_is_written_once_the_target_has_given_an_md5() -> None:
    copies = Copies(MemoryBucket())
    assert copies.of(ONE) == ONE.etag
    assert copies.of(TWO) is None
    assert copies.of(ONE) is None


def test_a_target_with_other_etags_gets_the_marker_with_the_first_write() -> None:
    copies = Copies(MemoryBucket(etag=opaque_etag))
    for original in (ONE, TWO):
        assert copies.of(original) == original.etag
        assert copies.target.calls == ["put"]


def test_a_target_that_stops_giving_md5s_gets_the_marker_from_then_on() -> None:
    kept = True
    copies = Copies(MemoryBucket(etag=lambda content: md5_etag(content) if kept else opaque_etag(content)))
    copies.of(ONE)
    kept = False
    assert copies.of(TWO) == TWO.etag
    assert copies.target.calls == ["put", "put"]
    kept = True
    assert copies.of(ONE) == ONE.etag
    assert copies.of(TWO) == TWO.etag
    assert copies.target.calls == ["put"]


@pytest.mark.parametrize(
    "original",
    [stored(b"one", kms=True, etag="0" * 32), stored(b"one", etag="opaque"), stored(b"a", b"bc", part_sizes=())],
    ids=["encrypted", "opaque", "multipart"],
)
def test_a_source_without_an_md5_is_always_marked(original: Stored) -> None:
    copies = Copies(MemoryBucket())
    copies.of(ONE)
    assert copies.of(original) == original.etag
    assert copies.of(TWO) is None, "such a copy shows nothing about the target"


@pytest.mark.parametrize("etag", [md5_etag, opaque_etag])
def test_without_room_for_the_marker_nothing_is_written_twice(etag: Etag) -> None:
    copies = Copies(MemoryBucket(etag=etag))
    for original in (replace(ONE, metadata=FULL), stored(b"x", metadata=FULL, kms=True, etag="k1")):
        assert copies.of(original) is None
        assert copies.target.calls == ["put"]


# -- continuing an upload ----------------------------------------------------------------------------------------------

LARGE = stored(b"aaa", b"bbb", b"ccc", b"d")


@pytest.fixture
def resuming(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Transfer]:
    """Return a factory of transfers that keep the uploads of objects of any size."""
    monkeypatch.setattr(transfer_module, "RESUME_MIN", 1)

    def make(source: MemoryBucket, target: MemoryBucket) -> Transfer:
        return Transfer(source, target, memory=MIB, threads=1, limits=LIMITS, resumes=True)

    return make


def stopped_after(parts: int, source: MemoryBucket, target: MemoryBucket, transfer: Transfer) -> None:
    """Copy the object, and stop the deadline after that many parts."""
    deadline, state = Deadline(), source.head(KEY)
    assert state is not None

    def stop(operation: str, key: str) -> None:
        if operation == "upload_part" and target.calls.count("upload_part") == parts:
            deadline.stop()

    target.on_call = stop
    with pytest.raises(OutOfTime):
        transfer.copy(KEY, state, deadline)
    target.on_call = lambda operation, key: None
    target.calls.clear()


def copy_again(source: MemoryBucket, target: MemoryBucket, transfer: Transfer) -> None:
    state = source.head(KEY)
    assert state is not None
    transfer.copy(KEY, state, Deadline())


def test_a_stopped_copy_continues_with_the_missing_parts(resuming: Callable[..., Transfer]) -> None:
    source, target = MemoryBucket({KEY: LARGE}), MemoryBucket()
    stopped_after(2, source, target, resuming(source, target))
    assert target.under_way
    copy_again(source, target, resuming(source, target))
    assert target.calls.count("upload_part") == 2
    assert "create_upload" not in target.calls
    assert target.objects[KEY].mirrored == LARGE.mirrored
    assert not target.under_way


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(stored(b"xxx", b"yyy", b"zzz", b"w"), id="other bytes"),
        pytest.param(stored(b"xxx", b"bbb", b"ccc", b"d"), id="other bytes, but the same last part"),
    ],
)
def test_parts_of_an_older_version_are_never_used_for_the_current_one(
    now: Stored, resuming: Callable[..., Transfer]
) -> None:
    source, target = MemoryBucket({KEY: LARGE}), MemoryBucket()
    stopped_after(2, source, target, resuming(source, target))
    source.objects[KEY] = now
    outcome = converge(BucketPair(source, target, resuming(source, target)), KEY, Deadline())
    assert outcome.action == "copy"
    assert target.objects[KEY].mirrored == now.mirrored
    assert not target.under_way


def test_an_upload_with_wrong_parts_is_continued_once_even_if_it_cannot_be_aborted(
    resuming: Callable[..., Transfer], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = MemoryBucket({KEY: LARGE}), MemoryBucket()
    stopped_after(2, source, target, resuming(source, target))
    source.objects[KEY] = stored(b"xxx", b"bbb", b"ccc", b"d")
    monkeypatch.setattr(target, "abort_upload", lambda key, upload: None)
    converge(BucketPair(source, target, resuming(source, target)), KEY, Deadline())
    assert target.objects[KEY].mirrored == source.objects[KEY].mirrored
    assert target.created == 2


def test_if_part_etags_prove_nothing_all_parts_are_sent_again(resuming: Callable[..., Transfer]) -> None:
    source, target = MemoryBucket({KEY: LARGE}), MemoryBucket(etag=opaque_etag)
    stopped_after(2, source, target, resuming(source, target))
    copy_again(source, target, resuming(source, target))
    assert target.calls.count("upload_part") == 4
    assert target.objects[KEY].body == LARGE.body
    assert not target.under_way


@pytest.mark.parametrize(
    "original",
    [
        pytest.param(stored(b"a" * (MIB + 1)), id="put in one piece"),
        pytest.param(stored(b"a" * MIB, b"b" * MIB, kms=True), id="encrypted"),
    ],
)
def test_an_upload_that_can_never_be_proven_is_not_kept(original: Stored, resuming: Callable[..., Transfer]) -> None:
    source, target = MemoryBucket({KEY: original}), MemoryBucket()
    transfer = resuming(source, target)
    deadline, state = Deadline(), source.head(KEY)
    assert state is not None
    target.on_call = lambda operation, key: deadline.stop() if operation == "create_upload" else None
    with pytest.raises(OutOfTime):
        transfer.copy(KEY, state, deadline)
    assert not target.under_way


def test_a_worker_of_a_queue_keeps_no_upload() -> None:
    source, target = MemoryBucket({KEY: LARGE}), MemoryBucket()
    stopped_after(2, source, target, Transfer(source, target, memory=MIB, threads=1, limits=LIMITS))
    assert not target.under_way
