"""Streams between two stores: nothing counts that is not proven, and a body that is not whole is never ended as one."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import IncompleteRead

import pytest
from tests.support.clock import FakeClock
from tests.support.in_memory_store import MemoryBucket, at, md5_hex, stored

from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.errors import Changed, StoreUnusable
from s3_syncer.core.model import ObjectState
from s3_syncer.core.multipart import MIB, Limits, Part
from s3_syncer.crt import stream_copy as streams_module
from s3_syncer.crt.stream_copy import BLOCK, REST_MAX_S, REST_S, HttpStreamCopier
from s3_syncer.sync import transfer as transfer_module
from s3_syncer.sync.transfer import StreamCopier, Transfer

KEY = "folder/a file"
BODY = bytes(range(256)) * (3 * BLOCK // 256) + b"the rest"
PART = Part(2, 0, len(BODY))

Headers = Sequence[tuple[str, str]]


@dataclass
class Asked:
    """A request, and what has come of it."""

    method: str
    query: str
    headers: Mapping[str, str]
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False  # with an answer


@dataclass
class Store:
    """One side, which answers as it is told to. Reads give `body`; `fail` is raised at a step by its name."""

    body: bytes = b""
    status: int = 200
    etag: str | Callable[[bytes], str] = md5_hex
    length: int | None = None
    fail: Mapping[str, Exception] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    @contextmanager
    def begin(self, method: str, key: str, *, query: str = "", headers: Headers = ()) -> Iterator[Talk]:
        assert key == KEY
        self.step("begin")
        self.asked.append(Asked(method, query, dict(headers)))
        yield Talk(self, self.asked[-1])

    def step(self, name: str) -> None:
        if name in self.fail:
            raise self.fail[name]


class Talk:
    def __init__(self, store: Store, asked: Asked) -> None:
        self._store, self._asked, self._left = store, asked, memoryview(store.body)

    def send(self, data: memoryview) -> None:
        self._store.step("send")
        self._asked.body += data

    def response(self) -> tuple[int, Mapping[str, str]]:
        self._store.step("answer")
        self._asked.ended = True
        content = bytes(self._asked.body) if self._asked.method == "PUT" else self._store.body
        etag = self._store.etag if isinstance(self._store.etag, str) else self._store.etag(content)
        length = len(self._store.body) if self._store.length is None else self._store.length
        return self._store.status, {"etag": f'"{etag}"', "content-length": str(length)}

    def read_into(self, block: memoryview) -> int:
        self._store.step("read")
        piece, self._left = self._left[: len(block)], self._left[len(block) :]
        block[: len(piece)] = piece
        return len(piece)


def sides(**options: object) -> tuple[Store, Store]:
    """A source of BODY whose ETag is that of an upload in parts, and a target."""
    return replace(Store(BODY, 206, "etag-2"), **options), Store()  # type: ignore[arg-type]


def part(source: Store, target: Store) -> str | None:
    return HttpStreamCopier(source, target).part(KEY, "etag-2", "an upload/+", PART)


def test_a_part_is_passed_on_and_its_etag_proves_it() -> None:
    source, target = sides()
    assert part(source, target) == md5_hex(BODY)
    assert source.asked == [Asked("GET", "", {"if-match": '"etag-2"', "range": f"bytes=0-{len(BODY) - 1}"}, ended=True)]
    query, length = "?partNumber=2&uploadId=an%20upload%2F%2B", {"content-length": str(len(BODY))}
    assert target.asked == [Asked("PUT", query, length, bytearray(BODY), ended=True)]


@pytest.mark.parametrize(
    "source",
    [
        Store(BODY, 412, "etag-2"),
        Store(BODY, 503, "etag-2"),
        Store(BODY, 206, "of another"),
        Store(BODY, 206, "etag-2", length=len(BODY) + 1),
        Store(BODY, 206, "etag-2", fail={"begin": TimeoutError()}),
        Store(BODY, 206, "etag-2", fail={"begin": StoreUnusable("no credentials")}),
        Store(BODY, 206, "etag-2", fail={"answer": ConnectionResetError()}),
    ],
    ids=["changed", "busy", "unpinned", "longer", "no connection", "no keys", "no answer"],
)
def test_what_cannot_be_read_as_it_should_is_not_written(source: Store) -> None:
    target = Store()
    assert part(source, target) is None
    assert target.asked == []


@pytest.mark.parametrize(
    "source",
    [
        Store(BODY[:-1], 206, "etag-2", length=len(BODY)),
        Store(BODY, 206, "etag-2", fail={"read": TimeoutError()}),
        Store(BODY, 206, "etag-2", fail={"read": IncompleteRead(b"")}),
        Store(BODY, 206, "etag-2", fail={"read": RuntimeError("a fault of ours")}),
    ],
    ids=["short", "stalled", "cut", "fault"],
)
def test_a_read_that_ends_early_never_ends_the_write(source: Store) -> None:
    target = Store()
    assert part(source, target) is None
    assert [(asked.ended, len(asked.body) < len(BODY)) for asked in target.asked] == [(False, True)]


@pytest.mark.parametrize(
    "target",
    [
        Store(etag="opaque"),
        Store(etag=""),
        Store(etag=lambda body: md5_hex(body[::-1])),
        Store(status=403),
        Store(status=404),
        Store(status=503),
        Store(fail={"begin": ConnectionRefusedError()}),
        Store(fail={"send": BrokenPipeError()}),
        Store(fail={"answer": TimeoutError()}),
    ],
    ids=["opaque", "no ETag", "damaged", "denied", "gone", "busy", "refused", "broken", "stalled"],
)
def test_a_part_that_is_not_proven_does_not_count(target: Store) -> None:
    assert part(sides()[0], target) is None


# -- whole objects -----------------------------------------------------------------------------------------------------


@pytest.fixture
def _smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "MIN_SIZE", len(BODY))


def looked(**properties: object) -> ObjectState:
    state = ObjectState(len(BODY), md5_hex(BODY), at(0), {"Content-Type": "text/plain"}, {"by": "a"})
    return replace(state, **properties)  # type: ignore[arg-type]


@pytest.mark.usefixtures("_smaller")
def test_a_whole_object_goes_with_its_properties_and_the_md5_that_it_must_have() -> None:
    source, target = Store(BODY), Store(etag="opaque")
    assert HttpStreamCopier(source, target).whole(KEY, looked(), "marked") == "opaque"
    assert source.asked == [Asked("GET", "", {"if-match": f'"{md5_hex(BODY)}"'}, ended=True)]
    told = {
        "content-length": str(len(BODY)),
        "content-md5": b64encode(bytes.fromhex(md5_hex(BODY))).decode(),
        "content-type": "text/plain",
        "x-amz-meta-by": "a",
        "x-amz-meta-s3-syncer-source-etag": "marked",
    }
    assert target.asked == [Asked("PUT", "", told, bytearray(BODY), ended=True)]


@pytest.mark.usefixtures("_smaller")
def test_the_end_of_a_whole_object_is_sent_only_when_its_bytes_are_right() -> None:
    source, target = Store(b"?" + BODY[1:], etag=md5_hex(BODY)), Store()
    assert HttpStreamCopier(source, target).whole(KEY, looked(), None) is None
    assert [(asked.ended, len(asked.body)) for asked in target.asked] == [(False, 3 * BLOCK)]


@pytest.mark.usefixtures("_smaller")
@pytest.mark.parametrize(("kept", "etag"), [(BODY, md5_hex(BODY)), (b"?" + BODY[1:], None)], ids=["right", "damaged"])
def test_where_etags_are_md5s_the_answer_is_the_proof(
    kept: bytes, etag: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = looked()
    source, target = Store(BODY, etag=state.etag), Store(etag=md5_hex(kept))
    monkeypatch.setattr(hashlib, "md5", lambda *_, **__: pytest.fail("hashed in vain"))
    assert HttpStreamCopier(source, target).whole(KEY, state, None, by_etag=True) == etag


@pytest.mark.usefixtures("_smaller")
@pytest.mark.parametrize(
    "state",
    [
        looked(etag="etag-2"),
        looked(kms=True),
        looked(size=len(BODY) - 1),
        looked(metadata={"by": "Zoë"}),
        looked(headers={"Content-Disposition": "€"}),
    ],
    ids=["in parts", "encrypted", "small", "metadata that is not ASCII", "a header that is not ASCII"],
)
def test_what_cannot_be_proven_or_is_not_ordinary_is_not_even_asked_for(state: ObjectState) -> None:
    source, target = Store(BODY), Store()
    assert HttpStreamCopier(source, target).whole(KEY, state, None) is None
    assert source.asked == target.asked == []


# -- rest --------------------------------------------------------------------------------------------------------------


def test_stores_that_are_not_well_are_left_alone_for_longer_and_longer_until_they_are() -> None:
    source, target = sides()
    clock = FakeClock()
    streams = HttpStreamCopier(source, target, clock=clock)

    def tries() -> bool:
        before = len(source.asked)
        streams.part(KEY, "etag-2", "upload", PART)
        return len(source.asked) > before

    target.status = 503
    for rest_s in (REST_S, 2 * REST_S, 4 * REST_S):
        assert tries()
        clock.now += rest_s - 0.1
        assert not tries()
        clock.now += 0.2
    for _ in range(10):
        assert tries()
        clock.now += REST_MAX_S
    target.status = 200
    assert tries()
    target.status = 503
    assert tries()
    clock.now += REST_S
    assert tries()


@pytest.mark.parametrize("status", [404, 412, 416])
def test_what_concerns_one_object_holds_up_no_other(status: int) -> None:
    source, target = sides(status=status)
    streams = HttpStreamCopier(source, target)
    assert streams.part(KEY, "etag-2", "upload", PART) is None
    source.status = 206
    assert streams.part(KEY, "etag-2", "upload", PART) == md5_hex(BODY)


# -- what a transfer makes of it ---------------------------------------------------------------------------------------


class Streaming:
    """Between two buckets in memory; `takes` says what of it works."""

    holds = 1

    def __init__(
        self, source: MemoryBucket, target: MemoryBucket, takes: Callable[[int], bool] = lambda _: True
    ) -> None:
        self._source, self._target, self._takes = source, target, takes
        self.streamed: list[int] = []
        self.by_etag: list[bool] = []

    def part(self, key: str, etag: str, upload: str, part: Part) -> str | None:
        self.streamed.append(part.number)
        if not self._takes(part.number):
            return None
        start, end = part.start, part.start + part.size
        data = self._source.objects[key].body[start:end]
        return self._target.upload_part(key, upload, part, data, bytes.fromhex(md5_hex(data)))

    def whole(self, key: str, state: ObjectState, marker: str | None, *, by_etag: bool = False) -> str | None:
        self.streamed.append(0)
        self.by_etag.append(by_etag)
        if not self._takes(0):
            return None
        data = self._source.objects[key].body
        return self._target.put(key, data, bytes.fromhex(md5_hex(data)), state, marker)


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


def test_parts_that_do_not_stream_go_the_common_path_one_by_one() -> None:
    source, target = MemoryBucket({KEY: IN_PARTS}), MemoryBucket()
    streams = Streaming(source, target, lambda number: number != 3)
    copies = transfer(source, target, streams)
    copy(copies, source)
    assert streams.streamed == [1, 2, 3, 4]
    assert source.calls.count("read") == 1
    assert target.objects[KEY].mirrored == IN_PARTS.mirrored
    assert target.objects[KEY].etag == IN_PARTS.etag


def test_a_target_is_taken_at_its_word_once_it_has_kept_it() -> None:
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


def test_nothing_is_streamed_any_more_to_a_target_whose_part_etags_prove_nothing() -> None:
    source = MemoryBucket({KEY: IN_PARTS})
    target = MemoryBucket(etag=lambda content: f"opaque-{len(content)}")
    streams = Streaming(source, target, lambda _: False)
    copies = transfer(source, target, streams)
    copy(copies, source)
    assert streams.streamed == [1]
    assert source.calls.count("read") == 4
    assert target.objects[KEY].body == IN_PARTS.body


def test_a_part_that_changed_is_found_out_on_the_common_path() -> None:
    source, target = MemoryBucket({KEY: IN_PARTS}), MemoryBucket()
    copies, state = transfer(source, target, Streaming(source, target, lambda _: False)), source.head(KEY)
    source.objects[KEY] = stored(b"abcd", b"efgh", b"ijkl", b"MN")
    assert state is not None
    with pytest.raises(Changed):
        copies.copy(KEY, state, Deadline())
    assert not target.under_way


def test_streams_hold_their_blocks_and_no_parts_and_give_them_back() -> None:
    source, target = MemoryBucket({KEY: IN_PARTS}), MemoryBucket()
    free: list[bool] = []

    class Gauged(Streaming):
        def part(self, key: str, etag: str, upload: str, part: Part) -> str | None:
            for size in (copies.memory.size, copies.memory.size - 1):
                taken = copies.memory.try_acquire(size)
                free.append(taken)
                if taken:
                    copies.memory.release(size)
            return super().part(key, etag, upload, part)

    copies = transfer(source, target, Gauged(source, target))
    copy(copies, source)
    assert free == [False, True] * 4
    assert copies.memory.try_acquire(copies.memory.size)


def test_a_stopped_copy_that_streamed_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert target.calls == ["put", "put_tags"]
    assert target.objects[KEY].mirrored == original.mirrored


def test_a_target_that_breaks_its_promise_under_a_stream_gets_the_marker_after_all() -> None:
    kept, original = True, stored(b"one")
    source = MemoryBucket({KEY: original})
    target = MemoryBucket(etag=lambda content: md5_hex(bytes(content)) if kept else "opaque")  # type: ignore[arg-type]
    copies = transfer(source, target, Streaming(source, target), memory=MIB)
    copy(copies, source)
    kept = False
    copy(copies, source)
    assert target.objects[KEY].marker == original.etag


def test_a_body_that_the_look_brought_along_is_not_read_again() -> None:
    source, target = MemoryBucket({KEY: stored(b"one")}), MemoryBucket()
    streams = Streaming(source, target)
    copies = transfer(source, target, streams, memory=MIB)
    state = source.get_small(KEY)
    assert state is not None
    copies.copy(KEY, state, Deadline())
    assert streams.streamed == []
    assert target.objects[KEY].body == b"one"
