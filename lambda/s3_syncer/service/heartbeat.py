"""The messages that are being worked on, kept hidden from other workers until they are settled.

They are received for a short time and hidden anew, again and again, well before it ends. So what a killed worker held
is delivered again soon, and what a living one holds is not, however long it takes. Pure but for the clock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ..queue.worker import Message

logger = logging.getLogger(__name__)

#: Beats in a visibility timeout. A message is hidden anew once a beat has passed since the last time, so two requests
#: in a row may fail before it is delivered to somebody else.
BEATS = 4

#: Seconds that SQS hides a message at the most, counted from its delivery, less a few for the clocks to differ.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
LONGEST_S = 12 * 60 * 60 - 10


class Hidden(Protocol):
    """What hides messages: see `sqs.Queue`."""

    def extend(self, delays: Mapping[str, int]) -> Mapping[str, bool]: ...


@dataclass(slots=True)
class _Hold:
    message: Message
    since: float
    hidden: float  # when it was last hidden


class Held:
    """Messages by receipt, hidden for `visibility_s` seconds at a time. Safe to share between threads."""

    def __init__(self, queue: Hidden, *, visibility_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue, self._visibility_s, self._clock = queue, visibility_s, clock
        self._holds: dict[str, _Hold] = {}
        # Kept during a request as well: a message that was given back must not be hidden by a request that was on its
        # way already.
        self._lock = threading.Lock()

    @property
    def beat_s(self) -> float:
        return self._visibility_s / BEATS

    def add(self, messages: Iterable[Message], since: float) -> None:
        """Begins to hold messages that were delivered at `since`, by the clock."""
        with self._lock:
            for message in messages:
                self._holds[message.receipt] = _Hold(message, since, since)

    def remove(self, message: Message) -> None:
        """Ends it: the message is not hidden anew from here on."""
        with self._lock:
            self._holds.pop(message.receipt, None)

    def clear(self) -> list[Message]:
        """Ends it for all of them, and says which they were."""
        with self._lock:
            messages = [hold.message for hold in self._holds.values()]
            self._holds.clear()
        return messages

    def beat(self) -> None:
        """Hides anew what has not been for a beat. To be called that often."""
        with self._lock:
            now = self._clock()
            due = [hold for hold in self._holds.values() if now - hold.hidden >= self.beat_s]
            seconds = {hold.message.receipt: min(self._visibility_s, int(hold.since + LONGEST_S - now)) for hold in due}
            for receipt in [receipt for receipt, left in seconds.items() if left <= 0]:
                self._let_go(receipt, "held for as long as SQS allows")
                del seconds[receipt]
            if not seconds:
                return
            failed = self._queue.extend(seconds)
            for receipt in seconds:
                if receipt not in failed:
                    self._holds[receipt].hidden = now
                elif not failed[receipt]:
                    self._let_go(receipt, "the queue has taken it back")

    def _let_go(self, receipt: str, why: str) -> None:
        """The work on it goes on; somebody else may begin it again meanwhile, which costs time and does no harm."""
        message = self._holds.pop(receipt).message
        logger.warning(
            "message no longer held", extra={"reason": why, "message_id": message.id, "attempts": message.attempt}
        )
