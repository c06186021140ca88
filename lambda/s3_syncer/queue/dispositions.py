"""Messages, and the dispositions of a worker about them: acknowledge, retry or dead letter."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from ..core.backoff import Backoff
from ..core.deadline import OutOfTime
from ..core.errors import Busy, Permanent, StoreUnusable, SyncError
from ..core.work_items import Work

#: Delay of a message that failed for now, in seconds. Half of it is jitter: messages that failed together return apart.
REDELIVERY = Backoff(base_s=2.0, cap_s=900.0, jitter=0.5)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as SQS delivered it. `attempt` counts deliveries from 1; `receipt` is the receipt handle."""

    id: str
    body: str
    attempt: int = 1
    receipt: str = ""


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything that the message asks for is done: delete it, once `more` is on the queue."""

    more: tuple[Work, ...] = ()
    #: The reason why the filters leave a key of the message as it is, or "".
    exclusion: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Retry:
    """Release the message for delivery after `delay_s` seconds, once `more` is on the queue."""

    delay_s: int
    reason: str = field(default="", compare=False)
    #: True if a store is unusable or too busy, so that other messages fail as well.
    unusable: bool = field(default=False, compare=False)
    #: True if a write to one of its keys may still take effect: see `core/fence.py`.
    is_uncertain: bool = field(default=False, compare=False)
    more: tuple[Work, ...] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The message can never succeed: send it to the dead-letter queue, once `more` is on the queue."""

    error: str
    key: str = ""
    more: tuple[Work, ...] = ()
    #: The error without its request ID, so that equal failures have equal reasons.
    reason: str = field(default="", compare=False)


Disposition = Ack | Retry | DeadLetter


def redelivery_delay_s(attempt: int, rand: Callable[[], float] = random.random) -> int:
    """Return the whole seconds after which a message is delivered again, after delivery number `attempt`."""
    return round(REDELIVERY.delay_s(attempt, rand))


def disposition_for_error(
    error: SyncError, attempt: int, *, key: str = "", more: tuple[Work, ...] = ()
) -> Retry | DeadLetter:
    """Return the disposition of a message that failed with this error, at delivery number `attempt`."""
    if isinstance(error, Permanent):
        return DeadLetter(str(error), key, more, error.reason)
    delay_s = 0 if isinstance(error, OutOfTime) else redelivery_delay_s(attempt)
    return Retry(delay_s, error.reason, isinstance(error, (Busy, StoreUnusable)), more=more)
