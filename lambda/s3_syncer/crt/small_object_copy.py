"""Copy ordinary small objects with one GET and one PUT each, many at a time.

The next listing of the source is the second check. Each request begins in the callback of the request before it, so no
thread waits for a single object. docs/convergence.md says when a listing can take the place of a HEAD. Pure but for the
two clients.
"""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

from ..core import fence, headers, object_lock
from ..core.compare import KeyDiff, compare, differs_by_listing
from ..core.deadline import Deadline, OutOfTime
from ..core.errors import Permanent
from ..core.model import MD5, NO_LOCK, ListEntry, ObjectState, WriteGuard, md5_of
from ..core.units import MIB
from ..stores import request_limiter, response_xml
from ..stores.capabilities import properties_of
from ..stores.object_tags import UNTAGGED_CODES
from ..stores.request_limiter import NO_LIMITERS, Permit, RequestLimiter, RequestLimiters, request_kind
from ..sync.transfer import Transfer
from ..transport.pauses import note_store_failure, store_circuit
from ..transport.protocols import OBJECT_LEVEL_STATUSES, Headers, HttpResponse, concerns_store, is_archived
from .copy_batch import CopyBatch
from .overwrite_prevention import Condition, OverwritePrevention
from .protocols import CallbackHttpClient

logger = logging.getLogger(__name__)

#: Largest object in bytes that is copied here. The copier holds the bytes, and streaming a larger object takes less
#: CPU time.
MAX_SIZE = MIB

#: Time between the last write of an object and its read, from which its Last-Modified shows every later write. S3
#: gives that time in whole seconds; one more second is for clocks that differ. Both times are the source's own, so the
#: clock of the target does not matter. A time that goes back is safe too: an upload in parts has another ETag. An
#: older version that comes back has another ETag or time, unless both versions were written within one second.
MTIME_SETTLE_TIME = timedelta(seconds=2)

#: Statuses of a conditional write that say that another worker has just written or deleted the key.
_OVERTAKEN = frozenset({409, 412})

#: The guard of a write to a key that the target lacks. The tags are those of the source's object, which has none.
_NO_OBJECT = WriteGuard(None, None)

#: In place of the response to a request that was not sent. A copy that was written already counts as written.
_NOT_SENT = HttpResponse(-1)


class _Request(NamedTuple):
    """The next request of a copy."""

    client: CallbackHttpClient
    method: str
    key: str
    query: str = ""
    headers: Headers = ()
    body: bytes = b""


#: The steps of one copy: it yields each request, and receives the response.
_Steps = Generator[_Request, HttpResponse, None]


class _Unsupported(Exception):
    """The object is not an ordinary one. The sweep converges its key."""


class _Overtaken(Exception):
    """Another worker has written the key since the listing. The sweep converges it."""


class _RequestFailed(Exception):
    """A store did not do what a request asked for."""

    def __init__(self, response: HttpResponse) -> None:
        self.response = response


class CrtSmallObjectCopier:
    """Copies small objects: see `sync.protocols.SmallObjectCopier`. Safe to share between threads.

    It has `threads` slots. A slot copies one object at a time, and starts the next object of the batch as soon as that
    copy has ended.
    """

    def __init__(
        self,
        source: CallbackHttpClient,
        target: CallbackHttpClient,
        transfer: Transfer,
        *,
        source_prefix: str,
        target_prefix: str,
        tags: bool,
        threads: int,
        mirrors_locks: bool = False,
        limiters: RequestLimiters = NO_LIMITERS,
        overwrite_prevention: OverwritePrevention | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._target, self._limiters = source, target, limiters
        self._source_prefix, self._target_prefix = source_prefix, target_prefix
        self._tags, self._transfer, self._mirrors_locks = tags, transfer, mirrors_locks
        self._memory, self._bandwidth = transfer.memory, transfer.bandwidth
        self._capabilities, self._marker_policy = transfer.capabilities, transfer.marker_policy
        self._guards, self._source_tags = transfer.guards, transfer.source_tags
        self._tags_come_first = transfer.direction.writes_tags_with_object
        self._overwrite_prevention = overwrite_prevention or OverwritePrevention()
        self._is_limited = None not in (limiters.source, limiters.target)
        self._slots = threading.Semaphore(threads)
        self._max_size = min(MAX_SIZE, transfer.memory.size // 2)
        self._circuit = store_circuit(clock)

    def takes(self, diff: KeyDiff) -> str | None:
        """Return the reason for a copy, if the listings prove it and the object seems ordinary; else None."""
        entry = diff.source
        if (
            entry is None
            or entry.archive is not None
            or entry.size is None
            or entry.size > self._max_size
            or entry.etag is None
            or not MD5.fullmatch(entry.etag)
        ):
            return None
        return differs_by_listing(entry, diff.target, md5s=self._marker_policy.target_gives_md5)

    def copy(
        self,
        entries: Iterable[ListEntry],
        deadline: Deadline,
        writing: Callable[[ListEntry, ObjectState], None],
        copied: Callable[[ListEntry, ObjectState, str], None],
        replaced: Collection[str] = (),
    ) -> dict[str, ListEntry | None]:
        """Copy the objects that can be copied here; call `writing` before each write, and `copied` after it.

        `replaced` are the keys that the target has. Without tag sync, each of them takes a HEAD of the target: no
        listing shows if its object has tags, which the copy must keep.

        Return by key the entry that the listing of the source must show from now on for the copy to be current. It is
        None if no listing can show that, or if the target may not keep the object's headers.
        """
        batch, slots = CopyBatch(deque(entries), deadline, writing, copied, replaced), 0
        while batch.waiting:
            self._slots.acquire()
            if not self._start_next(batch, may_wait=True):
                self._slots.release()
                break
            slots += 1
        for _ in range(slots):
            batch.slots_done.acquire()
        # No listing shows headers and metadata: a copy with properties that the target was not seen to keep is checked.
        kept = {key for key, properties in batch.properties.items() if self._capabilities.keeps(properties)}
        if not self._overwrite_prevention.is_proven:  # any more: a sample has shown it
            kept -= batch.tags_unread
        return {key: entry if key in kept else None for key, entry in batch.copied.items()}

    # -- slots -----------------------------------------------------------------------------------------------------

    def _start_next(self, batch: CopyBatch, *, may_wait: bool) -> bool:
        """Start the copy of the next object. Return False if there is none, or if the batch must end.

        Without `may_wait`, also return False where the copy would have to wait for memory or bandwidth: a thread of
        awscrt must not wait.
        """
        batch.deadline.progress()
        if self.must_end(batch) or batch.is_left:
            batch.waiting.clear()
            return False
        if not may_wait and self._bandwidth.limits:
            return False
        if (entry := batch.take()) is None:
            return False
        if may_wait:
            try:
                self._bandwidth.wait(entry.listed_size, batch.deadline)
            except OutOfTime:
                return False
            self._memory.acquire(entry.listed_size)
        elif not self._memory.try_acquire(entry.listed_size):
            batch.waiting.appendleft(entry)
            return False
        _Copy(self, batch, entry, self._steps(batch, entry)).advance(None)
        return True

    def finish(self, batch: CopyBatch, entry: ListEntry) -> None:
        """End a copy, and start the next one in its slot."""
        self._memory.release(entry.listed_size)
        if not self._start_next(batch, may_wait=False):
            self._slots.release()
            batch.slots_done.release()

    def limiter(self, client: CallbackHttpClient) -> RequestLimiter | None:
        """Return the limiter of a store, or None if nothing limits its requests."""
        return self._limiters.source if client is self._source else self._limiters.target

    def must_end(self, batch: CopyBatch) -> bool:
        """Return True if no further request of the batch may begin."""
        return batch.deadline.passed() or fence.is_closed() or self._circuit.is_open

    def note_failure(self, batch: CopyBatch, entry: ListEntry, response: HttpResponse) -> None:
        """Note a failed request. If the store fails as a whole, nothing is copied here for a while.

        A request that was given up says nothing about the store, and a busy store is left to its limiter.
        """
        is_busy = self._is_limited and request_limiter.is_throttled(response.status)
        if response == _NOT_SENT or is_busy or fence.is_closed():
            return
        if concerns_store(response):
            note_store_failure(self._circuit, response)
        else:
            batch.note_unsupported(entry)

    # -- one object ------------------------------------------------------------------------------------------------

    def _steps(self, batch: CopyBatch, entry: ListEntry) -> _Steps:
        """Copy one object: GET, PUT, a second PUT if the marker is needed after all, and GET of the tags.

        The GET of the tags is spared if the first GET shows that there are none, and the target refuses the PUT once
        another worker has written the key. In a restore, the GET of the tags comes before the PUT.

        A HEAD of the copy follows if nothing has shown yet that the target keeps such an object, and now and then: see
        `stores/capabilities.py`.
        """
        source_key = self._source_prefix + entry.key
        pinned = [("if-match", f'"{entry.etag}"')]
        read = yield _Request(self._source, "GET", source_key, headers=pinned)
        if is_archived(read):
            raise _Unsupported
        if read.status != 200:
            raise _RequestFailed(read)
        md5 = md5_of(read.body)
        try:
            state = self._ordinary_state(entry, read, md5.hex())
        except Permanent as error:  # a header is missing
            raise _Unsupported from error
        confirmed_by_listing = _listing_shows_next_write(entry, state, read)
        marker = self._marker_policy.marker_for(state)
        there = None
        if not self._tags and entry.key in batch.replaced:
            head = yield _Request(self._target, "HEAD", self._target_prefix + entry.key)
            there = self._untagged_state(head)
            # Another worker has written it since the listing. Its tags may come next, and they leave the ETag as it is.
            if self._is_equal(state, head):
                raise _Unsupported
        guard = self._guards.guard(entry.key, there)
        if self._tags_come_first and not (yield from self._source_is_untagged(source_key)):
            raise _Unsupported

        def put(guard: WriteGuard | None) -> _Request:
            sent = write_headers(state, marker, md5, guard)
            return _Request(self._target, "PUT", self._target_prefix + entry.key, headers=sent, body=read.body)

        must_read_tags = confirmed_by_listing and self._must_read_tags  # no listing shows a change of tags
        condition = self._condition(batch, entry) if must_read_tags else Condition.NONE
        batch.on_writing(entry, state)
        while True:
            if condition is Condition.NONE:
                written, is_unread = (yield put(guard)), False
            else:
                written, is_unread = yield from self._write_absent(put, condition)
            if written.status != 200 or written.body:  # a page of HTML is no response to a PUT
                raise _RequestFailed(written)
            etag = headers.etag(written.headers) or ""
            confirmed_by_listing = confirmed_by_listing and bool(etag)  # without one, nothing proves the bytes
            if not self._marker_policy.needs_rewrite(state, marker, etag):
                break
            marker, condition = state.etag, Condition.NONE
            guard = guard and replace(guard, etag=etag)
        if is_unread:
            batch.tags_unread.add(entry.key)
        elif confirmed_by_listing and must_read_tags:
            confirmed_by_listing = yield from self._source_is_untagged(source_key)
        batch.copied[entry.key] = entry if confirmed_by_listing else None
        batch.properties[entry.key] = properties = properties_of(state)
        self._circuit.end_trial()
        batch.note_copied()
        self._transfer.note_copied()
        batch.on_copied(entry, state, etag)
        if self._capabilities.claim_read(properties):
            kept = False
            try:
                found = yield _Request(self._target, "HEAD", self._target_prefix + entry.key)
                kept = self._is_equal(state, found)
            finally:
                self._capabilities.end_read(properties, kept=kept)

    @property
    def _must_read_tags(self) -> bool:
        """Return True if the tags of the source's object must be mirrored, and are read after the write."""
        return self._tags and not self._tags_come_first and self._source_tags.exists is not False

    def _condition(self, batch: CopyBatch, entry: ListEntry) -> Condition:
        """Return the use of `If-None-Match: *` in the write of an object that was read and has no tags.

        A write with the condition spares the read of the tags only if the response to the GET would have shown them.
        """
        if entry.key in batch.replaced or self._source_tags.needs_read("GET", 0):
            return Condition.NONE
        return self._overwrite_prevention.claim()

    def _write_absent(
        self, put: Callable[[WriteGuard | None], _Request], condition: Condition
    ) -> Generator[_Request, HttpResponse, tuple[HttpResponse, bool]]:
        """Write an object on the condition that the target has none under the key.

        Return the response, and True if the target is known to honour the condition. A store that does not know it gets
        the write once more without it. Raises _Overtaken if there is an object.
        """
        is_honoured: bool | None = None
        try:
            written = yield put(_NO_OBJECT)
            if written.status in _OVERTAKEN:
                raise _Overtaken
            if written.status in OBJECT_LEVEL_STATUSES and not concerns_store(written):
                written = yield put(None)
                if written.status == 200:
                    self._overwrite_prevention.record_ignored()
                return written, False
            if written.status == 200 and condition is Condition.CHECKED:
                again = yield put(_NO_OBJECT)
                if again.status == 412:
                    is_honoured = True
                elif again.status == 200:
                    written, is_honoured = again, False
                return written, is_honoured is True
            return written, True
        finally:
            if condition is Condition.CHECKED:
                self._overwrite_prevention.end_check(is_honoured=is_honoured)

    def _source_is_untagged(self, source_key: str) -> Generator[_Request, HttpResponse, bool]:
        """Return True if the source's object has no tags that must be mirrored."""
        if not self._tags or self._source_tags.exists is False:
            return True
        response = yield _Request(self._source, "GET", source_key, query="?tagging")
        number = _tag_number(response)
        if number is not None:
            self._source_tags.record_exists()
            self._source_tags.record_tags("GET", 0, number)
        elif response.status == 403:
            self._source_tags.record_denied()
        return number == 0

    def _is_equal(self, source: ObjectState, found: HttpResponse) -> bool:
        """Return True if the response to a HEAD shows an equal object: the target keeps its properties."""
        if found.status != 200:
            return False
        try:
            target = headers.state(found.headers, source.tags)
        except Permanent:
            return False
        return compare(source, target, md5s=self._marker_policy.target_gives_md5) is None

    def _untagged_state(self, response: HttpResponse) -> ObjectState:
        """Return the target's object. Raises _Unsupported if it has tags, or if the response is unusual."""
        if response.status != 200:
            raise _RequestFailed(response)
        try:
            state = headers.state(response.headers, {})
        except Permanent as error:
            raise _Unsupported from error
        if state.tag_count:
            raise _Unsupported
        return state

    def _ordinary_state(self, entry: ListEntry, read: HttpResponse, md5: str) -> ObjectState:
        """Return the state of the object that was read. Raises _Unsupported if it is not ordinary.

        Raises Permanent for a response that lacks a header.
        """
        state = headers.state(read.headers, {})
        if self._tags and state.tag_count:
            self._source_tags.record_tags("GET", state.tag_count, state.tag_count)
            raise _Unsupported
        ordinary = (
            state.etag == entry.etag
            and state.size == entry.size == len(read.body)
            and not state.archived
            and not state.hidden_metadata
            and (not self._mirrors_locks or object_lock.read(read.headers) == NO_LOCK)
            and state.md5 == md5
            and "".join((*state.headers.values(), *state.metadata.values())).isascii()
        )
        if not ordinary:
            raise _Unsupported
        return state


class _Copy:
    """One copy in progress: it sends the requests of its steps, one after the other."""

    __slots__ = ("_batch", "_copier", "_entry", "_permit", "_request", "_steps", "_write")

    def __init__(self, copier: CrtSmallObjectCopier, batch: CopyBatch, entry: ListEntry, steps: _Steps) -> None:
        self._copier, self._batch, self._entry, self._steps = copier, batch, entry, steps
        self._request: _Request
        self._permit: Permit | None = None
        self._write: fence.Request | None = None

    def advance(self, response: HttpResponse | None) -> None:
        """Give the copy the response that it waits for, and send its next request or finish it."""
        batch = self._batch
        try:
            self._request = self._steps.send(response)  # type: ignore[arg-type] # None starts a generator
        except StopIteration:
            pass
        except _Unsupported:
            batch.note_unsupported(self._entry)
        except _Overtaken:
            pass
        except _RequestFailed as error:
            self._copier.note_failure(batch, self._entry, error.response)
        except Exception:  # a fault of this program: the batch must end all the same
            logger.exception("unexpected failure", extra={"key": self._entry.key})
        else:
            self._send_permitted()
            return
        self._copier.finish(batch, self._entry)

    def _send_permitted(self) -> None:
        """Send the next request as soon as its store may get another one."""
        request = self._request
        limiter = self._copier.limiter(request.client)
        if limiter is None:
            self._send()
        else:
            limiter.begin(request_kind(request.method, len(request.body)), self._on_turn)

    def _on_turn(self, permit: Permit | None) -> None:
        """Send the request, unless the store may get none for a while or the batch must end.

        The sweep then converges the key.
        """
        batch = self._batch
        if permit is None or self._copier.must_end(batch):
            if permit is not None:
                permit.void()
                permit.end()
            batch.is_left = True
            self.advance(_NOT_SENT)
            return
        self._permit = permit
        self._send()

    def _send(self) -> None:
        """Send the request. A PUT is a write to the key: see `fence.Request`."""
        client, method, key, query, sent, body = self._request
        if method != "PUT":
            client.send(method, key, self._on_response, query=query, headers=sent)
            return
        self._write = write = fence.Request(self._entry.key)
        with write:
            client.send(method, key, self._on_response, query=query, headers=sent, body=body)

    def _on_response(self, response: HttpResponse) -> None:
        if (write := self._write) is not None:
            self._write = None
            write.end()
        if (permit := self._permit) is not None:
            self._permit = None
            permit.note_status(response.status)
            permit.end()
        self.advance(response)


def write_headers(
    state: ObjectState, marker: str | None, md5: bytes, guard: WriteGuard | None = None
) -> list[tuple[str, str]]:
    """Return the headers of a write: its properties, and the MD5 with which the store checks the bytes."""
    return [("content-md5", base64.b64encode(md5).decode()), *headers.written(state, marker, guard).items()]


def _listing_shows_next_write(entry: ListEntry, state: ObjectState, read: HttpResponse) -> bool:
    """Return True if every write after this read has a later Last-Modified than the object that was read.

    Then the listing shows another entry after such a write.
    """
    now, written, listed = headers.moment(read.headers.get("date", "")), state.last_modified, entry.last_modified
    if now is None or written is None or listed is None or now - written < MTIME_SETTLE_TIME:
        return False
    return written == listed.replace(microsecond=0)


def _tag_number(response: HttpResponse) -> int | None:
    """Return the number of tags by the response to a GET of the tags; None if it does not say it."""
    if response.status != 200:
        is_untagged = response.status == 404 and response_xml.error(response.body)[0] in UNTAGGED_CODES
        return 0 if is_untagged else None
    try:
        tags = response_xml.fields(response_xml.parse(response.body)).get("TagSet")
    except response_xml.NotXmlError:
        return None
    return len(tags) if isinstance(tags, list) else None
