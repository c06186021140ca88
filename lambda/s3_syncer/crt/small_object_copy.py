"""Copies ordinary objects with one GET and one PUT, many at a time; the next listing of the source is the second look.

Each step begins in the callback of the one before, so no thread waits for a single object. docs/architecture.md says
when a listing can take the place of a HEAD. Pure but for what `Source` and `Target` do.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from queue import SimpleQueue
from typing import Protocol

from ..core import headers
from ..core.compare import KeyDiff, differs_by_listing
from ..core.deadline import Deadline, OutOfTime
from ..core.model import MD5, ListEntry, ObjectState
from ..core.multipart import MIB
from ..sync.transfer import Transfer
from .s3_xml import tag_set

logger = logging.getLogger(__name__)

#: Largest object in bytes that the lane takes: it holds the bytes, and from there on streaming them costs less CPU.
LARGEST = MIB

#: How long before it was read an object must have been written for its time of modification to tell whether it has
#: been written since: times come in whole seconds, and one second more for clocks that do not agree.
RESTED = timedelta(seconds=2)

#: Seconds for which the lane is left alone after a store that was busy, refused or did not answer.
REST_S = 5.0

#: Objects of a batch that may turn out not to be ordinary before the rest of it is left to the common path: each has
#: been read in vain.
UNUSUAL = 8

#: Answers that concern one key; any other failure says that the store is not well, or not willing.
OF_ONE_KEY = frozenset({400, 404, 405, 409, 411, 412, 413, 414, 416, 501})


class HttpResponse(Protocol):
    """See `wire.HttpResponse`."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def body(self) -> bytes: ...


class Side(Protocol):
    """Sends requests about the keys of one bucket; see `wire.CrtHttpClient`. Keys are whole."""

    def send(
        self,
        method: str,
        key: str | None,
        done: Callable[[HttpResponse], None],
        *,
        query: str = "",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None: ...


@dataclass(slots=True)
class _Batch:
    """Some objects, and what has come of them so far."""

    waiting: deque[ListEntry]
    deadline: Deadline
    copied: Callable[[ListEntry], None]
    #: By key, what the source's listing must still show for the copy to be known as current; None when no listing can
    #: tell.
    done: dict[str, ListEntry | None] = field(default_factory=dict)
    unusual: int = 0
    failed: bool = False
    #: Gets an item for every turn that no object of the batch has taken over.
    ended: SimpleQueue[None] = field(default_factory=SimpleQueue)


class CrtSmallObjectCopier:
    """The lane for objects. Safe to share between threads; `threads` objects are under way at a time."""

    def __init__(
        self,
        source: Side,
        target: Side,
        transfer: Transfer,
        *,
        source_prefix: str,
        target_prefix: str,
        tags: bool,
        threads: int,
    ) -> None:
        self.source, self.target = source, target
        self.source_prefix, self.target_prefix = source_prefix, target_prefix
        self.tags, self.marker_policy = tags, transfer.marker_policy
        self._transfer = transfer
        self._turns: SimpleQueue[None] = SimpleQueue()
        for _ in range(threads):
            self._turns.put(None)
        self._largest = min(LARGEST, transfer.memory.size // 2)
        self._rests_until = 0.0

    def takes(self, row: KeyDiff) -> str | None:
        """Why the object has to be copied, where the listings prove that and it seems ordinary; else None."""
        entry = row.source
        if entry is None or entry.size > self._largest or entry.etag is None or not MD5.fullmatch(entry.etag):
            return None
        return differs_by_listing(entry, row.target, md5s=self.marker_policy.target_gives_md5)

    def copy(
        self, entries: Iterable[ListEntry], deadline: Deadline, copied: Callable[[ListEntry], None]
    ) -> dict[str, ListEntry | None]:
        """Copies what it can, and tells `copied` of each; what is not in the answer is for the common path.

        The answer has for each key what the source's listing must show from now on for the copy to be known as
        current, or None when no listing can tell that.
        """
        batch, chains = _Batch(deque(entries), deadline, copied), 0
        while batch.waiting:
            self._turns.get()
            if not self.begin(batch, patient=True):
                self._turns.put(None)
                break
            chains += 1
        for _ in range(chains):
            batch.ended.get()
        if batch.failed:
            self._rests_until = time.monotonic() + REST_S
        return batch.done

    def begin(self, batch: _Batch, *, patient: bool) -> bool:
        """Begins another object of the batch, if there is one and nothing stands against it.

        Without patience it never waits, neither for memory nor for bandwidth.
        """
        batch.deadline.progress()
        if batch.failed or batch.unusual > UNUSUAL or time.monotonic() < self._rests_until or batch.deadline.passed():
            batch.waiting.clear()
            return False
        if not patient and self._transfer.bandwidth.limits:
            return False
        try:
            entry = batch.waiting.popleft()
        except IndexError:
            return False
        if not patient and not self._transfer.memory.try_acquire(entry.size):
            batch.waiting.appendleft(entry)
            return False
        if patient:
            try:
                self._transfer.bandwidth.wait(entry.size, batch.deadline)
            except OutOfTime:
                return False
            self._transfer.memory.acquire(entry.size)
        _Flight(self, batch, entry).read()
        return True

    def landed(self, batch: _Batch, size: int) -> None:
        """An object of so many bytes is no longer under way: another takes its turn, at once if it can."""
        self._transfer.memory.release(size)
        if not self.begin(batch, patient=False):
            self._turns.put(None)
            batch.ended.put(None)


class _Flight:
    """One object on its way."""

    __slots__ = ("_batch", "_data", "_entry", "_landed", "_lane", "_marker", "_state", "_vouched")

    def __init__(self, lane: CrtSmallObjectCopier, batch: _Batch, entry: ListEntry) -> None:
        self._lane, self._batch, self._entry = lane, batch, entry
        self._data, self._landed = b"", False
        self._marker: str | None = None
        self._vouched: ListEntry | None = None

    def read(self) -> None:
        pinned = [("if-match", f'"{self._entry.etag}"')]
        self._lane.source.send("GET", self._source_key, self._safely(self._read), headers=pinned)

    @property
    def _source_key(self) -> str:
        return self._lane.source_prefix + self._entry.key

    def _safely(self, step: Callable[[HttpResponse], None]) -> Callable[[HttpResponse], None]:
        """The step; whatever goes wrong in it, the batch is not kept waiting, and the common path will see."""

        def take(answer: HttpResponse) -> None:
            try:
                step(answer)
            except Exception:
                logger.exception("unexpected failure", extra={"key": self._entry.key})
                self._land()

        return take

    def _read(self, answer: HttpResponse) -> None:
        if answer.status != 200:
            self._failed(answer)
            return
        try:
            state = self._judged(answer)
        except (KeyError, ValueError):  # an answer that lacks what every store tells, or tells it otherwise
            state = None
        if state is None:
            self._batch.unusual += 1
            self._land()
            return
        self._state, self._data = state, answer.body
        self._write(self._lane.marker_policy.marker_for(state))

    def _judged(self, answer: HttpResponse) -> ObjectState | None:
        """What was read, or None when it is not the ordinary object that was listed."""
        told, entry = answer.headers, self._entry
        if self._lane.tags and told.get("x-amz-tagging-count", "0") != "0":
            return None
        state = headers.state(told, {})
        if state.etag != entry.etag or state.size != entry.size or len(answer.body) != entry.size or state.archived:
            return None
        if state.md5 != _md5(answer.body).hex():
            return None
        if not all(value.isascii() for value in (*state.headers.values(), *state.metadata.values())):
            return None
        # A write after this answer has a later time than this object, so the listing will tell of it.
        rested = headers.moment(told["date"]) - state.last_modified >= RESTED if "date" in told else False
        if rested and state.last_modified == entry.last_modified.replace(microsecond=0):
            self._vouched = entry
        return state

    def _write(self, marker: str | None) -> None:
        self._marker = marker
        self._lane.target.send(
            "PUT",
            self._lane.target_prefix + self._entry.key,
            self._safely(self._written),
            headers=write_headers(self._state, marker, _md5(self._data)),
            body=self._data,
        )

    def _written(self, answer: HttpResponse) -> None:
        etag = answer.headers.get("etag", "").strip('"')
        if answer.status != 200 or not etag:
            self._failed(answer)
        elif self._lane.marker_policy.needs_rewrite(self._state, self._marker, etag):
            self._write(self._state.etag)
        elif self._lane.tags:  # their change shows in no listing
            self._lane.source.send("GET", self._source_key, self._safely(self._tagged), query="?tagging")
        else:
            self._copied()

    def _tagged(self, answer: HttpResponse) -> None:
        if answer.status != 200 or not _untagged(answer.body):
            self._vouched = None
        self._copied()

    def _copied(self) -> None:
        self._batch.done[self._entry.key] = self._vouched
        self._batch.copied(self._entry)
        self._land()

    def _failed(self, answer: HttpResponse) -> None:
        if answer.status not in OF_ONE_KEY:
            self._batch.failed = True
        self._land()

    def _land(self) -> None:
        if self._landed:
            return
        self._landed = True
        self._lane.landed(self._batch, self._entry.size)


def write_headers(state: ObjectState, marker: str | None, md5: bytes) -> list[tuple[str, str]]:
    """Return the headers of a write: its properties, and the MD5 with which the store checks the bytes."""
    return [("content-md5", base64.b64encode(md5).decode()), *headers.written(state, marker).items()]


def _untagged(body: bytes) -> bool:
    """Whether the answer to a question for tags says that there are none."""
    return tag_set(body) == []


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
