"""Queue messages in, a verdict for each out. Knows the deadline, and neither Lambda nor SQS.

Every distinct key of a batch is converged once, several at a time, and a message is done when all its keys are.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..core.backoff import Backoff
from ..core.deadline import Deadline, OutOfTime
from ..core.errors import Permanent, Retryable, StoreUnusable, SyncError
from ..core.events import decode
from ..core.work_items import KeyWork, PartsWork, RangeWork, Work
from ..sync.converge import BucketPair, Outcome

logger = logging.getLogger(__name__)

#: Delay of a message that failed for now. Half of it is jitter, so that messages that failed together come back apart.
REDELIVERY = Backoff(base_s=2.0, cap_s=900.0, jitter=0.5)

#: Deliveries after which a key that used this share of its batch's time and was not done is given up: every attempt
#: sends the whole object again, and somebody pays for that.
WHOLE_ATTEMPTS = 3
ALL_BUT = 0.9

#: Seconds within which a wait for work notices that the deadline was brought forward.
_TICK_S = 0.5

_NO_TIME = "no time left before the deadline"

_TOO_LONG = Permanent(
    f"not done in {WHOLE_ATTEMPTS} attempts with all the time there is: run `s3-syncer sync KEY`, with no deadline",
    "TooLong",
)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the queue delivered it. `attempt` counts deliveries from 1, `receipt` is the queue's name for it."""

    id: str
    body: str
    attempt: int = 1
    receipt: str = ""


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything the message asked for is true now: acknowledge it, once `more` is on the queue."""

    more: tuple[Work, ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """Give the message back, to be delivered again after this many seconds, once `more` is on the queue."""

    delay_s: int
    reason: str = field(default="", compare=False)
    #: Whether other messages will fare no better for now: a store is unusable as a whole.
    unusable: bool = field(default=False, compare=False)
    more: tuple[Work, ...] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The message will never succeed: to the dead-letter queue, with the reason, once `more` is on the queue."""

    error: str
    key: str = ""
    more: tuple[Work, ...] = ()


Disposition = Ack | Retry | DeadLetter


class RangeSweeper(Protocol):
    """Does a range of keys, perhaps not for the first time, and returns what is left to do: see `ranges.Ranges`."""

    def run(self, work: RangeWork, deadline: Deadline, *, redelivered: bool, time_divisor: int) -> Sequence[Work]: ...


class DistributedCopier(Protocol):
    """Converges keys, large objects as work for many, and does such work: see `parts.Parts`."""

    def converge(
        self, pair: BucketPair, key: str, deadline: Deadline, *, upload_attempts: int | None, redelivered: bool
    ) -> Outcome: ...

    def run(self, work: PartsWork, deadline: Deadline) -> Sequence[Work]: ...


class Worker:
    """Does the work of queue messages for one pair of buckets.

    `threads` keys are converged at a time. `bucket` and `prefix` are the source's: keys not below the prefix are
    somebody else's and ignored.
    """

    def __init__(
        self,
        pair: BucketPair,
        ranges: RangeSweeper,
        parts: DistributedCopier,
        *,
        bucket: str,
        prefix: str,
        threads: int,
    ) -> None:
        self._pair, self._ranges, self._parts = pair, ranges, parts
        self._bucket, self._prefix = bucket, prefix
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="key")

    def run(self, messages: Iterable[Message], deadline: Deadline, *, grace_s: float = 0.0) -> dict[str, Disposition]:
        """A verdict per message id. Raises nothing for what goes wrong with a message: that is its verdict.

        What has begun when the deadline passes gets `grace_s` more seconds, to drop its upload and say so.
        """
        asked: dict[str, tuple[Message, tuple[str, ...]]] = {}
        dispositions: dict[str, Disposition] = {}
        keys: dict[str, _Asked] = {}
        jobs: list[tuple[Message, RangeWork | PartsWork]] = []
        for message in messages:
            try:
                work = decode(message.body, self._bucket) or KeyWork(())
            except Permanent as error:
                dispositions[message.id] = DeadLetter(str(error))
                _log("dead-letter", "", str(error), attempts=message.attempt)
                continue
            if not isinstance(work, KeyWork):
                jobs.append((message, work))
                continue
            ours = tuple(key for key in work.keys if self._ours(key, message))
            asked[message.id] = (message, ours)
            for key in ours:
                keys.setdefault(key, _Asked()).add(work, message.attempt)
        results = self._converge_all(keys, deadline, grace_s)
        for message, its_keys in asked.values():
            dispositions[message.id] = _disposition(message, {key: results[key] for key in its_keys})
        # Last, because they take long and the events of a batch are waiting.
        return dispositions | self._do_all(jobs, deadline, grace_s)

    def _do_all(
        self, jobs: Sequence[tuple[Message, RangeWork | PartsWork]], deadline: Deadline, grace_s: float
    ) -> dict[str, Disposition]:
        """Does the jobs one after the other: each of them keeps all threads busy."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="job")
        ranges = sum(isinstance(work, RangeWork) for _, work in jobs)
        futures = {message: pool.submit(self._do, message, work, deadline, ranges) for message, work in jobs}
        pool.shutdown(wait=False)
        _wait_for(futures.values(), deadline, grace_s)
        dispositions: dict[str, Disposition] = {}
        for message, work in jobs:
            if not _give_up(futures[message]):
                dispositions[message.id] = futures[message].result()
                continue
            _log("retry", _key(work), f"{_named(work)}: {_NO_TIME}", attempts=message.attempt)
            dispositions[message.id] = Retry(0, _NO_TIME)
        return dispositions

    def _do(self, message: Message, work: RangeWork | PartsWork, deadline: Deadline, ranges: int) -> Disposition:
        try:
            deadline.progress()
            deadline.check()
            if isinstance(work, PartsWork):
                return Ack(tuple(self._parts.run(work, deadline)))
            return Ack(tuple(self._ranges.run(work, deadline, redelivered=message.attempt > 1, time_divisor=ranges)))
        except SyncError as error:
            dead = isinstance(error, Permanent)
            _log("dead-letter" if dead else "retry", _key(work), f"{_named(work)}: {error}", attempts=message.attempt)
            if dead:
                return DeadLetter(str(error), _key(work))
            return _later(message, error)
        except Exception as error:  # a fault of ours: the message must come back, and the others not with it
            logger.exception("unexpected failure", extra={"key": _key(work)})
            reason = f"{_named(work)}: unexpected failure: {error!r}"
            _log("retry", _key(work), reason, attempts=message.attempt)
            return Retry(redelivery_delay_s(message.attempt), reason)

    def _ours(self, key: str, message: Message) -> bool:
        if key.startswith(self._prefix) and key != self._prefix:
            return True
        _log("ignored", key, f"not below the prefix {self._prefix!r}", attempts=message.attempt)
        return False

    def _converge_all(self, keys: Mapping[str, _Asked], deadline: Deadline, grace_s: float) -> dict[str, _Result]:
        whole_s = deadline.timeout()
        futures = {key: self._pool.submit(self._converge, key, asked, deadline, whole_s) for key, asked in keys.items()}
        _wait_for(futures.values(), deadline, grace_s)
        return {key: self._result(key, keys[key], future) for key, future in futures.items()}

    def _result(self, key: str, asked: _Asked, future: Future[_Result]) -> _Result:
        if not _give_up(future):
            return future.result()
        _log("retry", key, _NO_TIME, attempts=asked.attempt)
        return OutOfTime(_NO_TIME)

    def _converge(self, key: str, asked: _Asked, deadline: Deadline, whole_s: float | None) -> _Result:
        """`whole_s` is the time that the batch has."""
        began = time.monotonic()
        failure: SyncError | None = None
        try:
            deadline.progress()
            deadline.check()
            outcome = self._parts.converge(
                self._pair,
                key.removeprefix(self._prefix),
                deadline,
                upload_attempts=asked.upload_attempts,
                redelivered=asked.attempt > 1,
            )
        except SyncError as error:
            spent_s = time.monotonic() - began
            hopeless = isinstance(error, OutOfTime) and whole_s is not None and spent_s >= ALL_BUT * whole_s
            failure = _TOO_LONG if hopeless and asked.attempt >= WHOLE_ATTEMPTS else error
            outcome = Outcome("dead-letter" if isinstance(failure, Permanent) else "retry", str(failure))
        except Exception as error:  # a fault of ours: the message must come back, not vanish
            logger.exception("unexpected failure", extra={"key": key})
            failure = Retryable(f"unexpected failure: {error!r}")
            outcome = Outcome("retry", str(failure))
        _log(
            outcome.action,
            key,
            outcome.reason,
            bytes=outcome.size,
            duration_ms=round((time.monotonic() - began) * 1000),
            lag_ms=None if asked.since is None else round((time.time() - asked.since) * 1000),
            attempts=asked.attempt,
        )
        return failure or outcome


#: What became of a key, or what stood in the way.
_Result = Outcome | SyncError


@dataclass(slots=True)
class _Asked:
    """What is known of the messages that asked for a key."""

    #: When the source said first that it changed.
    since: float | None = None
    #: How often they were delivered.
    attempt: int = 1
    #: How often its parts were begun, by the message that knows of the fewest times; None when no message watches them.
    upload_attempts: int | None = None

    def add(self, work: KeyWork, attempt: int) -> None:
        times = [time for time in (self.since, work.since) if time is not None]
        self.since = min(times, default=None)
        self.attempt = max(self.attempt, attempt)
        self.upload_attempts = min(
            (
                upload_attempts
                for upload_attempts in (self.upload_attempts, work.upload_attempts)
                if upload_attempts is not None
            ),
            default=None,
        )


def _wait_for(futures: Iterable[Future[Any]], deadline: Deadline, grace_s: float) -> None:
    """Waits for all of them, but not longer than `grace_s` past the deadline."""
    waited = list(futures)
    while not deadline.passed():
        left_s = deadline.timeout()
        if not wait(waited, timeout=_TICK_S if left_s is None else min(left_s, _TICK_S)).not_done:
            return
    wait(waited, timeout=grace_s)


def _give_up(future: Future[Any]) -> bool:
    """Whether it is not done, so cancelled before it began, or left to end by itself, which its own looks allow."""
    if future.done():
        return False
    future.cancel()
    return True


def _named(work: RangeWork | PartsWork) -> str:
    if isinstance(work, PartsWork):
        return f"parts {work.first} to {work.last}"
    return f"range after {work.after!r}"


def _key(work: RangeWork | PartsWork) -> str:
    return work.key if isinstance(work, PartsWork) else ""


def _disposition(message: Message, results: Mapping[str, _Result]) -> Disposition:
    """A message with a key that may still succeed comes back whole: the keys that are done are cheap to look at."""
    failures = {key: result for key, result in results.items() if isinstance(result, SyncError)}
    more = tuple(work for result in results.values() if isinstance(result, Outcome) for work in result.more)
    for kind in (OutOfTime, StoreUnusable, Retryable):
        for failure in failures.values():
            if isinstance(failure, kind):
                return _later(message, failure, more)
    for key, failure in failures.items():
        return DeadLetter(str(failure), key, more)
    return Ack(more)


def _later(message: Message, failure: SyncError, more: tuple[Work, ...] = ()) -> Retry:
    delay_s = 0 if isinstance(failure, OutOfTime) else redelivery_delay_s(message.attempt)
    return Retry(delay_s, str(failure), isinstance(failure, StoreUnusable), more)


def redelivery_delay_s(attempt: int, rand: Callable[[], float] = random.random) -> int:
    """Return the whole seconds after which a message is delivered again, after delivery number `attempt`."""
    return round(REDELIVERY.delay_s(attempt, rand))


def _log(action: str, key: str, reason: str, **extra: object) -> None:
    level = {"dead-letter": logging.ERROR, "retry": logging.WARNING}.get(action, logging.INFO)
    logger.log(level, "%s", action, extra={"action": action, "key": key, "reason": reason, **extra})
