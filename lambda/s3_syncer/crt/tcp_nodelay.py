"""Set TCP_NODELAY on the connections of awscrt. Its HTTP client does not, and has no option for it.

A request of more than 16 KiB, or of more than 8 KiB over TLS, leaves in several segments. By default the last segment
waits until the store has acknowledged the segments before. The store delays that by 40 ms, to send it along with a
response.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress

#: The file descriptors of this process. A system without this directory keeps the delay, and nothing else changes.
_DESCRIPTORS = "/dev/fd"


class NoDelay:
    """Sets the option for all connections of this process to a port."""

    def __init__(self, port: int) -> None:
        self._port = port
        #: The inode of each socket that was looked at, by its descriptor.
        self._seen: dict[int, int] = {}

    def apply(self) -> None:
        """Set the option for the connections that exist now. Raises nothing: they would only be slow."""
        with suppress(OSError):
            for descriptor in map(int, os.listdir(_DESCRIPTORS)):  # noqa: PTH208 - a path for each takes long
                try:
                    status = os.fstat(descriptor)
                    if self._seen.get(descriptor) != status.st_ino and stat.S_ISSOCK(status.st_mode):
                        self._apply(descriptor)
                        self._seen[descriptor] = status.st_ino
                except OSError:  # the descriptor has been closed, or is not connected yet
                    continue

    def _apply(self, descriptor: int) -> None:
        copy = os.dup(descriptor)  # an option of the socket, not of the descriptor
        try:
            connection = socket.socket(fileno=copy)
        except OSError:  # it belongs to something else by now
            os.close(copy)
            raise
        with connection:
            is_tcp = connection.family in (socket.AF_INET, socket.AF_INET6)
            if is_tcp and connection.getpeername()[1] == self._port:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
