"""Learn if the target refuses a write with `If-None-Match: *` over an object that it has.

A store may ignore the condition (Lyve Cloud) or not know it. So it counts only after a write with it has succeeded, and
the same write once more was refused. One in SAMPLE_EVERY later writes is sent twice too, because a store can change.
Pure.
"""

from __future__ import annotations

import threading
from enum import Enum, auto

from ..stores.capabilities import SAMPLE_EVERY

#: Checks in a row that may show nothing before the condition is given up. A store may respond with any error to it.
MAX_CHECKS = 3


class Condition(Enum):
    """The use of the condition in one write."""

    #: It is not sent.
    NONE = auto()
    #: It is sent, and the target is known to honour it.
    PROVEN = auto()
    #: It is sent twice, to learn if the target honours it: see `OverwritePrevention.end_check`.
    CHECKED = auto()


class OverwritePrevention:
    """The knowledge about one target. Safe to share between threads."""

    def __init__(self, *, is_proven: bool = False, sample_every: int = SAMPLE_EVERY) -> None:
        self._sample_every = sample_every
        self._lock = threading.Lock()
        # Guarded by the lock.
        self._is_honoured: bool | None = is_proven or None
        self._is_being_checked = False
        self._writes = self._checks = 0

    @property
    def is_proven(self) -> bool:
        """Return True if the target has refused to overwrite an object, and has never done it."""
        return self._is_honoured is True

    def claim(self) -> Condition:
        """Count a write to a key that the target lacks; return the use of the condition in it.

        Only one write at a time is a check. Until the first check ends, all other writes have no condition.
        """
        with self._lock:
            if self._is_honoured is False:
                return Condition.NONE
            self._writes += 1
            is_due = not self._is_honoured or self._writes % self._sample_every == 0
            if is_due and not self._is_being_checked:
                self._is_being_checked = True
                return Condition.CHECKED
            return Condition.PROVEN if self._is_honoured else Condition.NONE

    def end_check(self, *, is_honoured: bool | None) -> None:
        """Record the result of a check; None if it showed nothing."""
        with self._lock:
            self._is_being_checked = False
            if self._is_honoured is not None:
                if is_honoured is False:
                    self._is_honoured = False
                return
            self._checks += 1
            self._is_honoured = False if is_honoured is None and self._checks == MAX_CHECKS else is_honoured

    def record_ignored(self) -> None:
        """Record that the target ignores or refuses the condition. It gets none any more."""
        with self._lock:
            self._is_honoured = False
