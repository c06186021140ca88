"""A proxy in front of a store that delays, cuts, repeats and refuses requests, by chance.

It stands for the network and the front end of a store. A request that it has accepted may reach the store later, also
after the death of its client, but at most `HOLD_MAX_S` seconds later.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from random import Random
from typing import Any, cast
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from localcloud import servers
from localcloud.chaos.tally import Tally
from localcloud.proxy_handler import ProxyHandler

#: Longest time in seconds for which a request is held before the store gets it. Below the visibility timeout of a
#: message minus the interval of its extension: the message of a killed worker returns after its last request.
HOLD_MAX_S = 30.0

#: Longest ordinary delay of a request, in seconds.
DELAY_MAX_S = 3.0

#: Share of the delays that are longer than ordinary.
HOLD_SHARE = 0.05

#: Seconds that a store may take for one response.
STORE_TIMEOUT_S = 300.0

#: Seconds without a response, after which a request to a silent store is broken: the clients wait for at most 60.
SILENCE_MAX_S = 65.0

#: Headers of one connection only.
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "expect"})


@dataclass(frozen=True)
class Request:
    """A complete request of a client."""

    method: str
    path: str
    headers: Message
    body: bytes

    @property
    def is_json(self) -> bool:
        """Return True for a request to a JSON service, such as SQS."""
        return "x-amz-target" in self.headers

    @property
    def is_write(self) -> bool:
        """Return True for a request that may change an object."""
        return self.method not in ("GET", "HEAD") and not self.is_json


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


class Exchange:
    """A request, its client's connection, and the store."""

    def __init__(self, request: Request, handler: Handler) -> None:
        self.request = request
        self._handler = handler

    def ask(self) -> Response:
        """Send the request to the store, and return its response."""
        connection = http.client.HTTPConnection(self._handler.proxy.upstream, timeout=STORE_TIMEOUT_S)
        try:
            # The Host header is part of the signature, so it keeps the address of this proxy.
            connection.putrequest(self.request.method, self.request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.request.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.endheaders(self.request.body)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        headers = {name: value for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP}
        self._handler.proxy.log(self.request, f"store responded {response.status} {headers.get('ETag', '')}")
        if self.request.method != "HEAD":
            headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
            headers["Content-Length"] = str(len(body))
        return Response(response.status, headers, body)

    def respond(self, response: Response, keep: int | None = None) -> None:
        """Send a response to the client, but only the first `keep` bytes of its body if that is a number."""
        self._handler.send_response_only(response.status)
        for name, value in response.headers.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()
        self._handler.wfile.write(response.body[:keep])
        self._handler.wfile.flush()

    def respond_error(self, status: int, code: str) -> None:
        """Respond without asking the store, in the format of the client's protocol."""
        if self.request.is_json:
            body, kind = f'{{"__type": "{code}", "message": "injected"}}', "application/x-amz-json-1.0"
        else:
            body, kind = f"<Error><Code>{escape(code)}</Code><Message>injected</Message></Error>", "application/xml"
        data = b"" if self.request.method == "HEAD" else body.encode()
        self.respond(Response(status, {"Content-Type": kind, "Content-Length": str(len(data))}, data))

    def reset(self) -> None:
        self._handler.reset()

    def wait(self, seconds: float) -> None:
        self._handler.proxy.closing.wait(seconds)


Fault = Callable[[Exchange], None]


def forward(exchange: Exchange) -> None:
    exchange.respond(exchange.ask())


def delay(seconds: float) -> Fault:
    """Send the request to the store after some seconds, also if its client is gone by then."""

    def fault(exchange: Exchange) -> None:
        exchange.wait(seconds)
        forward(exchange)

    return fault


def reset_before_request(exchange: Exchange) -> None:
    """Break the connection, and do not send the request to the store."""
    exchange.reset()


def lose_response(exchange: Exchange) -> None:
    """Let the store process the request, and break the connection before the response."""
    exchange.ask()
    exchange.reset()


def cut_response(exchange: Exchange) -> None:
    """Break the connection in the middle of the response's body."""
    response = exchange.ask()
    exchange.respond(response, keep=len(response.body) // 2)
    exchange.reset()


def repeat(exchange: Exchange) -> None:
    """Send the request to the store twice, as a load balancer does that missed the first response."""
    exchange.ask()
    exchange.respond(exchange.ask())


def error(status: int, code: str) -> Fault:
    """Respond with an error of the store, without asking the store."""
    return lambda exchange: exchange.respond_error(status, code)


def silence(recovered: threading.Event) -> Fault:
    """Keep the connection open without a response until the store has recovered, then break it."""

    def fault(exchange: Exchange) -> None:
        recovered.wait(SILENCE_MAX_S)
        exchange.reset()

    return fault


#: The faults of single requests: the name in the table, the weight, and the fault.
FAULTS: tuple[tuple[str, int, Fault], ...] = (
    ("cut: connection reset before the request", 10, reset_before_request),
    ("cut: response lost after the store processed the request", 15, lose_response),
    ("cut: in the middle of the response", 10, cut_response),
    ("repeated: request sent to the store twice", 15, repeat),
    ("refused: 503 SlowDown", 10, error(503, "SlowDown")),
    ("refused: 503 ServiceUnavailable", 5, error(503, "ServiceUnavailable")),
    ("refused: 500 InternalError", 5, error(500, "InternalError")),
    ("refused: 429 TooManyRequests", 2, error(429, "TooManyRequests")),
)
DELAYED = "delayed: held before the store gets the request"
DELAY_WEIGHT = 28

#: Late writes are what most rules of the product are about. So writes of objects are delayed more often than other
#: requests have any fault, by this factor.
DELAYED_WRITE = "delayed: write held before the store gets it"
WRITE_DELAYS = 5


class Turbulence:
    """Chooses the fault of each request. `rate` is the share of the requests that have one."""

    def __init__(self, chance: Random, rate: float = 0.0) -> None:
        self._chance = chance
        self.rate = rate

    def choose(self, request: Request) -> tuple[str, Fault] | None:
        """Return the name of a fault and the fault, or None for a request without one."""
        if request.is_write and self._chance.random() < self.rate * WRITE_DELAYS:
            return DELAYED_WRITE, self._delay()
        if self._chance.random() >= self.rate:
            return None
        weights = [DELAY_WEIGHT, *(weight for _, weight, _ in FAULTS)]
        number = self._chance.choices(range(len(weights)), weights)[0]
        if number == 0:
            return DELAYED, self._delay()
        name, _, fault = FAULTS[number - 1]
        return name, fault

    def _delay(self) -> Fault:
        longest = HOLD_MAX_S if self._chance.random() < HOLD_SHARE else DELAY_MAX_S
        return delay(self._chance.uniform(0.05, longest))


class Handler(ProxyHandler):
    """A connection of a client."""

    wbufsize = -1
    timeout = STORE_TIMEOUT_S

    def __init__(self, connection: socket.socket, address: Any, proxy: Proxy) -> None:
        self.proxy = proxy
        super().__init__(connection, address, cast("Any", proxy))

    def serve(self, body: bytes) -> None:
        self.proxy.serve(Exchange(Request(self.command, self.path, self.headers, body), self))

    def reset(self) -> None:
        """End the connection with a reset, by closing a socket with a linger time of 0 s."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


class Proxy:
    """A second address of a store, where requests have faults. Every fault and every write is in the log."""

    def __init__(self, name: str, endpoint: str, turbulence: Turbulence, tally: Tally, log: Path) -> None:
        self.name, self.turbulence = name, turbulence
        self.upstream = urlsplit(endpoint).netloc
        self.closing = threading.Event()
        self._tally = tally
        self._log = log.open("a")
        self._lock = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._in_flight = 0
        self._outage: Fault | None = None
        self._recovered = threading.Event()
        self._listening = threading.Event()
        self._socket = socket.create_server((servers.HOST, servers.free_port()), backlog=128)
        self._listening.set()
        self._thread = threading.Thread(target=self._accept, name=f"{name} proxy", daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://{servers.HOST}:{self._socket.getsockname()[1]}"

    # -- outages ---------------------------------------------------------------------------------------------------

    def refuse_connections(self) -> None:
        """Refuse connections from now on, and break those that exist. The port stays reserved."""
        self._listening.clear()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._break_connections()

    def respond_unavailable(self) -> None:
        """Respond 503 to every request from now on."""
        self._outage = error(503, "ServiceUnavailable")

    def fall_silent(self) -> None:
        """Accept requests from now on, but neither forward them nor respond."""
        self._recovered = threading.Event()
        self._outage = silence(self._recovered)

    def recover(self) -> None:
        """End every outage."""
        self._outage = None
        self._recovered.set()
        if not self._listening.is_set():
            self._socket.listen(128)
            self._listening.set()

    def _break_connections(self) -> None:
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    # -- requests --------------------------------------------------------------------------------------------------

    def serve(self, exchange: Exchange) -> None:
        """Handle one request, during an outage of the store, or with the fault that was chosen for it."""
        with self._lock:
            self._in_flight += 1
        self._tally.count(f"requests/{self.name}")
        try:
            if outage := self._outage:
                self._tally.count(f"requests in an outage/{self.name}")
                self.log(exchange.request, "outage")
                outage(exchange)
            elif chosen := self.turbulence.choose(exchange.request):
                name, fault = chosen
                self._tally.count(f"faults/{name}")
                self.log(exchange.request, name)
                fault(exchange)
            else:
                forward(exchange)
        finally:
            with self._lock:
                self._in_flight -= 1
                self._lock.notify_all()

    def log(self, request: Request, event: str) -> None:
        """Write a line, unless an ordinary read is all that it is about."""
        if event.startswith("store responded") and (request.method in ("GET", "HEAD") or request.is_json):
            return
        operation = request.headers.get("x-amz-target", "")
        now = time.time()
        stamp = time.strftime("%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}"
        with contextlib.suppress(ValueError):  # the log is closed
            self._log.write(f"{stamp} {request.method} {request.path} {operation} {event}\n")

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Return True if no request is in flight within the time."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._in_flight, timeout_s)

    def close(self) -> None:
        """End all connections. Requests that are held reach the store at once."""
        self.closing.set()
        self.recover()
        self._listening.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._break_connections()
        self.wait_until_idle(STORE_TIMEOUT_S)
        self._socket.close()
        self._log.close()

    def _accept(self) -> None:
        while not self.closing.is_set():
            if not self._listening.wait(0.2):
                continue
            try:
                connection, address = self._socket.accept()
            except OSError:  # refuse_connections, or close
                self.closing.wait(0.01)
                continue
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=self._handle, args=(connection, address), daemon=True).start()

    def _handle(self, connection: socket.socket, address: Any) -> None:
        try:
            # An OSError is a broken connection: of a killed worker, of this proxy's faults, or to the store.
            with contextlib.suppress(OSError, http.client.HTTPException):
                Handler(connection, address, self)
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()
