"""Run the long-running service: wire its parts, report its health, and stop it in order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..core.circuit_breaker import CircuitBreaker
from ..core.deadline import Deadline
from ..core.fence import LATE_WRITE_S
from .health import Health, Status
from .heartbeat import VisibilityHeartbeat
from .processor import MessageProcessor, MessageQueue, MessageWorker
from .receiver import Receiver
from .watchdog import THREAD_MAX_S, Watchdog

logger = logging.getLogger(__name__)

#: Keys converged at a time in one range. Every slot may hold a range, and the clients have two connections a slot.
RANGE_THREADS = 2


@dataclass(frozen=True, kw_only=True)  # no slots, so that the class has the defaults as attributes
class ServiceOptions:
    """The settings of a service; all times are in seconds."""

    #: Messages processed at a time.
    concurrency: int
    #: Time for which SQS hides a message, extended while the work on it runs.
    visibility_timeout_s: int
    #: Time that work in flight has to end after a stop.
    shutdown_grace_s: float
    #: Time after the shutdown grace to abort uploads. SQS gets as long again to take the messages back.
    abort_grace_s: float = 10.0
    #: Time that a poll waits for a message. 20 is the maximum of SQS: an idle service sends three requests a minute.
    receive_wait_s: int = 20
    #: First and longest pause after a store or the queue was unusable; each pause is twice as long as the one before.
    pause_first_s: float = 5.0
    pause_max_s: float = 60.0
    #: Time within which a waiting thread notices a change.
    tick_s: float = 0.2

    @property
    def stop_timeout_s(self) -> float:
        """Return the time after which a stopped service has ended, or hangs."""
        return self.shutdown_grace_s + 2 * self.abort_grace_s


class Service:
    """A service that runs once, until it is stopped. `clock` is in seconds and never goes back."""

    def __init__(
        self,
        worker: MessageWorker,
        queue: MessageQueue,
        options: ServiceOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue, self._options = queue, options
        self._stop = Deadline()
        self._watchdog = Watchdog(clock)
        first_s, max_s = options.pause_first_s, options.pause_max_s
        self._store_circuit = CircuitBreaker(first_s=first_s, max_s=max_s, log=True, clock=clock)
        self._queue_circuit = CircuitBreaker(first_s=first_s, max_s=max_s, log=True, clock=clock)
        self._heartbeat = VisibilityHeartbeat(queue, visibility_timeout_s=options.visibility_timeout_s, clock=clock)
        self._processor = MessageProcessor(
            worker,
            queue,
            self._heartbeat,
            self._store_circuit,
            concurrency=options.concurrency,
            abort_grace_s=options.abort_grace_s,
            on_progress=lambda: self._watchdog.touch("work"),
        )
        self._receiver = Receiver(
            queue,
            self._processor,
            self._heartbeat,
            self._watchdog,
            queue_circuit=self._queue_circuit,
            store_circuit=self._store_circuit,
            visibility_timeout_s=options.visibility_timeout_s,
            wait_s=options.receive_wait_s,
            tick_s=options.tick_s,
            clock=clock,
        )

    def run(self, stop: Deadline) -> None:
        """Process messages until `stop` is stopped. Return once every received message is deleted or released."""
        self._stop = stop
        ended = threading.Event()
        receiving = threading.Thread(target=self._receiver.run, args=(stop,), name="receiver", daemon=True)
        extending = threading.Thread(target=self._extend_visibility, args=(ended,), name="heartbeat", daemon=True)
        options = self._options
        extra = {"concurrency": options.concurrency, "visibility_timeout_s": options.visibility_timeout_s}
        logger.info("serving", extra=extra)
        receiving.start()
        extending.start()
        while not stop.is_stopped:
            time.sleep(options.tick_s)
        in_flight = self._processor.in_flight
        logger.info("stopping", extra={"in_flight": in_flight, "shutdown_grace_s": options.shutdown_grace_s})
        self._processor.wait_until_idle(options.shutdown_grace_s)
        self._processor.stop()
        # A poll in flight may still return messages. The receiver releases them: else they stay hidden for a while.
        receiving.join()
        self._processor.wait_until_idle()
        ended.set()
        extending.join()
        self._processor.close()
        logger.info("stopped", extra={**self._processor.totals})

    def release_all(self) -> None:
        """Release all messages in flight at once, because the process ends before their work does.

        A message comes back later if a write to one of its keys may still take effect.
        """
        uncertain = self._processor.give_up()
        messages = self._heartbeat.clear()
        self._queue.release({each.receipt: LATE_WRITE_S if each.receipt in uncertain else 0 for each in messages})
        extra = {"in_flight": self._processor.in_flight, **self._processor.totals}
        logger.warning("stopped before all work ended", extra=extra)

    def health(self) -> Health:
        """Return the health of the service. An unusable store or queue makes it degraded, not stuck."""
        status, reason = self._status()
        return Health(
            status=status,
            reason=reason,
            in_flight=self._processor.in_flight,
            last_poll_s=round(self._watchdog.idle_s("response"), 1),
            **self._processor.totals,
        )

    def _status(self) -> tuple[Status, str]:
        if self._stop.is_stopped:
            return "stopping", "the service was asked to stop"
        if reason := self._watchdog.stuck_reason(in_flight=self._processor.in_flight):
            return "stuck", reason
        for breaker in (self._queue_circuit, self._store_circuit):
            if not breaker.is_closed:
                return "degraded", breaker.reason
        return "ok", ""

    def _extend_visibility(self, ended: threading.Event) -> None:
        """Extend the visibility of the messages in flight until `ended` is set."""
        while not ended.wait(min(self._heartbeat.interval_s, THREAD_MAX_S / 4)):
            self._watchdog.touch("heartbeat")
            try:
                self._heartbeat.extend_due()
            except Exception:  # a bug: the next extension may succeed
                logger.exception("unexpected failure")
