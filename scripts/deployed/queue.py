"""Wait until the queues are empty, before they are destroyed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from deployed.outputs import Queues

COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")

# Seconds for which the counts must be zero. SQS says that they are right about a minute after the last change.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
SETTLED_S = 60.0
POLL_INTERVAL_S = 5.0

Show = Callable[[str], None]


class NotDrainedError(Exception):
    """Messages are left. The message says how many, and what to do."""


@dataclass
class Drain:
    """The queues to wait for, each with an SQS client for its region."""

    queues: Sequence[tuple[Queues, Any]]
    settled_s: float = SETTLED_S
    poll_interval_s: float = POLL_INTERVAL_S

    def wait(self, timeout_s: float, show: Show) -> None:
        """Wait until all queues have stayed empty for `settled_s` seconds.

        Raises NotDrainedError after `timeout_s` seconds, or if there are dead letters.
        """
        began, empty_since = time.monotonic(), math.inf
        shown: list[int] = []
        while True:
            left = [count(sqs, url) for each, sqs in self.queues for url in (each.queue_url, each.bulk_queue_url)]
            if left != shown:
                self._show(left, show)
                shown = left
            now = time.monotonic()
            empty_since = math.inf if any(left) else min(empty_since, now)
            if now - empty_since >= self.settled_s:
                break
            if any(left) and now - began > timeout_s:
                raise NotDrainedError(
                    f"{sum(left)} messages are left after {timeout_s:.0f} s. If the number does not fall, "
                    "the bucket still sends events (remove its notifications), or the target rejects requests."
                )
            time.sleep(min(self.poll_interval_s, self.settled_s))
        dead_letters = {each.dead_letter_queue_url: count(sqs, each.dead_letter_queue_url) for each, sqs in self.queues}
        if any(dead_letters.values()):
            named = ", ".join(f"{number} in {url}" for url, number in dead_letters.items() if number)
            raise NotDrainedError(
                f"The queues are empty, but dead letters are left, which would be lost: {named}. "
                "See docs/operations.md to read them and send them back."
            )

    def _show(self, left: Sequence[int], show: Show) -> None:
        urls = [url for each, _ in self.queues for url in (each.queue_url, each.bulk_queue_url)]
        for url, number in zip(urls, left, strict=True):
            show(f"{number} messages in {url}")


def count(sqs: Any, url: str) -> int:
    """Return the approximate number of messages of a queue: visible, in flight and delayed."""
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(COUNTS))["Attributes"]
    return sum(int(attributes[name]) for name in COUNTS)
