"""The memory budget that all copies of a process share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


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
