"""What a sweep has done so far: counted from its threads, read by the progress display and the report."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from ..core.errors import SyncError
from ..sync.converge import Outcome
from .findings import Finding, Findings

logger = logging.getLogger(__name__)

#: Samples kept for the plot of throughput over time; when there are more, every second one is dropped.
MAX_SAMPLES = 600

#: Seconds over which the current rates are averaged: long enough for one large object not to make them jump.
RECENT_S = 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Totals at a moment: seconds since the start, keys looked at, keys changed, bytes sent."""

    at_s: float = 0.0
    looked: int = 0
    changed: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Tally:
    """Counts what a sweep tells it; an observer in the sense of `sweep.Observer`."""

    started: float = field(default_factory=time.monotonic)
    keys: int = 0
    bytes: int = 0
    actions: Counter[str] = field(default_factory=Counter)
    #: What differs and was left so.
    differences: Findings = field(default_factory=Findings)
    #: What could not be made equal.
    failures: Findings = field(default_factory=Findings)
    #: Count keys that only the target has, instead of listing them as differences.
    tolerates_target_only: bool = False
    #: Keys that only the target has, where they are tolerated.
    target_only: int = 0
    notices: list[str] = field(default_factory=list)
    #: Messages on the queue, where others do the work; None where nobody does.
    backlog: int | None = None
    samples: list[Sample] = field(default_factory=lambda: [Sample()])
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _spacing: float = 1.0

    def on_compared(self, keys: int) -> None:
        with self._lock:
            self.keys += keys

    def on_changed(self, key: str, outcome: Outcome) -> None:
        with self._lock:
            self.actions[outcome.action] += 1
            self.bytes += outcome.size
        _log(logging.INFO, outcome.action, key, outcome.reason, outcome.size)

    def swept(self, keys: int, changed: int, deleted: int, bytes_: int) -> None:
        """What others have done, without saying to which keys."""
        with self._lock:
            self.keys += keys
            self.actions["copy"] += changed - deleted
            self.actions["delete"] += deleted
            self.bytes += bytes_

    def on_skipped(self, key: str, outcome: Outcome) -> None:
        if self.tolerates_target_only and outcome.action == "extra":
            with self._lock:
                self.target_only += 1
            _log(logging.INFO, outcome.action, key, outcome.reason, 0)
            return
        with self._lock:
            self.differences.add(Finding(outcome.action, key, outcome.reason, outcome.size))
        _log(logging.WARNING, outcome.action, key, outcome.reason, 0)

    def on_failed(self, key: str, error: SyncError) -> None:
        with self._lock:
            self.failures.add(Finding("failed", key, str(error)))
        _log(logging.ERROR, "failed", key, str(error), 0)

    def on_restart(self, why: str) -> None:
        with self._lock:
            self.keys = self.target_only = 0
            self.differences, self.failures = Findings(), Findings()
            self.notices.append(why)
        logger.warning("%s", why)

    @property
    def changes(self) -> int:
        """Writes to the target: keys copied, updated or deleted."""
        return self.actions.total()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def sample(self, *, last: bool = False) -> None:
        """Notes the totals, at most once a spacing, and the last in any case."""
        with self._lock:
            now = self._now()
            if now.at_s - self.samples[-1].at_s < self._spacing and not last:
                return
            self.samples.append(now)
            if len(self.samples) > MAX_SAMPLES:
                self.samples = self.samples[::2]
                self._spacing *= 2

    def recent(self) -> tuple[float, float]:
        """Keys and bytes a second as of late."""
        with self._lock:
            now = self._now()
            then = next((s for s in reversed(self.samples) if now.at_s - s.at_s >= RECENT_S), self.samples[0])
        seconds = max(now.at_s - then.at_s, 1e-9)
        return max(0.0, (now.looked - then.looked) / seconds), (now.bytes - then.bytes) / seconds

    def _now(self) -> Sample:
        return Sample(self.elapsed_s, self.keys, self.changes, self.bytes)


def printable(text: str) -> str:
    """The text as it is, or, with characters that a terminal would act on, as Python writes it."""
    return text if text.isprintable() else repr(text)


def _log(level: int, action: str, key: str, reason: str, size: int) -> None:
    extra = {"action": action, "key": key, "reason": reason, "bytes": size}
    logger.log(level, "%s %s: %s", action, printable(key), printable(reason), extra=extra)
