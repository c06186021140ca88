"""Limits that all copies of a process share: bytes of memory and bytes per second."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..core.deadline import Deadline


class BufferBudget:
    """A budget of bytes for buffers. It serves waiting threads in order, so none of them starves."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = size
        self._queue = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Wait until `size` bytes are free, and reserve them for the block."""
        self.acquire(size)
        try:
            yield
        finally:
            self.release(size)

    def acquire(self, size: int) -> None:
        """Wait until `size` bytes are free, and reserve them until any thread calls `release`."""
        assert size <= self.size, "the part plan keeps every buffer within the budget"
        with self._queue, self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size

    def try_acquire(self, size: int) -> bool:
        """Reserve `size` bytes without waiting; return False if they are not free or a thread waits already."""
        if not self._queue.acquire(blocking=False):
            return False
        try:
            with self._changed:
                if self._free < size:
                    return False
                self._free -= size
                return True
        finally:
            self._queue.release()

    def release(self, size: int) -> None:
        """Return `size` bytes to the budget."""
        with self._changed:
            self._free += size
            self._changed.notify()


class BandwidthLimiter:
    """Limits the bytes per second of all threads together; None is no limit."""

    def __init__(self, bytes_per_s: float | None) -> None:
        self._bytes_per_s, self._next, self._lock = bytes_per_s, 0.0, threading.Lock()

    @property
    def limits(self) -> bool:
        """True if there is a limit."""
        return self._bytes_per_s is not None

    def wait(self, size: int, deadline: Deadline) -> None:
        """Wait until `size` bytes may be sent. Raises OutOfTime if the deadline passes first."""
        if self._bytes_per_s is None:
            return
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + size / self._bytes_per_s
        deadline.sleep(turn - now)
