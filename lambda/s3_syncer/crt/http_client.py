"""Requests to one bucket over awscrt's HTTP client: signed by it, many at a time, answered by callback.

No request is made twice and no answer is judged. An exchange that moves nothing for a while is ended, like any other
broken connection: without an answer.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import quote, urlsplit

import awscrt
from awscrt import auth, http, io

from .. import __version__
from ..stores.credentials import SigningKeys
from .endpoint import BucketEndpoint
from .tcp_nodelay import NoDelay

#: Seconds in which an exchange must end, and bytes a second that a large one is granted beyond that.
PATIENCE_S = 60.0
SLOWEST = 64 * 1024

#: Seconds for which requests share a signature's time; stores accept one that is 15 minutes off.
SIGNING_S = 2.0

_CONNECT_MS = 5000

_USER_AGENT = f"s3-syncer/{__version__} awscrt/{awscrt.__version__}"

_NO_BODY = hashlib.sha256(b"").hexdigest()

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What came back: a status of 0 is no answer. The names of the headers are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Done = Callable[[HttpResponse], None]


class CrtHttpClient:
    """A bucket's connections. Safe to share between threads; callbacks run on a thread of awscrt."""

    def __init__(self, place: BucketEndpoint, keys: Callable[[], SigningKeys]) -> None:
        url = urlsplit(place.url)
        assert url.hostname is not None
        self._host, self._authority, self._path = url.hostname, url.netloc, url.path
        self._secure = url.scheme == "https"
        self._port = url.port or (443 if self._secure else 80)
        self._region, self._keys = place.region, keys
        self._headers = (("host", self._authority), ("user-agent", _USER_AGENT))
        self._bootstrap = io.ClientBootstrap.get_or_create_static_default()
        self._socket = io.SocketOptions()
        self._socket.connect_timeout_ms = _CONNECT_MS
        self._socket.keep_alive = True
        self._tls = _tls(self._host, place.ca_file) if self._secure else None
        self._idle: list[http.HttpClientConnection] = []
        self._no_delay = NoDelay(self._port)
        self._signer: tuple[SigningKeys, auth.AwsCredentialsProvider] | None = None
        self._shared: dict[str, tuple[float, auth.AwsSigningConfig]] = {}
        self._under_way: set[_Exchange] = set()
        threading.Thread(target=_watch, args=(weakref.ref(self),), name="lane", daemon=True).start()

    def send(
        self,
        method: str,
        key: str | None,
        done: Done,
        *,
        query: str = "",
        headers: Headers = (),
        body: bytes = b"",
        most: float = math.inf,
    ) -> None:
        """Sends a request about a whole key, or the bucket; `done` gets the answer, whatever happens, and once.

        An answer of more than `most` bytes is broken off.
        """
        exchange = _Exchange(self, done, len(body), most)
        self._under_way.add(exchange)
        try:
            path = self._path + "/" + quote(key or "", safe="/~") + query
            every = [*self._headers, *headers]
            if method == "PUT":
                every.append(("content-length", str(len(body))))
            request = http.HttpRequest(method, path, http.HttpHeaders(every), BytesIO(body) if body else None)
            signing = auth.aws_sign_request(request, self._signing(body))
            signing.add_done_callback(lambda signed: exchange.connect(signed))
        except Exception:  # what cannot even be sent is for the common path to explain
            exchange.end(0)

    def ask(
        self,
        method: str,
        key: str | None,
        *,
        query: str = "",
        headers: Headers = (),
        body: bytes = b"",
        most: float = math.inf,
    ) -> HttpResponse:
        """Sends a request and waits for the answer."""
        answer: Future[HttpResponse] = Future()
        self.send(method, key, answer.set_result, query=query, headers=headers, body=body, most=most)
        return answer.result()

    def _signing(self, body: bytes) -> auth.AwsSigningConfig:
        # As botocore does it: TLS protects the body, and where there is none its hash is signed.
        if not body:
            return self._shared_signing(_NO_BODY)
        if self._secure:
            return self._shared_signing("UNSIGNED-PAYLOAD")
        return self._signing_of(hashlib.sha256(body).hexdigest())

    def _shared_signing(self, payload: str) -> auth.AwsSigningConfig:
        """What signs this payload, which many requests have in common; it holds the time, so it is soon made anew."""
        made = self._shared.get(payload)
        if made is None or time.monotonic() - made[0] > SIGNING_S:
            made = self._shared[payload] = (time.monotonic(), self._signing_of(payload))
        return made[1]

    def _signing_of(self, payload: str) -> auth.AwsSigningConfig:
        keys = self._keys()
        if self._signer is None or self._signer[0] != keys:
            self._signer = (
                keys,
                auth.AwsCredentialsProvider.new_static(keys.access_key_id, keys.secret_access_key, keys.session_token),
            )
        return auth.AwsSigningConfig(
            algorithm=auth.AwsSigningAlgorithm.V4,
            signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
            credentials_provider=self._signer[1],
            region=self._region,
            service="s3",
            use_double_uri_encode=False,
            should_normalize_uri_path=False,
            signed_body_value=payload,
            signed_body_header_type=auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
        )

    def connection(self) -> Future[http.HttpClientConnection]:
        """One that is free, or a new one."""
        while True:
            try:
                free = self._idle.pop()
            except IndexError:
                new: Future[http.HttpClientConnection] = http.HttpClientConnection.new(
                    self._host, self._port, self._bootstrap, self._socket, self._tls
                )
                new.add_done_callback(lambda _: self._no_delay.apply())
                return new
            if free.is_open():
                return _done(free)

    def put_back(self, connection: http.HttpClientConnection) -> None:
        """The connection can be used again."""
        self._idle.append(connection)

    def hurry(self) -> None:
        """Ends what has taken too long."""
        now = time.monotonic()
        for exchange in list(self._under_way):
            exchange.hurry(now)

    def waits_for(self, exchange: _Exchange) -> bool:
        """Whether the exchange has not ended."""
        return exchange in self._under_way

    def over(self, exchange: _Exchange) -> bool:
        """Takes the exchange off those under way; False when that has been done: an exchange ends once."""
        try:
            self._under_way.remove(exchange)
        except KeyError:
            return False
        return True


class _Exchange:
    """One request and its answer."""

    __slots__ = ("_body", "_connection", "_done", "_due", "_headers", "_left", "_status", "_wire")

    def __init__(self, wire: CrtHttpClient, done: Done, size: int, most: float) -> None:
        self._wire, self._done, self._left = wire, done, most
        self._due = time.monotonic() + PATIENCE_S + size / SLOWEST
        self._connection: http.HttpClientConnection | None = None
        self._status, self._headers = 0, dict[str, str]()
        self._body: list[bytes] = []

    def connect(self, signed: Future[http.HttpRequest]) -> None:
        if not self._wire.waits_for(self):
            return
        try:
            request = signed.result()
            connecting = self._wire.connection()
            if connecting.done():
                self._send(request, connecting)
            else:
                connecting.add_done_callback(lambda connected: self._send(request, connected))
        except Exception:
            self.end(0)

    def _send(self, request: http.HttpRequest, connected: Future[http.HttpClientConnection]) -> None:
        try:
            self._connection = connected.result()
            if not self._wire.waits_for(self):  # others go on since, and must not be overtaken by what is old
                self._connection.close()
                return
            stream = self._connection.request(request, self._on_response, self._on_body)
            stream.completion_future.add_done_callback(self._on_complete)
            stream.activate()
        except Exception:
            self.end(0)

    def _on_response(self, *, status_code: int, headers: list[tuple[str, str]], **_: Any) -> None:
        self._status = status_code
        for name, value in headers:
            lower = name.lower()
            self._headers[lower] = f"{self._headers[lower]}, {value}" if lower in self._headers else value

    def _on_body(self, *, chunk: bytes, **_: Any) -> None:
        self._left -= len(chunk)
        if self._left < 0:
            self.break_off()
            return
        self._body.append(chunk)
        self._due = max(self._due, time.monotonic() + PATIENCE_S)

    def _on_complete(self, completed: Future[int]) -> None:
        self.end(0 if completed.exception() else self._status)

    def end(self, status: int) -> None:
        if not self._wire.over(self):
            return
        if status and self._connection is not None:
            self._wire.put_back(self._connection)
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._done(HttpResponse(status, self._headers, body))

    def hurry(self, now: float) -> None:
        """Ends what has taken too long, wherever it hangs."""
        if now >= self._due:
            self.break_off()

    def break_off(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self.end(0)


def _watch(wire: weakref.ref[CrtHttpClient]) -> None:
    """Runs for as long as somebody has the wire."""
    while (alive := wire()) is not None:
        alive.hurry()
        del alive
        time.sleep(1)


def _tls(host: str, ca_file: str) -> io.TlsConnectionOptions:
    options = io.TlsContextOptions()
    options.override_default_trust_store_from_path(ca_filepath=ca_file)
    connection = io.ClientTlsContext(options).new_connection_options()
    connection.set_server_name(host)
    return connection


def _done(connection: http.HttpClientConnection) -> Future[http.HttpClientConnection]:
    future: Future[http.HttpClientConnection] = Future()
    future.set_result(connection)
    return future
