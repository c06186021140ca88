"""Stop requests to a store or queue that fails as a whole, and allow a trial after a pause.

Pure but for the clock. The pattern: https://learn.microsoft.com/azure/architecture/patterns/circuit-breaker
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from .backoff import Backoff

logger = logging.getLogger(__name__)


class CircuitBreaker:
    """A circuit breaker for one dependency. Safe to share between threads.

    - Closed: fewer than `trip_after` requests in a row have failed. Send requests as usual.
    - Open: so many have failed, and the pause is not over. Send nothing.
    - Half-open: the pause is over. Send a trial request and record its result: a success closes the circuit, a failure
      opens it for twice as long.

    The caller decides how many trials it sends at a time: the circuit breaker does not count requests.

    The first pause takes `first_s` seconds and the longest `max_s`; equal values make every pause equally long.
    With `log=True` the circuit breaker logs each change to open, and the change to closed. `failing_s` of a record is
    the time since the first failure in seconds, for the alarm on retries. `on_open` is called with the reason when the
    closed circuit opens, and not when a trial fails.
    """

    def __init__(
        self,
        *,
        first_s: float,
        max_s: float,
        trip_after: int = 1,
        log: bool = False,
        clock: Callable[[], float] = time.monotonic,
        on_open: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._backoff, self._trip_after = Backoff(first_s, max_s), trip_after
        self._log, self._clock, self._on_open = log, clock, on_open
        self._lock = threading.Lock()
        self._failures, self._first_failed_at, self._open_until = 0, 0.0, 0.0
        #: Reason of the failure that opened the circuit; empty while the circuit is closed.
        self.reason = ""

    @property
    def is_closed(self) -> bool:
        """Return True if too few requests failed since the last success."""
        return self._failures < self._trip_after

    @property
    def is_open(self) -> bool:
        """Return True if the pause after a failure is not over, so no request may be sent."""
        return self.retry_in_s() > 0

    @property
    def is_half_open(self) -> bool:
        """Return True if the pause is over and no request succeeded since: the next request is a trial."""
        return not self.is_closed and not self.is_open

    def retry_in_s(self) -> float:
        """Return the seconds until the pause is over; 0.0 unless the circuit is open."""
        return max(0.0, self._open_until - self._clock())

    def record_failure(self, reason: str = "", *, is_certain: bool = False) -> None:
        """Count a failure. Open the circuit if it is certain, or one of too many in a row.

        A certain one says by itself that the dependency fails as a whole. Ignored while the circuit is open: that
        request began before the circuit opened.
        """
        with self._lock:
            if self.is_open:
                return
            now, was_closed = self._clock(), self.is_closed
            if not self._failures:
                self._first_failed_at = now
            failing_s = now - self._first_failed_at
            self._failures = max(self._failures + 1, self._trip_after if is_certain else 0)
            if self.is_closed:
                return
            pause_s = self._backoff.delay_s(self._failures - self._trip_after + 1)
            self._open_until = now + pause_s
            self.reason = reason
        if self._log:
            extra = {
                "action": "circuit-open",
                "reason": reason,
                "retry_in_s": pause_s,
                "failing_s": round(failing_s, 1),
            }
            logger.warning("circuit open", extra=extra)
        if was_closed:
            self._on_open(reason)

    def record_success(self) -> None:
        """Close the circuit, also while it is open.

        The success of a request that began earlier shows that the dependency works.
        """
        with self._lock:
            was_closed = self.is_closed
            self._failures, self._open_until, self.reason = 0, 0.0, ""
        if self._log and not was_closed:
            logger.info("circuit closed", extra={"action": "circuit-closed"})

    def end_trial(self) -> None:
        """Record the success of a request that began after the last pause.

        Ignored during a pause, because that request may have begun before it. Costs nearly nothing without a failure.
        """
        if self._failures and not self.is_open:
            self.record_success()
