"""A read-only store that answers list and HEAD requests for generated keys.

    python -m benchmark.fake_store PORT COUNT [CERTIFICATE]

The cases about listings use it, because `rclone serve s3` walks through all keys for each page. With 100,000 keys the
benchmark would measure that server. This store cuts a page from bytes that it builds at the start. A page of 1,000
keys then costs well under a millisecond, and 10 million keys take 3 GB of memory. It does not check signatures. With a
certificate, and its key in the same file, it uses HTTPS.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from benchmark.objects import FLAT_SIZE, flat_keys
from localcloud.servers import HOST

BUCKET = "bucket"
PAGE = 1000
MODIFIED, MODIFIED_HTTP = "2026-01-01T00:00:00.000Z", "Thu, 01 Jan 2026 00:00:00 GMT"


@dataclass(frozen=True)
class Response:
    status: str
    body: bytes = b""
    headers: Mapping[str, str] | None = None


class Packed(Sequence[Any]):
    """Bytes of many pieces in one block: ten million separate ones would take twice the memory.

    An index returns the text of a piece, and a slice the bytes of its pieces together.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        block, ends = bytearray(), array("Q", [0])
        for piece in pieces:
            block += piece
            ends.append(len(block))
        self._block, self._ends = bytes(block), ends

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            first, last, _ = index.indices(len(self))
            return self._block[self._ends[first] : self._ends[max(first, last)]]
        return self._block[self._ends[index] : self._ends[index + 1]].decode()


class FakeStore:
    """The keys of the store in order, each with its ETag. The objects have no bodies."""

    def __init__(self, keys: Sequence[str], size: int) -> None:
        ordered = sorted(keys)
        self.size = size
        self.keys: Sequence[str] = Packed(key.encode() for key in ordered)
        self._entries: Any = Packed(self._entry(key) for key in ordered)

    def etag(self, key: str) -> str:
        return hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()

    def _entry(self, key: str) -> bytes:
        return (
            f"<Contents><Key>{quote(key)}</Key><LastModified>{MODIFIED}</LastModified>"
            f"<ETag>&quot;{self.etag(key)}&quot;</ETag>"
            f"<Size>{self.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        ).encode()

    def list(self, query: Mapping[str, str]) -> bytes:
        """Return a page of ListObjectsV2 or ListObjects. A delimiter is ignored, because no key contains one."""
        prefix = query.get("prefix", "")
        after = query.get("continuation-token") or query.get("start-after") or query.get("marker") or ""
        first = max(bisect_left(self.keys, prefix), bisect_right(self.keys, after) if after else 0)
        end = bisect_left(self.keys, prefix[:-1] + chr(ord(prefix[-1]) + 1)) if prefix else len(self.keys)
        last = min(end, first + min(PAGE, int(query.get("max-keys") or PAGE)))
        more = last < end
        following = ""
        if more:
            token = self.keys[last - 1]
            tag = "NextContinuationToken" if "list-type" in query else "NextMarker"
            following = f"<{tag}>{quote(token)}</{tag}>"
        head = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix>{quote(prefix)}</Prefix><MaxKeys>{PAGE}</MaxKeys>"
            f"<EncodingType>url</EncodingType><KeyCount>{max(0, last - first)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{following}"
        )
        entries: bytes = self._entries[first:last]
        return b"".join([head.encode(), entries, b"</ListBucketResult>"])

    def head(self, key: str) -> Mapping[str, str] | None:
        """Return the headers of an object, or None if there is no such key."""
        index = bisect_left(self.keys, key)
        if index == len(self.keys) or self.keys[index] != key:
            return None
        return {
            "ETag": f'"{self.etag(key)}"',
            "Last-Modified": MODIFIED_HTTP,
            "Content-Type": "application/octet-stream",
            "Content-Length": str(self.size),
        }

    def respond(self, method: str, path: str) -> Response:
        path, _, search = path.partition("?")
        bucket, _, key = unquote(path).removeprefix("/").partition("/")
        if method == "HEAD" and key:
            headers = self.head(key)
            return Response("404 Not Found") if headers is None else Response("200 OK", headers=headers)
        if method == "HEAD" or (method == "GET" and not bucket):
            return Response("200 OK")
        query = dict(parse_qsl(search, keep_blank_values=True))
        if method == "GET" and not key and not query.keys() & {"location", "versioning", "uploads", "versions"}:
            return Response("200 OK", self.list(query), {"Content-Type": "application/xml"})
        return Response("501 Not Implemented", b"<Error><Code>NotImplemented</Code></Error>")


class Connection(asyncio.Protocol):
    """An HTTP/1.1 connection for requests without a body: clients only send GET and HEAD."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            line = self._received[: self._received.index(b"\r\n")].decode("latin-1")
            self._received = self._received[end + 4 :]
            method, path, _ = line.split(" ", 2)
            self._reply(self._store.respond(method, path))

    def _reply(self, response: Response) -> None:
        if self._transport.is_closing():
            return
        headers = {"Content-Length": str(len(response.body)), **(response.headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._transport.write(f"HTTP/1.1 {response.status}\r\n{lines}\r\n".encode() + response.body)


async def serve(port: int, store: FakeStore, certificate: str = "") -> None:
    tls = None
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(store), HOST, port, backlog=1024, ssl=tls
    )
    await server.serve_forever()


def main(port: str, count: str, certificate: str = "") -> None:
    asyncio.run(serve(int(port), FakeStore(list(flat_keys(int(count))), FLAT_SIZE), certificate))


if __name__ == "__main__":
    main(*sys.argv[1:])
