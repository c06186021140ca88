"""Waits until nothing is left in the queues: before they are destroyed, with all that is in them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from deployed.outputs import Queues

COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")

# The counts are right only some time after the last change, "a minute" says SQS: so long they have to say nothing.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
SETTLED_S = 60.0
POLL_INTERVAL_S = 5.0

Show = Callable[[str], None]


class NotDrainedError(Exception):
    """Something is left; the message says what, and what may be done."""


@dataclass
class Drain:
    """The queues to wait for, each with a client of its region."""

    queues: Sequence[tuple[Queues, Any]]
    settled_s: float = SETTLED_S
    poll_interval_s: float = POLL_INTERVAL_S

    def wait(self, timeout_s: float, show: Show) -> None:
        """Until all queues have been seen empty at both ends of a while; there may be no dead letters either then."""
        began, empty_since = time.monotonic(), math.inf
        shown: list[int] = []
        while True:
            left = [count(sqs, each.queue_url) for each, sqs in self.queues]
            if left != shown:
                self._show(left, show)
                shown = left
            now = time.monotonic()
            empty_since = math.inf if any(left) else min(empty_since, now)
            if now - empty_since >= self.settled_s:
                break
            if any(left) and now - began > timeout_s:
                raise NotDrainedError(
                    f"{sum(left)} messages are still there after {timeout_s:.0f} s. If they do not get fewer, "
                    "something still sends (does the bucket notify?) or the target refuses them (the log says)."
                )
            time.sleep(min(self.poll_interval_s, self.settled_s))
        dead = {each.dead_letter_queue_url: count(sqs, each.dead_letter_queue_url) for each, sqs in self.queues}
        if any(dead.values()):
            named = ", ".join(f"{number} in {url}" for url, number in dead.items() if number)
            raise NotDrainedError(
                f"The queues are empty, but there are dead letters, which would be gone as well: {named}. "
                "docs/operations.md says how to read them and send them back."
            )

    def _show(self, left: Sequence[int], show: Show) -> None:
        for (each, _), number in zip(self.queues, left, strict=True):
            show(f"{number} messages in {each.queue_url}")


def count(sqs: Any, url: str) -> int:
    """All messages of a queue, whether they wait, are worked on, or are delayed; approximately."""
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(COUNTS))["Attributes"]
    return sum(int(attributes[name]) for name in COUNTS)
