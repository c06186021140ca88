"""Single HTTP exchanges with one bucket whose bodies pass piece by piece, over connections that are kept.

Over `http.client`, because there the one who reads from one store is free to send to another in between. A socket that
stalls is ended: no step waits longer than PATIENCE_S.
"""

from __future__ import annotations

import platform
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from urllib3.util import wait_for_read

from .. import __version__
from ..stores.credentials import SigningKeys
from .endpoint import BucketEndpoint
from .stream_copy import Headers

#: Seconds to wait for a connection, and then for each block to be taken or given.
CONNECT_S = 5.0
PATIENCE_S = 60.0

#: Bytes of an answer's body that are read for the sake of its connection.
_SHORT = 64 * 1024

_USER_AGENT = f"s3-syncer/{__version__} Python/{platform.python_version()}"

#: What is signed has to be known before the first byte is, so the payload is not. It is proven afterwards.
_UNSIGNED = Config(s3={"payload_signing_enabled": False})


class StreamingHttpClient:
    """A bucket's connections below a prefix, each of them one exchange's at a time. Safe to share between threads."""

    def __init__(self, place: BucketEndpoint, prefix: str, keys: Callable[[], SigningKeys]) -> None:
        url = urlsplit(place.url)
        assert url.hostname is not None
        self._host, self._port, self._path = url.hostname, url.port, url.path
        self._origin, self._secure = f"{url.scheme}://{url.netloc}", url.scheme == "https"
        self._headers = (("host", url.netloc), ("user-agent", _USER_AGENT))
        self._place, self._prefix, self._keys = place, prefix, keys
        self._idle: list[HTTPConnection] = []

    @contextmanager
    def begin(self, method: str, key: str, *, query: str = "", headers: Headers = ()) -> Iterator[Exchange]:
        """A request whose head has been sent, for the block. Raises OSError, HTTPException or StoreUnusable.

        The connection is kept when its answer has been read to the end, and closed otherwise: so a body that is not
        sent to its end never counts as one.
        """
        connection, kept = self._connection(), False
        try:
            target = f"{self._path}/{quote(self._prefix + key, safe='/~')}{query}"
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in self._signed(method, target, headers).items():
                connection.putheader(name, value)
            connection.endheaders()
            exchange = Exchange(connection)
            yield exchange
            kept = exchange.over()
        finally:
            if kept:
                self._idle.append(connection)
            else:
                connection.close()

    def _signed(self, method: str, target: str, headers: Headers) -> Mapping[str, str]:
        request = AWSRequest(method=method, url=self._origin + target, headers=dict([*self._headers, *headers]))
        request.context["client_config"] = _UNSIGNED
        keys = self._keys()
        credentials = Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token)
        S3SigV4Auth(credentials, "s3", self._place.region).add_auth(request)
        return dict(request.headers.items())

    def _connection(self) -> HTTPConnection:
        """One that is free and has not been ended by the store meanwhile, or a new one."""
        while self._idle:
            try:
                free = self._idle.pop()
            except IndexError:
                break
            if not wait_for_read(free.sock, timeout=0):
                return free
            free.close()
        if self._secure:
            new: HTTPConnection = HTTPSConnection(self._host, self._port, timeout=CONNECT_S, context=self._tls)
        else:
            new = HTTPConnection(self._host, self._port, timeout=CONNECT_S)
        new.connect()
        new.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        new.sock.settimeout(PATIENCE_S)
        return new

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._place.ca_file)


class Exchange:
    """One request, of which the head has been sent, and its answer."""

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection
        self._response: HTTPResponse | None = None

    def send(self, data: memoryview) -> None:
        """Sends a piece of the request's body."""
        self._connection.send(data)

    def answer(self) -> tuple[int, Mapping[str, str]]:
        """The status and the headers, their names in lower case; the body is still to be read."""
        self._response = self._connection.getresponse()
        return self._response.status, {name.lower(): value for name, value in self._response.getheaders()}

    def read_into(self, block: memoryview) -> int:
        """Fills the block from the answer's body; returns how many bytes there were, fewer only at its end."""
        assert self._response is not None
        return self._response.readinto(block)

    def over(self) -> bool:
        """Whether the answer is read to its end, or soon is, and the store keeps the connection."""
        if self._response is None:
            return False
        length = self._response.length
        if not self._response.isclosed() and (length is None or length <= _SHORT):
            self._response.read(_SHORT)
        return self._response.isclosed() and self._connection.sock is not None
