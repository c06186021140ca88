"""The bandwidth limit that all copies of a process share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime

from ..core.bandwidth_timetable import NO_LIMIT, BandwidthTimetable
from ..core.deadline import Deadline

#: Seconds after which a waiting thread reads the timetable again.
_REREAD_S = 1.0


class BandwidthLimiter:
    """Limits the bytes per second of all threads together, as the timetable says at each moment.

    A turn is a number of bytes: a thread waits until the limit has let all bytes before its own pass. So a limit that
    changes also changes the waits that have begun.
    """

    def __init__(
        self,
        timetable: BandwidthTimetable = NO_LIMIT,
        local_time: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._timetable, self._local_time, self._lock = timetable, local_time, threading.Lock()
        #: Bytes that could have passed until `_seen`, on the monotonic clock, and bytes that have a turn.
        self._passed, self._promised, self._seen = 0.0, 0.0, time.monotonic()
        self._rate: float | None = None

    @property
    def limits(self) -> bool:
        """Return True if there is a limit at the moment."""
        return self._timetable.limits and self._timetable.rate_at(self._local_time()) is not None

    def wait(self, size: int, deadline: Deadline) -> None:
        """Wait until `size` bytes may be sent. Raises OutOfTime if the deadline passes first."""
        if not self._timetable.limits:
            return
        with self._lock:
            self._advance()
            turn = max(self._passed, self._promised)
            # Bytes that pass without a limit must not delay those that a later limit lets pass.
            self._promised = turn if self._rate is None else turn + size
        while (left_s := self._seconds_until(turn)) > 0:
            deadline.sleep(min(left_s, _REREAD_S))
        deadline.check()

    def _seconds_until(self, turn: float) -> float:
        """Return the seconds until the turn at the present limit, 0 if it has come."""
        with self._lock:
            self._advance()
            return 0.0 if self._rate is None else max(0.0, turn - self._passed) / self._rate

    def _advance(self) -> None:
        """Count the bytes that could pass since the last call. Without a limit, all promised bytes could."""
        now = time.monotonic()
        if self._rate is not None:
            self._passed += (now - self._seen) * self._rate
        self._seen, self._rate = now, self._timetable.rate_at(self._local_time())
        if self._rate is None:
            self._passed = max(self._passed, self._promised)
