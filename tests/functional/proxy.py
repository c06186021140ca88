"""A proxy in front of a store that records every request and, when told to, misbehaves as real stores and networks do.

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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import wait
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.support.patience import PATIENCE_S

CHUNK = 1024 * 1024

#: Between two neighbours only; http.client has dealt with them already.
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True)
class Request:
    """What a client asked for. `key` is empty for whole buckets; `operation` and `content` are of AWS JSON requests."""

    method: str
    key: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    content: Mapping[str, Any] = field(default_factory=dict)

    @property
    def operation(self) -> str:
        return _operation(self.headers)

    @property
    def access_key_id(self) -> str:
        return self.headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]


class Exchange:
    """A request under way, in the hands of a fault."""

    def __init__(self, handler: BaseHTTPRequestHandler, request: Request, body: bytes, proxy: Proxy) -> None:
        self.request = request
        self._handler, self._body, self._proxy = handler, body, proxy
        self._upstream = urlsplit(proxy.upstream).netloc

    @contextmanager
    def ask(self, *, without: str = "") -> Iterator[http.client.HTTPResponse]:
        """The store's answer, whose body is still to be read; `without` names a header that the store never sees."""
        connection = http.client.HTTPConnection(self._upstream, timeout=PATIENCE_S)
        try:
            # The Host header is part of the signature, so it stays the one of this proxy.
            connection.putrequest(self.request.method, self._handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self._handler.headers.items():
                if name.lower() not in (*_HOP_BY_HOP, "expect", without.lower()):
                    connection.putheader(name, value)
            connection.endheaders(self._body)
            yield connection.getresponse()
        finally:
            connection.close()

    def forward(self, *, without: str = "", headers: Mapping[str, str] | None = None) -> None:
        """The ordinary case; `headers` replace those of the answer."""
        with self.ask(without=without) as answer:
            told = _length(answer)
            body = answer.read() if told is None else None
            length = len(body) if body is not None else told
            self._begin(answer.status, {**dict(answer.getheaders()), **(headers or {}), "Content-Length": str(length)})
            if body is not None:
                self._handler.wfile.write(body)
                return
            while chunk := answer.read(CHUNK):
                self._handler.wfile.write(chunk)

    def delay(self, seconds: float | None) -> bool:
        """Waits, None for ever; False when the proxy is closed before the time is over."""
        return not self._proxy.closing.wait(seconds)

    def cut(self, keep: int, *, honest: bool) -> None:
        """Passes on `keep` bytes of the body; honest about its true length, the connection then breaks."""
        with self.ask() as answer:
            body = answer.read()
            length = len(body) if honest else min(keep, len(body))
            self._begin(answer.status, {**dict(answer.getheaders()), "Content-Length": str(length)})
            self._handler.wfile.write(body[:keep])
            self._handler.wfile.flush()
        if honest:
            self.reset()

    def reply(self, status: int, body: str, headers: Mapping[str, str] | None = None) -> None:
        """An answer that the store knows nothing of. To a HEAD it goes without its body, as HTTP has it."""
        data = body.encode()
        self._begin(status, {"Content-Type": "application/xml", **(headers or {}), "Content-Length": str(len(data))})
        if self.request.method != "HEAD":
            self._handler.wfile.write(data)

    def reset(self) -> None:
        """Ends the connection with a reset: closing a socket that lingers for 0 s does that."""
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
    """The store says no. Its error is S3's XML, or the JSON of the other services when that is what was asked for."""

    def fault(exchange: Exchange) -> None:
        if exchange.request.operation:
            error = f'{{"__type": "{code}", "message": "{message}"}}'
            exchange.reply(status, error, {"Content-Type": "application/x-amz-json-1.0"})
        else:
            exchange.reply(status, f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>")

    return fault


def reset(exchange: Exchange) -> None:
    """The connection breaks before the store has heard of the request."""
    exchange.reset()


def lose_answer(exchange: Exchange) -> None:
    """The store does what was asked and nobody hears of it."""
    with exchange.ask() as answer:
        answer.read()
    exchange.reset()


def cut(keep: int) -> Fault:
    """The connection breaks in the middle of the answer's body."""
    return lambda exchange: exchange.cut(keep, honest=True)


def shorten(keep: int) -> Fault:
    """The answer's body is shorter than what was asked for, and says so."""
    return lambda exchange: exchange.cut(keep, honest=False)


def without(header: str) -> Fault:
    """A store that ignores this header of the request."""
    return lambda exchange: exchange.forward(without=header)


def answering(**headers: str) -> Fault:
    """Other headers in the answer; an underscore stands for a dash."""
    return lambda exchange: exchange.forward(headers={name.replace("_", "-"): value for name, value in headers.items()})


def delayed(seconds: float) -> Fault:
    def fault(exchange: Exchange) -> None:
        if exchange.delay(seconds):
            exchange.forward()
        else:  # the test is over: what it left behind must not reach the next one's store
            exchange.reset()

    return fault


def held(until: threading.Event) -> Fault:
    """A store that is slow until something has happened."""

    def fault(exchange: Exchange) -> None:
        while not until.is_set():
            if not exchange.delay(0.01):
                exchange.reset()
                return
        exchange.forward()

    return fault


def silent(exchange: Exchange) -> None:
    """A store that takes a request and never answers; what it was asked for never happens."""
    exchange.delay(None)
    exchange.reset()


def meanwhile(action: Callable[[], object]) -> Fault:
    """Something else happens before the store hears of the request."""

    def fault(exchange: Exchange) -> None:
        action()
        exchange.forward()

    return fault


def admit(access_key_id: str, status: int = 403, code: str = "InvalidAccessKeyId") -> Fault:
    """Only requests signed with this key get through."""

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
        """Whether the fault is for this request; called under the lock."""
        if self.times <= 0 or not self.matches(request):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Proxy:
    """A store's second address. `requests` is every request since the last `clear`, in the order of their arrival."""

    upstream: str
    #: What it identifies itself with; None is plain HTTP.
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    #: No request reaches the store any more.
    closing: threading.Event = field(default_factory=threading.Event)
    _connections: set[socket.socket] = field(default_factory=set)
    #: Those with a request under way, from its first byte to the last of its answer.
    _in_hand: set[socket.socket] = field(default_factory=set)
    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Condition = field(default_factory=threading.Condition)
    _server: ThreadingHTTPServer = field(init=False)

    def __post_init__(self) -> None:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = CHUNK  # an answer in as few segments as possible

            def handle_one_request(self) -> None:
                wait([self.connection])  # for bytes that may well stay where they are until they count as in hand
                with proxy._holding(self.connection):
                    try:
                        super().handle_one_request()
                    except OSError:  # the client went away; its test knows
                        self.close_connection = True

            def handle_expect_100(self) -> bool:
                """At once: botocore sends its body without being told to go on, but only after a second."""
                go_on = super().handle_expect_100()
                self.wfile.flush()
                return go_on

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return self._serve
                raise AttributeError(name)

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                if len(body) < length:  # the client went away in the middle
                    self.close_connection = True
                    return
                request = _parsed(self, body)
                proxy._fault_for(request)(Exchange(self, request, body, proxy))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def get_request(self) -> tuple[socket.socket, Any]:
                with proxy._lock:
                    request, address = super().get_request()
                    proxy._connections.add(request)
                    proxy._lock.notify_all()
                return request, address

            def shutdown_request(self, request: Any) -> None:
                with proxy._lock:
                    proxy._connections.discard(request)
                    self.close_request(request)  # without a polite end first, or there would be no reset
                    proxy._lock.notify_all()

        self._server = Server(("127.0.0.1", 0), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._server.server_port}"

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
        """Arms a fault for the next `times` requests, behind the first `skip`, that match everything given.

        `query` names a parameter that must be there ("partNumber", "tagging"); "" wants a request without any but
        the SDK's own `x-id`. The first rule that matches is the one that counts.
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
        """Forgets all faults and all requests."""
        with self._lock:
            self._rules.clear()
            self.requests.clear()

    def writes(self) -> list[Request]:
        """The requests that may have changed an object."""
        return [request for request in self.requests if request.method not in ("GET", "HEAD")]

    def settle(self) -> None:
        """Waits until the store has had, and answered, all that was sent by those who have ended by now."""

        def settled() -> bool:
            return not self._in_hand and not wait([self._server.socket, *self._connections], timeout=0)

        with self._lock:
            assert self._lock.wait_for(settled, timeout=PATIENCE_S), "the proxy still has requests in hand"

    def close(self) -> None:
        """Refuses what is still to come, and waits for what is in hand: the store is nobody's but the test's then."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):  # the client has ended it already
                    connection.shutdown(socket.SHUT_RD)
            over = self._lock.wait_for(lambda: not self._connections, timeout=PATIENCE_S)
        assert over, "the proxy still has requests in hand"

    @contextmanager
    def _holding(self, connection: socket.socket) -> Iterator[None]:
        """A request is in hand for the block."""
        with self._lock:
            self._in_hand.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._in_hand.discard(connection)
                self._lock.notify_all()

    def _fault_for(self, request: Request) -> Fault:
        """Notes the request, and says what is to be done with it."""
        with self._lock:
            self.requests.append(request)
            fault = next((rule.fault for rule in self._rules if rule.take(request)), Exchange.forward)
            return reset if self.closing.is_set() else fault


@contextmanager
def in_front_of(upstream: str, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    proxy = Proxy(upstream, tls)
    try:
        yield proxy
    finally:
        proxy.close()


def _parsed(handler: BaseHTTPRequestHandler, body: bytes) -> Request:
    path, _, query = handler.path.partition("?")
    _, _, key = path.removeprefix("/").partition("/")
    headers = {name.lower(): value for name, value in handler.headers.items()}
    return Request(
        method=handler.command,
        key=unquote(key),
        query=parse_qs(query, keep_blank_values=True),
        headers=headers,
        content=json.loads(body) if _operation(headers) else {},
    )


def _operation(headers: Mapping[str, str]) -> str:
    return headers.get("x-amz-target", "").rpartition(".")[2]


def _length(answer: http.client.HTTPResponse) -> int | None:
    """The length of the body as the store told it; to a HEAD it tells the length of a body that is not there."""
    told = answer.getheader("Content-Length")
    return None if told is None else int(told)
