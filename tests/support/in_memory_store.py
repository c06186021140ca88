"""A bucket in memory with the interface of `s3_syncer.stores.bucket.Bucket`, for tests without boto3.

It stores the objects it gets and rejects the requests that S3 rejects. Stores compute ETags in different ways, so the
ETag function is a parameter.
"""

from __future__ import annotations

import hashlib
import threading
from base64 import b64decode
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any, Literal

from s3_syncer.core.errors import Changed, Permanent, Retryable, StoreUnusable, SyncError
from s3_syncer.core.headers import state as parsed
from s3_syncer.core.headers import written
from s3_syncer.core.key_folding import DIRECTORY
from s3_syncer.core.model import SOURCE_ETAG_MARKER, Archive, KeyPage, ListEntry, ObjectState, Upload, WriteGuard
from s3_syncer.core.multipart import Part, UploadedPart
from s3_syncer.stores.capabilities import TagSupport, TargetCapabilities

#: Keys that one listing request shows.
LIST_PAGE = 5

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def at(second: int) -> datetime:
    """Return a moment on the clock of the tests."""
    return EPOCH + timedelta(seconds=second)


def md5_hex(data: bytes | bytearray) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


#: Computes the ETag of an object from its bytes, or from the parts of its upload.
Etag = Callable[[bytes | list[bytes]], str]


def md5_etag(content: bytes | list[bytes]) -> str:
    """Return an ETag as AWS computes it: the MD5 of the bytes, or of the parts' MD5s and their number."""
    if isinstance(content, bytes):
        return md5_hex(content)
    return f"{md5_hex(b''.join(bytes.fromhex(md5_hex(part)) for part in content))}-{len(content)}"


def opaque_etag(content: bytes | list[bytes]) -> str:
    """Return an ETag of a store that does not use MD5s: it proves nothing."""
    return f"opaque-{len(content)}"


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as a store keeps it."""

    body: bytes
    etag: str
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    marker: str | None = None
    kms: bool = False
    modified: int = 0
    part_sizes: tuple[int, ...] = ()
    #: The archive that keeps the object from being read.
    archived: str | None = None

    def look(self) -> ObjectState:
        """Return the state that a HEAD shows: everything but the tags."""
        return ObjectState(
            size=len(self.body),
            etag=self.etag,
            last_modified=at(self.modified),
            headers=self.headers,
            metadata=self.metadata,
            marker=self.marker,
            kms=self.kms,
            archived=self.archived,
            tag_count=len(self.tags),
        )

    @property
    def mirrored(self) -> tuple[object, ...]:
        """Everything that must be equal in a copy."""
        return self.body, dict(self.headers), dict(self.metadata), dict(self.tags)


def stored(*parts: bytes, **properties: Any) -> Stored:
    """Return an object as AWS stores these bytes: put whole, or uploaded in parts if there are several."""
    if len(parts) == 1:
        return replace(Stored(parts[0], md5_etag(parts[0])), **properties)
    uploaded = Stored(b"".join(parts), md5_etag(list(parts)), part_sizes=tuple(map(len, parts)))
    return replace(uploaded, **properties)


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object, and the time of the response that has it."""

    there: Stored
    moment: int

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response."""
        found = {name.lower(): value for name, value in self.there.headers.items()}
        found |= {f"x-amz-meta-{name}": value for name, value in self.there.metadata.items()}
        found |= {"content-length": str(len(self.there.body)), "etag": f'"{self.there.etag}"'}
        found |= {"date": format_datetime(at(self.moment), usegmt=True)}
        found |= {"last-modified": format_datetime(at(self.there.modified), usegmt=True)}
        if self.there.marker:
            found[f"x-amz-meta-{SOURCE_ETAG_MARKER}"] = self.there.marker
        if self.there.kms:
            found["x-amz-server-side-encryption"] = "aws:kms"
        if self.there.tags:
            found["x-amz-tagging-count"] = str(len(self.there.tags))
        return found


def capabilities_of_aws(**options: Any) -> TargetCapabilities:
    """Return the knowledge that a target has no fold of ordinary keys: see `core/key_folding.py`."""
    capabilities = TargetCapabilities(**options)
    capabilities.record_folds(apart={"case", "plus", "percent sequences", DIRECTORY})
    return capabilities


class MemoryBucket:
    """Objects by key, the active uploads, and a record of the calls. Safe to share between threads.

    `on_call` is called before every call and may raise the error of a store.
    """

    prefix = ""
    lists_restores = False

    def __init__(
        self,
        objects: Mapping[str, Stored] | None = None,
        *,
        etag: Etag = md5_etag,
        clock: int = 0,
        on_call: Callable[[str, str], None] = lambda operation, key: None,
    ) -> None:
        self.objects: MutableMapping[str, Stored] = dict(objects or {})
        self.under_way: dict[str, tuple[Stored, dict[int, bytes]]] = {}
        self.created = 0  # the uploads so far, for unique ids
        self.conditions: Literal["honoured", "ignored", "refused", "never met"] = "honoured"
        self.tags_with_object = True  # False ignores the tags that come with a PUT
        self.tag_support = TagSupport()
        self.age_s = 0.0  # of every part, and about that of every upload
        self.calls: list[str] = []
        self.noted: list[str] = []  # the operations that another client made: see `note_copied`
        self.clock = clock
        self.on_call = on_call
        self._etag = etag
        self._lock = threading.Lock()

    def _called(self, operation: str, key: str) -> None:
        with self._lock:
            self.calls.append(operation)
        self.on_call(operation, key)

    def note_copied(self, operation: str) -> None:
        self.noted.append(operation)

    # -- reading -------------------------------------------------------------------------------------------------------

    def look(self, key: str) -> ObjectState | None:
        self._called("head", key)
        found = self.objects.get(key)
        return found.look() if found else None

    def tags(self, key: str) -> Mapping[str, str]:
        self._called("tags", key)
        return self._there(key).tags

    def head(self, key: str, *, confirm_missing: bool = False, tags: bool = True) -> ObjectState | None:
        state = self.look(key)
        return self.with_tags(key, state) if state and tags else state

    def is_missing(self, key: str) -> bool:
        self._called("is_missing", key)
        return key not in self.objects

    def lists(self, key: str) -> bool:
        self._called("lists", key)
        return key in list(self.objects)  # in a store that folds keys, the objects have one key each

    def first(self, after: str) -> str | None:
        self._called("first", after)
        return min((key for key in list(self.objects) if key > after), default=None)

    def with_tags(self, key: str, state: ObjectState) -> ObjectState:
        return replace(state, tags=self.tags(key))

    def whole(self, key: str) -> tuple[ObjectState, bytes] | None:
        """Return the state and the bytes at one moment."""
        self._called("take", key)
        found = self.objects.get(key)
        return (found.look(), found.body) if found else None

    def get_small(self, key: str) -> ObjectState | None:
        whole = self.whole(key)
        return replace(whole[0], body=bytearray(whole[1]), tags=self.tags(key)) if whole else None

    def first_part(self, key: str) -> tuple[int, int] | None:
        self._called("first_part", key)
        sizes = self._there(key).part_sizes
        return (len(sizes), sizes[0]) if sizes else None

    def part_size(self, key: str, number: int) -> int:
        self._called("part_size", key)
        return self._there(key).part_sizes[number - 1]

    def read(self, key: str, etag: str, start: int, size: int) -> bytearray:
        self._called("read", key)
        found = self._there(key)
        if found.etag != etag:
            raise Changed("the object changed while it was read", "PreconditionFailed")
        return bytearray(found.body[start : start + size])

    def _there(self, key: str) -> Stored:
        if key not in self.objects:
            raise Changed("the object was deleted while it was read", "NoSuchKey")
        return self.objects[key]

    def restore(self, key: str, request: Mapping[str, Any]) -> None:
        """Refuse the request: no object of this store is in an archive."""
        self._called("restore", key)
        raise Permanent("Restore is not allowed for the object's current storage class", "InvalidObjectState")

    def fetch(self, key: str, etag: str) -> Fetched:
        """Return the whole object in one response, as it is at one moment."""
        self._called("fetch", key)
        found = self._there(key)
        if found.etag != etag:
            raise Changed("the object changed while it was read", "PreconditionFailed")
        return Fetched(found, self.clock)

    # -- writing -------------------------------------------------------------------------------------------------------

    def put(
        self,
        key: str,
        data: bytes | bytearray,
        md5: bytes,
        state: ObjectState,
        marker: str | None,
        guard: WriteGuard | None = None,
    ) -> str:
        self._called("put", key)
        self._judge(key, guard)
        kept = None if guard is None else guard.tags
        body, tags = _intact(data, md5), self._carried(state.tags if kept is None else kept)
        self.objects[key] = replace(self._empty(state, marker), body=body, etag=self._etag(body), tags=tags)
        return self.objects[key].etag

    def _carried(self, tags: Mapping[str, str]) -> Mapping[str, str]:
        """Return the tags that a write gives the object."""
        return dict(tags) if self.tags_with_object else {}

    def require_tags(self, key: str, *, is_there: bool) -> None:
        """Accept every object: this store has tags."""

    def _judge(self, key: str, guard: WriteGuard | None) -> None:
        """Raise the error of a condition that is not met, or that the store does not know."""
        if guard is None or not guard.conditional or self.conditions == "ignored":
            return
        if self.conditions == "refused":
            raise Permanent("A header you provided implies functionality that is not implemented", "NotImplemented")
        found = self.objects.get(key)
        if (found.etag if found else None) != guard.etag or self.conditions == "never met":
            raise Changed("another object is there", "PreconditionFailed")

    def put_tags(self, key: str, tags: Mapping[str, str]) -> None:
        self._called("put_tags", key)
        self.objects[key] = replace(self._there(key), tags=dict(tags))

    def delete(self, key: str) -> None:
        self._called("delete", key)
        self.objects.pop(key, None)

    def _empty(self, state: ObjectState, marker: str | None) -> Stored:
        headers, metadata = dict(state.headers), dict(state.metadata)
        return Stored(b"", "", headers, metadata, marker=marker, modified=self.clock)

    # -- multipart uploads ---------------------------------------------------------------------------------------------

    def create_upload(self, key: str, state: ObjectState, marker: str | None) -> str:
        self._called("create_upload", key)
        self.created += 1
        upload = f"upload-{self.created}"
        self.under_way[upload] = (self._empty(state, marker), {})
        return upload

    def upload_part(self, key: str, upload: str, part: Part, data: bytes | bytearray, md5: bytes) -> str:
        self._called("upload_part", key)
        assert len(data) == part.size
        self._upload(upload)[1][part.number] = _intact(data, md5)
        return self._part_etag(data)

    def complete_upload(self, key: str, upload: str, etags: Mapping[int, str], guard: WriteGuard | None = None) -> str:
        self._called("complete_upload", key)
        self._judge(key, guard)
        empty, parts = self._upload(upload)
        pieces = [parts.get(number, b"") for number in sorted(etags)]
        if [self._part_etag(piece) for piece in pieces] != [etags[number] for number in sorted(etags)]:
            raise Retryable("a part is missing from the upload", "InvalidPart")
        sizes = tuple(map(len, pieces))
        self.objects[key] = replace(empty, body=b"".join(pieces), etag=self._etag(pieces), part_sizes=sizes)
        del self.under_way[upload]
        return self.objects[key].etag

    def abort_upload(self, key: str, upload: str) -> None:
        self._called("abort_upload", key)
        self.under_way.pop(upload, None)

    def uploads(self, key: str) -> list[Upload]:
        self._called("uploads", key)
        return [Upload(id, self.age_s + older) for older, id in enumerate(reversed(self.under_way))]

    def parts(self, key: str, upload: str, after: int = 0, until: int | None = None) -> dict[int, UploadedPart]:
        self._called("parts", key)
        return {
            number: UploadedPart(len(data), self._part_etag(data), self.age_s)
            for number, data in sorted(self._upload(upload)[1].items())
            if number > after and (until is None or number <= until)
        }

    def _part_etag(self, data: bytes | bytearray) -> str:
        return md5_hex(data) if self._etag is md5_etag else f"opaque-{len(data)}"

    def _upload(self, upload: str) -> tuple[Stored, dict[int, bytes]]:
        if upload not in self.under_way:
            raise Changed("the multipart upload is gone", "NoSuchUpload")
        return self.under_way[upload]


class ListedBucket(MemoryBucket):
    """A bucket that lists its keys page by page, each page as of one moment."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.list_etags = self.list_sizes = True
        self.list_order: Callable[[Iterable[str]], list[str]] = sorted

    def listed(self) -> list[ListEntry]:
        return [entry for stretch in self.listing() for entry in stretch]

    def listing(self, after: str = "", until: str | None = None, *, in_order: bool = True) -> Iterator[KeyPage]:
        listed: set[str] = set()
        while True:
            self._called("list", after)
            objects = dict(self.objects)  # in one step, so that no other thread changes it meanwhile
            order = [key for key in self.list_order(objects) if key > after and key not in listed]
            page = [(key, objects[key]) for key in order[:LIST_PAGE]]
            yield KeyPage.of(
                ListEntry(
                    key,
                    len(there.body) if self.list_sizes else None,
                    there.etag if self.list_etags else None,
                    at(there.modified),
                    Archive(there.archived) if there.archived else None,
                )
                for key, there in page
                if until is None or key <= until
            )
            if len(order) <= LIST_PAGE or (in_order and until is not None and page[-1][0] >= until):
                return
            if self.list_order is sorted:
                after = order[LIST_PAGE - 1]
            else:
                listed.update(order[:LIST_PAGE])

    def first(self, after: str) -> str | None:
        self._called("first", after)
        return min((key for key in list(self.objects) if key > after), default=None)

    @property
    def mirrored(self) -> dict[str, tuple[object, ...]]:
        return {key: kept.mirrored for key, kept in self.objects.items()}

    def count(self, *operations: str) -> int:
        return sum(self.calls.count(operation) for operation in operations)


class FoldedObjects(MutableMapping[str, Stored]):
    """The objects of a store that takes keys for one if `fold` returns the same for them.

    With `preserves`, an object has the key of its first write, as files have. Otherwise it has the folded key.
    """

    def __init__(self, fold: Callable[[str], str], *, preserves: bool = False) -> None:
        self._fold, self._preserves = fold, preserves
        self._objects: dict[str, tuple[str, Stored]] = {}

    def __getitem__(self, key: str) -> Stored:
        return self._objects[self._fold(key)][1]

    def __setitem__(self, key: str, value: Stored) -> None:
        folded = self._fold(key)
        listed = self._objects[folded][0] if folded in self._objects else key if self._preserves else folded
        self._objects[folded] = listed, value

    def __delitem__(self, key: str) -> None:
        del self._objects[self._fold(key)]

    def __iter__(self) -> Iterator[str]:
        return iter([listed for listed, _ in self._objects.values()])

    def __len__(self) -> int:
        return len(self._objects)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


#: The HTTP status of an error code; any other error is an internal error of the store.
_STATUS = {"PreconditionFailed": 412, "NoSuchKey": 404, "NotImplemented": 501}


class HttpSide:
    """A bucket behind the interface of the CRT transport. It responds after the caller of `send` returns."""

    _waiting = threading.local()

    def __init__(self, bucket: Any) -> None:
        self._bucket = bucket
        self.replies: dict[str, Callable[[Reply], Reply]] = {}  # by method and query: a change of the response

    def send(
        self,
        method: str,
        key: str | None,
        done: Callable[[Reply], None],
        *,
        query: str = "",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        answers: deque[Callable[[], None]] | None = getattr(self._waiting, "answers", None)
        if answers is not None:
            answers.append(partial(self._answer, method, key, done, query, headers, body))
            return
        answers = self._waiting.answers = deque([partial(self._answer, method, key, done, query, headers, body)])
        try:
            while answers:
                answers.popleft()()
        finally:
            del self._waiting.answers

    def _answer(
        self,
        method: str,
        key: str | None,
        done: Callable[[Reply], None],
        query: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
    ) -> None:
        assert key is not None
        try:
            reply = self._reply(method, key, query, dict(headers), body)
        except SyncError as error:
            refused = 400 if isinstance(error, Permanent) else 503
            body = f"<Error><Code>{error.code}</Code></Error>".encode() if error.code in _STATUS else b""
            reply = Reply(0 if isinstance(error, StoreUnusable) else _STATUS.get(error.code, refused), {}, body)
        except ValueError:
            reply = Reply(500)
        done(self.replies.get(method + query, lambda reply: reply)(reply))

    def _reply(self, method: str, key: str, query: str, headers: Mapping[str, str], body: bytes) -> Reply:
        if (method, query) == ("GET", "?tagging"):
            tags = "".join(f"<Tag><Key>{k}</Key><Value>{v}</Value></Tag>" for k, v in self._bucket.tags(key).items())
            return Reply(200, {}, f"<Tagging><TagSet>{tags}</TagSet></Tagging>".encode())
        if (method, query) == ("GET", ""):
            fetched = self._bucket.fetch(key, headers["if-match"].strip('"'))
            return Reply(200, fetched.headers, fetched.there.body)
        if (method, query) == ("HEAD", ""):
            state = self._bucket.head(key, tags=False)
            return Reply(404) if state is None else Reply(200, _head_headers(state))
        assert (method, query) == ("PUT", "")
        told = {
            "etag": '"unwritten"',
            "last-modified": format_datetime(EPOCH),
            "content-length": str(len(body)),
            **headers,
        }
        state = parsed(told, {})
        md5, marker = b64decode(headers["content-md5"]), state.marker
        guard = None
        if "if-none-match" in headers:
            guard = WriteGuard(None)
        elif "if-match" in headers:
            guard = WriteGuard(headers["if-match"].strip('"'))
        etag = self._bucket.put(key, body, md5, replace(state, marker=None), marker, guard)
        return Reply(200, {"etag": f'"{etag}"'})


def _head_headers(state: ObjectState) -> dict[str, str]:
    """Return the headers of a response to a HEAD of the object."""
    found = {"content-length": str(state.size), "etag": f'"{state.etag}"'}
    found["last-modified"] = format_datetime(state.last_modified, usegmt=True)
    found["x-amz-tagging-count"] = str(state.tag_count)
    return found | written(state, state.marker)


def _intact(data: bytes | bytearray, md5: bytes) -> bytes:
    if hashlib.md5(data, usedforsecurity=False).digest() != md5:
        raise Retryable("the bytes were damaged in transit", "BadDigest")
    return bytes(data)


class OnTheSpot(Executor):
    """Runs the work at once, in the calling thread."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments, **options))
        except BaseException as error:
            future.set_exception(error)
        return future
