"""Decide from a queue and a log when work of the queue's workers is done. Pure but for the clock.

The queue alone cannot show it. Its counts are approximate, and live sync adds messages as long as applications write to
the source. So the log is read too. Each range logs the interval of keys that it has swept, and together the intervals
must cover all keys.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from ...core.deadline import Deadline
from ...core.errors import Permanent, Retryable, StoreUnusable
from ...sync.outcome import CHANGES, Outcome
from ..output.stats import SweepStats

#: Seconds without a log line after which, with every range swept, the remaining messages count as retries.
#: No invocation of a Lambda function takes longer: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
SILENCE_S = 900.0 + 60.0

Line = Mapping[str, Any]
"""A line of the workers' log."""


class WorkerActivity(Protocol):
    """The observable activity of the workers of a queue. The methods raise a SyncError."""

    def lines(self) -> Iterable[Line]:
        """Return the log lines that were not returned before."""

    def backlog(self) -> int:
        """Return the approximate number of messages on the queue, including those that a worker has received."""


class Coverage:
    """Swept intervals of keys.

    An interval starts after its first key and includes its last; None is the end.
    """

    def __init__(self, after: str = "", until: str | None = None) -> None:
        """Expect the keys behind `after` up to `until`: by default, every key."""
        self._after, self._until = after, until
        self._intervals: list[tuple[str, str | None]] = []

    @property
    def is_complete(self) -> bool:
        """Return True if the intervals cover every expected key."""
        return any(
            begin <= self._after and (end is None or (self._until is not None and end >= self._until))
            for begin, end in self._intervals
        )

    def add(self, after: str, until: str | None) -> None:
        if until is not None and until <= after:
            return
        apart: list[tuple[str, str | None]] = []
        for begin, end in self._intervals:
            if (end is not None and end < after) or (until is not None and until < begin):
                apart.append((begin, end))
                continue
            after = min(after, begin)
            until = None if until is None or end is None else max(until, end)
        self._intervals = sorted([*apart, (after, until)], key=lambda interval: interval[0])


class QueueProgress:
    """Add the log to the stats, and decide from the log and the queue whether the work is done.

    The work is done when the queue has been empty for `idle_s`. It is also done when every range is swept, and for
    `silence_s` the log has no line about the work that the ranges produced. The remaining messages then belong to live
    sync, or fail again and again.
    """

    def __init__(
        self,
        stats: SweepStats,
        *,
        idle_s: float,
        silence_s: float = SILENCE_S,
        clock: Callable[[], float] = time.monotonic,
        coverage: Coverage | None = None,
    ) -> None:
        """Add to the stats; `coverage` expects the keys of the ranges, by default every key."""
        self._stats, self._idle_s, self._silence_s, self._clock = stats, idle_s, silence_s, clock
        self._coverage = coverage or Coverage()
        self._busy_at = self._logged_at = clock()

    @property
    def all_swept(self) -> bool:
        """Return True if the log shows that every range was swept."""
        return self._coverage.is_complete

    def read(self, lines: Iterable[Line]) -> None:
        """Add the lines to the stats."""
        for line in lines:
            match line.get("action"):
                case "range":
                    self._coverage.add(line["after"], line["until"])
                    self._stats.add_range(line["keys"], line["changed"], line.get("deleted", 0), line.get("bytes", 0))
                case "dead-letter":
                    self._stats.on_failed(line["key"], Permanent(line["reason"]))
                case "complete" if line.get("lag_ms") is None:  # all bytes; each "part" line has its own as well
                    self._stats.on_changed(line["key"], Outcome("copy", "its parts are complete", line["bytes"]))
                case "part":
                    pass
                case action if action in CHANGES and "lag_ms" in line and line["lag_ms"] is None:
                    # A key without lag comes from a range, not from an event. So does a completed copy.
                    self._stats.on_changed(line["key"], Outcome(action, line["reason"], line["bytes"]))
                case _:
                    continue
            self._logged_at = self._clock()

    def is_done(self, backlog: int) -> bool:
        """Return True if the work is done, with this number of messages on the queue now."""
        now = self._clock()
        self._stats.backlog = backlog
        if backlog:
            self._busy_at = now
        return now - self._busy_at >= self._idle_s or (self.all_swept and now - self._logged_at >= self._silence_s)


def wait_until_done(
    activity: WorkerActivity,
    progress: QueueProgress,
    deadline: Deadline,
    *,
    interval_s: float,
    outage_timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until the work is done. Raises OutOfTime at the deadline, and StoreUnusable.

    A retryable error only delays the check: the workers continue without it. After `outage_timeout_s` seconds without a
    successful check, raise StoreUnusable.
    """
    checked_at = clock()
    while True:
        try:
            progress.read(activity.lines())
            if progress.is_done(activity.backlog()):
                return
            checked_at = clock()
        except StoreUnusable:
            raise
        except Retryable as error:
            if clock() - checked_at >= outage_timeout_s:
                waited = f"gave up after {outage_timeout_s:g} s (--outage-timeout)"
                raise StoreUnusable(f"cannot observe the queue and its log: {error.reason}: {waited}") from error
            progress.is_done(backlog=1)  # the backlog is unknown, so it must not count as empty
        deadline.sleep(interval_s)
