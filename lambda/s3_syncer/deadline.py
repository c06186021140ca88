"""How long work may go on. Pure but for the clock."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field

from .errors import Retryable


class OutOfTime(Retryable):
    """There was not enough time left to finish: another worker goes on."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, in seconds, after which nothing new is begun; `stop` may bring it forward."""

    at: float = math.inf
    _stopped: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def sooner(self, seconds: float) -> Deadline:
        """A deadline after so many seconds, or this one if it comes first."""
        return Deadline(min(self.at, time.monotonic() + seconds))

    def timeout(self) -> float | None:
        """Seconds left, 0 when there are none, None when there is no end: as the standard library's waits take it."""
        return None if math.isinf(self.at) else max(0.0, self.at - time.monotonic())

    def check(self) -> None:
        """Raises OutOfTime once the moment has passed."""
        if self._stopped.is_set():
            raise OutOfTime("told to stop")
        if time.monotonic() >= self.at:
            raise OutOfTime("no time left before the deadline")

    def stop(self) -> None:
        """Lets no more time pass: what checks from now on is out of it. Safe to call from a signal handler."""
        self._stopped.set()

    def passed(self) -> bool:
        """Whether `check` would raise."""
        return self._stopped.is_set() or time.monotonic() >= self.at
