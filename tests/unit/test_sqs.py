"""The requests to SQS that follow from a disposition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from s3_syncer.core.fence import LATE_WRITE_S
from s3_syncer.core.work_items import KeyWork
from s3_syncer.queue.batch_requests import MAX_ENTRY_ATTEMPTS
from s3_syncer.queue.dispositions import Ack, DeadLetter, Disposition, Message, Retry
from s3_syncer.queue.sqs import MAX_DELAY_S, Destinations, Queue

LATE = KeyWork(("key",), delay_s=LATE_WRITE_S)


class Client:
    """SQS, which accepts new messages or refuses all of them.

    It fails each entry as often as `failures` says by the entry's ID, as SQS does in a request that succeeds.
    """

    def __init__(self, *, accepts: bool) -> None:
        self.sent: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.hidden_for: list[int] = []
        self.failures: dict[str, int] = {}
        self.sender_fault = False
        self.requests = 0
        self._accepts = accepts

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        assert QueueUrl == "bulk", "every new message is bulk work"
        accepted, response = self._answer(Entries)
        self.sent += accepted
        return response if self._accepts else self._refusal(entry["Id"] for entry in Entries)

    def delete_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        accepted, response = self._answer(Entries)
        self.deleted += [entry["ReceiptHandle"] for entry in accepted]
        return response

    def _answer(self, entries: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        self.requests += 1
        failed = [entry["Id"] for entry in entries if self.failures.get(entry["Id"], 0) > 0]
        self.failures = {id: count - (id in failed) for id, count in self.failures.items()}
        return [entry for entry in entries if entry["Id"] not in failed], self._refusal(failed)

    def _refusal(self, ids: Iterable[str]) -> dict[str, Any]:
        failed = [{"Code": "InternalError", "Id": id, "SenderFault": self.sender_fault} for id in ids]
        return {"Failed": failed} if failed else {}

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        assert QueueUrl == "queue"
        accepted, response = self._answer(Entries)
        self.hidden_for += [entry["VisibilityTimeout"] for entry in accepted]
        return response


@contextmanager
def queue(*, accepts: bool) -> Iterator[tuple[Queue, Client]]:
    client = Client(accepts=accepts)
    destinations = Destinations("bulk", "dead", "deletions", "held")
    yield Queue(cast(Any, client), url="queue", destinations=destinations, bucket="bucket"), client


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


def test_work_that_several_messages_of_a_batch_leave_is_sent_once() -> None:
    messages = [Message(str(number), "body") for number in range(10)]
    with queue(accepts=True) as (work, client):
        assert work.send_and_release(messages, {message.id: Ack((LATE,)) for message in messages}) == []
    assert len(client.sent) == 1


def test_each_message_waits_for_work_that_could_not_be_sent() -> None:
    messages = [Message("1", "body", receipt="r1"), Message("2", "body", receipt="r2")]
    with queue(accepts=False) as (work, _):
        assert work.send_and_release(messages, {"1": Ack((LATE,)), "2": Ack((LATE,))}) == messages


def test_an_entry_that_fails_in_a_request_that_succeeds_is_repeated() -> None:
    """An item of a large object that was not sent once delayed the object by an hour."""
    with queue(accepts=True) as (work, client):
        client.failures = {"1": MAX_ENTRY_ATTEMPTS - 1}
        assert work.send([KeyWork((key,)) for key in "abc"])
        assert [entry["Id"] for entry in client.sent] == ["0", "2", "1"], "each entry is accepted once"
        client.failures = {"0": 1}
        work.delete([Message("1", "body", receipt="r1"), Message("2", "body", receipt="r2")])
        assert client.deleted == ["r2", "r1"]
        client.failures = {"0": 1}
        assert work.extend({"r1": 300}) == {}
        assert client.hidden_for == [300]


def test_an_entry_that_fails_each_time_is_not_sent() -> None:
    with queue(accepts=True) as (work, client):
        client.failures = {"1": MAX_ENTRY_ATTEMPTS}
        assert not work.send([KeyWork((key,)) for key in "ab"])
        assert client.requests == MAX_ENTRY_ATTEMPTS


def test_an_entry_that_fails_because_of_its_sender_is_not_repeated() -> None:
    with queue(accepts=True) as (work, client):
        client.failures, client.sender_fault = {"0": 1}, True
        assert work.extend({"r1": 300}) == {"r1": False}
        assert client.requests == 1
