"""When work that was handed to the fleet is done, told from its log and its queue. Pure but for the clock.

The queue alone cannot tell: its counts are approximate, and live sync puts messages on it as long as anybody writes. So
the log is read too: each range says which stretch of keys it has swept, and together they must leave no key out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from ..core.deadline import Deadline
from ..core.errors import Permanent, Retryable, StoreUnusable
from ..sync.converge import CHANGES, Outcome
from .stats import Tally

#: Seconds after which what the fleet still has, once every range is swept, counts as waiting for another attempt: no
#: call of a function takes longer, https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
SILENCE_S = 900.0 + 60.0

Line = Mapping[str, Any]


class Fleet(Protocol):
    """Who works off the queue, as far as it can be watched. Raises a SyncError."""

    def lines(self) -> Iterable[Line]:
        """What the log says that it did not say before."""

    def backlog(self) -> int:
        """How many messages are on the queue, those in the hands of a worker included; approximate."""


class Coverage:
    """The stretches of keys that were swept: each is behind its first key up to its last, and None is no end."""

    def __init__(self) -> None:
        self._stretches: list[tuple[str, str | None]] = []

    @property
    def whole(self) -> bool:
        """Whether no key is left out."""
        return self._stretches == [("", None)]

    def add(self, after: str, until: str | None) -> None:
        if until is not None and until <= after:
            return
        apart: list[tuple[str, str | None]] = []
        for begin, end in self._stretches:
            if (end is not None and end < after) or (until is not None and until < begin):
                apart.append((begin, end))
                continue
            after = min(after, begin)
            until = None if until is None or end is None else max(until, end)
        self._stretches = sorted([*apart, (after, until)], key=lambda stretch: stretch[0])


class Watch:
    """Reads the log into a tally, and judges by it and by the queue whether all is done.

    Done is when the queue has been empty for `idle_s`; or when every range is swept and for `silence_s` nothing came
    of what they handed on, so that what the queue holds is live sync's, or fails again and again.
    """

    def __init__(
        self,
        tally: Tally,
        *,
        idle_s: float,
        silence_s: float = SILENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tally, self._idle_s, self._silence_s, self._clock = tally, idle_s, silence_s, clock
        self._coverage = Coverage()
        self._busy_at = self._told_at = clock()

    @property
    def swept(self) -> bool:
        """Whether the log has shown every range to be swept."""
        return self._coverage.whole

    def read(self, lines: Iterable[Line]) -> None:
        for line in lines:
            match line.get("action"):
                case "range":
                    self._coverage.add(line["after"], line["until"])
                    self._tally.swept(line["keys"], line["changed"], line.get("deleted", 0), line.get("bytes", 0))
                case "dead-letter":
                    self._tally.on_failed(line["key"], Permanent(line["reason"]))
                case "complete":  # of many parts, which "part" tells of
                    self._tally.on_changed(line["key"], Outcome("copy", "its parts are complete", line["bytes"]))
                case "part":
                    pass
                case action if action in CHANGES and "lag_ms" in line and line["lag_ms"] is None:
                    # Nobody knows the lag of a key that no event named: a range has handed it on.
                    self._tally.on_changed(line["key"], Outcome(action, line["reason"], line["bytes"]))
                case _:
                    continue
            self._told_at = self._clock()

    def over(self, backlog: int) -> bool:
        now = self._clock()
        self._tally.backlog = backlog
        if backlog:
            self._busy_at = now
        return now - self._busy_at >= self._idle_s or (self.swept and now - self._told_at >= self._silence_s)


def wait(fleet: Fleet, watch: Watch, deadline: Deadline, *, interval_s: float) -> None:
    """Returns when all is done. Raises OutOfTime when told to stop, and what makes going on pointless.

    What may pass is waited for: nothing is lost when nobody looks for a while.
    """
    while True:
        try:
            watch.read(fleet.lines())
            if watch.over(fleet.backlog()):
                return
        except StoreUnusable:
            raise
        except Retryable:
            watch.over(backlog=1)  # unknown, so not known to be none
        deadline.sleep(interval_s)
