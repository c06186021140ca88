"""Wait while a store is unavailable, and then continue every request where it was.

A request that fails because its store serves no request at all opens the gate's circuit. All requests to that store
then wait, in every thread. One thread of the gate sends a harmless request after each pause, until the store serves it.
Nothing is lost meanwhile: pages, keys and parts only wait. After the timeout every waiting request fails.

A request for which the store is too busy is repeated. How many requests the store gets meanwhile is decided by its
limiter: see `stores/request_limiter.py`. If the store serves no request of a kind until the timeout, all requests fail.

A store that has not responded once is not waited for: the endpoint may be wrong.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ...core.backoff import Backoff
from ...core.circuit_breaker import CircuitBreaker
from ...core.deadline import Deadline, OutOfTime
from ...core.errors import Busy, StoreUnavailable, StoreUnusable, SyncError, Transient
from ...stores.request_limiter import NO_LIMITERS, RequestLimiter, RequestLimiters
from ...wiring import RequestGates

logger = logging.getLogger(__name__)

#: Seconds without a response from a store after which a command gives up.
OUTAGE_TIMEOUT_S = 900.0

#: First and longest pause in seconds between two attempts to reach the store.
PAUSE_FIRST_S, PAUSE_MAX_S = 1.0, 30.0

#: Repeats of a request that fails although the store serves other requests, each after all attempts of boto3. A store
#: that is too busy for a request serves it sooner or later: with their delays, so many repeats take about
#: OUTAGE_TIMEOUT_S. Any other error may be lasting, and then fails the key.
BUSY_REPEATS, OTHER_REPEATS = 40, 2

#: Delay before such a repeat. Half of it is jitter: requests that failed together must not return together.
REPEAT = Backoff(base_s=1.0, cap_s=30.0, jitter=0.5)

#: The names of the stores that are read and written: of a restore, and of every other command.
STORES, RESTORE_STORES = ("the source", "the target"), ("the mirror", "the bucket")

#: Seconds within which a waiting request notices a stop.
_TICK_S = 0.25


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage of a store, as one process notices it. It is sent between processes."""

    store: str
    process: int
    reason: str
    retry_at: datetime
    gives_up_at: datetime

    def __str__(self) -> str:
        """Return the line for people."""
        retry_in_s = max(0.0, (self.retry_at - datetime.now().astimezone()).total_seconds())
        return (
            f"{self.store} does not respond: waiting, retry in {retry_in_s:.0f} s, "
            f"gives up at {self.gives_up_at:%H:%M} (--outage-timeout)"
        )


class OutageListener(Protocol):
    """Receives the outages of the stores, from several threads."""

    def on_outage(self, outage: Outage) -> None:
        """Note that a store is unavailable, at the begin of each pause."""

    def on_recovery(self, outage: Outage) -> None:
        """Note that the store serves requests again."""


class WaitEnd:
    """Ends the waits of all gates of a process: at the deadline, or with the error that ends the command.

    Without the shared error, a command that one store refuses would still wait for the other store.
    """

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._error: SyncError | None = None

    def follow(self, deadline: Deadline) -> None:
        """End the waits at this deadline from now on."""
        self._deadline = deadline

    def fail(self, error: SyncError) -> None:
        """End the waits with this error, unless another error has ended them."""
        self._error = self._error or error

    def check(self) -> None:
        """Raise the error, or OutOfTime if the deadline has passed."""
        if self._error is not None:
            raise self._error
        self._deadline.check()

    def sleep(self, seconds: float) -> None:
        """Wait that many seconds. Raises as `check` does."""
        while seconds > 0:
            self.check()
            self._deadline.sleep(min(seconds, _TICK_S))
            seconds -= _TICK_S
        self.check()


class OutageGate:
    """Holds the requests to one store; a `stores.protocols.RequestGate`. Safe to share between threads."""

    def __init__(
        self,
        store: str,
        listener: OutageListener,
        end: WaitEnd,
        *,
        timeout_s: float,
        has_responded: bool = False,
        limiter: RequestLimiter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._listener, self._end, self._limiter = store, listener, end, limiter
        self._timeout_s, self._has_responded, self._clock = timeout_s, has_responded, clock
        self._circuit = CircuitBreaker(first_s=PAUSE_FIRST_S, max_s=PAUSE_MAX_S, clock=clock)
        self._changed = threading.Condition()

    def wait(self) -> None:
        if self._circuit.is_closed:
            return
        with self._changed:
            while not self._circuit.is_closed:
                self._end.check()
                self._changed.wait(_TICK_S)

    def check(self) -> None:
        self._end.check()

    def on_response(self) -> None:
        self._has_responded = True

    def may_repeat(self, error: SyncError, failures: int, probe: Callable[[], object], busy_s: float = 0.0) -> bool:
        if isinstance(error, StoreUnavailable):
            if not self._has_responded or not self._timeout_s:
                return False
            self._begin(error, probe)
            self.wait()
            return True
        if isinstance(error, StoreUnusable):
            self._end.fail(error)
        elif isinstance(error, Busy) and busy_s >= (self._timeout_s or OUTAGE_TIMEOUT_S):
            reason = self._gave_up(error, self._timeout_s or OUTAGE_TIMEOUT_S)
            lasting = StoreUnavailable(reason, error.code, request_id=error.request_id)
            self._end.fail(lasting)
            raise lasting
        elif isinstance(error, Transient) and failures <= self._repeats(error):
            self._end.sleep(REPEAT.delay_s(failures))
            return True
        return False

    def _repeats(self, error: Transient) -> int:
        """Return the number of repeats of a request with this error."""
        if isinstance(error, Busy):
            return BUSY_REPEATS
        return OTHER_REPEATS if self._timeout_s else 0

    def _gave_up(self, error: SyncError, after_s: float) -> str:
        return f"{error.reason}: gave up after {after_s:g} s (--outage-timeout)"

    def _begin(self, error: StoreUnavailable, probe: Callable[[], object]) -> None:
        with self._changed:
            if not self._circuit.is_closed:
                return
            self._circuit.record_failure(error.reason)
        watching = threading.Thread(target=self._watch, args=(error, probe), name="outage", daemon=True)
        watching.start()

    def _watch(self, error: SyncError, probe: Callable[[], object]) -> None:
        """Send a request after each pause, until the store serves it, refuses it, or the time is over.

        The waiting requests never wait for a thread that has ended: any failure ends their wait, too.
        """
        try:
            self._probe_repeatedly(error, probe)
        except OutOfTime:
            return  # the waiting requests notice the deadline as well
        except SyncError as lasting:
            self._end.fail(lasting)
        except Exception as fault:
            logger.exception("unexpected failure")
            self._end.fail(StoreUnavailable(f"{error.reason}; the wait for it failed: {fault}", error.code))

    def _probe_repeatedly(self, error: SyncError, probe: Callable[[], object]) -> None:
        began = self._clock()
        gives_up_at = datetime.now().astimezone() + timedelta(seconds=self._timeout_s)
        while True:
            left_s = began + self._timeout_s - self._clock()
            if left_s <= 0:
                raise StoreUnavailable(self._gave_up(error, self._timeout_s), error.code)
            pause_s = min(self._circuit.retry_in_s(), left_s)
            retry_at = datetime.now().astimezone() + timedelta(seconds=pause_s)
            outage = Outage(self._store, os.getpid(), error.reason, retry_at, gives_up_at)
            self._listener.on_outage(outage)
            self._end.sleep(pause_s)
            try:
                probe()
            except Transient as still:
                error = still
                self._circuit.record_failure(error.reason)
                continue
            except (StoreUnusable, OutOfTime):
                raise
            except SyncError:  # a response all the same, such as "access denied"
                pass
            if self._limiter is not None:
                self._limiter.restart()
            with self._changed:
                self._circuit.record_success()
                self._changed.notify_all()
            self._listener.on_recovery(outage)
            return


def outage_gates(
    listener: OutageListener,
    end: WaitEnd,
    timeout_s: float,
    *,
    have_responded: bool = False,
    limiters: RequestLimiters = NO_LIMITERS,
    names: tuple[str, str] = STORES,
) -> RequestGates:
    """Return the gates of both stores.

    With a timeout of 0, an unavailable store is an error at once. A request for which a store is too busy is repeated
    all the same, as other tools do: the store serves other requests. After an outage, the limiter of the store begins
    again with few requests at a time.
    """

    def gate(store: str, limiter: RequestLimiter | None) -> OutageGate:
        return OutageGate(store, listener, end, timeout_s=timeout_s, has_responded=have_responded, limiter=limiter)

    source, target = names
    return RequestGates(gate(source, limiters.source), gate(target, limiters.target))


class OutageDisplay:
    """Shows the outages that all processes of a command notice; an `OutageListener`.

    Calls `announce` with one line when an outage begins, and one when it is over. Each pause is also a log record.
    """

    def __init__(self, announce: Callable[[str], None]) -> None:
        self._announce, self._lock = announce, threading.Lock()
        #: The outages that last, by store and process.
        self._outages: dict[tuple[str, int], Outage] = {}

    def __str__(self) -> str:
        """Return the outages that last as part of a line, or an empty text."""
        with self._lock:
            by_store = {outage.store: outage for outage in self._outages.values()}
        return " · ".join(map(str, by_store.values()))

    def on_outage(self, outage: Outage) -> None:
        with self._lock:
            is_new = not self._lasts(outage.store)
            self._outages[outage.store, outage.process] = outage
        extra = {"action": "outage", "reason": outage.reason, "gives_up_at": outage.gives_up_at.isoformat()}
        logger.warning("%s", outage, extra=extra)
        if is_new:
            self._announce(f"{outage} · {outage.reason}")

    def on_recovery(self, outage: Outage) -> None:
        with self._lock:
            self._outages.pop((outage.store, outage.process), None)
            is_over = not self._lasts(outage.store)
        if is_over:
            message = f"{outage.store} responds again"
            logger.info("%s", message)
            self._announce(message)

    def _lasts(self, store: str) -> bool:
        return any(found == store for found, _ in self._outages)
