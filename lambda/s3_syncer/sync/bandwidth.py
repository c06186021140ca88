"""The bandwidth limit that all copies of a process share."""

from __future__ import annotations

import threading
import time

from ..core.deadline import Deadline


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
