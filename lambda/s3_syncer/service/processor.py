"""Process messages in a fixed number of slots, one message in each."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol

from ..core.circuit_breaker import CircuitBreaker
from ..core.deadline import Deadline
from ..core.errors import unexpected_failure
from ..core.fence import Fence, fenced
from ..queue.bus_events import Notify, dead_letters, no_bus
from ..queue.decision_log import log_failure
from ..queue.dispositions import DeadLetter, Disposition, Message, Retry, redelivery_delay_s
from .heartbeat import VisibilityExtender, VisibilityHeartbeat

logger = logging.getLogger(__name__)


class MessageQueue(VisibilityExtender, Protocol):
    """The requests to the queue that the service makes: see `queue.sqs.Queue`."""

    def receive(self, max_messages: int, *, visibility_timeout_s: int, wait_s: int) -> list[Message]: ...

    def send_and_release(
        self, messages: Iterable[Message], dispositions: Mapping[str, Disposition]
    ) -> list[Message]: ...

    def delete(self, messages: Sequence[Message]) -> None: ...

    def release(self, delays: Mapping[str, int]) -> None: ...


class MessageWorker(Protocol):
    """Decides on messages: see `queue.worker.Worker`."""

    def run(self, messages: Iterable[Message], deadline: Deadline, *, grace_s: float) -> dict[str, Disposition]: ...


class MessageProcessor:
    """The slots of the service, which share a deadline: none, until `stop`.

    A disposition applies as in the Lambda function, and `store_circuit` records whether a store was unusable.
    After `stop`, work in flight has `abort_grace_s` seconds to abort its upload. The work of a message sends nothing
    more once SQS may have delivered the message to another worker: see `core/fence.py`.
    """

    def __init__(
        self,
        worker: MessageWorker,
        queue: MessageQueue,
        heartbeat: VisibilityHeartbeat,
        store_circuit: CircuitBreaker,
        *,
        concurrency: int,
        abort_grace_s: float,
        on_progress: Callable[[], None],
        notify: Notify = no_bus,
    ) -> None:
        self._worker, self._queue, self._heartbeat, self._store_circuit = worker, queue, heartbeat, store_circuit
        self._concurrency, self._abort_grace_s, self._on_progress = concurrency, abort_grace_s, on_progress
        self._notify = notify
        self._slots = ThreadPoolExecutor(concurrency, thread_name_prefix="slot")
        self._deadline = Deadline()
        self._slot_freed = threading.Condition()
        self._in_flight = 0
        self._fences: dict[str, Fence] = {}  # by receipt handle
        self._counts: Counter[str] = Counter()

    @property
    def in_flight(self) -> int:
        """Return the number of messages in the slots."""
        return self._in_flight

    @property
    def totals(self) -> dict[str, int]:
        """Return the numbers of messages that are done, returned to the queue, and dead-lettered."""
        return {name: self._counts[name] for name in ("done", "returned", "dead_letters")}

    def free_slots(self, timeout_s: float) -> int:
        """Return the number of free slots. If there is none, wait for one, but not longer than `timeout_s`."""
        with self._slot_freed:
            self._slot_freed.wait_for(lambda: self._in_flight < self._concurrency, timeout=timeout_s)
            return self._concurrency - self._in_flight

    def wait_until_idle(self, timeout_s: float | None = None) -> None:
        """Wait until no message is in flight, but not longer than `timeout_s`."""
        with self._slot_freed:
            self._slot_freed.wait_for(lambda: not self._in_flight, timeout=timeout_s)

    def start(self, message: Message) -> Future[None]:
        """Process a message in a free slot."""
        with self._slot_freed:
            self._in_flight += 1
        return self._slots.submit(self._process, message)

    def stop(self) -> None:
        """Make the deadline of all work pass now."""
        self._deadline.stop()

    def give_up(self) -> frozenset[str]:
        """Make the work in flight send nothing more. Return the receipt handles of uncertain messages."""
        fences = dict(self._fences)
        for fence in fences.values():
            fence.close()
        return frozenset(receipt for receipt, fence in fences.items() if fence.uncertain)

    def close(self) -> None:
        """End the threads of the slots. Call it only when no message is in flight."""
        self._slots.shutdown()

    def _process(self, message: Message) -> None:
        self._on_progress()
        try:
            self._apply(message, self._run_worker(message))
        except Exception:  # a bug: SQS delivers the message again when its visibility timeout ends
            logger.exception("unexpected failure")
        finally:
            self._heartbeat.remove(message)  # `_apply` did, unless an exception ended the work before
            self._fences.pop(message.receipt, None)
            self._on_progress()
            with self._slot_freed:
                self._in_flight -= 1
                self._slot_freed.notify_all()

    def _run_worker(self, message: Message) -> Disposition:
        deadline = self._deadline.with_progress(self._on_progress)
        fence = self._fences[message.receipt] = Fence(is_held=partial(self._heartbeat.is_held, message))
        try:
            with fenced(fence):
                return self._worker.run([message], deadline, grace_s=self._abort_grace_s)[message.id]
        except Exception as error:  # a bug
            logger.exception("unexpected failure")
            failure = unexpected_failure(error)
            log_failure("", failure, attempts=message.attempt)
            return Retry(redelivery_delay_s(message.attempt), failure.reason)
        finally:
            fence.close()

    def _apply(self, message: Message, disposition: Disposition) -> None:
        self._heartbeat.remove(message)  # first, so that no extension hides the message after it is released
        if isinstance(disposition, Retry) and disposition.unusable:
            self._store_circuit.record_failure(disposition.reason)
        else:
            self._store_circuit.record_success()
        if self._queue.send_and_release([message], {message.id: disposition}):
            self._counts["returned"] += 1
            return
        self._queue.delete([message])
        self._counts["dead_letters" if isinstance(disposition, DeadLetter) else "done"] += 1
        if isinstance(disposition, DeadLetter):  # last, because the message has no heartbeat any more
            self._notify(dead_letters([disposition]))
