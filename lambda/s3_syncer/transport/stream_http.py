"""Send and receive HTTP bodies, whole or block by block, over connections to one bucket that are kept.

`http.client` lets a caller that reads from one store send to another store in between. No step waits longer than
STALL_TIMEOUT_S for a socket.
"""

from __future__ import annotations

import math
import platform
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from urllib3.util import wait_for_read

from .. import __version__
from ..core import fence
from ..core.headers import by_name
from ..stores.credentials import SigningKeys
from ..stores.fenced_requests import connection_breaker
from .endpoint import BucketEndpoint
from .protocols import Headers

#: Seconds to wait for a connection, and then for each block to be sent or received.
CONNECT_TIMEOUT_S = 5.0
STALL_TIMEOUT_S = 60.0

#: Seconds after which an idle connection is not used again. A function may be frozen for hours between two requests:
#: its connections may be gone then, without a sign. The time of day passes meanwhile.
MAX_IDLE_S = 30.0

#: Bytes of a response body that are read only to keep the connection.
_MAX_DRAIN = 64 * 1024

_USER_AGENT = f"s3-syncer/{__version__} Python/{platform.python_version()}"

_SIGNED, _UNSIGNED = (Config(s3={"payload_signing_enabled": signs}) for signs in (True, False))


class StreamingHttpClient:
    """The connections to a bucket, below a prefix. Safe to share between threads.

    A connection belongs to one request at a time.
    """

    def __init__(self, endpoint: BucketEndpoint, prefix: str, keys: Callable[[], SigningKeys]) -> None:
        url = urlsplit(endpoint.url)
        assert url.hostname is not None
        self._host, self._port, self._path = url.hostname, url.port, url.path
        self._origin, self._secure = f"{url.scheme}://{url.netloc}", url.scheme == "https"
        self._headers = (("host", url.netloc), ("user-agent", _USER_AGENT), ("accept-encoding", "identity"))
        self._endpoint, self._prefix, self._keys = endpoint, prefix, keys
        self._idle: list[tuple[float, HTTPConnection]] = []
        self._tls: ssl.SSLContext | None = None
        self._tls_lock = threading.Lock()

    @contextmanager
    def begin(
        self, method: str, key: str, *, query: str = "", headers: Headers = (), body: bytes | None = None
    ) -> Iterator[StreamingRequest]:
        """Send the header of a request; the block sends the body.

        With `body`, the whole request is sent before the block, and may take effect from then on.

        Raises OSError, HTTPException or SyncError, such as OutOfTime if the work was given up. The connection is kept
        if the response was read to its end, and closed otherwise. So a store never takes a body that broke off for a
        complete one.
        """
        fence.ensure_open()
        connection, is_new = self._connection()
        kept = False
        try:
            if (fenced := fence.current_request()) is not None:
                fenced.connect(connection_breaker(connection.sock))
            target = f"{self._path}/{quote(self._prefix + key, safe='/~')}{query}"
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            every = [*self._headers, *self._endpoint.headers(method, query), *headers]
            for name, value in self._signed(method, target, every, body).items():
                connection.putheader(name, value)
            if body is not None:
                fence.check()
            connection.endheaders(body or None)
            request = StreamingRequest(connection)
            yield request
            kept = request.finish()
        finally:
            if kept:
                self._idle.append((time.time(), connection))
            else:
                connection.close()
                if not is_new:
                    self._idle.clear()  # they may be gone as well

    def _signed(self, method: str, target: str, headers: Headers, body: bytes | None) -> Mapping[str, str]:
        request = AWSRequest(method=method, url=self._origin + target, headers=dict(headers), data=body or b"")
        # As botocore does: TLS protects a body. Without TLS, the signature contains the hash of the body, unless it is
        # not known yet. The MD5 of the body proves it later.
        signs_body = body is not None and (not body or not self._secure or self._endpoint.options.payload_signing)
        request.context["client_config"] = _SIGNED if signs_body else _UNSIGNED
        keys = self._keys()
        credentials = Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token)
        S3SigV4Auth(credentials, "s3", self._endpoint.region).add_auth(request)
        return dict(request.headers.items())

    def _connection(self) -> tuple[HTTPConnection, bool]:
        """Return an idle connection that the store has not closed, or else a new one and True."""
        while self._idle:
            try:
                since, idle = self._idle.pop()
            except IndexError:
                break
            if abs(time.time() - since) <= MAX_IDLE_S and not _has_bytes(idle.sock):
                return idle, False
            idle.close()
        if self._secure:
            new: HTTPConnection = HTTPSConnection(
                self._host, self._port, timeout=CONNECT_TIMEOUT_S, context=self._context()
            )
        else:
            new = HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT_S)
        new.connect()
        new.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        new.sock.settimeout(STALL_TIMEOUT_S)
        return new, True

    def _context(self) -> ssl.SSLContext:
        """Return the TLS context, which is built at the first connection: that takes 20 ms of CPU."""
        with self._tls_lock:
            if self._tls is None:
                self._tls = ssl.create_default_context(cafile=self._endpoint.ca_file)
                # Python 3.13 and later set both. botocore does not, and must accept the same certificates.
                self._tls.verify_flags &= ~(ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN)
            return self._tls


def _has_bytes(connection: socket.socket) -> bool:
    """Return True if there is something to read, such as the end of the connection."""
    if wait_for_read(connection, timeout=0):
        return True
    return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0


class StreamingRequest:
    """A request with its header sent, and its response."""

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection
        self._response: HTTPResponse | None = None

    def send(self, data: memoryview) -> None:
        """Send a block of the body. Raises OutOfTime if the work was given up."""
        fence.ensure_open()
        self._connection.send(data)

    def response(self) -> tuple[int, Mapping[str, str]]:
        """Return the status and the headers, with names in lower case. The body is not read yet.

        Raises HTTPException for a response that announces another one.
        """
        response = self._connection.getresponse()
        if response.status < 200:
            raise HTTPException(f"the status {response.status} is not the last one")
        self._response = response
        return response.status, by_name(response.getheaders())

    def read(self, limit: float) -> bytes:
        """Return the body of the response. Raises HTTPException if it is cut off or has too many bytes."""
        assert self._response is not None
        length = self._response.length
        if math.isinf(limit) or (length is not None and length <= limit):
            return self._response.read()
        body = self._response.read(int(limit) + 1)
        if len(body) > limit:
            raise HTTPException("the response is too long")
        return body

    def read_into(self, block: memoryview) -> int:
        """Fill the block from the body of the response. Return the number of bytes: fewer only at the end."""
        assert self._response is not None
        return self._response.readinto(block)

    def leave(self) -> None:
        """Do not read the body, and do not use the connection again."""
        self._response = None

    def finish(self) -> bool:
        """Read the rest of a short response. Return True if the connection can be used again."""
        if self._response is None:
            return False
        length = self._response.length
        has_end = self._response.chunked or (length is not None and length <= _MAX_DRAIN)
        if not self._response.isclosed() and has_end:
            self._response.read(_MAX_DRAIN)
        return self._response.isclosed() and self._connection.sock is not None
