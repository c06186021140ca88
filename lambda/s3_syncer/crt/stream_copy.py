"""Stream large objects from one store to the other: each block is sent as soon as it has been read.

A block that was sent cannot be taken back, so a copy counts only with a proof that its bytes are right:

- A part: the ETag that the target returns is the MD5 of the bytes that were read. A caller that proves all parts of an
  object by their ETags needs no hash.
- A whole object with a known MD5: the target checks that MD5, and the last block is sent only if the bytes have it. A
  PUT that breaks off writes nothing.
- A whole object, where the ETags of the target are known to be MD5s: the ETag that the target returns is the proof,
  and nothing is hashed.

As everywhere in `crt/`, each request is made once and no failure is judged: where streaming fails, `sync/transfer.py`
copies the bytes over boto3. Pure but for the two clients.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPException
from typing import Protocol, TypeVar
from urllib.parse import quote

from ..core import fence, headers
from ..core.deadline import OutOfTime
from ..core.errors import SyncError
from ..core.model import ObjectState, WriteGuard
from ..core.multipart import Part
from ..core.units import KIB, MIB
from ..stores import request_limiter
from ..stores.request_limiter import NO_LIMITERS, RequestLimiter, RequestLimiters, request_kind
from ..sync.transfer import SentPart
from ..transport.pauses import store_circuit
from ..transport.protocols import Headers
from .small_object_copy import write_headers

_Sent = TypeVar("_Sent")

logger = logging.getLogger(__name__)

#: Bytes that a stream holds at a time. Larger blocks take no less CPU time.
BLOCK = 256 * KIB

#: Smallest object in bytes that is streamed whole. A smaller one takes no less CPU time as a stream.
MIN_SIZE = MIB

#: Seconds for which nothing is streamed after several failures, at most. They double from PAUSE_S until a stream
#: succeeds.
PAUSE_MAX_S = 300.0

#: Statuses of a response that says that the object or the upload is gone or has changed. They are fewer than
#: `protocols.OBJECT_LEVEL_STATUSES`: a store that rejects the form of a stream, for example with 400, 411 or 501,
#: rejects every other stream as well.
_CHANGED_STATUSES = frozenset({404, 412, 416})


class StreamingRequest(Protocol):
    """A request with its header sent, and its response: see `stream_http.StreamingRequest`."""

    def send(self, data: memoryview) -> None: ...

    def response(self) -> tuple[int, Mapping[str, str]]: ...

    def read_into(self, block: memoryview) -> int: ...


class StreamingClient(Protocol):
    """A client that begins requests about the keys of one bucket, below its prefix.

    Leaving the block ends a request that has not ended.
    """

    def begin(
        self, method: str, key: str, *, query: str = "", headers: Headers = ()
    ) -> AbstractContextManager[StreamingRequest]: ...


class HttpStreamCopier:
    """Streams from one bucket to the other: see `transfer.StreamCopier`. Safe to share between threads."""

    buffer_size = BLOCK

    def __init__(
        self,
        source: StreamingClient,
        target: StreamingClient,
        limiters: RequestLimiters = NO_LIMITERS,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._target, self._limiters = source, target, limiters
        self._circuit = store_circuit(clock, max_s=PAUSE_MAX_S)

    def part(self, key: str, etag: str, upload_id: str, part: Part, must_hash: Callable[[], bool]) -> SentPart | None:
        """Upload a part of the object with this ETag: see `transfer.StreamCopier`."""

        def stream() -> SentPart | None:
            window = [("range", f"bytes={part.start}-{part.start + part.size - 1}")]
            query = f"?partNumber={part.number}&uploadId={quote(upload_id, safe='')}"
            sent = self._stream(key, etag, part.size, read_headers=window, query=query, must_hash=must_hash)
            if sent is None:
                return None
            md5, written = sent
            if not written:
                raise _Failed  # without ETags nothing proves a part, and each part would be sent again
            return SentPart(written, md5) if md5 in (None, written) else None

        return self._try(stream, key)

    def takes(self, state: ObjectState) -> bool:
        # `Bucket` decides if a retention may come with the object: see `ObjectLocks.sent_with`.
        return state.md5 is not None and state.size >= MIN_SIZE and state.lock.retention is None

    def whole(
        self,
        key: str,
        state: ObjectState,
        marker: str | None,
        *,
        by_etag: bool = False,
        guard: WriteGuard | None = None,
    ) -> str | None:
        """Copy the object with its properties. Return the ETag that the target gave it, or None.

        The ETag is "" if the response of the target has none.
        With `by_etag`, that ETag must be the MD5 of the object, and is the proof.
        """
        if state.md5 is None or not self.takes(state):
            return None
        properties = write_headers(state, marker, bytes.fromhex(state.md5), guard)
        if not all(value.isascii() for _, value in properties):
            return None

        def stream() -> str | None:
            if by_etag:
                sent = self._stream(key, state.etag, state.size, properties=properties, must_hash=lambda: False)
                return sent[1] if sent is not None and sent[1] == state.md5 else None
            sent = self._stream(key, state.etag, state.size, properties=properties, md5=state.md5)
            return sent[1] if sent is not None else None

        return self._try(stream, key)

    def _try(self, stream: Callable[[], _Sent | None], key: str) -> _Sent | None:
        if self._circuit.is_open:
            return None
        try:
            sent = stream()
        except OutOfTime:
            raise
        except Exception as error:
            fence.ensure_open()  # a connection that was broken on purpose says nothing about the store
            if not isinstance(error, (_Failed, OSError, HTTPException, SyncError)):
                logger.exception("unexpected failure", extra={"key": key})
            self._circuit.record_failure()
            return None
        if sent is not None:
            self._circuit.end_trial()
        return sent

    def _stream(
        self,
        key: str,
        etag: str,
        size: int,
        *,
        read_headers: Headers = (),
        properties: Headers = (),
        query: str = "",
        md5: str | None = None,
        must_hash: Callable[[], bool] = lambda: True,
    ) -> tuple[str | None, str] | None:
        """Return the MD5 of the bytes that were read, None if not hashed, and the ETag of those written.

        The ETag is "" if the response has none.
        Return None if the object or the upload is not the expected one. Raises _Failed if a store fails.
        """
        with (
            _permit(self._limiters.source, "get_object", size),
            self._source.begin("GET", key, headers=[("if-match", f'"{etag}"'), *read_headers]) as source,
        ):
            status, read = source.response()
            request_limiter.note_status(status)
            request_limiter.ignore_latency()  # the body comes no faster than the target takes it
            if status in _CHANGED_STATUSES:
                return None
            if status not in (200, 206):  # some stores respond 200 to a range
                raise _Failed
            if headers.etag(read) != etag or headers.content_length(read) != size:
                return None
            length = ("content-length", str(size))
            with (
                fence.request(None if query else key) as write,  # a part changes no object
                _permit(self._limiters.target, "upload_part" if query else "put_object", size),
                self._target.begin("PUT", key, query=query, headers=[length, *properties]) as target,
            ):
                found = _forward(source, target, size, md5, write.begin, hashed=must_hash())
                status, written = target.response()
                request_limiter.note_status(status)
                write.answered()
                if status in _CHANGED_STATUSES:
                    return None
                if status != 200:
                    raise _Failed
        return found, headers.etag(written) or ""


@contextmanager
def _permit(limiter: RequestLimiter | None, operation: str, size: int) -> Iterator[None]:
    """Hold a permit for a stream, after a wait."""
    if limiter is None:
        yield
        return
    with limiter.acquire(request_kind(f"stream {operation}", size), fence.ensure_open) as permit:
        permit.begin()
        try:
            yield
        except BaseException:
            permit.void()  # either store may be the cause
            raise


class _Failed(Exception):
    """A store failed, refused a request, or sent other bytes than it should."""


def _forward(
    source: StreamingRequest,
    target: StreamingRequest,
    size: int,
    md5: str | None,
    before_last: Callable[[], None],
    *,
    hashed: bool,
) -> str | None:
    """Send what is read. Return its MD5, or None if it is not hashed.

    Raises _Failed if there are fewer bytes, or if `md5` is given and is not theirs. The last block is not sent then.
    A body without its last block cannot take effect, so `before_last` is called before that block.
    """
    digest = hashlib.md5(usedforsecurity=False) if hashed else None
    buffer, left = memoryview(bytearray(min(BLOCK, size))), size
    while left:
        block = buffer[: min(len(buffer), left)]
        if source.read_into(block) < len(block):
            raise _Failed
        left -= len(block)
        if digest is not None:
            digest.update(block)
            if not left and md5 not in (None, digest.hexdigest()):
                raise _Failed
        if not left:
            before_last()
        target.send(block)
    return digest.hexdigest() if digest is not None else None
