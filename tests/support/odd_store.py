"""An S3 store over HTTP, in this process. It does what AWS does until a test switches on a quirk.

    with OddStore(folds_slashes, quota("QuotaExceeded")) as store:
        store.endpoint              # http://127.0.0.1:PORT
        store.put("bucket", "key", b"body")
        with store.having(drops_header("Cache-Control")):
            ...
        store.count("PutObject")    # the requests that the store has received

A quirk is a function that stands between the client and the store: see `tests/support/quirks.py`, which has one for
each. The store checks Content-MD5 and conditions. It checks no signature, and it reads no aws-chunked body.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote

from tests.support.odd_objects import Objects
from tests.support.odd_requests import Quirk, Refused, Request, Response, Store

from localcloud.proxy_handler import ProxyHandler


class OddStore:
    """The server, the quirks that are on, and the requests so far.

    The first quirk stands nearest to the store, and the last one nearest to the client. `below` is a path that comes
    before each bucket. With `domain`, the endpoint has that name, and the bucket may be in the host name: the test then
    makes the name resolve to 127.0.0.1.
    """

    def __init__(
        self, *quirks: Quirk, tls: ssl.SSLContext | None = None, below: str = "", domain: str = "127.0.0.1"
    ) -> None:
        self.objects = Objects()
        self.requests: list[Request] = []
        self._quirks = list(quirks)
        #: True keeps a connection open behind a body with a Content-Length that is no number.
        self.keeps_connections_open = False
        self._lock = threading.Lock()
        self._below, self._domain = below, domain
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.store = self
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.endpoint = f"{'https' if tls else 'http'}://{domain}:{self._server.server_port}{below}"

    def __enter__(self) -> OddStore:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._server.end_connections()

    # -- for tests -------------------------------------------------------------------------------------------------

    def add(self, *quirks: Quirk) -> None:
        """Switch quirks on."""
        self._quirks = [*self._quirks, *quirks]

    def remove(self, *quirks: Quirk) -> None:
        """Switch quirks off."""
        self._quirks = [quirk for quirk in self._quirks if quirk not in quirks]

    @contextmanager
    def having(self, *quirks: Quirk) -> Iterator[None]:
        """Switch quirks on for the duration of the block."""
        self.add(*quirks)
        try:
            yield
        finally:
            self.remove(*quirks)

    def put(self, bucket: str, key: str, body: bytes = b"", **properties: Any) -> None:
        """Store an object past all quirks: see `Objects.put`."""
        self.objects.put(bucket, key, body, **properties)

    def keys(self, bucket: str) -> list[str]:
        """Return the keys that the store has, in the order of their bytes."""
        return self.objects.keys(bucket)

    def asked(self, operation: str, key: str | None = None) -> list[Request]:
        """Return the requests of this operation, as the client sent them."""
        with self._lock:
            return [r for r in self.requests if r.operation == operation and key in (None, r.key)]

    def count(self, operation: str, key: str | None = None) -> int:
        return len(self.asked(operation, key))

    def clear(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self.requests.clear()

    # -- serving ---------------------------------------------------------------------------------------------------

    def respond(self, request: Request) -> Response:
        """Return the response to the request, through all quirks."""
        with self._lock:
            self.requests.append(request)
        store: Store = self.objects.respond
        for quirk in self._quirks:
            store = _through(quirk, store)
        return store(request)

    def parse(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Request | None:
        """Return the request, or None if its path is not below this store."""
        path, _, query = target.partition("?")
        if not path.startswith(self._below + "/"):
            return None
        path = path.removeprefix(self._below + "/")
        host = headers.get("host", "").partition(":")[0]
        is_virtual = host.endswith("." + self._domain)
        bucket, key = (host.removesuffix("." + self._domain), path) if is_virtual else path.partition("/")[::2]
        pairs = dict(parse_qsl(query, keep_blank_values=True))
        return Request(method, unquote(bucket), unquote(key), pairs, headers, body, is_virtual)


def _through(quirk: Quirk, store: Store) -> Store:
    def respond(request: Request) -> Response:
        try:
            return quirk(request, store)
        except Refused as refused:
            return refused.response

    return respond


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    store: OddStore

    def __init__(self, *arguments: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        """End the connections that clients still hold, so that no thread of the server stays."""
        for connection in list(self._connections):
            with suppress(OSError):  # the client has closed it already
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(ProxyHandler):
    server: _Server
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the client closed the connection, and its test expects that
            self.close_connection = True

    def serve(self, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        # `self.path` has one slash where the path begins with several.
        target = self.requestline.split(" ")[1]
        request = self.server.store.parse(self.command, target, headers, body)
        response = (
            Response(404, body=b"<html>Not Found</html>") if request is None else self.server.store.respond(request)
        )
        self._send(response)

    def _send(self, response: Response) -> None:
        content = response.content()
        length = response.header("Content-Length")
        # The length of an object is a header of the store, and a quirk may leave it out.
        in_chunks = length is None and response.header("Last-Modified") is not None
        is_open = self.server.store.keeps_connections_open
        if length is not None and not length.isdecimal() and not is_open:
            # Only the end of the connection can then end the body.
            self.close_connection = True
        self.send_response_only(response.status)
        if response.header("Date") is None:
            self.send_header("Date", formatdate(usegmt=True))
        for name, value in response.headers:
            self.send_header(name, value)
        if in_chunks:
            self.send_header("Transfer-Encoding", "chunked")
        elif length is None and response.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if in_chunks:
            content = (b"%x\r\n%b\r\n" % (len(content), content) if content else b"") + b"0\r\n\r\n"
        self.wfile.write(content)
