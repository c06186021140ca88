"""Watch the queues of the deletions: none is done while the guard must be shut."""

from __future__ import annotations

from s3_syncer.core.events import decode
from s3_syncer.core.work_items import DeletionWork
from s3_syncer.queue.deletion_guard import OPEN_S

from .sqs import Queued, Sqs


class GuardAudit:
    """The breaches of the rule: a deletion is done only after both queues had few enough messages.

    The guard may see each queue as it was up to the lag of SQS ago, and may use a count for OPEN_S seconds. So a breach
    is a message that was done although the sum of both queues was above `hold_above` in all of that time.
    """

    def __init__(self, sqs: Sqs, deletions_url: str, held_url: str, hold_above: int) -> None:
        self._sqs, self._deletions_url, self._held_url, self._hold_above = sqs, deletions_url, held_url, hold_above
        #: The keys that were held, with the time of the last message about each.
        self.held: dict[str, float] = {}
        self.breaches: list[str] = []
        sqs.on_sent, sqs.on_deleted = self._on_sent, self._on_deleted

    def _on_sent(self, url: str, message: Queued) -> None:
        if url == self._held_url:
            self._sqs.scheduler.count("held deletion")
            self.held |= dict.fromkeys(_keys(message), message.sent_at)

    def _on_deleted(self, url: str, message: Queued) -> None:
        if url != self._deletions_url:
            return
        keys = [key for key in _keys(message) if self.held.get(key, float("-inf")) < message.received_at]
        start_s, now = message.received_at - self._sqs.count_lag_s - OPEN_S, self._sqs.scheduler.now
        least = sum(self._sqs.least(each, start_s, now) for each in (self._deletions_url, self._held_url))
        if keys and least > self._hold_above:
            self.breaches.append(f"{keys} done while at least {least} deletions waited or were held")


def _keys(message: Queued) -> tuple[str, ...]:
    work = decode(message.body, "source")
    return work.keys if isinstance(work, DeletionWork) else ()
