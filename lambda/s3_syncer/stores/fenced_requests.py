"""Make every attempt of a boto3 client ask the fence of its work: see `core/fence.py`.

boto3 repeats a request by itself, also after a failure that leaves open if the store has received it. Its events show
each attempt, and its connections can be broken while an attempt is in flight. The limiter of the store receives the
status of each attempt, too: see `request_limiter.py`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSHTTPConnection, AWSHTTPConnectionPool, AWSHTTPSConnection, AWSHTTPSConnectionPool
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ProxyConnectionError,
    SSLError,
)

from ..core import fence
from . import request_limiter
from .body_ends import EndingResponse

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: The store was not reached at all, so nothing was sent. An SSLError can also end a request that was sent: only one
#: without a connection counts.
UNREACHABLE = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError, SSLError)

#: Closing a socket with a linger time of 0 s drops the bytes that were not sent yet.
_DROP_UNSENT = struct.pack("ii", 1, 0)


def ask_fence(client: S3Client) -> None:
    """Make the client ask the fence before each attempt, and before the pause that precedes the next one."""
    events = client.meta.events
    events.register("before-send.s3", _before_send)
    events.register("response-received.s3", _response_received)
    events.register("needs-retry.s3", _needs_retry)


def send_request(client: S3Client, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the response, and note in the fence that there is one. Raises as boto3 does."""
    call: Callable[..., dict[str, Any]] = getattr(client, operation)
    try:
        response = call(**parameters)
    except ClientError:
        fence.answered()
        raise
    fence.answered()
    return response


def _before_send(**_: Any) -> None:
    fence.check()
    request_limiter.begin_attempt()


def _response_received(exception: Exception | None, response_dict: Mapping[str, Any] | None = None, **_: Any) -> None:
    if exception is not None or response_dict is not None:
        request_limiter.note_status(0 if response_dict is None else response_dict["status_code"])
    request = fence.current_request()
    if request is None:
        return
    if exception is None or (isinstance(exception, UNREACHABLE) and not request.is_connected):
        request.answered()


def _needs_retry(**_: Any) -> None:
    fence.ensure_open()


def connection_breaker(connection: socket.socket) -> Callable[[], None]:
    """Return a function that ends a connection, and wakes the thread that waits for it.

    That thread then closes the socket, which drops the bytes that the kernel has not sent. Another thread must not
    close it: the descriptor could belong to another connection already.
    """

    def break_connection() -> None:
        with suppress(OSError):  # it has just been closed
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DROP_UNSENT)
            # That of the socket below TLS: `SSLSocket.shutdown` would make its next bytes leave in the clear.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    return break_connection


class _Fenced:
    """Part of a connection of boto3 that makes its socket known to the request in flight."""

    sock: socket.socket | None

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self._note_connection()

    def request(self, *arguments: Any, **options: Any) -> None:
        self._note_connection()
        super().request(*arguments, **options)  # type: ignore[misc]

    def _note_connection(self) -> None:
        if self.sock is not None and (request := fence.current_request()) is not None:
            # TLS inside the TLS of a proxy is an object of urllib3 with the socket below it.
            request.connect(connection_breaker(getattr(self.sock, "socket", self.sock)))


class _FencedConnection(_Fenced, AWSHTTPConnection):  # type: ignore[misc]
    response_class: Any = EndingResponse


class _FencedSecureConnection(_Fenced, AWSHTTPSConnection):  # type: ignore[misc]
    response_class: Any = EndingResponse


def fence_connections() -> None:
    """Make the connections of boto3 known to the requests that use them.

    boto3 has no option for the class of its connections, so it is set for the whole process.
    """
    AWSHTTPConnectionPool.ConnectionCls = _FencedConnection
    AWSHTTPSConnectionPool.ConnectionCls = _FencedSecureConnection
