"""How long to leave alone what does not work at all: a moment at first, then longer. Pure but for the clock."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

#: Seconds of the first pause; each further one is twice as long, up to the longest.
FIRST_S = 5.0
LONGEST_S = 60.0


class CircuitBreaker:
    """Says when to try again what has failed as a whole. Logs once for each pause. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures, self._until = 0, 0.0
        self.reason = ""

    @property
    def is_open(self) -> bool:
        """Whether it has not worked since it failed: one try will tell."""
        return self._failures > 0

    def retry_in_s(self) -> float:
        """Seconds until the next try."""
        return max(0.0, self._until - self._clock())

    def record_failure(self, reason: str) -> None:
        with self._lock:
            if self.retry_in_s() > 0:
                return  # one of several that were under way at the same time
            length_s = min(LONGEST_S, FIRST_S * 2.0**self._failures)
            self._failures += 1
            self._until = self._clock() + length_s
            self.reason = reason
        logger.warning("circuit open", extra={"action": "circuit-open", "reason": reason, "retry_in_s": length_s})

    def record_success(self) -> None:
        with self._lock:
            if not self.is_open:
                return
            self._failures, self._until, self.reason = 0, 0.0, ""
        logger.info("circuit closed", extra={"action": "circuit-closed"})
