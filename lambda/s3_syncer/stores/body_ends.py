"""Find the end of a response body that its headers do not show.

By HTTP, a body without a Content-Length ends with its connection. Some stores and proxies keep the connection open
behind such a body, or send a Content-Length that is no number. Then each attempt would wait for the read timeout.
So the body ends earlier:

- XML ends with the end tag of its root element, and any other text with its first bytes.
- Nothing follows the headers of a PUT with an ETag.
- SILENCE_S without a byte end it as well. A document that is not complete is never read as one: see `response_xml.py`.

The reader of an object knows its size: see `bodies.py`. A response that announces the end of its connection is left
alone. The transports leave such a response to boto3, unless it needs no body.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from http.client import HTTPResponse
from io import BufferedReader, BytesIO
from typing import TYPE_CHECKING, Any

from ..core import headers
from .response_xml import has_ended

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from mypy_boto3_s3 import S3Client

#: Seconds to wait for the next bytes of such a body. Stores write the body of a response directly after its headers.
SILENCE_S = 5.0

_CHUNK = 64 * 1024

#: The version of `http.client` in which each connection ends with its response.
_HTTP_1_0 = 10

#: True while this thread waits for an object of S3, False for another response of S3, and None for neither.
_is_object: ContextVar[bool | None] = ContextVar("is_object", default=None)


def end_bodies(client: S3Client) -> None:
    """Make the client read a response of S3 up to the end of its document: see `EndingResponse`."""
    client.meta.events.register("before-send.s3", _before_send)
    client.meta.events.register("response-received.s3", _response_received)


def _before_send(request: AWSPreparedRequest, **_: Any) -> None:
    _is_object.set(request.stream_output)


def _response_received(**_: Any) -> None:
    _is_object.set(None)


def shows_end(read: Mapping[str, str]) -> bool:
    """Return True if the headers of a response, with names in lower case, show where its body ends."""
    return (
        headers.content_length(read) is not None
        or read.get("transfer-encoding", "").lower() == "chunked"  # as `http.client` decides
        or "close" in read.get("connection", "").lower()
    )


def is_bounded(method: str, status: int, read: Mapping[str, str]) -> bool:
    """Return True if a response has no body, or if its headers show where the body ends."""
    return method == "HEAD" or status in (204, 304) or shows_end(read)


def needs_no_body(method: str, status: int, read: Mapping[str, str]) -> bool:
    """Return True if the headers of a response say all: the request has written an object or a part."""
    return method == "PUT" and status < 300 and "etag" in read


class EndingResponse(HTTPResponse):
    """A response of `http.client` that ends where its document ends."""

    def __init__(self, sock: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self._socket, self._of_method = sock, options.get("method", "")

    def begin(self) -> None:
        super().begin()
        is_object = _is_object.get()
        if self.length is not None or is_object is None or (is_object and self.status < 300):
            return
        read = headers.by_name(self.getheaders())
        if self.version > _HTTP_1_0 and not shows_end(read):
            is_bare = needs_no_body(self._of_method, self.status, read)
            body = b"" if is_bare else self._read_document()
            self.fp.close()
            self.fp, self.length = BufferedReader(BytesIO(body)), len(body)

    def _read_document(self) -> bytes:
        self._socket.settimeout(SILENCE_S)
        body = bytearray()
        with suppress(TimeoutError):
            while not has_ended(body) and (chunk := self.fp.read1(_CHUNK)):
                body += chunk
        return bytes(body)
