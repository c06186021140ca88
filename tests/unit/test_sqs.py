"""The requests to SQS that follow from a disposition."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from s3_syncer.core.fence import LATE_WRITE_S
from s3_syncer.core.work_items import KeyWork
from s3_syncer.queue.sqs import MAX_DELAY_S, Queue
from s3_syncer.queue.worker import Ack, DeadLetter, Disposition, Message, Retry

LATE = KeyWork(("key",), delay_s=LATE_WRITE_S)


class Client:
    """SQS, which accepts new messages or refuses all of them."""

    def __init__(self, *, accepts: bool) -> None:
        self.sent: list[dict[str, Any]] = []
        self.hidden_for: list[int] = []
        self._accepts = accepts

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        assert QueueUrl == "bulk", "every new message is bulk work"
        self.sent += Entries
        return {} if self._accepts else {"Failed": [{"Code": "InternalError", "Id": "0"}]}

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        assert QueueUrl == "queue"
        self.hidden_for += [entry["VisibilityTimeout"] for entry in Entries]
        return {}


@contextmanager
def queue(*, accepts: bool) -> Iterator[tuple[Queue, Client]]:
    client = Client(accepts=accepts)
    yield Queue(cast(Any, client), url="queue", bulk_url="bulk", dead_letter_url="dead", bucket="bucket"), client


def test_a_late_check_is_sent_with_its_delay() -> None:
    assert LATE_WRITE_S <= MAX_DELAY_S
    with queue(accepts=True) as (work, client):
        assert work.send_and_release([Message("1", "body")], {"1": Ack((LATE,))}) == []
    assert [entry["DelaySeconds"] for entry in client.sent] == [LATE_WRITE_S]
    assert client.hidden_for == []


@pytest.mark.parametrize("disposition", [Ack((LATE,)), Retry(2, more=(LATE,)), DeadLetter("denied", more=(LATE,))])
def test_a_message_takes_the_place_of_a_late_check_that_cannot_be_sent(disposition: Disposition) -> None:
    """It is not delivered sooner: the comparison would come before the late write."""
    message = Message("1", "body")
    with queue(accepts=False) as (work, client):
        assert work.send_and_release([message], {"1": disposition}) == [message]
    assert client.hidden_for == [LATE_WRITE_S]
