"""Wait until the queues are empty, before they are destroyed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..queue.message_counts import queue_counts
from .outputs import Outputs

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

#: Seconds for which the counts must be zero: see `message_counts.QueueCounts`.
SETTLED_S = 60.0
POLL_INTERVAL_S = 5.0

Show = Callable[[str], None]


class NotDrainedError(Exception):
    """Messages are left. The message says how many, and what to do."""


@dataclass
class Drain:
    """The queues of a module to wait for."""

    outputs: Outputs
    sqs: SQSClient
    settled_s: float = SETTLED_S
    poll_interval_s: float = POLL_INTERVAL_S

    def wait(self, timeout_s: float, show: Show) -> None:
        """Wait until all queues have stayed empty for `settled_s` seconds.

        Raises NotDrainedError after `timeout_s` seconds, or if there are dead letters or held deletions.
        """
        began, empty_since = time.monotonic(), math.inf
        outputs = self.outputs
        urls = [url for url in (outputs.queue_url, outputs.bulk_queue_url, outputs.deletions_queue_url) if url]
        shown: list[int] = []
        while True:
            left = [self._count(url) for url in urls]
            if left != shown:
                for url, number in zip(urls, left, strict=True):
                    show(f"{number} messages in {url}")
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
        if letters := self._count(outputs.dead_letter_queue_url):
            raise NotDrainedError(
                "The queues are empty, but dead letters are left, which would be lost: "
                f"{letters} in {outputs.dead_letter_queue_url}. `s3-syncer dead-letters list` shows them."
            )
        held_url = outputs.held_deletions_queue_url
        if held_url and (held := self._count(held_url)):
            raise NotDrainedError(
                "The queues are empty, but held deletions are left, which would be lost: "
                f"{held} in {held_url}. Run `s3-syncer deletions release` or `discard`."
            )

    def _count(self, url: str) -> int:
        return queue_counts(self.sqs, url).total
