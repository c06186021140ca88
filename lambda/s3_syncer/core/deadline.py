"""How long work may go on. Pure but for the clock."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .errors import Retryable


class OutOfTime(Retryable):
    """There was not enough time left to finish: another worker goes on."""


#: Seconds within which a sleeper notices that the deadline was brought forward.
_TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, in seconds, after which nothing new is begun; `stop` may bring it forward."""

    at: float = math.inf
    _outer: Deadline | None = field(default=None, repr=False)
    _stopped: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    _note: Callable[[], None] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def sooner(self, seconds: float = math.inf) -> Deadline:
        """A deadline after so many seconds, or when this one passes or is stopped; stopping it leaves this one be."""
        return Deadline(min(self.at, time.monotonic() + seconds), self)

    def watched(self, note: Callable[[], None]) -> Deadline:
        """The same deadline for work that is watched: whenever the work looks at it, `note` is called."""
        return Deadline(self.at, self, _note=note)

    def timeout(self) -> float | None:
        """Seconds left, 0 when there are none, None when there is no end: as the standard library's waits take it."""
        return None if math.isinf(self.at) else max(0.0, self.at - time.monotonic())

    def stop(self) -> None:
        """Lets no more time pass: what checks from now on is out of it. Safe to call from a signal handler."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        if self._note is not None:
            self._note()
        return self._stopped.is_set() or (self._outer is not None and self._outer.is_stopped)

    def passed(self) -> bool:
        """Whether `check` would raise."""
        return self.is_stopped or time.monotonic() >= self.at

    def check(self) -> None:
        """Raises OutOfTime once the moment has passed."""
        if self.passed():
            raise OutOfTime("told to stop" if self.is_stopped else "no time left before the deadline")

    def sleep(self, seconds: float) -> None:
        """Waits so long. Raises OutOfTime as soon as the moment has passed."""
        end = time.monotonic() + seconds
        self.check()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _TICK_S))
            self.check()
