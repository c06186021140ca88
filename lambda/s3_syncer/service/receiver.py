"""Receive messages, never more than there are free slots, so that no message waits for a slow one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import wait

from ..core.circuit_breaker import CircuitBreaker
from ..core.deadline import Deadline
from ..core.errors import SyncError, unexpected_failure
from .heartbeat import VisibilityHeartbeat
from .processor import MessageProcessor, MessageQueue
from .watchdog import Watchdog

logger = logging.getLogger(__name__)

#: Seconds within which SQS responds after the wait of a poll. If a response takes longer, the process may have been
#: stopped while the visibility timeout of the messages in it ran.
RESPONSE_MAX_S = 5.0


class Receiver:
    """The loop that polls the queue and starts the messages in the slots.

    It pauses while one of two circuit breakers is open: `queue_circuit` for the queue, `store_circuit` for the source
    and the target. While `store_circuit` is not closed, it receives one message at a time, as a trial. More would waste
    deliveries: SQS counts each of them, and moves a message that was delivered too often to the dead-letter queue.
    """

    def __init__(
        self,
        queue: MessageQueue,
        processor: MessageProcessor,
        heartbeat: VisibilityHeartbeat,
        watchdog: Watchdog,
        *,
        queue_circuit: CircuitBreaker,
        store_circuit: CircuitBreaker,
        visibility_timeout_s: int,
        wait_s: int,
        tick_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue, self._processor, self._heartbeat, self._watchdog = queue, processor, heartbeat, watchdog
        self._queue_circuit, self._store_circuit = queue_circuit, store_circuit
        self._visibility_timeout_s, self._wait_s, self._tick_s, self._clock = (
            visibility_timeout_s,
            wait_s,
            tick_s,
            clock,
        )

    def run(self, stop: Deadline) -> None:
        """Receive messages until `stop` is stopped. After a failure, log it and pause."""
        while not stop.is_stopped:
            self._watchdog.touch("receive")
            try:
                self._receive(stop)
            except SyncError as error:
                self._queue_circuit.record_failure(error.reason)
            except Exception as error:  # a bug: a service that tries again is better than one that ends
                logger.exception("unexpected failure")
                self._queue_circuit.record_failure(unexpected_failure(error).reason)

    def _receive(self, stop: Deadline) -> None:
        """Receive as many messages as there are free slots, and start them.

        While that is not possible, wait for a tick.
        """
        if (retry_in_s := max(self._queue_circuit.retry_in_s(), self._store_circuit.retry_in_s())) > 0:
            time.sleep(min(retry_in_s, self._tick_s))
            return
        if not (free := self._processor.free_slots(self._tick_s)):
            return
        is_trial = not self._store_circuit.is_closed
        asked_at = self._clock()
        messages = self._queue.receive(
            1 if is_trial else free,
            visibility_timeout_s=self._visibility_timeout_s,
            wait_s=self._wait_s,
        )
        self._watchdog.touch("response")
        self._queue_circuit.record_success()
        if stop.is_stopped:
            self._queue.release({message.receipt: 0 for message in messages})
            return
        is_delayed = self._clock() - asked_at > self._wait_s + RESPONSE_MAX_S
        self._heartbeat.add(messages, asked_at if is_delayed else self._clock())
        started = [self._processor.start(message) for message in messages]
        while is_trial and wait(started, timeout=self._tick_s).not_done and not stop.is_stopped:
            self._watchdog.touch("receive")
