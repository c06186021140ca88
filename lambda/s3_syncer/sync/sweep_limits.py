"""The limits of what a sweep does: the number of its deletions, and the bytes that it restores. Pure."""

from __future__ import annotations

import threading
from typing import Protocol


class DeleteLimit(Protocol):
    """Decides for each deletion whether it is allowed."""

    @property
    def left(self) -> int | None:
        """The number of deletions that are still allowed; None is no limit."""

    def acquire(self) -> bool:
        """Return True if one more deletion is allowed, and count it."""


class LocalLimit:
    """Allows a number of deletions, or of bytes, in all. Safe to share between threads.

    An object with more bytes than are left is not allowed, and a smaller one may still be.
    """

    def __init__(self, most: int | None) -> None:
        self.left, self._lock = most, threading.Lock()

    def acquire(self, amount: int = 1) -> bool:
        """Return True if this amount is allowed, and count it."""
        with self._lock:
            if self.left is None:
                return True
            if amount > self.left:
                return False
            self.left -= amount
            return True

    def release(self, amount: int) -> None:
        """Give back an amount that was allowed."""
        with self._lock:
            if self.left is not None:
                self.left += amount
