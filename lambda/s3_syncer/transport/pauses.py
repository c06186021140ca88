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

#: Seconds for which boto3 makes the requests.
PAUSE_S = 5.0

#: Stands for all operations.
_ALL = ""


class Pauses:
    """The pauses of the transport of one bucket. Safe to share between threads.

    - After a response that concerns the whole store, and after none, all operations pause.
    - After another unusual response, the operation pauses if its response before was unusual as well. A single one
      may concern one key.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._circuits: dict[str, CircuitBreaker] = {}
        #: The operations with an unusual response that no ordinary one has followed.
        self._unusual: set[str] = set()

    def is_paused(self, operation: str) -> bool:
        """Return True if boto3 makes this request."""
        return self._circuit(_ALL).is_open or self._circuit(operation).is_open

    def note(self, operation: str, response: HttpResponse, *, is_ordinary: bool) -> None:
        """Note the response to a request. Without an ordinary one, boto3 makes the request again.

        Raises OutOfTime if the work was given up: that request says nothing about the store.
        """
        if not is_ordinary:
            fence.ensure_open()
            if is_throttled(response.status):
                return  # its limiter slows down the requests to a busy store
            if concerns_store(response):
                self._circuit(_ALL).record_failure()
                return
        _end_trial(self._circuit(_ALL))
        if is_ordinary:
            self._unusual.discard(operation)
            _end_trial(self._circuit(operation))
        elif operation in self._unusual:
            self._circuit(operation).record_failure()
        else:
            self._unusual.add(operation)

    def _circuit(self, operation: str) -> CircuitBreaker:
        found = self._circuits.get(operation)
        return found or self._circuits.setdefault(
            operation, CircuitBreaker(first_s=PAUSE_S, max_s=PAUSE_S, clock=self._clock)
        )


def _end_trial(circuit: CircuitBreaker) -> None:
    """Close the circuit if its pause is over. A response during the pause may be to an earlier request."""
    if circuit.is_half_open:
        circuit.record_success()
