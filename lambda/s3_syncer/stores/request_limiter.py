"""Hold the requests to one store to the number that `core/concurrency_limit.py` allows.

A request has a permit from its begin to the end of its response. Threads and callbacks wait for a permit in one queue,
in order. A request that a thread makes inside another request to the same store uses the permit of that request.

No wait for a permit can be a deadlock. A permit of the target is held for one request only, which waits for nothing
else. A thread that holds a permit of the source may wait for one of the target, never the other way round.

boto3 repeats attempts by itself. So `note_status` takes the status of each attempt for the permit of the thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

from ..core import fence
from ..core.concurrency_limit import ConcurrencyLimit
from ..core.errors import BUSY_STATUSES
from ..core.units import KIB

logger = logging.getLogger(__name__)

#: Seconds within which a waiting thread notices a stop, or the end of a pause.
_TICK_S = 0.25


def request_kind(operation: str, size: int = 0) -> Hashable:
    """Return the kind of a request that moves `size` bytes.

    The sizes of one kind differ by a factor of up to 4. Up to 64 KiB, they are one kind.
    """
    return operation, (size // (64 * KIB)).bit_length() // 2


def is_throttled(status: int) -> bool:
    """Return True if a response with this status asks to slow down."""
    return status in BUSY_STATUSES


class Permit:
    """The permission for one request, over all of its attempts. Only the last attempt shows the latency.

    As a context manager, it is the permit of the thread inside the block, and ends with it. With `is_inner`, the
    request is part of one that has a permit, and is not counted.
    """

    def __init__(
        self, limiter: RequestLimiter, kind: Hashable, outer: Permit | None = None, *, is_inner: bool = False
    ) -> None:
        self.limiter, self.kind, self.outer, self._is_inner = limiter, kind, outer, is_inner
        #: The begin of the last attempt; None before the first one, and after one that shows nothing about the store.
        self.began: float | None = None

    def __enter__(self) -> Permit:
        self._before = _permit.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _permit.reset(self._before)
        self.end()

    def end(self) -> None:
        """End the request, and begin those that waited for it."""
        if not self._is_inner:
            self.limiter.end(self)

    def begin(self) -> None:
        """Note that an attempt begins."""
        self.began = self.limiter.clock()

    def note_status(self, status: int) -> None:
        """Note the status of the response to the attempt; 0 is no response."""
        if status == 0:
            self.note_lost()
        elif is_throttled(status):
            self.note_throttled()

    def note_throttled(self) -> None:
        """Note that the store asked to slow down. Ignored if the attempt was noted already."""
        self.limiter.note(self, ConcurrencyLimit.on_throttled)

    def note_lost(self) -> None:
        """Note that the attempt got no response. Ignored if the attempt was noted already."""
        self.limiter.note(self, ConcurrencyLimit.on_lost)

    def void(self) -> None:
        """Note that the request shows nothing about the store, for example because it was given up."""
        self.began = None


@dataclass(slots=True, eq=False)
class _Waiter:
    """A request that waits for a permit.

    `turn` is called with True when the request may begin. Unless the waiter is patient, it is called with False during
    a pause.
    """

    turn: Callable[[bool], object]
    is_patient: bool


class RequestLimiter:
    """Limits the requests in flight to one store. Safe to share between threads."""

    def __init__(self, limit: ConcurrencyLimit, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self.clock = limit, clock
        self._lock = threading.Lock()
        self._in_flight = 0
        self._waiting: deque[_Waiter] = deque()
        self._turns = threading.local()

    @property
    def value(self) -> int:
        """The number of requests that may be in flight now."""
        return self._limit.value

    def acquire(self, kind: Hashable, check: Callable[[], object] = lambda: None) -> Permit:
        """Wait for the permit for one request. Call `Permit.begin` for each attempt, and end the permit.

        While it waits, it calls `check` again and again, which may end the wait with an exception.
        """
        outer = _permit.get()
        is_inner = self._is_held(outer)
        if not is_inner:
            self._wait(check)
        return Permit(self, kind, outer, is_inner=is_inner)

    def begin(self, kind: Hashable, turn: Callable[[Permit | None], object]) -> None:
        """Call `turn` with a permit as soon as the request may begin. The caller ends the permit.

        Call it with None during a pause, and if one begins: a caller that does not occupy a thread need not wait.
        Another thread may call it later. There it has the fence of this thread.
        """

        with self._lock:
            may_begin = self._take()
            if not may_begin and not self._pauses:
                later = fence.carried(partial(self._turn, kind, turn))
                self._waiting.append(_Waiter(later, is_patient=False))
                return
        self._turn(kind, turn, may_begin)

    def _turn(self, kind: Hashable, turn: Callable[[Permit | None], object], may_begin: bool) -> None:
        permit = None
        if may_begin:
            permit = Permit(self, kind)
            permit.begin()
        turn(permit)

    def end(self, permit: Permit) -> None:
        """Take the permit back: see `Permit.end`."""
        with self._lock:
            if permit.began is not None:
                self._limit.on_response(permit.kind, permit.began, self.clock(), self._in_flight)
            self._in_flight -= 1
            turns = self._next_turns() if self._waiting else None
        if turns:
            self._run(turns)

    def note(self, permit: Permit, how: Callable[[ConcurrencyLimit, float, float], None]) -> None:
        """Note the end of an attempt, unless that is done: `how` is a method of the limit."""
        with self._lock:
            if permit.began is None:
                return
            how(self._limit, permit.began, self.clock())
            permit.void()

    def restart(self) -> None:
        """Begin again with the first limit: see `ConcurrencyLimit.restart`."""
        with self._lock:
            self._limit.restart()
        self._pass_on()

    @property
    def _pauses(self) -> bool:
        return self._limit.pause_s(self.clock()) > 0

    def _is_held(self, permit: Permit | None) -> bool:
        """Return True if this permit, or one around it, is of this store."""
        while permit is not None and permit.limiter is not self:
            permit = permit.outer
        return permit is not None

    def _take(self) -> bool:
        """Count one more request in flight, if it may begin before those that wait. The caller has the lock."""
        if self._waiting or self._in_flight >= self._limit.value or self._pauses:
            return False
        self._in_flight += 1
        return True

    def _wait(self, check: Callable[[], object]) -> None:
        with self._lock:
            if self._take():
                return
            may_begin = threading.Event()
            waiter = _Waiter(lambda _: may_begin.set(), is_patient=True)
            self._waiting.append(waiter)
        try:
            while not may_begin.wait(_TICK_S):
                check()
                self._pass_on()  # a pause may be over
        except BaseException:
            with self._lock:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
                else:
                    self._in_flight -= 1
            self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Let the next requests begin, if any may."""
        with self._lock:
            turns = self._next_turns()
        self._run(turns)

    def _next_turns(self) -> list[tuple[_Waiter, bool]]:
        """Return the waiters that have their turn, and True if they may begin. The caller has the lock."""
        turns: list[tuple[_Waiter, bool]] = []
        if self._pauses:
            turns = [(waiter, False) for waiter in self._waiting if not waiter.is_patient]
            self._waiting = deque(waiter for waiter in self._waiting if waiter.is_patient)
            return turns
        while self._waiting and self._in_flight < self._limit.value:
            self._in_flight += 1
            turns.append((self._waiting.popleft(), True))
        return turns

    def _run(self, turns: list[tuple[_Waiter, bool]]) -> None:
        if not turns:
            return
        # A turn may end a request at once, and so call this method again: the outer call then takes over.
        if (pending := getattr(self._turns, "pending", None)) is not None:
            pending.extend(turns)
            return
        self._turns.pending = pending = deque(turns)
        try:
            while pending:
                waiter, may_begin = pending.popleft()
                try:
                    waiter.turn(may_begin)
                except Exception:  # a fault of this program: the other turns have their permits already
                    logger.exception("unexpected failure")
        finally:
            self._turns.pending = None


@dataclass(frozen=True, slots=True)
class RequestLimiters:
    """The limiters of both stores; None limits nothing."""

    source: RequestLimiter | None = None
    target: RequestLimiter | None = None

    @classmethod
    def up_to(cls, most: int) -> RequestLimiters:
        """Return limiters that allow at most so many requests at a time to each store."""
        return cls(RequestLimiter(ConcurrencyLimit(most)), RequestLimiter(ConcurrencyLimit(most)))


NO_LIMITERS = RequestLimiters()

_permit: ContextVar[Permit | None] = ContextVar("permit", default=None)


def begin_attempt() -> None:
    """Note that an attempt of the request of this thread begins."""
    if (permit := _permit.get()) is not None:
        permit.begin()


def ignore_latency() -> None:
    """Note that the time of the attempt of this thread shows nothing about the store."""
    if (permit := _permit.get()) is not None:
        permit.void()


def note_status(status: int) -> None:
    """Note the status of the response to the attempt of this thread; 0 is no response."""
    if (permit := _permit.get()) is not None:
        permit.note_status(status)
