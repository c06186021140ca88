"""Limit the time of work, stop it early, and report its progress. Pure but for the clock."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .errors import Retryable


class OutOfTime(Retryable):
    """The deadline passed before the work ended: another worker continues it."""


#: Seconds within which `Deadline.sleep` notices that the deadline was stopped.
_TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, in seconds, after which no new step of the work begins.

    `stop` brings the moment forward. A deadline made from another one passes with it at the latest.
    """

    at: float = math.inf
    _outer: Deadline | None = field(default=None, repr=False)
    _stopped: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    _on_progress: Callable[[], None] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return a deadline that many seconds from now."""
        return cls(time.monotonic() + seconds)

    def sooner(self, seconds: float = math.inf) -> Deadline:
        """Return a deadline that passes after that many seconds, or together with this one.

        `stop` on the new deadline does not stop this one. `progress` on it reports to this one.
        """
        return Deadline(min(self.at, time.monotonic() + seconds), self)

    def with_progress(self, on_progress: Callable[[], None]) -> Deadline:
        """Return the same deadline for watched work.

        Each `progress` calls `on_progress`, in the thread of the work.
        """
        return Deadline(self.at, self, _on_progress=on_progress)

    def progress(self) -> None:
        """Report that the work moved on: a key, a part or a page begins.

        A thread that only waits for other threads reports nothing.
        """
        if self._on_progress is not None:
            self._on_progress()
        if self._outer is not None:
            self._outer.progress()

    def timeout(self) -> float | None:
        """Return the seconds left, 0.0 if none are, None if the deadline never passes.

        The waits of the standard library take this value as it is.
        """
        return None if math.isinf(self.at) else max(0.0, self.at - time.monotonic())

    def stop(self) -> None:
        """Make the deadline pass now. Safe to call from a signal handler."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        """Return True if `stop` was called on this deadline, or on one that it was made from."""
        return self._stopped.is_set() or (self._outer is not None and self._outer.is_stopped)

    def passed(self) -> bool:
        """Return True if the moment is over, or the deadline was stopped: `check` would raise."""
        return self.is_stopped or time.monotonic() >= self.at

    def check(self) -> None:
        """Raise OutOfTime if the deadline has passed."""
        if self.passed():
            raise OutOfTime("stopped on request" if self.is_stopped else "no time left before the deadline")

    def sleep(self, seconds: float) -> None:
        """Wait that many seconds. Raises OutOfTime as soon as the deadline passes.

        The wait is part of the work, so it reports progress: a bandwidth limit can make it longer than any request.
        """
        end = time.monotonic() + seconds
        self.check()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _TICK_S))
            self.progress()
            self.check()
