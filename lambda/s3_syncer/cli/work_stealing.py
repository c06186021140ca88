"""Sweeps several ranges of keys at once: whoever has nothing to do takes a share of what somebody else has left.

Nobody knows how the keys are spread, so no plan is made: a range begins as a whole, and is cut when there is somebody
to take a part. In a small bucket that never comes to pass.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from ..core.deadline import Deadline
from ..core.errors import SyncError
from ..core.key_ranges import FirstBehind, borders
from ..core.listing_diff import Unordered

#: Seconds between two looks at whether an idle one could help a busy one.
LOOK_S = 0.02

#: The same for one that takes nothing at the moment.
DOZE_S = 0.2


@dataclass(frozen=True, slots=True)
class Range:
    """The keys behind `after` up to `until`; None is the end."""

    after: str = ""
    until: str | None = None


class Sweeper(Protocol):
    """Sweeps a range, or leaves the rest of it to others when it is told to."""

    def sweep(self, range_: Range, deadline: Deadline, share: Deadline, hand_on: Callable[[str], None]) -> str | None:
        """Sweeps until `share` has passed, then calls `hand_on` with the key behind which the rest lies, and finishes.

        Returns the key behind which it could not finish before the deadline, None when all is done but for what it
        has handed on. Raises a SyncError, or Unordered.
        """

    @property
    def wants_work(self) -> bool:
        """Whether there is enough to do for it to take part."""

    @property
    def could_do_more(self) -> bool:
        """Whether another range at the same time would not only slow down those it is at."""


@dataclass(slots=True)
class _State:
    """What is left to do and who does it; guarded by `changed`."""

    #: What nobody has begun. A part that is asked for its rest at once has begun at least one page when it answers.
    waiting: deque[Range] = field(default_factory=deque)
    busy: dict[int, _Task] = field(default_factory=dict)
    #: Those of whom one thread looks after a while whether it could help; the others wait until something changes.
    looking: list[Sweeper] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    error: BaseException | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)


@dataclass(frozen=True, slots=True)
class _Task:
    range: Range
    began: float
    share: Deadline
    sweeper: Sweeper
    #: Whether there is something left of it that others could do.
    shares: bool = True


class Spread:
    """Shares ranges out to sweepers, each of which may be given several times to do several ranges at once."""

    def __init__(self, sweepers: Sequence[Sweeper], first: FirstBehind) -> None:
        self._sweepers, self._first = sweepers, first
        self._everybody = tuple(dict.fromkeys(sweepers))  # each once
        self._state = _State()

    def run(self, whole: Range, deadline: Deadline) -> str | None:
        """Sweeps the whole range: None when all keys were looked at, else the first key behind which some were not.

        Raises what a sweeper raises, once no other is at work.
        """
        state, own = self._state, deadline.sooner()
        state.waiting.append(whole)
        threads = [
            threading.Thread(target=self._work, args=(number, sweeper, own), name=f"range {number}", daemon=True)
            for number, sweeper in enumerate(self._sweepers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if state.error is not None:
            raise state.error
        return min([*state.unfinished, *(range_.after for range_ in state.waiting)], default=None)

    def _work(self, number: int, sweeper: Sweeper, deadline: Deadline) -> None:
        """What one does until nothing is left. Whatever goes wrong, it is not taken for an end."""
        state = self._state
        try:
            while (task := self._next(number, sweeper, deadline)) is not None:
                hand_on = partial(self._handed_on, number, task, deadline)
                unfinished = sweeper.sweep(task.range, deadline, task.share, hand_on)
                with state.changed:
                    del state.busy[number]
                    if unfinished is not None:
                        state.unfinished.append(unfinished)
                    state.changed.notify_all()
        except BaseException as error:
            deadline.stop()  # the others need not go on
            with state.changed:
                state.busy.pop(number, None)
                if state.error is None or isinstance(state.error, Unordered):
                    state.error = error
                state.changed.notify_all()

    def _handed_on(self, number: int, task: _Task, deadline: Deadline, after: str) -> None:
        """What is left of the task is for others, and who does it has only to finish what it has begun."""
        rest = Range(after, task.range.until)
        parts = [rest] if deadline.passed() else self._cut(rest)
        with self._state.changed:
            self._state.busy[number] = replace(task, shares=False)
            self._state.waiting.extend(parts)
            self._state.changed.notify_all()

    def _next(self, number: int, sweeper: Sweeper, deadline: Deadline) -> _Task | None:
        """The next range, or None when there will be no more. Who waits for one asks the busy to share."""
        state = self._state
        with state.changed:
            while state.error is None and not deadline.passed() and (state.waiting or state.busy):
                takes = self._takes(sweeper)
                if takes and state.waiting:
                    task = _Task(state.waiting.popleft(), time.monotonic(), deadline.sooner(), sweeper)
                    state.busy[number] = task
                    state.changed.notify_all()  # somebody else may look now
                    return task
                if takes:
                    self._ask()
                if sweeper in state.looking:
                    state.changed.wait()
                    continue
                state.looking.append(sweeper)
                state.changed.wait(LOOK_S if takes else DOZE_S)
                state.looking.remove(sweeper)
            return None

    def _takes(self, sweeper: Sweeper) -> bool:
        """Whether it is its turn: who has nothing to do comes before who could do more."""
        busy = [task.sweeper for task in self._state.busy.values()]
        if sweeper not in busy:
            return sweeper.wants_work
        return sweeper.could_do_more and not any(other.wants_work for other in self._everybody if other not in busy)

    def _ask(self) -> None:
        """Asks the one that has been at its range for longest to share it, unless somebody has been asked already."""
        tasks = [task for task in self._state.busy.values() if task.shares]
        if tasks and not any(task.share.is_stopped for task in tasks):
            min(tasks, key=lambda task: task.began).share.stop()

    def _cut(self, rest: Range) -> list[Range]:
        try:
            cuts = borders(self._first, rest.after, rest.until)
        except SyncError:  # a store that is not well: whoever goes on with the range finds out what it comes to
            cuts = []
        return [Range(a, b) for a, b in zip([rest.after, *cuts], [*cuts, rest.until], strict=True)]


def at_once(first: Callable[[str], str | None], most: int) -> FirstBehind:
    """The first key behind each of several, by one request each, `most` of them at a time."""
    pool = ThreadPoolExecutor(most, thread_name_prefix="probe")
    return lambda points: list(pool.map(first, points))
