"""Read the body of a response to GetObject, and send that of a write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from ..core.errors import Permanent, Retryable, Transient
from ..core.model import INLINE_BODY_MAX
from ..core.units import MIB
from .responses import Response

#: Bytes read from the network at a time. A read holds so many bytes beyond the buffer of the part.
_CHUNK = MIB

#: The code for a body with another SHA-256 than its request says: the bytes were damaged, or the store does not know
#: UNSIGNED-PAYLOAD and compares this text.
_OTHER_HASH = "XAmzContentSHA256Mismatch"


class Stream(Protocol):
    """The body of a response: botocore's StreamingBody, or bytes in memory."""

    def read(self, amt: int, /) -> bytes: ...


def read_body(stream: Stream, size: int, *, has_end: bool = True) -> bytearray:
    """Return the body of a response. Raises Retryable unless it has exactly `size` bytes.

    Without `has_end`, only the end of the connection ends the body: see `has_end`. A read beyond it would wait for the
    read timeout, so a longer body is cut.
    """
    data = bytearray(size)
    view, filled = memoryview(data), 0
    beyond = 1 if has_end else 0
    while chunk := _read(stream, min(_CHUNK, size - filled + beyond)):
        if filled + len(chunk) > size:
            raise Retryable(f"the store sent more than the requested {size} bytes", "LongBody")
        view[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    if filled != size:
        raise Retryable(f"the store sent {filled} of {size} bytes", "ShortBody")
    return data


def read_small_body(stream: Stream, response: Response) -> bytearray | None:
    """Return a body of at most INLINE_BODY_MAX bytes; None if it is longer or may be incomplete."""
    size = response.content_length
    if size is not None:
        return read_body(stream, size) if size <= INLINE_BODY_MAX else None
    if not response.is_framed:
        return None
    data = bytearray()
    while len(data) <= INLINE_BODY_MAX and (chunk := _read(stream, INLINE_BODY_MAX + 1 - len(data))):
        data += chunk
    return data if len(data) <= INLINE_BODY_MAX else None


def has_end(response: Response) -> bool:
    """Return True if the headers of the response show where its body ends.

    A Content-Length that is no number does not. The store may keep the connection open behind such a body, and boto3
    would wait for 60 s.
    """
    return response.content_length is not None or response.is_framed


def read_to_end(stream: Stream, response: Response) -> None:
    """Read a short body, so that its connection can be used again. A body without an end is not read."""
    if not has_end(response):
        return
    read = 0
    while read <= _CHUNK and (chunk := _read(stream, _CHUNK)):
        read += len(chunk)


def _read(stream: Stream, most: int) -> bytes:
    """Return the next bytes; none at the end of the body. Raises Transient."""
    if most == 0:
        return b""
    try:
        return stream.read(most)
    except ValueError:  # botocore compares the length with a Content-Length that is no number
        return b""
    except (BotoCoreError, HTTPError, OSError) as error:
        raise Transient(f"the connection broke while reading: {error}", "ConnectionBroke") from error


def send_body(call: Callable[..., Response], operation: str, key: str, **parameters: Any) -> Response:
    """Make a request with a body. Raises Permanent if the store finds another hash of the bytes twice."""
    try:
        return call(operation, key, **parameters)
    except Retryable as error:
        if error.code != _OTHER_HASH:
            raise
    try:
        return call(operation, key, **parameters)
    except Retryable as error:
        if error.code != _OTHER_HASH:
            raise
        advice = "The store may refuse unsigned payloads: set payload_signing of the target"
        reason = f"{error.reason}, twice. {advice}"
        raise Permanent(reason, error.code, request_id=error.request_id) from error
