"""Run the threads of a simulation as greenlets of one OS thread, in an order that a seed decides.

A *task* stands for a thread. It runs until it calls `pause`, `sleep`, `park` or `block`. Then the scheduler chooses the
next task at random from those that can run. If none can, the simulated clock jumps to the next wake-up. So a history
takes as long as its computations, and the same seed gives the same history.

A *group* stands for a process: a Lambda environment, a service, a sweep. A group can be killed (SIGKILL, a crash),
frozen (SIGSTOP, or Lambda between two invocations) and thawed.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

T = TypeVar("T")

#: Steps of the scheduler after which a history counts as endless. The longest of 1,518 seeds had 2,822 steps. Each step
#: keeps some kilobytes of history.
MAX_STEPS = 50_000


class Killed(BaseException):  # no Exception, so that the code of a killed task does not handle it as a failure
    """Raised in a task of a killed group, at each of its calls to the scheduler.

    So the `finally` and `except` blocks of the task run, but none of them can make a request.
    """


class SimulationError(Exception):
    """The history cannot continue."""


class Deadlock(SimulationError):
    """Every task waits, and nothing will wake one of them."""


class Endless(SimulationError):
    """The history has more than MAX_STEPS steps."""


class TaskFailed(SimulationError):
    """An exception left a task."""


class Group:
    """The tasks of one simulated process, in the order of their start."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tasks: dict[Task, None] = {}
        self.dead = self.frozen = False
        #: Tasks that would be runnable if the group was not frozen.
        self.held: list[Task] = []


class Task:
    """A simulated thread."""

    __slots__ = ("done", "greenlet", "group", "label", "locals", "name", "start", "wait_number", "waiters", "woken")

    def __init__(self, name: str, group: Group, start: Callable[[], object]) -> None:
        self.name, self.group, self.start = name, group, start
        self.greenlet: greenlet | None = None
        self.done = False
        #: The reason of the current wait, for the report of a deadlock.
        self.label = ""
        #: The number of the current wait, so that a timer of an earlier wait does not end this one; 0 without a wait.
        self.wait_number = 0
        #: True if `wake` ended the last wait, False if its time ran out.
        self.woken = False
        #: Tasks that wait for the end of this one.
        self.waiters: list[Task] = []
        #: The attributes of each simulated `threading.local`.
        self.locals: dict[object, dict[str, Any]] = {}


class Record:
    """A line of a history: a time, a task, and values that become text only when the line is printed."""

    __slots__ = ("parts", "task", "time")

    def __init__(self, time: float, task: str, parts: tuple[object, ...]) -> None:
        self.time, self.task, self.parts = time, task, parts

    def __str__(self) -> str:
        return f"{self.time:10.3f}  {self.task:24} {' '.join(map(str, self.parts))}"


class Scheduler:
    """Runs tasks in an order that the seed decides. `now` is the simulated time in seconds."""

    def __init__(self, seed: int, *, max_steps: int = MAX_STEPS) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now = 0.0
        self.steps = 0
        self.history: list[Record] = []
        #: Numbers of requests and faults by kind, for the report of many histories.
        self.counts: dict[str, int] = defaultdict(int)
        self._max_steps = max_steps
        self._hub = getcurrent()
        self._current: Task | None = None
        self._runnable: list[Task] = []
        #: Time, number, and either a task with the number of its wait, or a function to call.
        self._timers: list[tuple[float, int, Task | None, int | Callable[[], object]]] = []
        self._conditions: dict[Task, Callable[[], bool]] = {}
        self._groups: dict[str, Group] = {}
        self._condemned: list[Task] = []
        self._failure: BaseException | None = None
        self._number = 0

    # -- choices and history ---------------------------------------------------------------------------------------

    def choose(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[int(self.random.random() * len(options))]

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.random.random() < probability

    def number(self) -> int:
        """Return 1, 2, 3 and so on: an identity that does not depend on addresses in memory."""
        self._number += 1
        return self._number

    def count(self, kind: str) -> bool:
        """Count a request or a fault of this kind; return True."""
        self.counts[kind] += 1
        return True

    def note(self, *parts: object) -> None:
        """Add a line to the history. The values must not change afterwards."""
        self.history.append(Record(self.now, self._current.name if self._current else "", parts))

    # -- calls of a task -------------------------------------------------------------------------------------------

    @property
    def task(self) -> Task:
        """Return the task that runs now."""
        if self._current is None:
            raise SimulationError("no task runs")
        return self._current

    @property
    def process(self) -> str:
        """Return the name of the group that runs now, or an empty text outside of every task."""
        return self._current.group.name if self._current else ""

    def pause(self, label: str = "") -> None:
        """Let any runnable task go next, perhaps this one again."""
        task = self._alive(label)
        self._runnable.append(task)
        self._leave(task)

    def sleep(self, seconds: float, label: str = "sleep") -> None:
        """Wait that many simulated seconds."""
        self.park(max(0.0, seconds), label)

    def park(self, timeout: float | None = None, label: str = "") -> bool:
        """Wait until another task calls `wake` with this one; return False if the time ran out first."""
        task = self._alive(label)
        self._number = task.wait_number = number = self._number + 1
        task.woken = False
        if timeout is not None:
            heappush(self._timers, (self.now + timeout, number, task, number))
        self._leave(task)
        return task.woken

    def block(self, until: Callable[[], bool], timeout: float | None = None, label: str = "") -> bool:
        """Wait until the condition holds, and return True; return False if the time ran out first.

        The scheduler evaluates the condition after each step, so use `park` and `wake` where speed matters.
        """
        if until():
            self.pause(label)
            return True
        task = self._alive(label)
        self._conditions[task] = until
        try:
            return self.park(timeout, label)
        finally:
            self._conditions.pop(task, None)

    def check_alive(self) -> None:
        """Raise Killed in a task of a killed group."""
        self._alive("")

    def _alive(self, label: str) -> Task:
        task = self._current
        if task is None:
            raise SimulationError("no task runs")
        if task.group.dead:
            raise Killed
        task.label = label
        return task

    def _leave(self, task: Task) -> None:
        self._hub.switch()
        if task.group.dead:
            raise Killed

    # -- calls of any code -----------------------------------------------------------------------------------------

    def wake(self, task: Task) -> None:
        """End the wait of a task. A task that does not wait is left as it is."""
        if task.wait_number and not task.group.dead:
            task.wait_number, task.woken = 0, True
            self._runnable.append(task)

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        """Call a function at a later time. It must not wait: it can change a store, or wake tasks."""
        heappush(self._timers, (self.now + seconds, self.number(), None, function))

    def spawn(self, function: Callable[..., object], *args: object, name: str = "", group: str | None = None) -> Task:
        """Start a task. Without `group` it belongs to the group of the task that starts it."""
        home = self._group(group) if group is not None else self.task.group
        if home.dead:
            raise Killed
        task = Task(name or f"{home.name}/{self.number()}", home, lambda: function(*args))
        home.tasks[task] = None
        self._runnable.append(task)
        return task

    def join(self, task: Task, timeout: float | None = None) -> bool:
        """Wait until the task ends or is killed; return False if the time ran out first."""
        if task.done:
            self.pause()
            return True
        task.waiters.append(self.task)
        try:
            self.park(timeout, f"join {task.name}")
        finally:
            task.waiters.remove(self.task)
        return task.done

    def kill(self, group: str) -> None:
        """Kill all tasks of a group, as SIGKILL does. The name can then be used for a new group."""
        home = self._groups.pop(group, None)
        if home is None:
            return
        home.dead = True
        self._condemned.extend(home.tasks)
        if self._current is not None and self._current.group is home:
            raise Killed

    def freeze(self, group: str) -> None:
        """Stop all tasks of a group, as SIGSTOP does. Time goes on for them."""
        self._group(group).frozen = True

    def thaw(self, group: str) -> None:
        """Let the tasks of a frozen group run again."""
        home = self._group(group)
        home.frozen = False
        self._runnable.extend(home.held)
        home.held.clear()

    def _group(self, name: str) -> Group:
        if name not in self._groups:
            self._groups[name] = Group(name)
        return self._groups[name]

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Run tasks until the condition holds, or without one until no task is left.

        Raises a SimulationError if that never happens, or if an exception leaves a task.
        """
        self._hub = getcurrent()
        while True:
            if self._condemned:
                self._unwind()
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise TaskFailed(f"{failure!r}") from failure
            if until is not None and until():
                return
            if self._conditions:
                self._wake_by_condition()
            if self._runnable:
                self._step()
            elif self._timers:
                self._advance()
            elif until is None and not self._waiting():
                return
            else:
                raise Deadlock(", ".join(f"{task.name} waits: {task.label}" for task in self._waiting()))

    def close(self) -> None:
        """Kill every group, so that no task outlives the history."""
        for name in list(self._groups):
            self.kill(name)
        self._unwind()
        self._timers.clear()
        self._runnable.clear()

    def _step(self) -> None:
        """Let one runnable task run until its next call."""
        self.steps += 1
        if self.steps > self._max_steps:
            raise Endless(f"more than {self._max_steps} steps")
        runnable = self._runnable
        index = int(self.random.random() * len(runnable))
        task = runnable[index]
        last = runnable.pop()
        if last is not task:
            runnable[index] = last
        if task.group.dead:
            return
        if task.group.frozen:
            task.group.held.append(task)
            return
        self._switch(task)

    def _switch(self, task: Task) -> None:
        self._current = task
        if task.greenlet is None:
            task.greenlet = greenlet(self._body, self._hub)
            task.greenlet.switch(task)
        else:
            task.greenlet.switch()
        self._current = None

    def _body(self, task: Task) -> None:
        try:
            task.start()
        except Killed:
            pass
        except BaseException as error:  # a defect of the product, or of the simulation
            self._failure = error
        finally:
            task.done = True
            task.group.tasks.pop(task, None)
            for waiter in list(task.waiters):
                self.wake(waiter)

    def _advance(self) -> None:
        """Move the clock to the next timer, and end that wait."""
        at, _, task, action = heappop(self._timers)
        self.now = max(self.now, at)
        if task is None:
            assert callable(action)
            action()
        elif task.wait_number == action:
            task.wait_number = 0
            self._runnable.append(task)

    def _unwind(self) -> None:
        """Raise Killed in the condemned tasks, one after the other."""
        while self._condemned:
            task = self._condemned.pop(0)
            task.wait_number = 0
            if task.greenlet is not None and not task.done:
                self._switch(task)  # `_leave` raises Killed
            elif not task.done:
                task.done = True
                for waiter in task.waiters:
                    self.wake(waiter)

    def _wake_by_condition(self) -> None:
        for task, condition in list(self._conditions.items()):
            if task.wait_number and condition():
                self.wake(task)

    def _waiting(self) -> list[Task]:
        return [task for group in self._groups.values() for task in group.tasks]
