"""A limit of bytes. Pure."""

from __future__ import annotations

import threading


class ByteLimit:
    """Allows objects of a number of bytes in all. Safe to share between threads.

    An object that is larger than the rest is not allowed, and a smaller one may still be.
    """

    def __init__(self, most: int | None) -> None:
        self._left, self._lock = most, threading.Lock()

    def acquire(self, size: int) -> bool:
        """Return True if an object of `size` bytes is allowed, and count it."""
        with self._lock:
            if self._left is None:
                return True
            if size > self._left:
                return False
            self._left -= size
            return True

    def release(self, size: int) -> None:
        """Give back the bytes of an object that was allowed."""
        with self._lock:
            if self._left is not None:
                self._left += size
