"""Runs a worker one store call at a time, without threads: it is a pure function of its responses.

The code under test runs against stubs that replay the recorded responses. When there are no more, they suspend it at
its next call. A model then makes that one call on a bucket in memory, atomically, and appends the response.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from tests.support.in_memory_store import Fetched

from s3_syncer.core.errors import SyncError
from s3_syncer.core.model import KeyPage, ObjectState, Upload, WriteGuard
from s3_syncer.core.multipart import Part, UploadedPart
from s3_syncer.stores.capabilities import TagSupport

_WRITES = frozenset({"put", "put_tags", "delete", "create_upload", "upload_part", "complete_upload", "abort_upload"})


@dataclass(frozen=True)
class Call:
    """The store call that a worker is about to make."""

    side: Literal["source", "target"]
    operation: str
    arguments: tuple[Any, ...] = ()

    @property
    def writes(self) -> bool:
        return self.operation in _WRITES


class Suspended(BaseException):
    """There are no more recorded responses. Not an Exception: the code under test must not catch it."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.call = call


class Answers:
    """Replays recorded responses, then suspends the worker."""

    def __init__(self, recorded: Iterable[Any]) -> None:
        self._recorded = iter(recorded)
        self._suspended: Suspended | None = None
        self.written = False

    def to(self, call: Call) -> Any:
        if self._suspended:  # the model ignores the calls of exception handlers
            raise self._suspended
        for answer in self._recorded:
            self.written = self.written or call.writes
            if isinstance(answer, SyncError):
                raise type(answer)(str(answer), answer.code)
            return answer
        self._suspended = Suspended(call)
        raise self._suspended


class Side:
    """One side. With tags a comparison is two store calls, as in `bucket.Bucket`."""

    def __init__(self, side: Literal["source", "target"], answers: Answers, *, tags: bool) -> None:
        self._side, self._answers, self._tags = side, answers, tags

    def _call(self, operation: str, *arguments: Any) -> Any:
        return self._answers.to(Call(self._side, operation, arguments))

    def note_copied(self, operation: str) -> None:
        """Forget it: no interleaving depends on it."""

    def head(self, key: str, *, confirm_missing: bool = False, tags: bool = True) -> ObjectState | None:
        state: ObjectState | None = self._call("look")
        return self.with_tags(key, state) if state and tags else state

    def with_tags(self, key: str, state: ObjectState) -> ObjectState:
        return replace(state, tags=self._call("tags")) if self._tags else state

    def fetch(self, key: str, etag: str) -> Fetched:
        fetched: Fetched = self._call("fetch", etag)
        return fetched

    def tags(self, key: str) -> Mapping[str, str]:
        tags: Mapping[str, str] = self._call("tags")
        return tags

    def listing(self, after: str = "", until: str | None = None, *, in_order: bool = True) -> Iterator[KeyPage]:
        return iter(self._call("listing"))


class SourceSide(Side):
    """The source. With `layouts` the store returns part sizes, else all objects are copied in one piece."""

    prefetch_body = True

    def __init__(self, side: Literal["source"], answers: Answers, *, tags: bool, layouts: bool = False) -> None:
        super().__init__(side, answers, tags=tags)
        self._layouts = layouts
        self.tag_support = TagSupport()

    def first_part(self, key: str) -> tuple[int, int] | None:
        told: tuple[int, int] | None = self._call("first_part") if self._layouts else None
        return told

    def part_size(self, key: str, number: int) -> int:
        size: int = self._call("part_size", number)
        return size

    def get_small(self, key: str) -> ObjectState | None:
        if not self.prefetch_body:
            return self.head(key, confirm_missing=True)
        whole: tuple[ObjectState, bytes] | None = self._call("whole")
        if whole is None:
            return None
        state = replace(whole[0], body=bytearray(whole[1]))
        return replace(state, tags=self._call("tags")) if self._tags else state

    def read(self, key: str, etag: str, start: int, size: int) -> bytearray:
        return bytearray(self._call("read", etag, start, size))


class TargetSide(Side):
    prefix = ""

    def is_missing(self, key: str) -> bool:
        return self._call("look") is None

    def lists(self, key: str) -> bool:
        found: bool = self._call("lists")
        return found

    def put(
        self,
        key: str,
        data: bytes | bytearray,
        md5: bytes,
        state: ObjectState,
        marker: str | None,
        guard: WriteGuard | None = None,
    ) -> str:
        etag: str = self._call("put", bytes(data), md5, state, marker, guard)
        return etag

    def require_tags(self, key: str, *, is_there: bool) -> None:
        """Accept every object: the target has tags."""

    def put_tags(self, key: str, tags: Mapping[str, str]) -> None:
        self._call("put_tags", dict(tags))

    def delete(self, key: str) -> None:
        self._call("delete")

    def create_upload(self, key: str, state: ObjectState, marker: str | None) -> str:
        upload: str = self._call("create_upload", state, marker)
        return upload

    def upload_part(self, key: str, upload: str, part: Part, data: bytes | bytearray, md5: bytes) -> str:
        etag: str = self._call("upload_part", upload, part, bytes(data), md5)
        return etag

    def complete_upload(self, key: str, upload: str, etags: Mapping[int, str], guard: WriteGuard | None = None) -> str:
        etag: str = self._call("complete_upload", upload, dict(etags), guard)
        return etag

    def abort_upload(self, key: str, upload: str) -> None:
        self._call("abort_upload", upload)

    def uploads(self, key: str) -> list[Upload]:
        found: list[Upload] = self._call("uploads")
        return found

    def parts(self, key: str, upload: str, after: int = 0, until: int | None = None) -> dict[int, UploadedPart]:
        sent: dict[int, UploadedPart] = self._call("parts", upload, after, until)
        return sent


@contextmanager
def no_collections() -> Iterator[None]:
    """Stop the garbage collector, which would look through millions of states again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def bag(*items: int) -> tuple[int, ...]:
    """Return a multiset of numbers: every order of them is the same state."""
    return tuple(sorted(items))


def distinct(bag: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield each distinct number of a bag, after the index of one of its occurrences."""
    for index, item in enumerate(bag):
        if index == 0 or bag[index - 1] != item:
            yield index, item
