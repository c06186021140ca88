"""The service driver: takes messages from the queue for as long as it is let, on ECS or any machine.

One thread receives, never more than there are lanes free; each lane does one message, with no end of time, and settles
it as the function does; one thread keeps hidden what the lanes hold.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

from ..core.circuit_breaker import CircuitBreaker
from ..core.deadline import Deadline
from ..core.errors import SyncError
from ..queue.worker import DeadLetter, Disposition, Message, Retry, redelivery_delay_s
from .health import Health, Status
from .heartbeat import Held

logger = logging.getLogger(__name__)

#: Seconds that a poll waits for a message, the longest that SQS allows: an idle service asks three times a minute.
WAIT_S = 20

#: Messages in one answer, the most that SQS gives.
BATCH = 10

#: Seconds of the first rest after a store or the queue failed as a whole; each further one is twice as long, up to
#: the longest.
REST_FIRST_S = 5.0
REST_MAX_S = 60.0

#: Seconds within which a thread notices what it waits for.
TICK_S = 0.2

#: Seconds after the grace for what has been told to stop to drop its upload, before it is handed back all the same; and
#: as many again for a queue that is slow to take it.
DROP_S = 10.0

#: Seconds without a turn after which a thread counts as stuck: far more than the longest poll, or one request with all
#: its retries, can take.
TURN_MAX_S = 180.0

#: The same for the lanes together: work looks at its deadline at every key and every part. One request, tried over
#: awscrt and then by boto3 with all of its retries, takes up to 460 s, and a part of 4 GiB on a slow line a few more.
#: Not for each lane, because a lane may well wait for its turn as long as another one has parts to send.
PROGRESS_MAX_S = 900.0

#: Keys converged at a time in one range. There may be a range in every lane, and connections suffice for two a lane.
RANGE_THREADS = 2


class Queue(Protocol):
    """What the service needs of the queue: see `sqs.Queue`."""

    def receive(self, most: int, *, visibility_s: int, wait_s: int) -> list[Message]: ...

    def extend(self, delays: Mapping[str, int]) -> Mapping[str, bool]: ...

    def apply(self, messages: Iterable[Message], dispositions: Mapping[str, Disposition]) -> list[Message]: ...

    def delete(self, messages: Sequence[Message]) -> None: ...

    def release(self, delays: Mapping[str, int]) -> None: ...


class Doer(Protocol):
    """What does a message: see `worker.Worker`."""

    def run(self, messages: Iterable[Message], deadline: Deadline, *, grace_s: float) -> dict[str, Disposition]: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """`lanes` messages at a time, hidden for `visibility_s` anew and anew; on a stop they get `grace_s` to end."""

    lanes: int
    visibility_s: int
    grace_s: float


class Service:
    """Runs once, until it is asked to stop. `clock` is in seconds and never goes back."""

    def __init__(
        self, worker: Doer, queue: Queue, rules: Rules, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._worker, self._queue, self._rules, self._clock = worker, queue, rules, clock
        self._held = Held(queue, visibility_s=rules.visibility_s, clock=clock)
        self._lanes = ThreadPoolExecutor(rules.lanes, thread_name_prefix="lane")
        self._work = Deadline()  # of what the lanes do: the grace lies between the stop asked for and this one
        self._asked = Deadline()
        self._stores, self._polls = (
            CircuitBreaker(first_s=REST_FIRST_S, max_s=REST_MAX_S, log=True, clock=clock) for _ in range(2)
        )
        self._changed = threading.Condition()
        self._busy = 0
        self._counts: Counter[str] = Counter()
        self._polled = self._turned = self._beaten = self._progressed = clock()

    def run(self, asked: Deadline) -> None:
        """Works until `asked` is stopped; returns once all that was received is settled, or handed back."""
        self._asked = asked
        receiving = threading.Thread(target=self._receive, name="receive", daemon=True)
        over = threading.Event()
        beating = threading.Thread(target=self._beat, args=(over,), name="beat", daemon=True)
        logger.info("serving", extra={"lanes": self._rules.lanes, "visibility_s": self._rules.visibility_s})
        receiving.start()
        beating.start()
        while not asked.is_stopped:
            time.sleep(TICK_S)
        logger.info("stopping", extra={"in_flight": self._busy, "grace_s": self._rules.grace_s})
        self._idle(self._rules.grace_s)
        self._work.stop()
        # A poll that is under way may still bring messages, which are better handed back than hidden for a while.
        receiving.join()
        self._idle()
        over.set()
        beating.join()
        self._lanes.shutdown()
        logger.info("stopped", extra={**self._totals()})

    def give_up(self) -> None:
        """Hands back at once what is still held, for a process that is about to end."""
        self._queue.release({message.receipt: 0 for message in self._held.clear()})
        logger.warning("stopped before all work had ended", extra={"in_flight": self._busy, **self._totals()})

    def health(self) -> Health:
        """Whether it does what it is there for. A store that refuses everything is no fault of this process."""
        now = self._clock()
        status: Status = "ok"
        reason = ""
        if self._asked.is_stopped:
            status, reason = "stopping", "asked to stop"
        elif now - self._turned > TURN_MAX_S:
            status, reason = "stuck", f"nothing was received or waited for in {now - self._turned:.0f} s"
        elif now - self._beaten > TURN_MAX_S:
            status, reason = "stuck", f"nothing was kept hidden in {now - self._beaten:.0f} s"
        elif self._busy and now - self._progressed > PROGRESS_MAX_S:
            status, reason = "stuck", f"no work has gone on in {now - self._progressed:.0f} s"
        else:
            for breaker in (self._polls, self._stores):
                if not breaker.is_closed:
                    status, reason = "degraded", breaker.reason
                    break
        return Health(
            status=status,
            reason=reason,
            in_flight=self._busy,
            last_poll_s=round(now - self._polled, 1),
            **self._totals(),
        )

    def _totals(self) -> dict[str, int]:
        return {name: self._counts[name] for name in ("done", "returned", "dead_letters")}

    # -- receiving -------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        while not self._asked.is_stopped:
            self._turned = self._clock()
            try:
                self._turn()
            except SyncError as error:
                self._polls.record_failure(str(error))
            except Exception as error:  # a fault of ours: better tried again than never
                logger.exception("unexpected failure")
                self._polls.record_failure(f"unexpected failure: {error!r}")

    def _turn(self) -> None:
        """Receives as much as can be begun at once, and begins it."""
        if (retry_in_s := max(self._polls.retry_in_s(), self._stores.retry_in_s())) > 0:
            time.sleep(min(retry_in_s, TICK_S))
            return
        if not (free := self._free()):
            return
        # After a store could not be used, a single message tells whether it can be now: each delivery counts, and one
        # that is delivered too often is buried.
        probing = not self._stores.is_closed
        messages = self._queue.receive(
            1 if probing else min(free, BATCH), visibility_s=self._rules.visibility_s, wait_s=WAIT_S
        )
        self._polled = self._clock()
        self._polls.record_success()
        if self._asked.is_stopped:
            self._queue.release({message.receipt: 0 for message in messages})
            return
        self._held.add(messages, self._polled)
        begun = [self._begin(message) for message in messages]
        while probing and wait(begun, timeout=TICK_S).not_done and not self._asked.is_stopped:
            self._turned = self._clock()

    def _free(self) -> int:
        """The number of lanes that have nothing to do, waited for, but not for long."""
        with self._changed:
            self._changed.wait_for(lambda: self._busy < self._rules.lanes, timeout=TICK_S)
            return self._rules.lanes - self._busy

    def _idle(self, timeout_s: float | None = None) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, timeout=timeout_s)

    # -- working ---------------------------------------------------------------------------------------------------

    def _begin(self, message: Message) -> Future[None]:
        with self._changed:
            self._busy += 1
        return self._lanes.submit(self._do, message)

    def _do(self, message: Message) -> None:
        self._note_progress()
        try:
            self._settle(message, self._disposition(message))
        except Exception:  # a fault of ours: the message comes back when its visibility ends
            logger.exception("unexpected failure")
        finally:
            self._held.remove(message)
            self._note_progress()
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _disposition(self, message: Message) -> Disposition:
        try:
            deadline = self._work.with_progress(self._note_progress)
            return self._worker.run([message], deadline, grace_s=DROP_S)[message.id]
        except Exception as error:
            logger.exception("unexpected failure")
            return Retry(redelivery_delay_s(message.attempt), f"unexpected failure: {error!r}")

    def _settle(self, message: Message, disposition: Disposition) -> None:
        self._held.remove(message)
        if isinstance(disposition, Retry) and disposition.unusable:
            self._stores.record_failure(disposition.reason)
        else:
            self._stores.record_success()
        if self._queue.apply([message], {message.id: disposition}):
            self._counts["returned"] += 1
            return
        self._queue.delete([message])
        self._counts["dead_letters" if isinstance(disposition, DeadLetter) else "done"] += 1

    def _note_progress(self) -> None:
        self._progressed = self._clock()

    # -- holding ---------------------------------------------------------------------------------------------------

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(min(self._held.beat_s, TURN_MAX_S / 4)):
            self._beaten = self._clock()
            try:
                self._held.beat()
            except Exception:  # a fault of ours: the next beat may do
                logger.exception("unexpected failure")
