"""Read a response of HTTP/1.1 from the bytes of a connection, as they come. Pure.

https://www.rfc-editor.org/rfc/rfc9112. A response that is not certain to be whole is refused. Its body ends where the
head says so, or at the end of the connection. Nothing is guessed.
"""

from __future__ import annotations

import re
from functools import lru_cache

#: Bytes of the longest head of a response. AWS sends at most 2 KB of metadata, and other stores a little more.
MAX_HEAD = 64 * 1024

_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: |$)")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;|$)")

#: Statuses of responses without a body, whatever their headers say.
_WITHOUT_BODY = frozenset({204, 304})


class MalformedResponse(Exception):
    """The bytes are no response, or the end of its body is unknown."""


class ResponseReader:
    """Reads the response to one request. Repeated headers become one, with a comma."""

    __slots__ = (
        "_buffer",
        "_chunks",
        "_is_after_chunk",
        "_is_chunked",
        "_is_head",
        "_is_trailer",
        "_left",
        "headers",
        "is_done",
        "is_last",
        "status",
    )

    def __init__(self, method: str) -> None:
        self._is_head = method == "HEAD"
        #: Bytes of the head, or of the frame of a chunk, that is not whole yet.
        self._buffer = b""
        self._chunks: list[bytes] = []
        #: Bytes of the body, or of the chunk, that have not come yet. None: up to the end of the connection.
        self._left: int | None = 0
        self._is_chunked = self._is_after_chunk = self._is_trailer = False
        #: The status, 0 until the head has come; the headers have names in lower case.
        self.status, self.headers = 0, dict[str, str]()
        self.is_done = False
        #: True if the connection gets no further request.
        self.is_last = False

    @property
    def body(self) -> bytes:
        """The body as far as it has come."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def feed(self, data: bytes) -> int:
        """Take the next bytes of the connection. Return how many of them belong to the body.

        Raises MalformedResponse, also for bytes after the end of the response.
        """
        if not self.status:
            data = self._read_head(data)
            if not self.status:
                return 0
        elif self.is_done:
            raise MalformedResponse("bytes after the end of the response")
        if self._is_chunked:
            return self._read_chunks(data)
        if self._left is None:
            self._chunks.append(data)
            return len(data)
        if len(data) > self._left:
            raise MalformedResponse("bytes after the end of the response")
        if data:
            self._chunks.append(data)
            self._left -= len(data)
        self.is_done = not self._left
        return len(data)

    def end(self) -> None:
        """Take the end of the connection. Raises MalformedResponse in the middle of a response."""
        if not self.status or self._left is not None:
            raise MalformedResponse("the connection ended before the response")
        self.is_done = True

    def _read_head(self, data: bytes) -> bytes:
        """Read the head once it is whole, and return the bytes after it. Skips interim responses."""
        if self._buffer:
            data = self._buffer + data
        while True:
            head, end, rest = data.partition(b"\r\n\r\n")
            if len(head) > MAX_HEAD:
                raise MalformedResponse("the head is too long")
            if not end:
                self._buffer = data
                return b""
            self._buffer = b""
            self._parse_head(head)
            if self.status >= 200:
                self._find_end()
                return rest
            if self.status == 101:
                raise MalformedResponse("another protocol")
            self.status, self.headers, data = 0, {}, rest

    def _parse_head(self, head: bytes) -> None:
        try:
            lines = head.decode().split("\r\n")
        except UnicodeDecodeError:
            raise MalformedResponse("headers that are not UTF-8") from None
        first, breaks = _STATUS_LINE.match(lines[0]), len(lines) - 1
        if first is None or head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
            raise MalformedResponse("a malformed head")
        self.status, self.is_last = int(first[2]), first[1] == "0"
        headers = self.headers
        for line in lines[1:]:
            name, _, value = line.partition(":")
            name, value = _lower(name), value.strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value

    def _find_end(self) -> None:
        """Find out where the body ends."""
        headers = self.headers
        tokens = headers.get("connection", "").lower()
        if tokens:
            self.is_last = "close" in tokens or (self.is_last and "keep-alive" not in tokens)
        encoding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if self._is_head or self.status in _WITHOUT_BODY:
            self.is_done = True
        elif encoding is not None:
            if encoding.lower() != "chunked" or length is not None:
                raise MalformedResponse("the end of the body is unknown")
            self._is_chunked = True
        elif length is None:
            self._left, self.is_last = None, True
        else:
            self._left = _length(length)

    def _read_chunks(self, data: bytes) -> int:
        read, data, self._buffer = 0, self._buffer + data, b""
        while data:
            if self.is_done:
                raise MalformedResponse("bytes after the end of the response")
            if self._left:
                body, data = data[: self._left], data[self._left :]
                self._chunks.append(body)
                read += len(body)
                self._left -= len(body)
                self._is_after_chunk = not self._left
                continue
            line, end, rest = data.partition(b"\r\n")
            if len(line) > MAX_HEAD:
                raise MalformedResponse("the frame of a chunk is too long")
            if not end:
                self._buffer = data
                break
            self._read_frame(line)
            data = rest
        return read

    def _read_frame(self, line: bytes) -> None:
        """Read a line between the bytes of two chunks, or after the last one."""
        if self._is_after_chunk:
            if line:
                raise MalformedResponse("a chunk without its end")
            self._is_after_chunk = False
        elif self._is_trailer:  # headers after the last chunk are not used
            self.is_done = not line
        else:
            size = _CHUNK_SIZE.match(line)
            if size is None:
                raise MalformedResponse("a chunk without a size")
            self._left = int(size[1], 16)
            self._is_trailer = not self._left


@lru_cache(maxsize=1024)  # all responses of a store have the same names
def _lower(name: str) -> str:
    """Return the name of a header in lower case. Raises MalformedResponse for text that is no name."""
    if not _NAME.fullmatch(name):
        raise MalformedResponse("a malformed head")
    return name.lower()


def _length(value: str) -> int:
    """Return the number of bytes in a Content-Length, which some proxies send twice."""
    values = set(map(str.strip, value.split(",")))
    text = values.pop()
    if values or not (text.isascii() and text.isdigit()):
        raise MalformedResponse("the end of the body is unknown")
    return int(text)
