"""Has TCP send the last piece of a request at once: awscrt's HTTP client leaves that off, and has no option for it.

A request of more than 16 KiB, over TLS of more than 8, leaves in several pieces. By default the last of them waits
until the store has acknowledged the others, and the store holds that back for 40 ms, to send an answer along with it.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

#: The descriptors of this process, where the system shows them: without it there is the wait, and nothing else.
_DESCRIPTORS = Path("/dev/fd")


class NoDelay:
    """For the connections of this process to a port, whoever made them."""

    def __init__(self, port: int) -> None:
        self._port, self._seen = port, set[tuple[int, int]]()

    def apply(self) -> None:
        """To those that are there by now. Raises nothing: a connection without it is slow, not wrong."""
        with suppress(OSError):
            for entry in _DESCRIPTORS.iterdir():
                with suppress(OSError):  # it is closed by now, or not connected
                    self._apply(int(entry.name))

    def _apply(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        socket_ = (descriptor, status.st_ino)
        if socket_ in self._seen or not stat.S_ISSOCK(status.st_mode):
            return
        with socket.socket(fileno=os.dup(descriptor)) as connection:  # options are the socket's, not the descriptor's
            if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.getpeername()[1] == self._port:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._seen.add(socket_)
