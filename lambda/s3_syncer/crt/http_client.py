"""An HTTP client for one bucket: awscrt signs its requests, and one thread sends many at a time.

The HTTP client of awscrt takes twice the CPU time: see docs/crt-transport.md. No request is repeated and no response is
judged. A request that moves no bytes for a while is ended without a response, as after a broken connection.
"""

from __future__ import annotations

import hashlib
import math
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from socket import socket
from urllib.parse import quote, urlsplit

import awscrt
from awscrt import auth, http

from .. import __version__
from ..core import fence
from ..stores import request_limiter
from ..stores.credentials import SigningKeys
from .connection import Connection, connected
from .endpoint import BucketEndpoint
from .event_loop import EventLoop
from .http_response import ResponseReader
from .protocols import Headers, HttpResponse

#: Seconds in which a request must end, and bytes a second that a large request is granted in addition.
STALL_TIMEOUT_S = 60.0
MIN_BYTES_PER_S = 64 * 1024

#: Seconds for which requests share the time of a signature. Stores accept a time that is 15 minutes off.
SIGNING_S = 2.0

#: Seconds between two searches for requests that have stalled.
_WATCH_INTERVAL_S = 1.0

#: Connections that are opened at a time. Each takes a thread for two or three round trips.
_OPENING = 128

_USER_AGENT = f"s3-syncer/{__version__} awscrt/{awscrt.__version__}"

_NO_BODY = hashlib.sha256(b"").hexdigest()

Done = Callable[[HttpResponse], None]


class CrtHttpClient:
    """The connections to a bucket. Safe to share between threads; callbacks run on a thread of awscrt."""

    def __init__(self, endpoint: BucketEndpoint, keys: Callable[[], SigningKeys]) -> None:
        url = urlsplit(endpoint.url)
        assert url.hostname is not None
        self._host, self._authority, self._path = url.hostname, url.netloc, url.path
        self._secure, self._signs_payload = url.scheme == "https", endpoint.options.payload_signing
        self._port = url.port or (443 if self._secure else 80)
        self._region, self._keys = endpoint.region, keys
        self._headers = (("host", self._authority), ("user-agent", _USER_AGENT))
        self._option_headers = endpoint.headers
        self._tls = ssl.create_default_context(cafile=endpoint.ca_file) if self._secure else None
        self._loop, self._idle = EventLoop.shared(), _IdleConnections()
        self._opening = ThreadPoolExecutor(_OPENING, thread_name_prefix="connect")
        weakref.finalize(self, _close, self._loop, self._idle).atexit = False
        self._signer: tuple[SigningKeys, auth.AwsCredentialsProvider] | None = None
        self._signings: dict[str, tuple[float, auth.AwsSigningConfig]] = {}
        self._pending: set[_Request] = set()
        threading.Thread(target=_watch, args=(weakref.ref(self),), name="crt-watchdog", daemon=True).start()

    def send(
        self,
        method: str,
        key: str | None,
        done: Done,
        *,
        query: str = "",
        headers: Headers = (),
        body: bytes = b"",
        max_body: float = math.inf,
    ) -> None:
        """Send a request: see `protocols.HttpClient`."""
        request = _Request(self, self._loop, method, body, done, max_body)
        self._pending.add(request)
        try:
            path = self._path + "/" + quote(key or "", safe="/~") + query
            every = [*self._headers, *self._option_headers(method, query), *headers]
            if method == "PUT":
                every.append(("content-length", str(len(body))))
            message = http.HttpRequest(method, path, http.HttpHeaders(every))
            signing = auth.aws_sign_request(message, self._signing(body))
            signing.add_done_callback(request.on_signed)
        except Exception:  # a request that cannot even be sent gets no response, and boto3 finds the reason
            request.end(0)

    def request(
        self,
        method: str,
        key: str | None,
        *,
        query: str = "",
        headers: Headers = (),
        body: bytes = b"",
        max_body: float = math.inf,
    ) -> HttpResponse:
        """Send a request and wait for the response: see `protocols.HttpClient`."""
        response: Future[HttpResponse] = Future()
        self.send(method, key, response.set_result, query=query, headers=headers, body=body, max_body=max_body)
        request_limiter.note_status(response.result().status)
        return response.result()

    def _signing(self, body: bytes) -> auth.AwsSigningConfig:
        # As botocore does: TLS protects a body. Without TLS the signature contains the hash of the body.
        if not body:
            return self._shared_signing(_NO_BODY)
        if self._secure and not self._signs_payload:
            return self._shared_signing("UNSIGNED-PAYLOAD")
        return self._new_signing(hashlib.sha256(body).hexdigest())

    def _shared_signing(self, payload: str) -> auth.AwsSigningConfig:
        """Return the configuration that signs this payload; it has the time, so SIGNING_S limits its age."""
        found = self._signings.get(payload)
        if found is None or time.monotonic() - found[0] > SIGNING_S:
            found = self._signings[payload] = (time.monotonic(), self._new_signing(payload))
        return found[1]

    def _new_signing(self, payload: str) -> auth.AwsSigningConfig:
        keys = self._keys()
        if self._signer is None or self._signer[0] != keys:
            provider = auth.AwsCredentialsProvider.new_static(
                keys.access_key_id, keys.secret_access_key, keys.session_token
            )
            self._signer = (keys, provider)
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

    def idle_connection(self) -> Connection | None:
        """Return a connection that can be used at once, or None."""
        return self._idle.pop()

    def open_connection(self) -> Future[socket]:
        """Begin to open a connection."""
        return self._opening.submit(connected, self._host, self._port, self._tls)

    def adopt(self, opened: socket) -> Connection:
        """Return the connection of a socket that has been opened. On the thread of the loop only."""
        return Connection(opened, self._loop.selector, self._idle)

    def expire_stalled(self) -> None:
        """End the requests that have moved no bytes for too long."""
        now = time.monotonic()
        for request in list(self._pending):
            request.expire_if_stalled(now)

    def is_pending(self, request: _Request) -> bool:
        """Return True if the request has not ended."""
        return request in self._pending

    def finish(self, request: _Request) -> bool:
        """Remove the request from the pending ones. Return False if it has ended already: a request ends once."""
        try:
            self._pending.remove(request)
        except KeyError:
            return False
        return True


class _Request:
    """One request and its response. It has the fence and the fenced request of the thread that made it."""

    __slots__ = (
        "_body",
        "_client",
        "_connection",
        "_done",
        "_due",
        "_fence",
        "_fenced",
        "_head",
        "_loop",
        "_method",
        "_room",
    )

    def __init__(
        self, client: CrtHttpClient, loop: EventLoop, method: str, body: bytes, done: Done, max_body: float
    ) -> None:
        self._client, self._loop, self._method, self._body = client, loop, method, body
        self._done, self._room = fence.carried(done), max_body
        self._fence, self._fenced = fence.current(), fence.current_request()
        self._due = time.monotonic() + STALL_TIMEOUT_S + len(body) / MIN_BYTES_PER_S
        self._connection: Connection | None = None
        self._head = b""

    def on_signed(self, signed: Future[http.HttpRequest]) -> None:
        """Send the request once it is signed; awscrt signs it at once, in the thread that makes it."""
        if not self._client.is_pending(self):
            return
        try:
            self._head = _head(signed.result())
        except Exception:
            self.end(0)
        else:
            self._loop.call(self._connect)

    def _connect(self) -> None:
        connection = self._client.idle_connection()
        if connection is not None:
            self._send(connection)
            return
        try:
            self._client.open_connection().add_done_callback(self._on_opened)
        except RuntimeError:  # the interpreter ends
            self.end(0)

    def _on_opened(self, opened: Future[socket]) -> None:
        self._loop.call(partial(self._on_connected, opened))

    def _on_connected(self, opened: Future[socket]) -> None:
        try:
            connection = self._client.adopt(opened.result())
        except Exception:
            self.end(0)
        else:
            self._send(connection)

    def _send(self, connection: Connection) -> None:
        if not self._client.is_pending(self):  # boto3 may have written since: this older request must not follow
            connection.close()
            return
        self._connection = connection
        try:
            self._ask_fence()
            connection.send(self, self._method, self._head, self._body)
        except Exception:
            connection.close()
            self.end(0)

    def _ask_fence(self) -> None:
        """Raise OutOfTime if the work was given up. Otherwise the request may take effect from now on."""
        if self._fenced is not None:
            self._fenced.begin()
            self._fenced.connect(self.abort)
        elif self._fence is not None:
            self._fence.ensure_open()

    def on_received(self, size: int) -> None:
        """See `connection.Exchange`."""
        self._room -= size
        if self._room < 0:
            self.abort()
            return
        self._due = max(self._due, time.monotonic() + STALL_TIMEOUT_S)

    def on_end(self, response: ResponseReader | None) -> None:
        """See `connection.Exchange`."""
        if response is None:
            self.end(0)
        else:
            self.end(response.status, response)

    def end(self, status: int, response: ResponseReader | None = None) -> None:
        """End the request, unless it has ended already. Status 0 means that there is no response."""
        if not self._client.finish(self):
            return
        if response is None:
            self._done(HttpResponse(status))
            return
        if self._fenced is not None:
            self._fenced.answered()
        self._done(HttpResponse(status, response.headers, response.body))

    def expire_if_stalled(self, now: float) -> None:
        """Abort the request if it has moved no bytes for too long, at whatever step."""
        if now >= self._due:
            self.abort()

    def abort(self) -> None:
        """End the request without a response, and its connection. Any thread may call this."""
        if self._connection is not None:
            self._connection.break_off()
        self.end(0)


class _IdleConnections:
    """The connections of a client that wait for a request. For the thread of the loop only."""

    def __init__(self) -> None:
        self._connections: list[Connection] = []
        self._is_closed = False

    def pop(self) -> Connection | None:
        return self._connections.pop() if self._connections else None

    def add(self, connection: Connection) -> None:
        if self._is_closed:
            connection.close()
        else:
            self._connections.append(connection)

    def remove(self, connection: Connection) -> None:
        """Forget a connection that the store has closed."""
        if connection in self._connections:
            self._connections.remove(connection)

    def close(self) -> None:
        self._is_closed = True
        while self._connections:
            self._connections.pop().close()


def _close(loop: EventLoop, idle: _IdleConnections) -> None:
    """Close the connections of a client that is not used any more."""
    loop.call(idle.close)


def _head(request: http.HttpRequest) -> bytes:
    """Return the bytes of a request before its body. Raises ValueError for text with a line break."""
    lines = [f"{request.method} {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers)]
    text = "\r\n".join(lines)
    breaks = len(lines) - 1
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise ValueError("a header has a line break")
    return f"{text}\r\n\r\n".encode()


def _watch(client: weakref.ref[CrtHttpClient]) -> None:
    """End stalled requests for as long as the client is in use."""
    while (alive := client()) is not None:
        alive.expire_stalled()
        del alive
        time.sleep(_WATCH_INTERVAL_S)
