"""The limit of the deletions of a sweep. Pure."""

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


class LocalDeleteLimit:
    """Allows a number of deletions in all and then no more. Safe to share between threads."""

    def __init__(self, most: int | None) -> None:
        self.left, self._lock = most, threading.Lock()

    def acquire(self) -> bool:
        with self._lock:
            if self.left is None:
                return True
            if self.left == 0:
                return False
            self.left -= 1
            return True
