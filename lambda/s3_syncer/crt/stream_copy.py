"""Streams large objects from one store to the other: what is read is sent on at once, a block at a time.

Bytes that have been sent cannot be taken back, so nothing that is streamed counts before it is proven. A part does once
the ETag that the target gives it is the MD5 of what was read. A whole object is only streamed where its MD5 is known
beforehand: it goes along for the target to check, and the last block is not sent unless the bytes hash to it; a PUT
that breaks off writes nothing. Where the target's ETags are known to be MD5s, its answer is the proof, and nothing is
hashed.

As everywhere in the lane, each request is made once and no failure is judged: what does not go well goes the common
path. Pure but for what `Side` does.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from http.client import HTTPException
from typing import Protocol
from urllib.parse import quote

from ..core.errors import SyncError
from ..core.model import ObjectState
from ..core.multipart import KIB, MIB, Part
from .small_object_copy import write_headers

logger = logging.getLogger(__name__)

#: Bytes that a stream holds at a time. Larger blocks cost no less CPU.
BLOCK = 256 * KIB

#: Smallest object in bytes that is streamed whole; what is smaller gains nothing by it.
SMALLEST = MIB

#: Seconds for which nothing is streamed after it did not go well, doubled each time until it does.
REST_S, REST_MAX_S = 5.0, 300.0

#: Answers that say something of the object, or of the upload, and nothing of the store.
_OF_ONE_OBJECT = frozenset({404, 412, 416})

Headers = Sequence[tuple[str, str]]


class Exchange(Protocol):
    """One request, of which the head has been sent, and its answer: see `exchange.Exchange`."""

    def send(self, data: memoryview) -> None: ...

    def answer(self) -> tuple[int, Mapping[str, str]]: ...

    def read_into(self, block: memoryview) -> int: ...


class Side(Protocol):
    """Begins requests about the keys of one bucket, below its prefix; leaving the block ends what has not ended."""

    def begin(
        self, method: str, key: str, *, query: str = "", headers: Headers = ()
    ) -> AbstractContextManager[Exchange]: ...


class HttpStreamCopier:
    """From one bucket to the other; see `transfer.Streaming`. Safe to share between threads."""

    holds = BLOCK

    def __init__(self, source: Side, target: Side, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._source, self._target, self._clock = source, target, clock
        self._rest_s, self._rests_until = REST_S, 0.0
        self._lock = threading.Lock()

    def part(self, key: str, etag: str, upload: str, part: Part) -> str | None:
        """Sends a part of the object with this ETag; returns the part's ETag, which is its MD5."""

        def stream() -> str | None:
            window = [("range", f"bytes={part.start}-{part.start + part.size - 1}")]
            query = f"?partNumber={part.number}&uploadId={quote(upload, safe='')}"
            sent = self._stream(key, etag, part.size, reading=window, query=query)
            return sent[1] if sent is not None and sent[0] == sent[1] else None

        return self._safely(stream, key)

    def whole(self, key: str, state: ObjectState, marker: str | None, *, by_etag: bool = False) -> str | None:
        """Copies the object with its properties; returns the ETag that the target gave it.

        With `by_etag` that ETag has to be the MD5 of the object, and proves what was sent.
        """
        if state.md5 is None or state.size < SMALLEST:
            return None
        told = write_headers(state, marker, bytes.fromhex(state.md5))
        if not all(value.isascii() for _, value in told):
            return None

        def stream() -> str | None:
            if by_etag:
                sent = self._stream(key, state.etag, state.size, writing=told, hashed=False)
                return sent[1] if sent is not None and sent[1] == state.md5 else None
            sent = self._stream(key, state.etag, state.size, writing=told, md5=state.md5)
            return sent[1] if sent is not None else None

        return self._safely(stream, key)

    def _safely(self, stream: Callable[[], str | None], key: str) -> str | None:
        if self._clock() < self._rests_until:
            return None
        try:
            etag = stream()
        except Exception as error:
            if not isinstance(error, (_Failed, OSError, HTTPException, SyncError)):
                logger.exception("unexpected failure", extra={"key": key})
            self._rest()
            return None
        if etag is not None:
            self._rest_s = REST_S
        return etag

    def _stream(
        self,
        key: str,
        etag: str,
        size: int,
        *,
        reading: Headers = (),
        writing: Headers = (),
        query: str = "",
        md5: str | None = None,
        hashed: bool = True,
    ) -> tuple[str, str] | None:
        """The MD5 of what was read, "" if not hashed, and the ETag of what was written.

        None when either did not go as it should.
        """
        with self._source.begin("GET", key, headers=[("if-match", f'"{etag}"'), *reading]) as source:
            status, told = source.answer()
            if status in _OF_ONE_OBJECT:
                return None
            if status not in (200, 206):  # a store may answer 200 to a range that it heeds
                raise _Failed
            if told.get("etag", "").strip('"') != etag or told.get("content-length") != str(size):
                return None
            length = ("content-length", str(size))
            with self._target.begin("PUT", key, query=query, headers=[length, *writing]) as target:
                found = _pass_on(source, target, size, md5, hashed=hashed)
                status, told = target.answer()
                if status in _OF_ONE_OBJECT:
                    return None
                if status != 200:
                    raise _Failed
        return (found, told["etag"].strip('"')) if told.get("etag") else None

    def _rest(self) -> None:
        """Leaves the stores alone for a while; those that fail together do so once."""
        with self._lock:
            now = self._clock()
            if now >= self._rests_until:
                self._rests_until = now + self._rest_s
                self._rest_s = min(2 * self._rest_s, REST_MAX_S)


class _Failed(Exception):
    """A store is not well, or not willing, or has not sent what it should."""


def _pass_on(source: Exchange, target: Exchange, size: int, md5: str | None, *, hashed: bool) -> str:
    """Sends on what is read; returns its MD5, or "" if it is not hashed.

    Raises _Failed when there is less of it, or another MD5 is due: then the end of it has not been sent.
    """
    digest = hashlib.md5(usedforsecurity=False) if hashed else None
    room, left = memoryview(bytearray(min(BLOCK, size))), size
    while left:
        block = room[: min(len(room), left)]
        if source.read_into(block) < len(block):
            raise _Failed
        left -= len(block)
        if digest is not None:
            digest.update(block)
            if not left and md5 not in (None, digest.hexdigest()):
                raise _Failed
        target.send(block)
    return digest.hexdigest() if digest is not None else ""
