"""Share one range of keys between several sweepers by work stealing.

The distribution of the keys is unknown, so there is no plan. The sweep starts with one range that holds all keys. A
range is cut when a sweeper has nothing to do; in a small bucket that never happens.

A slot is one thread that sweeps one range at a time. A sweeper (a process) has several slots. `_sweepers` in
`cli/sweeps/run.py` decides the number of processes. A slot without a range repeats these rules, in this order:

| state | the slot |
|---|---|
| the deadline has passed, a sweeper failed, or no range is pending or busy | ends |
| the sweeper may not take a range now (see below) | waits, and checks again after BLOCKED_POLL_S |
| a range is pending | sweeps it |
| a release request is open | waits, and checks again after IDLE_POLL_S |
| otherwise | requests the range that has run for longest to release its rest, then waits |

A sweeper without a busy range may take a range if it `is_available`. A sweeper with busy ranges may take another one if
it `has_spare_capacity`, and only after all available sweepers without a range: work goes to an idle process first.

The released rest of a range is cut into parts that become pending. The slot that released it finishes the pages that it
has begun, and is not asked again: it may have a large object in flight.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from ...core.deadline import Deadline, OutOfTime
from ...core.key_ranges import FirstBehind, cut_range
from ...core.listing_diff import Unordered
from ...core.size_order import SizeClass

#: Seconds between two checks of a slot that may take a range.
IDLE_POLL_S = 0.02

#: Seconds between two checks of a slot that may not take a range now.
BLOCKED_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Range:
    """The keys after `after` up to and including `until`; None is the end."""

    after: str = ""
    until: str | None = None
    #: The class of sizes that this pass copies; None is the last pass, which sweeps all keys.
    sizes: SizeClass | None = None


class Sweeper(Protocol):
    """Sweeps ranges, and releases the rest of a range on request."""

    def sweep(
        self, range_: Range, deadline: Deadline, release_request: Deadline, release_rest: Callable[[str], None]
    ) -> str | None:
        """Sweep the range until its end, or until `release_request` passes.

        In the second case the sweeper calls `release_rest` with the key after which the rest starts, and finishes what
        it has begun. Return the key after which the range is unfinished because the deadline passed, or None. Raises a
        SyncError, or Unordered.
        """

    @property
    def is_available(self) -> bool:
        """Return True if the sweeper may take a range while it has none: there is enough work for it."""

    @property
    def has_spare_capacity(self) -> bool:
        """Return True if another range would not only slow down the ranges that the sweeper has."""


@dataclass(frozen=True, slots=True)
class _Task:
    range: Range
    started: float
    release_request: Deadline
    sweeper: Sweeper


class BusyRanges:
    """The ranges that are swept now, by slot. The caller holds the lock of the scheduler."""

    def __init__(self) -> None:
        self._tasks: dict[int, _Task] = {}
        #: Slots that still can release the rest of their range.
        self._divisible: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def start(self, slot: int, task: _Task) -> None:
        self._tasks[slot] = task
        self._divisible.add(slot)

    def end(self, slot: int) -> None:
        self._tasks.pop(slot, None)
        self._divisible.discard(slot)

    def released(self, slot: int) -> None:
        """Note that the slot has released the rest of its range."""
        self._divisible.discard(slot)

    def sweepers(self) -> list[Sweeper]:
        """Return the sweeper of each busy range."""
        return [task.sweeper for task in self._tasks.values()]

    def request_release(self) -> None:
        """Request the rest of the range that has run for longest, unless a request is open already."""
        tasks = [self._tasks[slot] for slot in self._divisible]
        if tasks and not any(task.release_request.is_stopped for task in tasks):
            min(tasks, key=lambda task: task.started).release_request.stop()


class IdleSlots:
    """The slots without a range. One slot of each sweeper polls; the other slots wait for a change."""

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._polling: list[Sweeper] = []

    def wait(self, sweeper: Sweeper, poll_s: float) -> None:
        """Wait for a change; if no other slot of the sweeper polls, wait at most `poll_s` seconds."""
        if sweeper in self._polling:
            self._changed.wait()
            return
        self._polling.append(sweeper)
        self._changed.wait(poll_s)
        self._polling.remove(sweeper)


class WorkStealingScheduler:
    """Share ranges between sweepers. A sweeper that is given several times has as many slots."""

    def __init__(self, slots: Sequence[Sweeper], first_behind: FirstBehind) -> None:
        self._slots, self._first_behind = slots, first_behind
        self._sweepers = tuple(dict.fromkeys(slots))
        self._changed = threading.Condition()
        # All of these are guarded by the condition.
        self._pending: deque[Range] = deque()
        self._busy = BusyRanges()
        self._idle = IdleSlots(self._changed)
        self._unfinished: list[str] = []
        self._error: BaseException | None = None

    def run(self, ranges: Sequence[Range], deadline: Deadline) -> str | None:
        """Sweep the ranges. Return None, or the first key after which keys are unfinished.

        Keys are unfinished if the deadline has passed.

        Raises the error of a sweeper, after every other slot has ended.
        """
        own = deadline.sooner()
        self._pending.extend(ranges)
        threads = [
            threading.Thread(target=self._work, args=(slot, sweeper, own), name=f"range {slot}", daemon=True)
            for slot, sweeper in enumerate(self._slots)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise self._error
        return min([*self._unfinished, *(range_.after for range_ in self._pending)], default=None)

    def _work(self, slot: int, sweeper: Sweeper, deadline: Deadline) -> None:
        """Sweep ranges until none is left.

        Every exception ends the whole run: an error must not look like the end of a range.
        """
        try:
            while (task := self._next(slot, sweeper, deadline)) is not None:
                unfinished = self._sweep(slot, task, deadline)
                with self._changed:
                    self._busy.end(slot)
                    if unfinished is not None:
                        self._unfinished.append(unfinished)
                    self._changed.notify_all()
        except BaseException as error:
            deadline.stop()
            with self._changed:
                self._busy.end(slot)
                if self._error is None or isinstance(self._error, Unordered):
                    self._error = error
                self._changed.notify_all()

    def _sweep(self, slot: int, task: _Task, deadline: Deadline) -> str | None:
        release_rest = partial(self._release_rest, slot, task, deadline)
        try:
            return task.sweeper.sweep(task.range, deadline, task.release_request, release_rest)
        except OutOfTime:  # a listing waited for a store, so the last finished page is unknown
            return task.range.after

    def _next(self, slot: int, sweeper: Sweeper, deadline: Deadline) -> _Task | None:
        """Return the next range for the slot, or None if there will be no more. See the rules of the module."""
        with self._changed:
            while self._error is None and not deadline.passed() and (self._pending or self._busy):
                takes = self._may_take(sweeper)
                if takes and self._pending:
                    task = _Task(self._pending.popleft(), time.monotonic(), deadline.sooner(), sweeper)
                    self._busy.start(slot, task)
                    self._changed.notify_all()  # another slot of the sweeper polls from now on
                    return task
                if takes:
                    self._busy.request_release()
                self._idle.wait(sweeper, IDLE_POLL_S if takes else BLOCKED_POLL_S)
            return None

    def _may_take(self, sweeper: Sweeper) -> bool:
        """Return True if the sweeper may take a range now: available sweepers without a range come first."""
        busy = self._busy.sweepers()
        if sweeper not in busy:
            return sweeper.is_available
        return sweeper.has_spare_capacity and not any(
            other.is_available for other in self._sweepers if other not in busy
        )

    def _release_rest(self, slot: int, task: _Task, deadline: Deadline, after: str) -> None:
        """Make the rest of the slot's range pending, cut into parts."""
        cuts = cut_range(self._first_behind, after, task.range.until, deadline)
        parts = [replace(task.range, after=start, until=end) for start, end in cuts]
        with self._changed:
            self._busy.released(slot)
            self._pending.extend(parts)
            self._changed.notify_all()


def probe_concurrently(first_behind: Callable[[str], str | None], concurrency: int) -> FirstBehind:
    """Return a function that finds the first key after each of several points.

    It makes `concurrency` requests at a time.
    """
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="probe")
    return lambda points: list(pool.map(first_behind, points))
