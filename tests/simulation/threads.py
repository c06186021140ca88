"""Simulated `threading`, `time`, `random` and `concurrent.futures` for the modules of the product.

`simulated(scheduler)` replaces these names in all loaded modules of `s3_syncer`, by identity: every global, default
argument and default factory that *is* `threading`, `time.monotonic`, `ThreadPoolExecutor` and so on. It restores them
at the end. So the simulation runs the product's code unchanged, and the product knows nothing of the simulation.

A real primitive that this module does not know would block the only OS thread. `test_threads.py` fails if a module of
the product uses one.
"""

from __future__ import annotations

import concurrent.futures
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import CellType, FunctionType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple

from .scheduler import Killed, Scheduler, Task

#: The wall clock at the start of each history, in seconds since the epoch: 2025-01-01T00:00:00Z.
EPOCH = 1_735_689_600.0

_scheduler: Scheduler | None = None


def current() -> Scheduler:
    """Return the scheduler of the history that runs."""
    assert _scheduler is not None, "no simulation runs"
    return _scheduler


# -- time and random -----------------------------------------------------------------------------------------------


def monotonic() -> float:
    return current().now


def wall_time() -> float:
    return EPOCH + current().now


def sleep(seconds: float) -> None:
    current().sleep(seconds)


def random_number() -> float:
    return current().random.random()


# -- threading -----------------------------------------------------------------------------------------------------


class Lock:
    """`threading.Lock`."""

    _is_reentrant = False

    def __init__(self) -> None:
        self._owner: Task | None = None
        self._depth = 0
        self._waiters: list[Task] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        scheduler = current()
        scheduler.check_alive()
        task = scheduler.task
        end = None if timeout < 0 else scheduler.now + timeout
        while self._owner is not None and not (self._is_reentrant and self._owner is task):
            left = None if end is None else end - scheduler.now
            if not blocking or (left is not None and left <= 0):
                return False
            self._waiters.append(task)
            try:
                scheduler.park(left, "lock")
            finally:
                self._waiters.remove(task)
        self._owner = task
        self._depth += 1
        return True

    def release(self) -> None:
        if not self._depth:
            raise RuntimeError("release of a free lock")
        self._depth -= 1
        if not self._depth:
            self.free()

    def free(self) -> int:
        """Release the lock at any depth; return what `restore` takes."""
        depth, self._depth, self._owner = self._depth, 0, None
        for task in self._waiters:  # all of them, so that the seed decides which one is next
            current().wake(task)
        return depth

    def restore(self, depth: int) -> None:
        """Acquire the lock at the depth that it had before `free`."""
        task = current().task
        if not task.group.dead:  # else no other task of the process will run
            self.acquire()
        self._owner, self._depth = task, depth

    def locked(self) -> bool:
        return self._owner is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class RLock(Lock):
    """`threading.RLock`."""

    _is_reentrant = True


class Condition:
    """`threading.Condition`."""

    def __init__(self, lock: Lock | None = None) -> None:
        self._lock = lock or RLock()
        self._waiters: list[Task] = []
        self.acquire, self.release = self._lock.acquire, self._lock.release

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        task = current().task
        self._waiters.append(task)
        depth = self._lock.free()
        try:
            return current().park(timeout, "condition")
        finally:
            if task in self._waiters:
                self._waiters.remove(task)
            self._lock.restore(depth)

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        end = None if timeout is None else current().now + timeout
        while not (result := predicate()):
            left = None if end is None else end - current().now
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result

    def notify(self, n: int = 1) -> None:
        for _ in range(min(n, len(self._waiters))):
            current().wake(self._waiters.pop(0))

    def notify_all(self) -> None:
        self.notify(len(self._waiters))


class Event:
    """`threading.Event`."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiters: list[Task] = []

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        for task in self._waiters:
            current().wake(task)

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._is_set:
            task = current().task
            self._waiters.append(task)
            try:
                current().park(timeout, "event")
            finally:
                self._waiters.remove(task)
        return self._is_set


class Semaphore:
    """`threading.Semaphore`."""

    def __init__(self, value: int = 1) -> None:
        self._value, self._changed = value, Condition()

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        with self._changed:
            if not self._changed.wait_for(lambda: self._value > 0, timeout if blocking else 0):
                return False
            self._value -= 1
            return True

    def release(self) -> None:
        with self._changed:
            self._value += 1
            self._changed.notify()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Local:
    """`threading.local`."""

    def __getattribute__(self, name: str) -> Any:
        try:
            return current().task.locals.setdefault(self, {})[name]
        except KeyError:
            return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        current().task.locals.setdefault(self, {})[name] = value


class Thread:
    """`threading.Thread`."""

    def __init__(
        self,
        *,
        target: Callable[..., object],
        args: Iterable[object] = (),
        kwargs: Mapping[str, object] | None = None,
        name: str = "",
        daemon: bool | None = None,
    ) -> None:
        self._run, self.name, self.daemon = lambda: target(*args, **(kwargs or {})), name, daemon
        self._task: Task | None = None

    def start(self) -> None:
        self._task = current().spawn(self._run, name=f"{current().task.group.name}/{self.name}")

    def join(self, timeout: float | None = None) -> None:
        assert self._task is not None, "join of a thread that was not started"
        current().join(self._task, timeout)

    def is_alive(self) -> bool:
        return self._task is not None and not self._task.done


# -- concurrent.futures --------------------------------------------------------------------------------------------


class Future:
    """`concurrent.futures.Future`."""

    def __init__(self) -> None:
        self._number = current().number()
        self._state = "pending"
        self._result: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future], object]] = []
        self._waiters: dict[Task, None] = {}

    def __hash__(self) -> int:  # the order of a set of futures must not depend on their addresses
        return self._number

    def __class_getitem__(cls, _: object) -> type[Future]:
        return cls

    def cancel(self) -> bool:
        if self._state == "pending":
            self._state = "cancelled"
            self._ended()
        return self.cancelled()

    def cancelled(self) -> bool:
        return self._state == "cancelled"

    def running(self) -> bool:
        return self._state == "running"

    def done(self) -> bool:
        return self._state in ("cancelled", "finished")

    def result(self, timeout: float | None = None) -> Any:
        if (error := self.exception(timeout)) is not None:
            raise error
        return self._result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        if not wait([self], timeout).done:
            raise concurrent.futures.TimeoutError
        if self.cancelled():
            raise concurrent.futures.CancelledError
        return self._error

    def add_done_callback(self, callback: Callable[[Future], object]) -> None:
        if self.done():
            callback(self)
        else:
            self._callbacks.append(callback)

    def set_running_or_notify_cancel(self) -> bool:
        if self.cancelled():
            return False
        self._state = "running"
        return True

    def set_result(self, result: Any) -> None:
        self._result, self._state = result, "finished"
        self._ended()

    def set_exception(self, error: BaseException | None) -> None:
        self._error, self._state = error, "finished"
        self._ended()

    def _ended(self) -> None:
        for task in self._waiters:
            current().wake(task)
        for callback in self._callbacks:
            callback(self)


class DoneAndNotDone(NamedTuple):
    """The result of `wait`."""

    done: set[Future]
    not_done: set[Future]


def wait(
    fs: Iterable[Future], timeout: float | None = None, return_when: str = concurrent.futures.ALL_COMPLETED
) -> DoneAndNotDone:
    """Wait for futures, as `concurrent.futures.wait` does."""
    scheduler, futures = current(), list(dict.fromkeys(fs))
    end = None if timeout is None else scheduler.now + timeout
    scheduler.check_alive()
    while True:
        not_done = [future for future in futures if not future.done()]
        done = [future for future in futures if future.done()]
        if not not_done or (return_when == concurrent.futures.FIRST_COMPLETED and done):
            break
        if return_when == concurrent.futures.FIRST_EXCEPTION and any(
            future._error is not None for future in done if not future.cancelled()
        ):
            break
        left = None if end is None else end - scheduler.now
        if left is not None and left <= 0:
            break
        for future in not_done:
            future._waiters[scheduler.task] = None
        try:
            scheduler.park(left, "wait for futures")
        finally:
            for future in not_done:
                future._waiters.pop(scheduler.task, None)
    return DoneAndNotDone(set(done), set(not_done))


class ThreadPoolExecutor:
    """`concurrent.futures.ThreadPoolExecutor`."""

    def __init__(self, max_workers: int, thread_name_prefix: str = "") -> None:
        self._max_workers, self._prefix = max_workers, thread_name_prefix
        # Kept, because a generator of the product may end its pool after the end of the history.
        self._scheduler = current()
        self._items: deque[tuple[Future, Callable[[], Any]]] = deque()
        self._idle: list[Task] = []
        self._workers: list[Task] = []
        self._is_shut_down = False

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        self._scheduler.check_alive()
        if self._is_shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future = Future()
        self._items.append((future, lambda: function(*args, **kwargs)))
        if self._idle:
            self._scheduler.wake(self._idle.pop())
        elif len(self._workers) < self._max_workers:
            name = f"{self._scheduler.task.group.name}/{self._prefix}_{len(self._workers)}"
            self._workers.append(self._scheduler.spawn(self._work, name=name))
        return future

    def map(self, function: Callable[..., Any], *iterables: Iterable[Any]) -> Iterator[Any]:
        futures = [self.submit(function, *args) for args in zip(*iterables, strict=False)]
        return (future.result() for future in futures)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._is_shut_down = True
        while cancel_futures and self._items:
            self._items.popleft()[0].cancel()
        for task in self._idle:
            self._scheduler.wake(task)
        self._idle.clear()
        if wait:
            for task in self._workers:
                self._scheduler.join(task)

    def __enter__(self) -> ThreadPoolExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def _work(self) -> None:
        while True:
            while self._items:
                self._run(*self._items.popleft())
            if self._is_shut_down:
                return
            self._idle.append(self._scheduler.task)
            self._scheduler.park(None, "idle")

    def _run(self, future: Future, function: Callable[[], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = function()
        except Killed:
            raise
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)


# -- the replacement in the product --------------------------------------------------------------------------------

#: The names of each module that have a simulated counterpart.
NAMES: Mapping[ModuleType, Mapping[str, object]] = {
    threading: {
        "Condition": Condition,
        "Event": Event,
        "Lock": Lock,
        "RLock": RLock,
        "Semaphore": Semaphore,
        "Thread": Thread,
        "local": Local,
    },
    time: {"monotonic": monotonic, "sleep": sleep, "time": wall_time},
    random: {"random": random_number},
    concurrent.futures: {"Future": Future, "ThreadPoolExecutor": ThreadPoolExecutor, "wait": wait},
}

_MODULES = {module: SimpleNamespace(**names) for module, names in NAMES.items()}

#: The simulated counterpart by the id of the real object.
_REPLACED = {id(module): simulated for module, simulated in _MODULES.items()} | {
    id(getattr(module, name)): simulated for module, names in NAMES.items() for name, simulated in names.items()
}


@contextmanager
def simulated() -> Iterator[None]:
    """Replace threads, clocks and random numbers in all loaded modules of the product, for many histories."""
    undo: list[Callable[[], object]] = []
    for name, module in sorted(sys.modules.items()):
        if name == "s3_syncer" or name.startswith("s3_syncer."):
            _replace_in(vars(module), undo)
            for value in list(vars(module).values()):
                _replace_in_value(value, name, undo)
    try:
        yield
    finally:
        for each in reversed(undo):
            each()


@contextmanager
def running(scheduler: Scheduler) -> Iterator[None]:
    """Make this the scheduler of all simulated threads, for one history."""
    global _scheduler
    before, _scheduler = _scheduler, scheduler
    try:
        yield
    finally:
        _scheduler = before


def _replace_in(namespace: dict[str, Any], undo: list[Callable[[], object]]) -> None:
    for name, value in list(namespace.items()):
        if id(value) in _REPLACED:
            namespace[name] = _REPLACED[id(value)]
            undo.append(partial(namespace.__setitem__, name, value))


def _replace_in_value(value: object, module: str, undo: list[Callable[[], object]]) -> None:
    """Replace default arguments of a function or of the methods of a class, and defaults of fields."""
    if isinstance(value, type) and value.__module__ == module:
        for attribute in list(vars(value).values()):
            _replace_in_value(getattr(attribute, "__func__", attribute), module, undo)
    elif isinstance(value, FunctionType) and value.__module__ == module:
        if value.__kwdefaults__:
            _replace_in(value.__kwdefaults__, undo)
        defaults = value.__defaults__
        if defaults and any(id(default) in _REPLACED for default in defaults):
            value.__defaults__ = tuple(_REPLACED.get(id(default), default) for default in defaults)
            undo.append(lambda: setattr(value, "__defaults__", defaults))
        for cell in value.__closure__ or ():  # the default factories of a dataclass
            _replace_in_cell(cell, undo)


def _replace_in_cell(cell: CellType, undo: list[Callable[[], object]]) -> None:
    try:
        content = cell.cell_contents
    except ValueError:  # still empty
        return
    if id(content) in _REPLACED:
        cell.cell_contents = _REPLACED[id(content)]
        undo.append(lambda: setattr(cell, "cell_contents", content))
