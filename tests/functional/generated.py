"""A store that lists any number of generated keys and stores none of them."""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PAGE = 1000


def key(number: int) -> str:
    return f"folder {number // 10_000:05}/sub/object number {number:09}.jpeg"


class _Handler(BaseHTTPRequestHandler):
    """Respond to ListObjectsV2 with the keys of `buckets`, and to every HEAD with 404."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1024 * 1024
    buckets: Mapping[str, int]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        count = self.buckets[url.path.strip("/")]
        start = int(query.get("continuation-token", 0)) or self._first_after(query.get("start-after", ""), count)
        end = min(start + int(query.get("max-keys", PAGE)), count)
        more = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < count else ""
        entries = "".join(map(self._entry, range(start, end)))
        truncated = str(bool(more)).lower()
        xml = f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}{entries}</ListBucketResult>"
        self._respond(200, xml.encode())

    def do_HEAD(self) -> None:
        self._respond(404, b"")

    def _first_after(self, after: str, count: int) -> int:
        """Return the number of the first key after this one, which need not exist."""
        return bisect_right(range(count), after, key=key)

    @staticmethod
    def _entry(number: int) -> str:
        etag = hashlib.md5(str(number).encode()).hexdigest()
        return (
            f"<Contents><Key>{key(number)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f'<ETag>"{etag}"</ETag><Size>{number}</Size><StorageClass>STANDARD</StorageClass></Contents>'
        )

    def _respond(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def generated(**buckets: int) -> Iterator[str]:
    """Yield the endpoint of a store with these buckets and their numbers of keys."""
    handler = type("Handler", (_Handler,), {"buckets": buckets})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
