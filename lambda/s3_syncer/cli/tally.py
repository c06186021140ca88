"""What a sweep has done so far: counted from its threads, read by the progress display and the report."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from ..converge import Outcome
from ..errors import SyncError

logger = logging.getLogger(__name__)

#: Samples kept for the plot of throughput over time; when there are more, every second one is dropped.
MAX_SAMPLES = 600


@dataclass(frozen=True, slots=True)
class Sample:
    """Totals at a moment: seconds since the start, keys looked at, keys changed, bytes sent."""

    at_s: float
    looked: int
    changed: int
    bytes: int


@dataclass(slots=True)
class Tally:
    """Counts what a sweep tells it; an observer in the sense of `sweep.Observer`."""

    started: float = field(default_factory=time.monotonic)
    keys: int = 0
    bytes: int = 0
    actions: Counter[str] = field(default_factory=Counter)
    #: What differs and was left so, by key.
    drift: dict[str, str] = field(default_factory=dict)
    #: What could not be made equal, by key.
    failures: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _spacing: float = 1.0

    def looked(self, keys: int) -> None:
        with self._lock:
            self.keys += keys

    def changed(self, key: str, outcome: Outcome) -> None:
        with self._lock:
            self.actions[outcome.action] += 1
            self.bytes += outcome.size
        _log(logging.INFO, outcome.action, key, outcome.reason, outcome.size)

    def left(self, key: str, outcome: Outcome) -> None:
        with self._lock:
            self.drift[key] = outcome.reason
        _log(logging.WARNING, outcome.action, key, outcome.reason, 0)

    def failed(self, key: str, error: SyncError) -> None:
        with self._lock:
            self.failures[key] = str(error)
        _log(logging.ERROR, "failed", key, str(error), 0)

    def starts_over(self, why: str) -> None:
        with self._lock:
            self.keys = 0
            self.drift.clear()
            self.failures.clear()
            self.notices.append(why)
        logger.warning("%s", why)

    @property
    def changes(self) -> int:
        """Writes to the target: keys copied, updated or deleted."""
        return self.actions.total()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def sample(self) -> None:
        """Notes the totals, at most once a spacing; called as often as the display is refreshed."""
        with self._lock:
            at = self.elapsed_s
            if self.samples and at - self.samples[-1].at_s < self._spacing:
                return
            self.samples.append(Sample(at, self.keys, self.changes, self.bytes))
            if len(self.samples) > MAX_SAMPLES:
                self.samples = self.samples[::2]
                self._spacing *= 2


def _log(level: int, action: str, key: str, reason: str, size: int) -> None:
    logger.log(
        level, "%s %s: %s", action, key, reason, extra={"action": action, "key": key, "reason": reason, "bytes": size}
    )
