"""Run the pages of a sweep on a shared pool of threads, several of each range at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait

from ..core.deadline import Deadline, OutOfTime
from ..core.fence import carried
from ..core.listing_diff import DiffPage

#: Seconds between two checks of the time limit while a range waits for its pages.
_TICK_S = 0.25


class Gauge:
    """A number that several threads change."""

    def __init__(self) -> None:
        self.value, self._lock = 0, threading.Lock()

    def add(self, change: int) -> None:
        with self._lock:
            self.value += change


class PageExecutor:
    """Runs the pages of one range on the threads of a shared pool, at most `limit` of them at a time."""

    def __init__(self, pool: Executor, limit: int, busy: Gauge) -> None:
        self._pool, self._limit, self._busy = pool, limit, busy
        self._in_flight: dict[Future[None], DiffPage] = {}
        #: The pages that the deadline stopped.
        self.unfinished: list[DiffPage] = []

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def submit(self, reconcile: Callable[[DiffPage, Deadline], None], page: DiffPage, deadline: Deadline) -> None:
        self._busy.add(1)
        future = self._pool.submit(carried(reconcile), page, deadline)
        future.add_done_callback(lambda _: self._busy.add(-1))
        self._in_flight[future] = page

    def wait_for_slot(self, is_over: Callable[[], bool] | None = None) -> None:
        """Wait until another page may start, or `is_over` returns True. Raises what a page raised."""
        while self.in_flight >= self._limit and not (is_over and is_over()):
            self._collect(_TICK_S if is_over else None)

    def join(self) -> None:
        """Wait until no page is in flight. Raises what a page raised."""
        while self.in_flight:
            self._collect(None)

    def wait(self) -> None:
        """Wait until no page is in flight, whatever the pages raise."""
        wait(self._in_flight)

    def _collect(self, timeout_s: float | None) -> None:
        for future in wait(self._in_flight, timeout_s, FIRST_COMPLETED).done:
            page = self._in_flight.pop(future)
            try:
                future.result()
            except OutOfTime:
                self.unfinished.append(page)
