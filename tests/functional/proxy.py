"""A proxy that records the requests to a store and injects the faults of real stores and networks.

`Proxy.when` arms a fault for requests that match; every other request passes unchanged, byte for byte.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from multiprocessing.connection import wait
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.support.patience import PATIENCE_S

from localcloud.proxy_handler import ProxyHandler

CHUNK = 1024 * 1024

#: Headers of one connection only. http.client has processed them already.
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True)
class Request:
    """A client request. `key` is empty for a bucket; AWS JSON requests have `operation` and `content`."""

    method: str
    key: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    content: Mapping[str, Any] = field(default_factory=dict)
    #: The path and the query, as the client sent them.
    path: str = ""

    @property
    def operation(self) -> str:
        return _operation(self.headers)

    @property
    def access_key_id(self) -> str:
        return self.headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]


class Exchange:
    """A request that a fault handles."""

    def __init__(self, handler: ProxyHandler, request: Request, body: bytes, proxy: Proxy) -> None:
        self.request = request
        self._handler, self._body, self._proxy = handler, body, proxy
        self._upstream = urlsplit(proxy.upstream).netloc

    @contextmanager
    def ask(self, *, without: str = "") -> Iterator[http.client.HTTPResponse]:
        """Yield the store's response with its body unread; `without` names a request header to leave out."""
        connection = http.client.HTTPConnection(self._upstream, timeout=PATIENCE_S)
        try:
            # The Host header is part of the signature, so it keeps the address of this proxy.
            connection.putrequest(self.request.method, self._handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self._handler.headers.items():
                if name.lower() not in (*_HOP_BY_HOP, "expect", without.lower()):
                    connection.putheader(name, value)
            connection.endheaders(self._body)
            yield connection.getresponse()
        finally:
            connection.close()

    def forward(self, *, without: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Forward the request and its response; `headers` replace headers of the response."""
        with self.ask(without=without) as response:
            length_header = _length(response)
            body = response.read() if length_header is None else None
            length = len(body) if body is not None else length_header
            self._begin(
                response.status, {**dict(response.getheaders()), **(headers or {}), "Content-Length": str(length)}
            )
            if body is not None:
                self._handler.wfile.write(body)
                return
            while chunk := response.read(CHUNK):
                self._handler.wfile.write(chunk)

    def delay(self, seconds: float | None) -> bool:
        """Wait, for ever if None, and return False if the proxy is closed before the time is over."""
        return not self._proxy.closing.wait(seconds)

    def outlast(self) -> None:
        """Respond nothing until the client closes the connection, or the proxy is closed."""
        while not wait([self._handler.connection], timeout=0.01) and self.delay(0):
            pass
        self.reset()

    def cut(self, keep: int, *, honest: bool) -> None:
        """Forward `keep` bytes of the body. If `honest`, send the true length and then break the connection."""
        with self.ask() as response:
            body = response.read()
            length = len(body) if honest else min(keep, len(body))
            self._begin(response.status, {**dict(response.getheaders()), "Content-Length": str(length)})
            self._handler.wfile.write(body[:keep])
            self._handler.wfile.flush()
        if honest:
            self.reset()

    def reply(self, status: int, body: str, headers: Mapping[str, str] | None = None) -> None:
        """Send a response without asking the store. The response to a HEAD has no body."""
        data = body.encode()
        self._begin(status, {"Content-Type": "application/xml", **(headers or {}), "Content-Length": str(len(data))})
        if self.request.method != "HEAD":
            self._handler.wfile.write(data)

    def reset(self) -> None:
        """End the connection with a reset, by closing a socket with a linger time of 0 s."""
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._handler.close_connection = True

    def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        self._handler.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self._handler.send_header(name, value)
        self._handler.end_headers()


Fault = Callable[[Exchange], None]


def refuse(status: int, code: str, message: str = "injected") -> Fault:
    """Respond with an error: as S3's XML, or as JSON to a JSON request of another service."""

    def fault(exchange: Exchange) -> None:
        if exchange.request.operation:
            error = f'{{"__type": "{code}", "message": "{message}"}}'
            exchange.reply(status, error, {"Content-Type": "application/x-amz-json-1.0"})
        else:
            exchange.reply(status, f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>")

    return fault


def page(exchange: Exchange) -> None:
    """Respond with a page of HTML and status 200, as a front end may do during maintenance."""
    exchange.reply(200, "<html><head><title>x</title></head><body>maintenance</body></html>")


def reset(exchange: Exchange) -> None:
    """Break the connection before the store receives the request."""
    exchange.reset()


def lose_answer(exchange: Exchange) -> None:
    """Let the store process the request, and break the connection before the response."""
    with exchange.ask() as response:
        response.read()
    exchange.reset()


def cut(keep: int) -> Fault:
    """Break the connection in the middle of the response's body."""
    return lambda exchange: exchange.cut(keep, honest=True)


def shorten(keep: int) -> Fault:
    """Shorten the response's body, with the length of the short body in the header."""
    return lambda exchange: exchange.cut(keep, honest=False)


def without(header: str) -> Fault:
    """Ignore this header of the request, as some stores do."""
    return lambda exchange: exchange.forward(without=header)


def answering(**headers: str) -> Fault:
    """Replace headers of the response; an underscore stands for a dash."""
    return lambda exchange: exchange.forward(headers={name.replace("_", "-"): value for name, value in headers.items()})


def rewritten(change: Callable[[str], str]) -> Fault:
    """Change the text of the response's body, such as the XML of a listing."""

    def fault(exchange: Exchange) -> None:
        with exchange.ask() as response:
            exchange.reply(response.status, change(response.read().decode()))

    return fault


def delayed(seconds: float) -> Fault:
    def fault(exchange: Exchange) -> None:
        if exchange.delay(seconds):
            exchange.forward()
        else:  # the test is over, and its requests must not reach the store of the next test
            exchange.reset()

    return fault


def held(until: threading.Event) -> Fault:
    """Delay the request until the event is set."""

    def fault(exchange: Exchange) -> None:
        while not until.is_set():
            if not exchange.delay(0.01):
                exchange.reset()
                return
        exchange.forward()

    return fault


def silent(exchange: Exchange) -> None:
    """Never forward the request and never respond."""
    exchange.delay(None)
    exchange.reset()


def meanwhile(action: Callable[[], object]) -> Fault:
    """Run the action before the store receives the request."""

    def fault(exchange: Exchange) -> None:
        action()
        exchange.forward()

    return fault


def admit(access_key_id: str, status: int = 403, code: str = "InvalidAccessKeyId") -> Fault:
    """Forward only requests signed with this access key, and respond to all other requests with an error."""

    def fault(exchange: Exchange) -> None:
        if exchange.request.access_key_id == access_key_id:
            exchange.forward()
        else:
            refuse(status, code)(exchange)

    return fault


@dataclass
class _Rule:
    matches: Callable[[Request], bool]
    fault: Fault
    skip: int
    times: float

    def take(self, request: Request) -> bool:
        """Return True if the fault is for this request, and count it. The caller holds the lock."""
        if self.times <= 0 or not self.matches(request):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class _Handler(ProxyHandler):
    """A connection of a client. Each request goes to the fault that `Proxy.when` has armed for it."""

    server: _Server
    wbufsize = CHUNK  # a response in as few segments as possible

    def handle_one_request(self) -> None:
        # Waits for the first byte without reading it, so that the connection is in `_active` before a byte is read.
        wait([self.connection])
        with self.server.proxy._serving(self.connection):
            try:
                super().handle_one_request()
            except OSError:  # the client closed the connection, and its test expects that
                self.close_connection = True

    def serve(self, body: bytes) -> None:
        proxy, sent = self.server.proxy, self.path
        self.path = proxy.path_at_store(self.headers.get("Host", ""), sent)
        request = _parsed(self, body, sent)
        proxy._fault_for(request)(Exchange(self, request, body, proxy))


class _Server(ThreadingHTTPServer):
    """The listener of a proxy. It keeps `Proxy._connections` up to date."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(("127.0.0.1", proxy._port), _Handler)
        self.proxy = proxy
        if proxy.tls is not None:
            self.socket = proxy.tls.wrap_socket(self.socket, server_side=True)

    def get_request(self) -> tuple[socket.socket, Any]:
        with self.proxy._lock:
            request, address = super().get_request()
            self.proxy._connections.add(request)
            self.proxy._lock.notify_all()
        return request, address

    def shutdown_request(self, request: Any) -> None:
        with self.proxy._lock:
            self.proxy._connections.discard(request)
            self.close_request(request)  # without a shutdown first, which would prevent a reset
            self.proxy._lock.notify_all()


@dataclass
class Proxy:
    """A second address of a store. `requests` has the requests since the last `clear`, in their order."""

    upstream: str
    #: The certificate of the proxy; None is plain HTTP.
    tls: ssl.SSLContext | None = None
    #: Returns the path of a request at the store, from the Host header and the path at the proxy.
    path_at_store: Callable[[str, str], str] = lambda host, path: path
    requests: list[Request] = field(default_factory=list)
    #: Set when no further request may reach the store.
    closing: threading.Event = field(default_factory=threading.Event)
    _connections: set[socket.socket] = field(default_factory=set)
    #: Connections with a request in flight, from its first byte to the last byte of its response.
    _active: set[socket.socket] = field(default_factory=set)
    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Condition = field(default_factory=threading.Condition)
    _server: ThreadingHTTPServer = field(init=False)
    #: The port; 0 before the first server has taken a free one.
    _port: int = 0

    def __post_init__(self) -> None:
        self.listen()

    def listen(self) -> None:
        """Accept connections, also again after `hang_up`."""
        self._server = _Server(self)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._port}"

    def when(
        self,
        fault: Fault,
        method: str = "",
        *,
        key: str | None = None,
        query: str | None = None,
        operation: str | None = None,
        skip: int = 0,
        times: float = 1,
    ) -> None:
        """Arm a fault for the next `times` requests, after the first `skip`, that match all conditions.

        `query` names a parameter that the request must have ("partNumber", "tagging"). "" matches a request without
        parameters, except the SDK's `x-id`. The first rule that matches applies.
        """

        def matches(request: Request) -> bool:
            parameters = request.query.keys() - {"x-id"}
            return (
                (not method or request.method == method)
                and (key is None or request.key == key)
                and (query is None or (query in parameters if query else not parameters))
                and (operation is None or request.operation == operation)
            )

        with self._lock:
            self._rules.append(_Rule(matches, fault, skip, times))

    def clear(self) -> None:
        """Remove all faults and all recorded requests."""
        with self._lock:
            self._rules.clear()
            self.requests.clear()

    def writes(self) -> list[Request]:
        """Return the requests that may have changed an object."""
        return [request for request in self.requests if request.method not in ("GET", "HEAD")]

    def settle(self) -> None:
        """Wait until the store has responded to all requests of clients that have ended."""

        def settled() -> bool:
            return not self._active and not wait([self._server.socket, *self._connections], timeout=0)

        with self._lock:
            assert self._lock.wait_for(settled, timeout=PATIENCE_S), "the proxy still has requests in flight"

    def hang_up(self) -> None:
        """Refuse new connections until `listen`, and end each open connection after its request in flight."""
        self._server.shutdown()
        self._server.server_close()
        self._end_idle_connections()

    def _end_idle_connections(self) -> None:
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):  # the client has closed it already
                    connection.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Reset new requests and wait for those in flight, so that no client uses the store afterwards."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._end_idle_connections()
        with self._lock:
            is_idle = self._lock.wait_for(lambda: not self._connections, timeout=PATIENCE_S)
        assert is_idle, "the proxy still has requests in flight"

    @contextmanager
    def _serving(self, connection: socket.socket) -> Iterator[None]:
        """Count the connection as active for the duration of the block."""
        with self._lock:
            self._active.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._active.discard(connection)
                self._lock.notify_all()

    def _fault_for(self, request: Request) -> Fault:
        """Record the request and return the fault for it."""
        with self._lock:
            self.requests.append(request)
            fault = next((rule.fault for rule in self._rules if rule.take(request)), Exchange.forward)
            return reset if self.closing.is_set() else fault


@contextmanager
def in_front_of(upstream: str, tls: ssl.SSLContext | None = None, **options: Any) -> Iterator[Proxy]:
    proxy = Proxy(upstream, tls, **options)
    try:
        yield proxy
    finally:
        proxy.close()


def _parsed(handler: ProxyHandler, body: bytes, sent: str) -> Request:
    path, _, query = handler.path.partition("?")
    _, _, key = path.removeprefix("/").partition("/")
    headers = {name.lower(): value for name, value in handler.headers.items()}
    return Request(
        method=handler.command,
        key=unquote(key),
        query=parse_qs(query, keep_blank_values=True),
        headers=headers,
        content=json.loads(body) if _operation(headers) else {},
        path=sent,
    )


def _operation(headers: Mapping[str, str]) -> str:
    return headers.get("x-amz-target", "").rpartition(".")[2]


def _length(response: http.client.HTTPResponse) -> int | None:
    """Return the Content-Length of the response; for a HEAD it is the length of a body that is not sent."""
    length = response.getheader("Content-Length")
    return None if length is None else int(length)
