"""Sweep ranges in another process, because one Python process computes on one core at a time.

The parent sends ranges over a pipe. The child sends back what happens to keys, and how each range ends. Signals, the
progress display and the report belong to the parent. The child exits when its parent is gone. `_sweepers` in
`cli/sweeps/run.py` decides the number of processes.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.resource_tracker import ensure_running
from typing import Any

from ...core.deadline import Deadline
from ...core.errors import Retryable, SyncError, unexpected_failure
from ...process_tuning import limit_malloc_arenas, relax_gc, spare_imported_modules
from ...sync.outcome import Outcome
from ...sync.protocols import SweepListener
from ...sync.sweep_limits import DeleteLimit
from ..concurrency import Concurrency
from ..retry_pauses import pauses_until
from .local_sweep import LocalSweeper, SweeperConfig
from .outage import Outage, OutageListener
from .process_messages import (
    Channel,
    Event,
    Events,
    Exit,
    KeyChanged,
    KeyFailed,
    KeysCompared,
    KeySkipped,
    KeyUncertain,
    OutageNoticed,
    RangeEnded,
    RangeFailed,
    RecoveryNoticed,
    ReleaseRest,
    Restarted,
    RestReleased,
    Stop,
    SweepRange,
)
from .work_stealing import Range

_SPAWN = multiprocessing.get_context("spawn")  # a forked child would inherit locks that no thread of it releases

#: Signals that a terminal or a container runtime may send to every process. Only the parent handles them.
_PARENT_SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: Seconds between two messages of the child with events, and between two checks of the parent for something to send.
SEND_S = 0.1
CHECK_S = 0.05

#: Seconds that a child without work has to exit before it is killed.
EXIT_S = 5.0


# -- in the parent -----------------------------------------------------------------------------------------------------


class SharedDeleteLimit:
    """A `sweep_limits.DeleteLimit` for several processes."""

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


@dataclass(slots=True)
class _RemoteRange:
    """A range that the child sweeps: its end, and the keys after which its rest was released."""

    end: Future[str | None] = field(default_factory=Future)
    released: deque[str] = field(default_factory=deque)


class ProcessSweeper:
    """A child process that sweeps, as its parent sees it; a `work_stealing.Sweeper`.

    The process starts with its first range. The sweeper is available as soon as `enough_work` returns True.
    """

    def __init__(
        self,
        config: SweeperConfig,
        listener: SweepListener,
        outages: OutageListener,
        delete_limit: DeleteLimit | None,
        enough_work: Callable[[], bool],
    ) -> None:
        self._config, self._listener, self._delete_limit = config, listener, delete_limit
        self._outages, self._enough_work = outages, enough_work
        self._process: Any = None
        self._channel: Channel | None = None
        self._numbers = itertools.count()
        self._has_spare_capacity, self.concurrency = False, Concurrency()
        self._closing = False
        # If two threads waited for the exit, one would not see it, and would kill another process with the same id.
        self._exit_lock = threading.Lock()
        self._lock = threading.Lock()
        # Guarded by the lock.
        self._ranges: dict[int, _RemoteRange] = {}
        self._failure: SyncError | None = None

    @property
    def is_available(self) -> bool:
        return self._process is not None or self._enough_work()

    @property
    def has_spare_capacity(self) -> bool:
        return self._has_spare_capacity

    def sweep(
        self, range_: Range, deadline: Deadline, release_request: Deadline, release_rest: Callable[[str], None]
    ) -> str | None:
        number, remote = next(self._numbers), _RemoteRange()
        with self._lock:
            if self._failure is not None:
                raise self._failure
            channel = self._channel or self._start()
            self._ranges[number] = remote
        self._send(channel, SweepRange(number, range_))
        unsent: dict[ReleaseRest | Stop, Deadline] = {ReleaseRest(number): release_request, Stop(): deadline}
        while True:
            ended = bool(wait([remote.end], CHECK_S).done)
            while remote.released:  # before the end of the range is reported
                release_rest(remote.released.popleft())
            if ended:
                return remote.end.result()
            for message in [message for message, due in unsent.items() if due.passed()]:
                del unsent[message]
                self._send(channel, message)

    def close(self) -> None:
        """End the process. No range may be in progress."""
        if self._channel is None:
            return
        self._closing = True
        self._send(self._channel, Exit())
        with self._exit_lock:
            self._process.join(EXIT_S)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()

    def _start(self) -> Channel:
        ours, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=sweep_for_parent, args=(theirs, self._config, self._delete_limit), name="s3-syncer", daemon=True
        )
        with _signals_blocked():
            self._process.start()
        theirs.close()
        self._channel = Channel(ours)
        threading.Thread(target=self._receive, args=(self._channel,), name="process events", daemon=True).start()
        return self._channel

    @staticmethod
    def _send(channel: Channel, message: SweepRange | ReleaseRest | Stop | Exit) -> None:
        with suppress(OSError):  # the receiving thread notices that the process is gone
            channel.send(message)

    def _receive(self, channel: Channel) -> None:
        try:
            for message in channel.messages():
                self._handle(message)
        except Exception as error:
            failure = Retryable(f"invalid message from a process of the sweep: {error!r}", "ProcessEnded")
        else:
            with self._exit_lock:
                self._process.join(EXIT_S)
            failure = Retryable(f"a process of the sweep ended with {self._process.exitcode}", "ProcessEnded")
        if not self._closing:
            with self._lock:
                self._failure, ranges = failure, list(self._ranges.values())
            for remote in ranges:
                remote.end.set_exception(failure)

    def _handle(
        self, message: Events | RestReleased | RangeEnded | RangeFailed | OutageNoticed | RecoveryNoticed
    ) -> None:
        match message:
            case OutageNoticed() | RecoveryNoticed():
                message.report(self._outages)
            case Events(events, has_spare_capacity, concurrency):
                for event in events:
                    event.report(self._listener)
                self._has_spare_capacity, self.concurrency = has_spare_capacity, concurrency
            case RestReleased(number, after):
                self._ranges[number].released.append(after)
            case RangeEnded(number, unfinished):
                self._remove(number).end.set_result(unfinished)
            case RangeFailed(number, error):
                self._remove(number).end.set_exception(error)

    def _remove(self, number: int) -> _RemoteRange:
        with self._lock:
            return self._ranges.pop(number)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Start processes in the block with the signals of the parent blocked, from their first instruction."""
    ensure_running()  # the resource tracker would otherwise start in the block, and unblock the signals at its end
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PARENT_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- in the child ------------------------------------------------------------------------------------------------------


def sweep_for_parent(connection: Connection, config: SweeperConfig, delete_limit: DeleteLimit | None) -> None:
    """Sweep the ranges that the parent sends, until it sends Exit or is gone."""
    for number in _PARENT_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    limit_malloc_arenas()
    relax_gc()
    spare_imported_modules()
    _Child(Channel(connection), config, delete_limit).run()
    os._exit(0)  # a range that is still in progress has no parent any more


class _Child:
    """The child's side of a `ProcessSweeper`."""

    def __init__(self, channel: Channel, config: SweeperConfig, delete_limit: DeleteLimit | None) -> None:
        self._channel, self._config, self._delete_limit = channel, config, delete_limit
        self._events = EventForwarder(channel)
        self._sweeper: LocalSweeper | None = None
        self._deadline = Deadline()
        self._release_requests: dict[int, Deadline] = {}

    def run(self) -> None:
        with pauses_until(self._deadline):
            self._process_messages()

    def _process_messages(self) -> None:
        for message in self._channel.messages():
            match message:
                case SweepRange(number, range_):
                    self._start(number, range_)
                case ReleaseRest(number):
                    if (request := self._release_requests.get(number)) is not None:  # the range may have just ended
                        request.stop()
                case Stop():
                    self._deadline.stop()
                case Exit():
                    self._events.flush()
                    return

    def _start(self, number: int, range_: Range) -> None:
        """Sweep the range in a thread. The first range connects to the stores, and reports a failure of that."""
        try:
            if self._sweeper is None:
                outages = OutageForwarder(self._channel)
                self._sweeper = LocalSweeper(self._config, self._events, outages, self._delete_limit, self._deadline)
                self._events.sweeper = self._sweeper
        except Exception as error:
            self._send(RangeFailed(number, _picklable(error)))
            return
        self._release_requests[number] = request = self._deadline.sooner()
        arguments = (self._sweeper, number, range_, request)
        threading.Thread(target=self._sweep, args=arguments, daemon=True).start()

    def _sweep(self, sweeper: LocalSweeper, number: int, range_: Range, request: Deadline) -> None:
        def release_rest(after: str) -> None:
            self._send(RestReleased(number, after))

        try:
            unfinished = sweeper.sweep(range_, self._deadline, request, release_rest)
        except BaseException as error:
            self._send(RangeFailed(number, _picklable(error)))
        else:
            self._send(RangeEnded(number, unfinished))
        finally:
            del self._release_requests[number]

    def _send(self, message: RestReleased | RangeEnded | RangeFailed) -> None:
        """Send the message after all events that precede it."""
        with suppress(OSError):  # the parent is gone, and `run` returns
            self._events.flush()
            self._channel.send(message)


class EventForwarder:
    """Send the events of a sweep to the parent every SEND_S seconds; a `sync.protocols.SweepListener`."""

    def __init__(self, channel: Channel) -> None:
        self._channel, self._lock = channel, threading.Lock()
        self._events: deque[Event] = deque()
        self.sweeper: LocalSweeper | None = None
        threading.Thread(target=self._send_repeatedly, name="events", daemon=True).start()

    def on_compared(self, keys: int) -> None:
        self._events.append(KeysCompared(keys))

    def on_changed(self, key: str, outcome: Outcome) -> None:
        self._events.append(KeyChanged(key, outcome))

    def on_skipped(self, key: str, outcome: Outcome) -> None:
        self._events.append(KeySkipped(key, outcome))

    def on_failed(self, key: str, error: SyncError) -> None:
        self._events.append(KeyFailed(key, _picklable(error)))

    def on_uncertain(self, key: str) -> None:
        self._events.append(KeyUncertain(key))

    def on_restart(self, why: str) -> None:
        self._events.append(Restarted(why))

    def flush(self) -> None:
        """Send all events. Raises OSError if the parent is gone."""
        with self._lock:  # or another thread could send a later message before these events
            events = [self._events.popleft() for _ in range(len(self._events))]
            self._channel.send(self._message(events))

    def _message(self, events: Sequence[Event]) -> Events:
        if self.sweeper is None:
            return Events(events, has_spare_capacity=False, concurrency=Concurrency())
        return Events(events, self.sweeper.has_spare_capacity, self.sweeper.concurrency)

    def _send_repeatedly(self) -> None:
        with suppress(OSError):  # the parent is gone, and `_Child.run` returns
            while True:
                time.sleep(SEND_S)
                self.flush()


class OutageForwarder:
    """Send the outages that the child notices to the parent; an `outage.OutageListener`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def on_outage(self, outage: Outage) -> None:
        self._send(OutageNoticed(outage))

    def on_recovery(self, outage: Outage) -> None:
        self._send(RecoveryNoticed(outage))

    def _send(self, message: OutageNoticed | RecoveryNoticed) -> None:
        with suppress(OSError):  # the parent is gone, and the child exits
            self._channel.send(message)


def _picklable(error: BaseException) -> SyncError:
    """Return the error without its cause, and of a class that the parent knows."""
    if isinstance(error, SyncError):
        plain = type(error)(error.reason, error.code, request_id=error.request_id)
        plain.args = (error.reason,)
        return plain
    return unexpected_failure(error)
