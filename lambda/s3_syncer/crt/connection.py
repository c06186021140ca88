"""A connection to a store, for one request and its response at a time. No thread waits for it."""

from __future__ import annotations

import selectors
import socket
import ssl
from collections import deque
from contextlib import suppress
from typing import Protocol

from ..stores.fenced_requests import connection_breaker
from .http_response import MalformedResponse, ResponseReader

#: Seconds to wait for a connection, and for each step of its TLS handshake.
CONNECT_TIMEOUT_S = 5.0

#: Bytes that are read at a time. All connections share one buffer, because one thread reads from all of them.
_READ_SIZE = 256 * 1024
_buffer = memoryview(bytearray(_READ_SIZE))

#: Bodies up to this size leave in the same call as the head of the request.
_TOGETHER = 64 * 1024

_READ, _READ_WRITE = selectors.EVENT_READ, selectors.EVENT_READ | selectors.EVENT_WRITE

#: The socket has no bytes, or takes none, until it is ready again.
_NOT_READY = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Exchange(Protocol):
    """The request that a connection sends. Both methods are called on the thread of the loop."""

    def on_received(self, size: int) -> None:
        """Note that the response has moved on, by so many bytes of its body."""

    def on_end(self, response: ResponseReader | None) -> None:
        """Take the whole response; None if there is none. The connection is idle again, or closed."""


class IdleConnections(Protocol):
    """The connections that wait for a request."""

    def add(self, connection: Connection) -> None:
        """Keep a connection for the next request."""

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended."""


def connected(host: str, port: int, tls: ssl.SSLContext | None) -> socket.socket:
    """Return a connected socket that does not block.

    Waits for the connection and the TLS handshake. Raises OSError.
    TCP_NODELAY: the last segment of a request must not wait for the store's acknowledgement, which comes 40 ms later.
    """
    opened = socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S)
    try:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if tls is not None:
            opened = tls.wrap_socket(opened, server_hostname=host, suppress_ragged_eofs=False)
        opened.setblocking(False)
    except BaseException:
        opened.close()
        raise
    return opened


class Connection:
    """A connection that is open. All but `break_off` is for the thread of the loop only.

    After a response it goes to the idle ones, if the store will read another request from it.
    """

    __slots__ = ("_exchange", "_idle", "_is_broken", "_reader", "_selector", "_socket", "_unsent")

    def __init__(self, opened: socket.socket, selector: selectors.BaseSelector, idle: IdleConnections) -> None:
        self._socket, self._selector, self._idle = opened, selector, idle
        self._exchange: Exchange | None = None
        self._reader: ResponseReader | None = None
        self._unsent: deque[memoryview] = deque()
        self._is_broken = False
        selector.register(opened, _READ, self._on_ready)

    def send(self, exchange: Exchange, method: str, head: bytes, body: bytes) -> None:
        """Send a request. The exchange gets the response."""
        self._exchange, self._reader = exchange, ResponseReader(method)
        if len(body) <= _TOGETHER:
            self._unsent.append(memoryview(head + body))
        else:
            self._unsent.extend((memoryview(head), memoryview(body)))
        self._write()
        if self._unsent:
            self._selector.modify(self._socket, _READ_WRITE, self._on_ready)

    def break_off(self) -> None:
        """End the connection. Any thread may call this. Bytes that have not left are dropped."""
        self._is_broken = True
        connection_breaker(self._socket)()

    def close(self) -> None:
        """Close the connection. A request in progress gets no response."""
        with suppress(KeyError, ValueError, OSError):  # it was closed before
            self._selector.unregister(self._socket)
        self._socket.close()

    def _on_ready(self, _events: int) -> None:
        if self._unsent:
            self._write()
            if not self._unsent:
                self._selector.modify(self._socket, _READ, self._on_ready)
        self._read()

    def _write(self) -> None:
        unsent = self._unsent
        try:
            while unsent:
                sent = self._socket.send(unsent[0])
                if sent == len(unsent[0]):
                    unsent.popleft()
                else:
                    unsent[0] = unsent[0][sent:]
        except _NOT_READY:
            pass
        except OSError:  # the store may have sent a response before it closed the connection
            self._is_broken = True
            unsent.clear()

    def _read(self) -> None:
        """Read what has come. TLS may have more bytes than the socket shows."""
        while True:
            try:
                size = self._socket.recv_into(_buffer)
            except _NOT_READY:
                return
            except OSError:
                self._end(None)
                return
            if not self._take(size) or not isinstance(self._socket, ssl.SSLSocket):
                return

    def _take(self, size: int) -> bool:
        """Take the bytes that were read; none are the end. Return False if the request has ended."""
        reader, exchange = self._reader, self._exchange
        if reader is None or exchange is None:  # an idle connection: the end, or a response to nothing
            self.close()
            self._idle.remove(self)
            return False
        try:
            if size:
                exchange.on_received(reader.feed(bytes(_buffer[:size])))
            else:
                self._is_broken = True
                reader.end()
        except MalformedResponse:
            self._end(None)
            return False
        if reader.is_done:
            self._end(reader)
        return not reader.is_done

    def _end(self, response: ResponseReader | None) -> None:
        """End the request, and keep the connection if the store will read another one from it."""
        exchange, self._exchange, self._reader = self._exchange, None, None
        if response is None or response.is_last or self._unsent or self._is_broken:
            self.close()
            if exchange is None:
                self._idle.remove(self)
        else:
            self._idle.add(self)
        if exchange is not None:
            exchange.on_end(response)
