"""Clocks that a test moves, instead of waiting for the real one."""

from __future__ import annotations

import threading
import time


class FakeClock:
    """A clock that stands still until a test moves it, or until the code under test sleeps.

    It can be called, as `time.monotonic` can, and it can take the place of the module `time`.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        """Return the real time of day, which log lines carry."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        assert seconds > 0, "a sleep of no time is a busy loop"
        with self._lock:
            self.now += seconds


class OffsetClock:
    """The real monotonic clock plus `ahead_s` seconds, for code that also waits for real requests.

    It can be called, as `time.monotonic` can, and it can take the place of the module `time`.
    """

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return self.monotonic()

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def advance(self, seconds: float = 3600.0) -> None:
        """Move the clock, by default past every deadline of the tests."""
        self.ahead_s += seconds
