"""An HTTP client for one bucket over awscrt: it signs requests and sends many at a time.

No request is repeated and no response is judged. A request that moves no bytes for a while is ended without a response,
as after a broken connection.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from io import BytesIO
from typing import Any
from urllib.parse import quote, urlsplit

import awscrt
from awscrt import auth, http, io

from .. import __version__
from ..core import fence
from ..core.headers import by_name
from ..stores import body_ends, request_limiter
from ..stores.credentials import SigningKeys
from ..transport.endpoint import BucketEndpoint
from ..transport.protocols import Headers, HttpResponse
from .callback_threads import keep_state
from .tcp_nodelay import NoDelay

#: Seconds in which a request must end, and bytes a second that a large request is granted in addition.
STALL_TIMEOUT_S = 60.0
MIN_BYTES_PER_S = 64 * 1024

#: Seconds for which requests share the time of a signature. Stores accept a time that is 15 minutes off.
SIGNING_S = 2.0

#: Seconds between two searches for requests that have stalled.
_WATCH_INTERVAL_S = 1.0

_CONNECT_MS = 5000

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
        self._bootstrap = io.ClientBootstrap.get_or_create_static_default()
        self._socket = io.SocketOptions()
        self._socket.connect_timeout_ms = _CONNECT_MS
        self._socket.keep_alive = True
        self._tls = _tls(self._host, endpoint.ca_file) if self._secure else None
        self._idle: list[http.HttpClientConnection] = []
        self._no_delay = NoDelay(self._port)
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
        """Send a request: see `CallbackHttpClient`."""
        request = _Request(self, method, done, len(body), max_body)
        self._pending.add(request)
        try:
            path = self._path + "/" + quote(key or "", safe="/~") + query
            every = [*self._headers, *self._option_headers(method, query), *headers]
            if method == "PUT":
                every.append(("content-length", str(len(body))))
            message = http.HttpRequest(method, path, http.HttpHeaders(every), BytesIO(body) if body else None)
            signing = auth.aws_sign_request(message, self._signing(body))
            signing.add_done_callback(request.connect)
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
        """Send a request and wait for the response: see `transport.protocols.HttpClient`."""
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

    def idle_connection(self) -> http.HttpClientConnection | None:
        """Return a connection that can be used at once, or None."""
        while True:
            try:
                idle = self._idle.pop()
            except IndexError:
                return None
            if idle.is_open():
                return idle

    def connection(self) -> Future[http.HttpClientConnection]:
        """Return a new connection."""
        new: Future[http.HttpClientConnection] = http.HttpClientConnection.new(
            self._host, self._port, self._bootstrap, self._socket, self._tls
        )
        new.add_done_callback(self._prepare)
        return new

    def _prepare(self, _: Future[http.HttpClientConnection]) -> None:
        """Prepare a new connection and the thread of awscrt that serves it, on which this is called."""
        keep_state()
        self._no_delay.apply()

    def put_back(self, connection: http.HttpClientConnection) -> None:
        """Keep a connection for the next request."""
        self._idle.append(connection)

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
        "_headers",
        "_method",
        "_room",
        "_status",
    )

    def __init__(self, client: CrtHttpClient, method: str, done: Done, size: int, max_body: float) -> None:
        self._client, self._method, self._done, self._room = client, method, fence.carried(done), max_body
        self._fence, self._fenced = fence.current(), fence.current_request()
        self._due = time.monotonic() + STALL_TIMEOUT_S + size / MIN_BYTES_PER_S
        self._connection: http.HttpClientConnection | None = None
        self._status, self._headers = 0, dict[str, str]()
        self._body: list[bytes] = []

    def connect(self, signed: Future[http.HttpRequest]) -> None:
        if not self._client.is_pending(self):
            return
        try:
            message = signed.result()
            if (idle := self._client.idle_connection()) is not None:
                self._send(message, idle)
                return
            connecting = self._client.connection()
            connecting.add_done_callback(lambda connected: self._on_connected(message, connected))
        except Exception:
            self.end(0)

    def _on_connected(self, message: http.HttpRequest, connected: Future[http.HttpClientConnection]) -> None:
        try:
            connection = connected.result()
        except Exception:
            self.end(0)
        else:
            self._send(message, connection)

    def _send(self, message: http.HttpRequest, connection: http.HttpClientConnection) -> None:
        self._connection = connection
        try:
            if not self._client.is_pending(self):  # boto3 may have written since: this older request must not follow
                connection.close()
                return
            self._ask_fence()
            stream = connection.request(message, self._on_response, self._on_body)
            stream.completion_future.add_done_callback(self._on_complete)
            stream.activate()
        except Exception:
            self.abort()

    def _ask_fence(self) -> None:
        """Raise OutOfTime if the work was given up. Otherwise the request may take effect from now on."""
        if self._fenced is not None:
            self._fenced.begin(self.abort)
        elif self._fence is not None:
            self._fence.ensure_open()

    def _on_response(self, *, status_code: int, headers: list[tuple[str, str]], **_: Any) -> None:
        self._status, self._headers = status_code, by_name(headers)
        if not all(map(str.isascii, self._headers.values())):  # awscrt decodes them as UTF-8
            self._headers = {name: value.encode().decode("latin-1") for name, value in self._headers.items()}
        if body_ends.is_bounded(self._method, status_code, self._headers):
            return
        if body_ends.needs_no_body(self._method, status_code, self._headers):
            self._close()
            self.end(status_code)
        else:
            self.abort()

    def _on_body(self, *, chunk: bytes, **_: Any) -> None:
        self._room -= len(chunk)
        if self._room < 0:
            self.abort()
            return
        self._body.append(chunk)
        self._due = max(self._due, time.monotonic() + STALL_TIMEOUT_S)

    def _on_complete(self, completed: Future[int]) -> None:
        self.end(0 if completed.exception() else self._status)

    def end(self, status: int) -> None:
        if not self._client.finish(self):
            return
        if status and self._fenced is not None:
            self._fenced.answered()
        if status and self._connection is not None:
            self._client.put_back(self._connection)
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._done(HttpResponse(status, self._headers, body))

    def expire_if_stalled(self, now: float) -> None:
        """Abort the request if it has moved no bytes for too long, at whatever step."""
        if now >= self._due:
            self.abort()

    def abort(self) -> None:
        self._close()
        self.end(0)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _watch(client: weakref.ref[CrtHttpClient]) -> None:
    """End stalled requests for as long as the client is in use."""
    while (alive := client()) is not None:
        alive.expire_stalled()
        del alive
        time.sleep(_WATCH_INTERVAL_S)


def _tls(host: str, ca_file: str) -> io.TlsConnectionOptions:
    options = io.TlsContextOptions()
    options.override_default_trust_store_from_path(ca_filepath=ca_file)
    connection = io.ClientTlsContext(options).new_connection_options()
    connection.set_server_name(host)
    return connection
