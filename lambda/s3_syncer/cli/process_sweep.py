"""Sweeps ranges in a process of its own, for the cores that one interpreter cannot use.

The two speak over a pipe: ranges go one way, what happens to keys and how ranges end come the other. The process knows
nothing of signals, the progress display or the report: those are its parent's, and without its parent it ends.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.resource_tracker import ensure_running
from typing import Any

from ..core.deadline import Deadline
from ..core.errors import Retryable, SyncError
from ..process_tuning import limit_malloc_arenas, relax_gc
from ..sync.converge import Outcome
from ..sync.sweep import DeleteLimit, SweepListener
from .local_sweep import Here, Share
from .work_stealing import Range

_SPAWN = multiprocessing.get_context("spawn")  # a fork would take the locks of threads along that it leaves behind

#: Signals that a terminal, or who stops a container, may send to all: the parent says what is to be done.
_NOT_FOR_IT = (signal.SIGINT, signal.SIGTERM)

#: Seconds between two messages about what has happened, and between two looks at whether something is to be said.
TELL_S = 0.1
LOOK_S = 0.05

#: Seconds in which a process that has nothing left to do must end.
END_S = 5.0


class SharedDeleteLimit:
    """A brake over several processes: see `sweep.DeleteBrake`."""

    def __init__(self, most: int) -> None:
        self._left = _SPAWN.Value("q", most)

    @property
    def left(self) -> int:
        return int(self._left.value)

    def acquire(self) -> bool:
        with self._left.get_lock():
            if self._left.value == 0:
                return False
            self._left.value -= 1
            return True


class Elsewhere:
    """A process that sweeps, seen from its parent; a sweeper in the sense of `spread.Sweeper`.

    It is started once `wanted` says that there is enough to do.
    """

    def __init__(
        self, share: Share, listener: SweepListener, delete_limit: DeleteLimit | None, wanted: Callable[[], bool]
    ) -> None:
        self._share, self._listener, self._delete_limit, self._wanted = share, listener, delete_limit, wanted
        self._process: Any = None
        self._pipe: Connection | None = None
        self._ranges: dict[int, _There] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._could_do_more = False
        self._over = False

    @property
    def wants_work(self) -> bool:
        return self._process is not None or self._wanted()

    @property
    def could_do_more(self) -> bool:
        return self._could_do_more

    def sweep(self, range_: Range, deadline: Deadline, share: Deadline, hand_on: Callable[[str], None]) -> str | None:
        number, there = next(self._numbers), _There()
        with self._lock:
            if self._process is None:
                self._start()
            self._ranges[number] = there
        self._say("sweep", number, range_)
        unsaid = {"share": share, "stop": deadline}
        while True:
            ended = bool(wait([there.ending], LOOK_S).done)
            while there.handed_on:  # before it ends
                hand_on(there.handed_on.popleft())
            if ended:
                return there.ending.result()
            for word in [word for word, moment in unsaid.items() if moment.passed()]:
                del unsaid[word]
                self._say(word, number)

    def close(self) -> None:
        """Ends the process. No range is under way any more."""
        if self._process is None:
            return
        self._over = True
        self._say("end")
        self._process.join(END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _start(self) -> None:
        self._pipe, other = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=work, args=(other, self._share, self._delete_limit), name="s3-syncer", daemon=True
        )
        with _deaf():
            self._process.start()
        other.close()
        threading.Thread(target=self._listen, args=(self._pipe,), name="elsewhere", daemon=True).start()

    def _say(self, *message: object) -> None:
        assert self._pipe is not None
        with self._lock, suppress(OSError):  # that it has ended is noticed by who listens
            self._pipe.send(message)

    def _listen(self, pipe: Connection) -> None:
        failure: SyncError | None = None
        try:
            while True:
                kind, *content = pipe.recv()
                if kind == "events":
                    for name, arguments in content[0]:
                        getattr(self._listener, name)(*arguments)
                    self._could_do_more = content[1]
                elif kind == "handed on":
                    number, after = content
                    self._ranges[number].handed_on.append(after)
                else:
                    number, result = content
                    with self._lock:
                        ending = self._ranges.pop(number).ending
                    ending.set_exception(result) if kind == "failed" else ending.set_result(result)
        except (EOFError, OSError):
            self._process.join(END_S)
            failure = Retryable(f"a process of the sweep ended with {self._process.exitcode}", "ProcessEnded")
        except Exception as error:
            failure = Retryable(f"a process of the sweep cannot be understood: {error!r}", "ProcessEnded")
        if not self._over:
            with self._lock:
                ranges, self._ranges = self._ranges, _Closed(failure)
            for there in ranges.values():
                there.ending.set_exception(failure)


@contextmanager
def _deaf() -> Iterator[None]:
    """What is started in the block does not get the signals of a terminal, from its very beginning."""
    ensure_running()  # it would be started in the block otherwise, and end it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_IT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(slots=True)
class _There:
    """A range that is swept in the process: what comes of it, and behind which key others go on."""

    ending: Future[str | None] = field(default_factory=Future)
    handed_on: deque[str] = field(default_factory=deque)


class _Closed(dict[int, _There]):
    """The ranges of a process that has ended: whatever is added fails at once."""

    def __init__(self, failure: SyncError) -> None:
        self._failure = failure

    def __setitem__(self, number: int, there: _There) -> None:
        there.ending.set_exception(self._failure)


def work(pipe: Connection, share: Share, delete_limit: DeleteLimit | None) -> None:
    """What the process does, until it is told to end or its parent has gone."""
    for number in _NOT_FOR_IT:
        signal.signal(number, signal.SIG_IGN)
    limit_malloc_arenas()
    relax_gc()
    deadline, shares = Deadline(), dict[int, Deadline]()
    telling = _Telling(pipe)
    here: Here | None = None
    with suppress(EOFError, OSError):
        while True:
            word, *content = pipe.recv()
            if word == "end":
                telling.flush()
                break
            if word == "stop":
                deadline.stop()
            elif word == "share":
                if (asked := shares.get(content[0])) is not None:  # it may just have ended
                    asked.stop()
            else:
                number, range_ = content
                try:
                    here = here or Here(share, telling, delete_limit)
                except Exception as error:
                    telling.say("failed", number, error)
                    continue
                telling.here = here
                shares[number] = deadline.sooner()
                arguments = (here, range_, number, deadline, shares, telling)
                threading.Thread(target=_sweep, args=arguments, daemon=True).start()
    os._exit(0)  # whatever is still under way has nobody to tell


def _sweep(
    here: Here, range_: Range, number: int, deadline: Deadline, shares: dict[int, Deadline], telling: _Telling
) -> None:
    try:
        unfinished = here.sweep(range_, deadline, shares[number], partial(telling.say, "handed on", number))
    except BaseException as error:
        telling.say("failed", number, error)
    else:
        telling.say("done", number, unfinished)
    finally:
        del shares[number]


class _Telling:
    """Tells the parent what happens, now and then; an observer in the sense of `sweep.Observer`."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock = pipe, threading.Lock()
        self._events: deque[tuple[str, tuple[object, ...]]] = deque()
        self.here: Here | None = None
        threading.Thread(target=self._tell, name="tell", daemon=True).start()

    def on_compared(self, keys: int) -> None:
        self._events.append(("on_compared", (keys,)))

    def on_changed(self, key: str, outcome: Outcome) -> None:
        self._events.append(("on_changed", (key, outcome)))

    def on_skipped(self, key: str, outcome: Outcome) -> None:
        self._events.append(("on_skipped", (key, outcome)))

    def on_failed(self, key: str, error: SyncError) -> None:
        self._events.append(("on_failed", (key, _plain(error))))

    def on_restart(self, why: str) -> None:
        self._events.append(("on_restart", (why,)))

    def say(self, kind: str, number: int, result: object) -> None:
        """Tells how a range ended, or where others go on with it, after all that has happened in it."""
        self.flush()
        with self._lock:
            self._pipe.send((kind, number, _plain(result) if isinstance(result, BaseException) else result))

    def flush(self) -> None:
        with self._lock:
            events = [self._events.popleft() for _ in range(len(self._events))]
            self._pipe.send(("events", events, self.here is not None and self.here.could_do_more))

    def _tell(self) -> None:
        with suppress(OSError):  # the parent has gone, and who listens to it ends the process
            while True:
                time.sleep(TELL_S)
                self.flush()


def _plain(error: BaseException) -> BaseException:
    """The error as it can be sent: without what led to it, and of a kind that the parent knows."""
    if isinstance(error, SyncError):
        plain = type(error)(str(error), error.code)
        plain.args = (str(error),)
        return plain
    return Retryable(f"unexpected failure: {error!r}")
