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
from typing import Protocol

from .converge import Outcome, Pair, converge
from .deadline import Deadline, OutOfTime
from .errors import Permanent, Retryable, SyncError
from .events import decode
from .work import KeyWork, RangeWork, Work

logger = logging.getLogger(__name__)

#: Seconds before the first retry; each further one doubles it, up to the cap.
BACKOFF_BASE_S = 2.0
BACKOFF_CAP_S = 900.0


#: Deliveries after which a key that used this share of its batch's time and was not done is given up: every attempt
#: sends the whole object again, and somebody pays for that.
WHOLE_ATTEMPTS = 3
ALL_BUT = 0.9

_TOO_LONG = Permanent(
    f"not done in {WHOLE_ATTEMPTS} attempts with all the time there is: run `s3-syncer sync KEY`, with no deadline",
    "TooLong",
)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the queue delivered it. `attempt` counts deliveries from 1."""

    id: str
    body: str
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Done:
    """Everything the message asked for is true now: acknowledge it, once `more` is on the queue."""

    more: tuple[Work, ...] = ()


@dataclass(frozen=True, slots=True)
class Later:
    """Give the message back, to be delivered again after this many seconds."""

    delay_s: int
    reason: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Dead:
    """The message will never succeed: to the dead-letter queue, with the reason."""

    error: str
    key: str = ""


Verdict = Done | Later | Dead


class Doer(Protocol):
    """Does a range of keys and returns what is left to do: see `ranges.Ranges`."""

    def do(self, work: RangeWork, deadline: Deadline) -> Sequence[Work]: ...


class Worker:
    """Does the work of queue messages for one pair of buckets.

    `threads` keys are converged at a time. `bucket` and `prefix` are the source's: keys not below the prefix are
    somebody else's and ignored.
    """

    def __init__(self, pair: Pair, ranges: Doer, *, bucket: str, prefix: str, threads: int) -> None:
        self._pair, self._ranges = pair, ranges
        self._bucket, self._prefix = bucket, prefix
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="key")

    def run(self, messages: Iterable[Message], deadline: Deadline, *, grace_s: float = 0.0) -> dict[str, Verdict]:
        """A verdict per message id. Raises nothing for what goes wrong with a message: that is its verdict.

        What has begun when the deadline passes gets `grace_s` more seconds, to drop its upload and say so.
        """
        asked: dict[str, tuple[Message, tuple[str, ...]]] = {}
        verdicts: dict[str, Verdict] = {}
        keys: dict[str, _Asked] = {}
        ranges: list[tuple[Message, RangeWork]] = []
        for message in messages:
            try:
                work = decode(message.body, self._bucket) or KeyWork(())
            except Permanent as error:
                verdicts[message.id] = Dead(str(error))
                _log("dead", "", str(error), attempts=message.attempt)
                continue
            if isinstance(work, RangeWork):
                ranges.append((message, work))
                continue
            ours = tuple(key for key in work.keys if self._ours(key, message))
            asked[message.id] = (message, ours)
            for key in ours:
                keys.setdefault(key, _Asked()).add(work.since, message.attempt)
        results = self._converge_all(keys, deadline, grace_s)
        for message, its_keys in asked.values():
            verdicts[message.id] = _verdict(message, {key: results[key] for key in its_keys})
        for message, work in ranges:  # last, because they take long and the events of a batch are waiting
            verdicts[message.id] = self._sweep(message, work, deadline)
        return verdicts

    def _sweep(self, message: Message, work: RangeWork, deadline: Deadline) -> Verdict:
        try:
            deadline.check()
            return Done(tuple(self._ranges.do(work, deadline)))
        except SyncError as error:
            dead = isinstance(error, Permanent)
            _log("dead" if dead else "retry", "", f"range after {work.after!r}: {error}", attempts=message.attempt)
            if dead:
                return Dead(str(error))
            return Later(0 if isinstance(error, OutOfTime) else backoff(message.attempt), str(error))
        except Exception as error:  # a fault of ours: the message must come back, and the others not with it
            logger.exception("unexpected failure", extra={"after": work.after})
            _log("retry", "", f"range after {work.after!r}: unexpected failure: {error!r}", attempts=message.attempt)
            return Later(backoff(message.attempt), f"unexpected failure: {error!r}")

    def _ours(self, key: str, message: Message) -> bool:
        if key.startswith(self._prefix) and key != self._prefix:
            return True
        _log("ignored", key, f"not below the prefix {self._prefix!r}", attempts=message.attempt)
        return False

    def _converge_all(
        self, keys: Mapping[str, _Asked], deadline: Deadline, grace_s: float
    ) -> dict[str, SyncError | None]:
        """None for a key that is equal now, else what stood in the way."""
        whole_s = deadline.timeout()
        futures = {key: self._pool.submit(self._converge, key, asked, deadline, whole_s) for key, asked in keys.items()}
        if wait(futures.values(), timeout=deadline.timeout()).not_done:
            wait(futures.values(), timeout=grace_s)
        return {key: self._result(key, keys[key], future) for key, future in futures.items()}

    def _result(self, key: str, asked: _Asked, future: Future[SyncError | None]) -> SyncError | None:
        if future.done():
            return future.result()
        # Cancelled before it began, or left to end by itself: its own second look keeps that harmless.
        future.cancel()
        _log("retry", key, "no time left before the deadline", attempts=asked.attempt)
        return OutOfTime("no time left before the deadline")

    def _converge(self, key: str, asked: _Asked, deadline: Deadline, whole_s: float | None) -> SyncError | None:
        """None when the key is equal now, else what stood in the way; `whole_s` is the time that the batch has."""
        began = time.monotonic()
        failure: SyncError | None = None
        try:
            deadline.check()
            outcome = converge(self._pair, key.removeprefix(self._prefix), deadline)
        except SyncError as error:
            spent_s = time.monotonic() - began
            hopeless = isinstance(error, OutOfTime) and whole_s is not None and spent_s >= ALL_BUT * whole_s
            failure = _TOO_LONG if hopeless and asked.attempt >= WHOLE_ATTEMPTS else error
            outcome = Outcome("dead" if isinstance(failure, Permanent) else "retry", str(failure))
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
        return failure


@dataclass(slots=True)
class _Asked:
    """What is known of the messages that asked for a key: when first, and how often they were delivered."""

    since: float | None = None
    attempt: int = 1

    def add(self, since: float | None, attempt: int) -> None:
        times = [time for time in (self.since, since) if time is not None]
        self.since = min(times, default=None)
        self.attempt = max(self.attempt, attempt)


def _verdict(message: Message, results: Mapping[str, SyncError | None]) -> Verdict:
    """A message with a key that may still succeed comes back whole: the keys that are done are cheap to look at."""
    failures = {key: failure for key, failure in results.items() if failure is not None}
    for failure in failures.values():
        if isinstance(failure, OutOfTime):
            return Later(0, str(failure))
    for failure in failures.values():
        if isinstance(failure, Retryable):
            return Later(backoff(message.attempt), str(failure))
    for key, failure in failures.items():
        return Dead(str(failure), key)
    return Done()


def backoff(attempt: int, rand: Callable[[], float] = random.random) -> int:
    """Seconds to wait before the next delivery: exponential in the attempt, with half of it jitter."""
    ceiling = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0 ** (attempt - 1))
    return round(ceiling / 2 + rand() * ceiling / 2)


def _log(action: str, key: str, reason: str, **extra: object) -> None:
    level = {"dead": logging.ERROR, "retry": logging.WARNING}.get(action, logging.INFO)
    logger.log(level, "%s", action, extra={"action": action, "key": key, "reason": reason, **extra})
