"""Wait for the work of a batch, and log once a minute how late the unfinished work is.

A worker logs its decision about a key when the work on it ends. That takes minutes for a large object, and also for a
store that accepts connections and never responds. The alarms read the lines of this module meanwhile: see
monitoring.tf.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any, Protocol

from ..core.deadline import Deadline
from ..core.work_items import lag_ms

logger = logging.getLogger(__name__)

#: Seconds between two lines about a batch. Metric filters count by the minute.
LOG_INTERVAL_S = 60.0

#: Seconds within which a wait for work notices that the deadline was stopped.
_TICK_S = 0.5


class Item(Protocol):
    """A piece of work.

    `since` is the time of its oldest event, in seconds since the epoch; None without an event.
    """

    @property
    def key(self) -> str: ...
    @property
    def since(self) -> float | None: ...


class BatchWait:
    """The wait for the work of one batch, which begins now. Threads may report progress at any time.

    `responded_at` returns the time of the monotonic clock at which both stores had last responded, to any batch.
    """

    def __init__(self, responded_at: Callable[[], float]) -> None:
        self._responded_at = responded_at
        self._began_at = self._progress_at = time.monotonic()

    def progress(self) -> None:
        """Note that a piece of the work moved on."""
        self._progress_at = time.monotonic()

    def wait(self, running: Mapping[Future[Any], Item], deadline: Deadline, *, grace_s: float) -> None:
        """Wait for all futures, but not longer than `grace_s` seconds past the deadline."""
        next_line_at = self._began_at + LOG_INTERVAL_S
        while not deadline.passed():
            left_s = deadline.timeout()
            if not wait(running, timeout=_TICK_S if left_s is None else min(left_s, _TICK_S)).not_done:
                return
            if (now := time.monotonic()) >= next_line_at:
                self._log([item for future, item in running.items() if not future.done()], now)
                next_line_at = now + LOG_INTERVAL_S
        wait(running, timeout=grace_s)

    def _log(self, items: list[Item], now: float) -> None:
        """Log the oldest of these items, as a warning if nothing moved on for LOG_INTERVAL_S.

        The `idle_s` distinguishes a store that does not respond from work that takes long. Each part of a large object
        is progress. A batch may also wait for the memory or the connections that another batch uses. Both stores then
        respond to the other batch. If one store does not respond, what the other one responds is no progress.
        """
        if not items:
            return
        oldest = min(items, key=lambda item: math.inf if item.since is None else item.since)
        idle_s = now - max(self._progress_at, self._responded_at())
        logger.log(
            logging.INFO if idle_s < LOG_INTERVAL_S else logging.WARNING,
            "waiting",
            extra={
                "action": "waiting",
                "key": oldest.key,
                "reason": "the work on this key is not done yet",
                "lag_ms": lag_ms(oldest.since, time.time()),
                "idle_s": round(idle_s),
                "duration_ms": round((now - self._began_at) * 1000),
                "unfinished": len(items),
            },
        )
