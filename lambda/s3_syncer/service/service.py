"""Run the long-running service: consume the queues, report its health, and stop it in order."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from ..core.circuit_breaker import CircuitBreaker
from ..core.deadline import Deadline
from ..queue.bus_events import Notify, circuit_opened, no_bus
from .health import Health, Status
from .options import ServiceOptions
from .processor import MessageQueue, MessageWorker
from .queue_consumer import QueueConsumer

logger = logging.getLogger(__name__)

#: Keys converged at a time in one range. Every slot may hold a range, and the clients have two connections a slot.
RANGE_THREADS = 2


class Service:
    """A service that runs once, until it is stopped. `clock` is in seconds and never goes back.

    `bulk` are the worker and the queue for bulk work, `deletions` those for deletions, if these have a queue. Their
    messages have other slots than the events, so no event waits for them.
    """

    def __init__(
        self,
        worker: MessageWorker,
        queue: MessageQueue,
        options: ServiceOptions,
        *,
        bulk: tuple[MessageWorker, MessageQueue] | None = None,
        deletions: tuple[MessageWorker, MessageQueue] | None = None,
        clock: Callable[[], float] = time.monotonic,
        notify: Notify = no_bus,
    ) -> None:
        self._options, self._stop = options, Deadline()

        def on_open(reason: str) -> None:
            # In another thread, because the thread with the failure has a message to release, without a heartbeat.
            threading.Thread(target=notify, args=(circuit_opened(reason),), name="events", daemon=True).start()

        circuit = partial(
            CircuitBreaker,
            first_s=options.pause_first_s,
            max_s=options.pause_max_s,
            log=True,
            clock=clock,
            on_open=on_open,
        )
        self._store_circuit = circuit()

        def consumer(worker: MessageWorker, queue: MessageQueue, concurrency: int) -> QueueConsumer:
            return QueueConsumer(
                worker,
                queue,
                options,
                concurrency=concurrency,
                circuit=circuit(),
                store_circuit=self._store_circuit,
                clock=clock,
                notify=notify,
            )

        self._consumers = {"queue": consumer(worker, queue, options.concurrency)}
        if bulk is not None:
            self._consumers["bulk queue"] = consumer(*bulk, options.bulk_concurrency)
        if deletions is not None:
            self._consumers["deletions queue"] = consumer(*deletions, options.deletion_concurrency)

    def run(self, stop: Deadline) -> None:
        """Process messages until `stop` is stopped. Return once every received message is deleted or released."""
        self._stop = stop
        options = self._options
        extra = {
            "concurrency": options.concurrency,
            "bulk_concurrency": options.bulk_concurrency if "bulk queue" in self._consumers else 0,
            "visibility_timeout_s": options.visibility_timeout_s,
        }
        logger.info("serving", extra=extra)
        consumers = self._consumers.values()
        for each in consumers:
            each.start(stop)
        while not stop.is_stopped:
            time.sleep(options.tick_s)
        logger.info("stopping", extra={"in_flight": self._in_flight, "shutdown_grace_s": options.shutdown_grace_s})
        grace_end = Deadline.after(options.shutdown_grace_s)
        for each in consumers:
            each.processor.wait_until_idle(grace_end.timeout())
        for each in consumers:
            each.processor.stop()
        for each in consumers:
            each.join()
        logger.info("stopped", extra={**self._totals})

    def release_all(self) -> None:
        """Release all messages in flight at once, because the process ends before their work does.

        A message comes back later if a write to one of its keys may still take effect.
        """
        for each in self._consumers.values():
            each.release_all()
        logger.warning("stopped before all work ended", extra={"in_flight": self._in_flight, **self._totals})

    def health(self) -> Health:
        """Return the health of the service. An unusable store or queue makes it degraded, not stuck."""
        status, reason = self._status()
        return Health(
            status=status,
            reason=reason,
            in_flight=self._in_flight,
            last_poll_s=round(self._consumers["queue"].last_poll_s, 1),
            **self._totals,
        )

    @property
    def _in_flight(self) -> int:
        return sum(each.processor.in_flight for each in self._consumers.values())

    @property
    def _totals(self) -> dict[str, int]:
        totals: Counter[str] = Counter()
        for each in self._consumers.values():
            totals.update(each.processor.totals)
        return dict(totals)

    def _status(self) -> tuple[Status, str]:
        if self._stop.is_stopped:
            return "stopping", "the service was asked to stop"
        for name, each in self._consumers.items():
            if reason := each.stuck_reason:
                return "stuck", reason if name == "queue" else f"{name}: {reason}"
        for circuit in (*(each.circuit for each in self._consumers.values()), self._store_circuit):
            if not circuit.is_closed:
                return "degraded", circuit.reason
        return "ok", ""
