"""Decide about deletions: done at once, sent as a message, or held until a person acts.

The messages are the count. Above a limit of messages that wait for a deletion or are held, each further one is moved to
the queue of the held deletions, which no worker receives from. docs/adr/0014-delete-guard.md has the reasons.
Makes no request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..core.work_items import DeletionWork

#: Seconds for which a process uses a count below the limit, from the start of its first request. It bounds the
#: requests, two for each count.
OPEN_S = 1.0

#: Seconds for which a process that has seen a count above the limit does not count again. The counts of SQS may lag for
#: a minute. A message that is moved can be missing in both counts for that long, and the sum looks too small.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-resource-limits.html
SHUT_S = 60.0


class DeletionGuard:
    """Shut while more than `hold_above` messages are counted. `clock` is in seconds and never goes back.

    `count` returns the messages that wait for a deletion or are held. A `hold_above` of None never counts. `on_shut`
    is called with the count each time the open guard shuts. Safe to share between threads.
    """

    def __init__(
        self,
        count: Callable[[], int],
        hold_above: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_shut: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._count, self._hold_above, self._clock, self._on_shut = count, hold_above, clock, on_shut
        self._lock = threading.Lock()
        self._is_shut, self._valid_until = False, float("-inf")

    def is_shut(self) -> bool:
        """Return True if no deletion may be done now. Raises Retryable if the messages cannot be counted."""
        if self._hold_above is None:
            return False
        shut_at = None
        with self._lock:
            if (begun := self._clock()) >= self._valid_until:
                was_shut, count = self._is_shut, self._count()
                self._is_shut = count > self._hold_above
                self._valid_until = self._clock() + SHUT_S if self._is_shut else begun + OPEN_S
                shut_at = count if self._is_shut and not was_shut else None
            is_shut = self._is_shut
        if shut_at is not None:  # without the lock, because the call may take seconds
            self._on_shut(shut_at)
        return is_shut


@dataclass(frozen=True, slots=True)
class Moved:
    """The messages to send instead of a deletion, with the action and reason for the log."""

    works: Sequence[DeletionWork]
    action: Literal["forward", "held"]
    reason: str


@dataclass(frozen=True, slots=True)
class Deletions:
    """The rule of a worker for deletions.

    `are_deferred` says that a deletion becomes a message. Only the worker for these messages has a `guard`. Without
    one, a worker sends such a message on.
    """

    are_deferred: bool = False
    guard: DeletionGuard | None = None

    def moved(self, work: DeletionWork) -> Moved | None:
        """Return the messages to send instead of the deletion, or None to do it now. Raises Retryable."""
        if work.released or not self.are_deferred:
            return None
        if self.guard is None or len(work.keys) > 1:  # the guard counts messages, so each has one key
            each = [DeletionWork((key,)) for key in work.keys]
            return Moved(each, "forward", "a deletion goes to the queue of the deletions")
        if self.guard.is_shut():
            return Moved([DeletionWork(work.keys, is_held=True)], "held", HELD)
        return None


HELD = "more deletions than deletes.hold_above are waiting: run `s3-syncer deletions status`"

#: Each deletion is done at once.
DIRECT = Deletions()
