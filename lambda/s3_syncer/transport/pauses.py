"""Decide when boto3 makes the requests of a transport at once.

boto3 repeats each request that gets no ordinary response over the transport. That can help: boto3 tries several times,
renews credentials, follows a redirect to another region and reads unusual responses. But a store that responds so to
every request would receive each of them twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..core import fence
from ..core.circuit_breaker import CircuitBreaker
from ..stores.request_limiter import is_throttled
from .protocols import HttpResponse, concerns_store

#: Seconds for which boto3 makes the requests, after a store failed or refused several. The copiers over awscrt pause as
#: long.
PAUSE_S = 5.0

#: Requests in a row with a 5xx, or without a response, that show that a store fails as a whole. A single one shows
#: nothing: each store fails a request now and then.
FAILURES_IN_A_ROW = 4

#: Unusual responses in a row that show that an operation has no usual ones. A single one may concern one key.
UNUSUAL_IN_A_ROW = 2

#: Stands for all operations.
_ALL = ""


def store_circuit(
    clock: Callable[[], float], *, max_s: float | None = None, trip_after: int = FAILURES_IN_A_ROW
) -> CircuitBreaker:
    """Return a circuit for requests that boto3 can make instead. Its pauses double up to `max_s`."""
    return CircuitBreaker(first_s=PAUSE_S, max_s=max_s or PAUSE_S, trip_after=trip_after, clock=clock)


def note_store_failure(circuit: CircuitBreaker, response: HttpResponse) -> None:
    """Record a response, or its absence, that concerns the whole store: see `concerns_store`."""
    circuit.record_failure(is_certain=0 < response.status < 500)


class Pauses:
    """The pauses of the transport of one bucket. Safe to share between threads.

    - After a response that refuses requests to the whole store, all operations pause. So they do after
      FAILURES_IN_A_ROW requests with a 5xx or without a response.
    - After UNUSUAL_IN_A_ROW other unusual responses, the operation pauses.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: By operation, and only after a failure: an ordinary request finds nothing here.
        self._circuits: dict[str, CircuitBreaker] = {}

    def is_paused(self, operation: str) -> bool:
        """Return True if boto3 makes this request."""
        return any(self._circuits[name].is_open for name in (_ALL, operation) if name in self._circuits)

    def note(self, operation: str, response: HttpResponse, *, is_ordinary: bool) -> None:
        """Note the response to a request. Without an ordinary one, boto3 makes the request again.

        Raises OutOfTime if the work was given up: that request says nothing about the store.
        """
        if not is_ordinary:
            fence.ensure_open()
            if is_throttled(response.status):
                return  # its limiter slows down the requests to a busy store
            if concerns_store(response):
                note_store_failure(self._circuit(_ALL, FAILURES_IN_A_ROW), response)
                return
        self._end_trial(_ALL)
        if is_ordinary:
            self._end_trial(operation)
        else:
            self._circuit(operation, UNUSUAL_IN_A_ROW).record_failure()

    def _circuit(self, operation: str, trip_after: int) -> CircuitBreaker:
        return self._circuits.setdefault(operation, store_circuit(self._clock, trip_after=trip_after))

    def _end_trial(self, operation: str) -> None:
        if (circuit := self._circuits.get(operation)) is not None:
            circuit.end_trial()
