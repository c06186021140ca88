"""Extend the visibility timeout of messages until the work on them ends.

The service receives messages with a visibility timeout, and extends it well before it ends. So SQS delivers the
messages of a killed process again, once no write of that process can take effect any more. The messages of a running
process stay hidden, however long the work takes. Pure but for the clock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ..core.fence import LATE_WRITE_S
from ..queue.dispositions import Message

logger = logging.getLogger(__name__)

#: Extensions in one visibility timeout. With 4, two requests in a row may fail before SQS delivers the message again.
EXTENSIONS_PER_TIMEOUT = 4

#: Visibility timeout in seconds. A process may be killed right before an extension is due. Of the timeout, LATE_WRITE_S
#: must be left then, so that the next worker sees the last effect of the killed one.
VISIBILITY_TIMEOUT_S = LATE_WRITE_S * EXTENSIONS_PER_TIMEOUT // (EXTENSIONS_PER_TIMEOUT - 1)

#: Seconds that SQS hides a message at most, counted from its delivery. Ten seconds less, for clocks that differ.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
MAX_IN_FLIGHT_S = 12 * 60 * 60 - 10


class VisibilityExtender(Protocol):
    """A queue that extends visibility timeouts: see `queue.sqs.Queue`."""

    def extend(self, delays: Mapping[str, int]) -> Mapping[str, bool]:
        """Hide messages, by receipt handle, for that many seconds from now.

        Return the messages that were not extended, each with whether a later attempt may succeed.
        """


@dataclass(slots=True)
class _InFlight:
    """A message, with the times of its delivery and of its last extension, and the end of the latter."""

    message: Message
    delivered_at: float
    extended_at: float
    hidden_until: float


class VisibilityHeartbeat:
    """The messages in flight, by receipt handle. Each extension lasts `visibility_timeout_s` seconds.

    Safe to share between threads.
    """

    def __init__(
        self, queue: VisibilityExtender, *, visibility_timeout_s: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queue, self._visibility_timeout_s, self._clock = queue, visibility_timeout_s, clock
        self._in_flight: dict[str, _InFlight] = {}
        # Also held during a request: a request on its way must not hide a message that was released meanwhile.
        self._lock = threading.Lock()

    @property
    def interval_s(self) -> float:
        """Return the seconds after which an extension is due."""
        return self._visibility_timeout_s / EXTENSIONS_PER_TIMEOUT

    def add(self, messages: Iterable[Message], delivered_at: float) -> None:
        """Start to extend messages that were delivered at that time of the clock."""
        with self._lock:
            for message in messages:
                hidden_until = delivered_at + self._visibility_timeout_s
                self._in_flight[message.receipt] = _InFlight(message, delivered_at, delivered_at, hidden_until)

    def remove(self, message: Message) -> None:
        """Stop extending a message.

        Wait for a request in flight, so that no request extends the message after this returns.
        """
        with self._lock:
            self._in_flight.pop(message.receipt, None)

    def clear(self) -> list[Message]:
        """Stop extending all messages, and return them."""
        with self._lock:
            messages = [each.message for each in self._in_flight.values()]
            self._in_flight.clear()
        return messages

    def is_held(self, message: Message) -> bool:
        """Return True if SQS certainly still hides the message.

        A process that was stopped for longer than the visibility timeout finds out here: another worker may have the
        message by then.
        """
        each = self._in_flight.get(message.receipt)  # without the lock, which a request to SQS may hold for long
        return each is not None and self._clock() < each.hidden_until

    def extend_due(self) -> None:
        """Extend the messages that are due. Call it every `interval_s` seconds."""
        with self._lock:
            now = self._clock()
            timeouts: dict[str, int] = {}
            for receipt, each in list(self._in_flight.items()):
                if now - each.extended_at < self.interval_s:
                    continue
                timeout_s = min(self._visibility_timeout_s, int(each.delivered_at + MAX_IN_FLIGHT_S - now))
                if timeout_s > 0:
                    timeouts[receipt] = timeout_s
                else:
                    self._give_up(receipt, "the message was in flight for the 12 hours that SQS allows")
            if not timeouts:
                return
            failed = self._queue.extend(timeouts)
            for receipt in timeouts:
                if receipt not in failed:
                    each = self._in_flight[receipt]
                    each.extended_at, each.hidden_until = now, now + timeouts[receipt]
                elif not failed[receipt]:
                    self._give_up(receipt, "SQS no longer accepts the receipt handle")

    def _give_up(self, receipt: str, reason: str) -> None:
        """Stop extending a message. SQS may deliver it to another worker, so its work here sends nothing more."""
        message = self._in_flight.pop(receipt).message
        extra = {"reason": reason, "message_id": message.id, "attempts": message.attempt}
        logger.warning("visibility no longer extended", extra=extra)
