"""Consume one queue: poll it, process its messages in slots, and extend their visibility.

The service has one consumer for each queue. They share the stores and nothing else. So a message of one queue waits
neither for a slot nor for a poll of the other queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ..core.circuit_breaker import CircuitBreaker
from ..core.deadline import Deadline
from ..core.fence import LATE_WRITE_S
from ..queue.bus_events import Notify, no_bus
from .heartbeat import VisibilityHeartbeat
from .options import ServiceOptions
from .processor import MessageProcessor, MessageQueue, MessageWorker
from .receiver import Receiver
from .watchdog import THREAD_MAX_S, Watchdog

logger = logging.getLogger(__name__)


class QueueConsumer:
    """The threads for one queue, with `concurrency` slots.

    `circuit` is for the queue, and `store_circuit` belongs to all consumers. `notify` gets the dead letters.
    """

    def __init__(
        self,
        worker: MessageWorker,
        queue: MessageQueue,
        options: ServiceOptions,
        *,
        concurrency: int,
        circuit: CircuitBreaker,
        store_circuit: CircuitBreaker,
        clock: Callable[[], float] = time.monotonic,
        notify: Notify = no_bus,
    ) -> None:
        self._queue = queue
        self._watchdog = Watchdog(clock)
        self.circuit = circuit
        self._heartbeat = VisibilityHeartbeat(queue, visibility_timeout_s=options.visibility_timeout_s, clock=clock)
        self.processor = MessageProcessor(
            worker,
            queue,
            self._heartbeat,
            store_circuit,
            concurrency=concurrency,
            abort_grace_s=options.abort_grace_s,
            on_progress=lambda: self._watchdog.touch("work"),
            notify=notify,
        )
        self._receiver = Receiver(
            queue,
            self.processor,
            self._heartbeat,
            self._watchdog,
            queue_circuit=self.circuit,
            store_circuit=store_circuit,
            visibility_timeout_s=options.visibility_timeout_s,
            wait_s=options.receive_wait_s,
            tick_s=options.tick_s,
            clock=clock,
        )
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, stop: Deadline) -> None:
        """Receive and process messages until `stop` is stopped."""
        self._threads = [
            threading.Thread(target=self._receiver.run, args=(stop,), name="receiver", daemon=True),
            threading.Thread(target=self._extend_visibility, name="heartbeat", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """After the stop, wait until every received message is deleted or released, and end the threads."""
        receiving, extending = self._threads
        # A poll in flight may still return messages. The receiver releases them: else they stay hidden for a while.
        receiving.join()
        self.processor.wait_until_idle()
        self._ended.set()
        extending.join()
        self.processor.close()

    def release_all(self) -> None:
        """Release all messages in flight at once.

        A message comes back later if a write to one of its keys may still take effect.
        """
        uncertain = self.processor.give_up()
        messages = self._heartbeat.clear()
        self._queue.release({each.receipt: LATE_WRITE_S if each.receipt in uncertain else 0 for each in messages})

    @property
    def last_poll_s(self) -> float:
        """Return the seconds since the queue last responded to a poll."""
        return self._watchdog.idle_s("response")

    @property
    def stuck_reason(self) -> str:
        """Return the reason for which a thread counts as stuck, or an empty text."""
        return self._watchdog.stuck_reason(in_flight=self.processor.in_flight)

    def _extend_visibility(self) -> None:
        """Extend the visibility of the messages in flight until the end."""
        while not self._ended.wait(min(self._heartbeat.interval_s, THREAD_MAX_S / 4)):
            self._watchdog.touch("heartbeat")
            try:
                self._heartbeat.extend_due()
            except Exception:  # a bug: the next extension may succeed
                logger.exception("unexpected failure")
