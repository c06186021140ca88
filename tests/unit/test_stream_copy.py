"""Streams between two stores: no copy counts without a proof, no incomplete body is completed."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import IncompleteRead

import pytest
from tests.support.clock import FakeClock
from tests.support.in_memory_store import MemoryBucket, Stored, at, md5_hex, stored

from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.errors import Changed, StoreUnusable
from s3_syncer.core.fence import Fence, fenced
from s3_syncer.core.model import ObjectState, WriteGuard
from s3_syncer.core.multipart import Limits, Part
from s3_syncer.core.units import MIB
from s3_syncer.crt import stream_copy as streams_module
from s3_syncer.crt.stream_copy import BLOCK, PAUSE_MAX_S, HttpStreamCopier
from s3_syncer.sync import transfer as transfer_module
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.converge import converge
from s3_syncer.sync.transfer import SentPart, StreamCopier, Transfer
from s3_syncer.transport.pauses import FAILURES_IN_A_ROW, PAUSE_S

KEY = "folder/a file"
BODY = bytes(range(256)) * (3 * BLOCK // 256) + b"the rest"
PART = Part(2, 0, len(BODY))

Headers = Sequence[tuple[str, str]]


@dataclass
class Received:
    """A request and its result."""

    method: str
    query: str
    headers: Mapping[str, str]
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False  # with a response


@dataclass
class StreamSide:
    """One side. Reads return `body`; `fail` has the exception of a step by its name."""

    body: bytes = b""
    status: int = 200
    etag: str | Callable[[bytes], str] = md5_hex
    length: int | None = None
    fail: Mapping[str, Exception] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)

    @contextmanager
    def begin(self, method: str, key: str, *, query: str = "", headers: Headers = ()) -> Iterator[FakeRequest]:
        assert key == KEY
        self.step("begin")
        self.received.append(Received(method, query, dict(headers)))
        yield FakeRequest(self, self.received[-1])

    def step(self, name: str) -> None:
        if name in self.fail:
            raise self.fail[name]


class FakeRequest:
    def __init__(self, store: StreamSide, received: Received) -> None:
        self._store, self._received, self._left = store, received, memoryview(store.body)

    def send(self, data: memoryview) -> None:
        self._store.step("send")
        self._received.body += data

    def response(self) -> tuple[int, Mapping[str, str]]:
        self._store.step("response")
        self._received.ended = True
        content = bytes(self._received.body) if self._received.method == "PUT" else self._store.body
        etag = self._store.etag if isinstance(self._store.etag, str) else self._store.etag(content)
        length = len(self._store.body) if self._store.length is None else self._store.length
        return self._store.status, {"etag": f'"{etag}"', "content-length": str(length)}

    def read_into(self, block: memoryview) -> int:
        self._store.step("read")
        piece, self._left = self._left[: len(block)], self._left[len(block) :]
        block[: len(piece)] = piece
        return len(piece)


def sides(**options: object) -> tuple[StreamSide, StreamSide]:
    """Return a source of BODY with a multipart ETag, and a target."""
    return replace(StreamSide(BODY, 206, "etag-2"), **options), StreamSide()  # type: ignore[arg-type]


def part(source: StreamSide, target: StreamSide, *, hashed: bool = True) -> SentPart | None:
    return HttpStreamCopier(source, target).part(KEY, "etag-2", "an upload/+", PART, lambda: hashed)


def always() -> bool:
    return True


PROVEN = SentPart(md5_hex(BODY), md5_hex(BODY))


def test_a_part_that_need_not_be_hashed_is_left_to_the_caller() -> None:
    source, target = sides()
    target.etag = "opaque"
    assert part(source, target) is None
    assert part(source, target, hashed=False) == SentPart("opaque", None)


def test_a_part_is_streamed_and_its_etag_proves_it() -> None:
    source, target = sides()
    assert part(source, target) == PROVEN
    assert source.received == [
        Received("GET", "", {"if-match": '"etag-2"', "range": f"bytes=0-{len(BODY) - 1}"}, ended=True)
    ]
    query, length = "?partNumber=2&uploadId=an%20upload%2F%2B", {"content-length": str(len(BODY))}
    assert target.received == [Received("PUT", query, length, bytearray(BODY), ended=True)]


@pytest.mark.parametrize(
    "source",
    [
        StreamSide(BODY, 412, "etag-2"),
        StreamSide(BODY, 503, "etag-2"),
        StreamSide(BODY, 206, "of another"),
        StreamSide(BODY, 206, "etag-2", length=len(BODY) + 1),
        StreamSide(BODY, 206, "etag-2", fail={"begin": TimeoutError()}),
        StreamSide(BODY, 206, "etag-2", fail={"begin": StoreUnusable("no credentials")}),
        StreamSide(BODY, 206, "etag-2", fail={"response": ConnectionResetError()}),
    ],
    ids=["changed", "busy", "other ETag", "longer", "no connection", "no credentials", "no response"],
)
def test_a_failed_read_writes_nothing(source: StreamSide) -> None:
    target = StreamSide()
    assert part(source, target) is None
    assert target.received == []


@pytest.mark.parametrize(
    "source",
    [
        StreamSide(BODY[:-1], 206, "etag-2", length=len(BODY)),
        StreamSide(BODY, 206, "etag-2", fail={"read": TimeoutError()}),
        StreamSide(BODY, 206, "etag-2", fail={"read": IncompleteRead(b"")}),
        StreamSide(BODY, 206, "etag-2", fail={"read": RuntimeError("an unexpected error")}),
    ],
    ids=["short", "stalled", "broken off", "unexpected"],
)
def test_a_read_that_breaks_off_never_completes_the_write(source: StreamSide) -> None:
    target = StreamSide()
    assert part(source, target) is None
    assert [(received.ended, len(received.body) < len(BODY)) for received in target.received] == [(False, True)]


@pytest.mark.parametrize(
    "target",
    [
        StreamSide(etag="opaque"),
        StreamSide(etag=""),
        StreamSide(etag=lambda body: md5_hex(body[::-1])),
        StreamSide(status=403),
        StreamSide(status=404),
        StreamSide(status=503),
        StreamSide(fail={"begin": ConnectionRefusedError()}),
        StreamSide(fail={"send": BrokenPipeError()}),
        StreamSide(fail={"response": TimeoutError()}),
    ],
    ids=["opaque", "no ETag", "damaged", "denied", "gone", "busy", "refused", "broken", "stalled"],
)
def test_a_part_without_a_proof_does_not_count(target: StreamSide) -> None:
    assert part(sides()[0], target) is None


# -- whole objects -----------------------------------------------------------------------------------------------------


@pytest.fixture
def _smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "MIN_SIZE", len(BODY))


def state_of_body(**properties: object) -> ObjectState:
    state = ObjectState(len(BODY), md5_hex(BODY), at(0), {"Content-Type": "text/plain"}, {"by": "a"})
    return replace(state, **properties)  # type: ignore[arg-type]


@pytest.mark.usefixtures("_smaller")
def test_a_whole_object_is_sent_with_its_properties_and_its_md5() -> None:
    source, target = StreamSide(BODY), StreamSide(etag="opaque")
    assert HttpStreamCopier(source, target).whole(KEY, state_of_body(), "marked") == "opaque"
    assert source.received == [Received("GET", "", {"if-match": f'"{md5_hex(BODY)}"'}, ended=True)]
    properties = {
        "content-length": str(len(BODY)),
        "content-md5": b64encode(bytes.fromhex(md5_hex(BODY))).decode(),
        "content-type": "text/plain",
        "x-amz-meta-by": "a",
        "x-amz-meta-s3-syncer-source-etag": "marked",
    }
    assert target.received == [Received("PUT", "", properties, bytearray(BODY), ended=True)]


@pytest.mark.usefixtures("_smaller")
def test_the_last_block_is_sent_only_if_the_bytes_have_the_md5() -> None:
    source, target = StreamSide(b"?" + BODY[1:], etag=md5_hex(BODY)), StreamSide()
    assert HttpStreamCopier(source, target).whole(KEY, state_of_body(), None) is None
    assert [(received.ended, len(received.body)) for received in target.received] == [(False, 3 * BLOCK)]


@pytest.mark.usefixtures("_smaller")
@pytest.mark.parametrize(("kept", "etag"), [(BODY, md5_hex(BODY)), (b"?" + BODY[1:], None)], ids=["right", "damaged"])
def test_the_etag_of_the_target_is_the_proof_where_etags_are_md5s(
    kept: bytes, etag: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = state_of_body()
    source, target = StreamSide(BODY, etag=state.etag), StreamSide(etag=md5_hex(kept))
    monkeypatch.setattr(hashlib, "md5", lambda *_, **__: pytest.fail("hashed without need"))
    assert HttpStreamCopier(source, target).whole(KEY, state, None, by_etag=True) == etag


@pytest.mark.usefixtures("_smaller")
@pytest.mark.parametrize(
    "state",
    [
        state_of_body(etag="etag-2"),
        state_of_body(kms=True),
        state_of_body(size=len(BODY) - 1),
        state_of_body(metadata={"by": "Zoë"}),
        state_of_body(headers={"Content-Disposition": "€"}),
    ],
    ids=["in parts", "encrypted", "small", "metadata that is not ASCII", "a header that is not ASCII"],
)
def test_an_object_without_a_possible_proof_is_not_requested(state: ObjectState) -> None:
    source, target = StreamSide(BODY), StreamSide()
    assert HttpStreamCopier(source, target).whole(KEY, state, None) is None
    assert source.received == target.received == []


# -- rests after failures ----------------------------------------------------------------------------------------------


def test_the_rest_after_several_failures_doubles_until_a_stream_succeeds() -> None:
    source, target = sides()
    clock = FakeClock()
    streams = HttpStreamCopier(source, target, clock=clock)

    def tries() -> bool:
        before = len(source.received)
        streams.part(KEY, "etag-2", "upload", PART, always)
        return len(source.received) > before

    target.status = 503
    for _ in range(FAILURES_IN_A_ROW - 1):
        assert tries()
    for pause_s in (PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S):
        assert tries()
        clock.now += pause_s - 0.1
        assert not tries()
        clock.now += 0.2
    for _ in range(10):
        assert tries()
        clock.now += PAUSE_MAX_S
    target.status = 200
    assert tries()
    target.status = 503
    for _ in range(FAILURES_IN_A_ROW):
        assert tries()
    assert not tries()
    clock.now += PAUSE_S
    assert tries()


@pytest.mark.parametrize("status", [404, 412, 416])
def test_an_object_level_error_does_not_stop_other_streams(status: int) -> None:
    source, target = sides(status=status)
    streams = HttpStreamCopier(source, target)
    assert streams.part(KEY, "etag-2", "upload", PART, always) is None
    source.status = 206
    assert streams.part(KEY, "etag-2", "upload", PART, always) == PROVEN


# -- use by a transfer -------------------------------------------------------------------------------------------------


class Streaming:
    """A stream copier between two buckets in memory; `takes` decides which parts it can copy."""

    buffer_size = 1

    def __init__(
        self, source: MemoryBucket, target: MemoryBucket, takes: Callable[[int], bool] = lambda _: True
    ) -> None:
        self._source, self._target, self._takes = source, target, takes
        self.streamed: list[int] = []
        self.by_etag: list[bool] = []
        self.hashed: list[bool] = []

    def part(self, key: str, etag: str, upload: str, part: Part, must_hash: Callable[[], bool]) -> SentPart | None:
        self.hashed.append(must_hash())
        self.streamed.append(part.number)
        if not self._takes(part.number):
            return None
        start, end = part.start, part.start + part.size
        data = self._source.objects[key].body[start:end]
        written = self._target.upload_part(key, upload, part, data, bytes.fromhex(md5_hex(data)))
        return SentPart(written, written if self.hashed[-1] else None)

    def takes(self, state: ObjectState) -> bool:
        return True

    def whole(
        self,
        key: str,
        state: ObjectState,
        marker: str | None,
        *,
        by_etag: bool = False,
        guard: WriteGuard | None = None,
    ) -> str | None:
        self.streamed.append(0)
        self.by_etag.append(by_etag)
        if not self._takes(0):
            return None
        data = self._source.objects[key].body
        return self._target.put(key, data, bytes.fromhex(md5_hex(data)), state, marker, guard)


LIMITS = Limits(min_part=2)
IN_PARTS = stored(b"abcd", b"efgh", b"ijkl", b"mn")


def transfer(
    source: MemoryBucket,
    target: MemoryBucket,
    stream_copier: StreamCopier,
    *,
    memory: int = 4,
    resumes: bool = False,
) -> Transfer:
    return Transfer(
        source, target, memory=memory, threads=1, limits=LIMITS, resumes=resumes, stream_copier=stream_copier
    )


def copy(transfer: Transfer, source: MemoryBucket, deadline: Deadline | None = None) -> None:
    state = source.head(KEY)
    assert state is not None
    transfer.copy(KEY, state, deadline or Deadline())


def test_only_the_part_that_failed_to_stream_is_copied_over_boto3() -> None:
    source, target = MemoryBucket({KEY: IN_PARTS}), MemoryBucket()
    streams = Streaming(source, target, lambda number: number != 3)
    copies = transfer(source, target, streams)
    copy(copies, source)
    assert streams.streamed == [1, 2, 3, 4]
    assert source.calls.count("read") == 1
    assert target.objects[KEY].mirrored == IN_PARTS.mirrored
    assert target.objects[KEY].etag == IN_PARTS.etag


def test_the_etag_counts_as_proof_once_the_target_has_returned_an_md5() -> None:
    source, target = MemoryBucket({KEY: stored(b"ab")}), MemoryBucket()
    works = True
    streams = Streaming(source, target, lambda _: works)
    copies = transfer(source, target, streams)
    for _ in range(3):
        copy(copies, source)
    target._etag = lambda content: f"opaque-{len(content)}"
    works = False
    copy(copies, source)
    works = True
    copy(copies, source)
    assert streams.by_etag == [False, True, True, True, False]


@pytest.mark.parametrize("original", [stored(b"ab"), IN_PARTS], ids=["whole", "in parts"])
def test_a_stream_shows_that_both_stores_serve_requests(original: Stored) -> None:
    # Else three refused keys among large objects look like a store that refuses all keys, and the sweep stops.
    source, target = MemoryBucket({KEY: original}), MemoryBucket()
    for works, noted in ((False, 0), (True, max(1, len(original.part_sizes)))):
        streams = Streaming(source, target, lambda _: works)  # noqa: B023
        copy(transfer(source, target, streams), source)
        assert (source.noted, target.noted) == (["get_object"] * noted, ["put_object"] * noted)


def test_no_part_is_streamed_to_a_target_with_opaque_part_etags() -> None:
    source = MemoryBucket({KEY: IN_PARTS})
    target = MemoryBucket(etag=lambda content: f"opaque-{len(content)}")
    streams = Streaming(source, target, lambda _: False)
    copies = transfer(source, target, streams)
    copy(copies, source)
    assert streams.streamed == [1]
    assert source.calls.count("read") == 4
    assert target.objects[KEY].body == IN_PARTS.body


def test_parts_are_not_hashed_where_their_etags_prove_the_object() -> None:
    source, target = MemoryBucket({KEY: IN_PARTS}), MemoryBucket()
    streams = Streaming(source, target)
    copies = transfer(source, target, streams)
    copy(copies, source)
    copy(copies, source)
    assert streams.hashed == [True, *[False] * 7], "the first part shows that part ETags are MD5s"
    assert target.objects[KEY].mirrored == IN_PARTS.mirrored


def test_parts_of_an_object_without_an_etag_of_parts_are_hashed() -> None:
    source, target = MemoryBucket({KEY: stored(b"a" * 3 * MIB)}), MemoryBucket()
    streams = Streaming(source, target)
    copies = transfer(source, target, streams, memory=2 * MIB)
    copy(copies, source)
    assert len(streams.hashed) > 1
    assert all(streams.hashed)


class Damaging(Streaming):
    """Damages part 3 once, between the stores."""

    damages = True

    def part(self, key: str, etag: str, upload: str, part: Part, must_hash: Callable[[], bool]) -> SentPart | None:
        if part.number != 3 or not self.damages:
            return super().part(key, etag, upload, part, must_hash)
        self.damages = False
        assert not must_hash(), "the check of a part would find it"
        return SentPart(self._target.upload_part(key, upload, part, b"IJKL", bytes.fromhex(md5_hex(b"IJKL"))), None)


def test_a_damaged_part_that_was_not_hashed_never_becomes_visible() -> None:
    source, target = MemoryBucket({KEY: IN_PARTS}), MemoryBucket()
    streams = Damaging(source, target)
    copies = transfer(source, target, streams)
    with pytest.raises(Changed, match="do not give the source's ETag"):
        copy(copies, source)
    assert (target.objects, target.under_way) == ({}, {})
    streams.hashed.clear()
    copy(copies, source)
    assert target.objects[KEY].mirrored == IN_PARTS.mirrored
    assert streams.hashed == [True] * 4, "nothing is left to the ETags any more"


def test_an_object_with_parts_of_unequal_sizes_is_sent_twice_at_most() -> None:
    # Its first part and the number of its parts fit another plan. Its ETag proves that plan wrong.
    unequal = stored(b"abcd", b"efg", b"hijk", b"lm")
    source, target = MemoryBucket({KEY: unequal}), MemoryBucket()
    streams = Streaming(source, target)
    pair = BucketPair(source, target, transfer(source, target, streams))
    assert converge(pair, KEY, Deadline()).action == "copy"
    assert target.objects[KEY].body == unequal.body
    assert streams.hashed == [True, False, False, False, *[True] * 4]


def test_a_changed_part_is_detected_over_boto3() -> None:
    source, target = MemoryBucket({KEY: IN_PARTS}), MemoryBucket()
    copies, state = transfer(source, target, Streaming(source, target, lambda _: False)), source.head(KEY)
    source.objects[KEY] = stored(b"abcd", b"efgh", b"ijkl", b"MN")
    assert state is not None
    with pytest.raises(Changed):
        copies.copy(KEY, state, Deadline())
    assert not target.under_way


def test_a_stream_reserves_one_block_of_memory_and_releases_it() -> None:
    source, target = MemoryBucket({KEY: IN_PARTS}), MemoryBucket()
    free: list[bool] = []

    class Gauged(Streaming):
        def part(self, key: str, etag: str, upload: str, part: Part, must_hash: Callable[[], bool]) -> SentPart | None:
            for size in (copies.memory.size, copies.memory.size - 1):
                taken = copies.memory.try_acquire(size)
                free.append(taken)
                if taken:
                    copies.memory.release(size)
            return super().part(key, etag, upload, part, must_hash)

    copies = transfer(source, target, Gauged(source, target))
    copy(copies, source)
    assert free == [False, True] * 4
    assert copies.memory.try_acquire(copies.memory.size)


def test_a_stopped_copy_with_streamed_parts_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_module, "RESUME_MIN", 1)
    source, target, deadline = MemoryBucket({KEY: IN_PARTS}), MemoryBucket(), Deadline()

    def stop_at_two(number: int) -> bool:
        if number == 2:
            deadline.stop()
        return True

    copies = transfer(source, target, Streaming(source, target, stop_at_two), resumes=True)
    with pytest.raises(OutOfTime):
        copy(copies, source, deadline)
    assert target.under_way
    streams = Streaming(source, target)
    again = transfer(source, target, streams, resumes=True)
    copy(again, source)
    assert streams.streamed == [3, 4]
    assert target.objects[KEY].mirrored == IN_PARTS.mirrored
    assert not target.under_way


@pytest.mark.parametrize("streams", [True, False], ids=["streamed", "not streamed"])
def test_a_whole_object_is_streamed_or_else_read_once(streams: bool) -> None:
    original = stored(b"one", headers={"Content-Type": "text/plain"}, metadata={"by": "a"}, tags={"colour": "red"})
    source, target = MemoryBucket({KEY: original}), MemoryBucket()
    copies = transfer(source, target, Streaming(source, target, lambda _: streams), memory=MIB)
    copy(copies, source)
    assert source.calls.count("read") == (0 if streams else 1)
    assert target.calls == ["put"]
    assert target.objects[KEY].mirrored == original.mirrored


def test_a_target_that_stops_returning_md5s_during_a_stream_gets_the_marker() -> None:
    kept, original = True, stored(b"one")
    source = MemoryBucket({KEY: original})
    target = MemoryBucket(etag=lambda content: md5_hex(bytes(content)) if kept else "opaque")  # type: ignore[arg-type]
    copies = transfer(source, target, Streaming(source, target), memory=MIB)
    copy(copies, source)
    kept = False
    copy(copies, source)
    assert target.objects[KEY].marker == original.etag


def test_a_prefetched_body_is_not_read_again() -> None:
    source, target = MemoryBucket({KEY: stored(b"one")}), MemoryBucket()
    streams = Streaming(source, target)
    copies = transfer(source, target, streams, memory=MIB)
    state = source.get_small(KEY)
    assert state is not None
    copies.copy(KEY, state, Deadline())
    assert streams.streamed == []
    assert target.objects[KEY].body == b"one"


# -- work that was given up: core/fence.py -----------------------------------------------------------------------------


@pytest.mark.usefixtures("_smaller")
@pytest.mark.parametrize(
    ("step", "uncertain"),
    [
        pytest.param("", False, id="a response"),
        pytest.param("response", True, id="no response"),
        pytest.param("begin", False, id="no connection"),
    ],
)
def test_a_whole_body_without_a_response_makes_the_key_uncertain(step: str, uncertain: bool) -> None:
    source, target = StreamSide(BODY, etag=md5_hex(BODY)), StreamSide(fail={step: ConnectionResetError()})
    fence = Fence()
    with fenced(fence):
        HttpStreamCopier(source, target).whole(KEY, state_of_body(), None)
    assert target.received or step == "begin"
    assert fence.uncertain == ({KEY} if uncertain else set())


@pytest.mark.usefixtures("_smaller")
def test_a_body_that_broke_off_makes_no_key_uncertain() -> None:
    source, target = StreamSide(BODY[: 2 * BLOCK], etag=md5_hex(BODY), length=len(BODY)), StreamSide()
    fence = Fence()
    with fenced(fence):
        assert HttpStreamCopier(source, target).whole(KEY, state_of_body(), None) is None
    assert len(target.received[0].body) == 2 * BLOCK
    assert not fence.uncertain


def test_a_part_makes_no_key_uncertain() -> None:
    source, target = sides()
    target.fail = {"response": ConnectionResetError()}
    fence = Fence()
    with fenced(fence):
        assert part(source, target) is None
    assert not fence.uncertain


def test_a_stream_that_was_given_up_is_not_repeated_without_a_stream() -> None:
    source, target = sides()
    fence = Fence()

    class GivenUp(StreamSide):
        def step(self, name: str) -> None:
            if name == "response":
                fence.close()
                raise ConnectionResetError

    with fenced(fence), pytest.raises(OutOfTime):
        part(source, GivenUp())
    copier = HttpStreamCopier(source, GivenUp())
    with fenced(fence), pytest.raises(OutOfTime):
        copier.part(KEY, "etag-2", "upload", PART, always)
    copier._target = target
    assert copier.part(KEY, "etag-2", "upload", PART, always), "the stores did not fail"
