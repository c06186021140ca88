"""Unit tests of `s3-syncer dead-letters`: no letter is lost, whatever request is the last one."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest

from s3_syncer.operations.dead_letters import NO_REASON, DeadLetterQueue, Selection, grouped
from s3_syncer.queue.batch_requests import MAX_ENTRIES

LETTERS, EVENTS = "https://sqs/mirror-dead-letters", "https://sqs/mirror"


class Killed(BaseException):
    """The end of the command in the middle of its work."""


@dataclass
class SQS:
    """Two queues. After `requests_left` requests, the next one kills the command."""

    letters: dict[str, dict[str, Any]] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    events: list[str] = field(default_factory=list)
    requests_left: int = 1_000_000
    #: Bodies that the queue of the events refuses.
    refused: set[str] = field(default_factory=set)
    #: Numbers of messages in the next responses; afterwards as many as there are.
    sizes: deque[int] = field(default_factory=deque)
    #: True if the workers send each letter to the dead-letter queue again, before the next request.
    fails_again: bool = False
    #: True if each batch request of ten entries fails its first entry.
    fails_once: bool = False
    _added: int = 0

    def add(self, *keys: str, reason: str | None = None, sent_at: float = 100.0, body: str | None = None) -> None:
        number = str(self._added)
        self._added += 1
        text = body or json.dumps({"s3-syncer": {"work": "keys", "keys": list(keys)}})
        attributes = {} if reason is None else {"error": {"DataType": "String", "StringValue": reason}}
        self.letters[number] = {
            "MessageId": number,
            "ReceiptHandle": f"receipt-{number}",
            "Body": text,
            "Attributes": {"SentTimestamp": str(round(sent_at * 1000))},
            "MessageAttributes": attributes,
        }

    def receive_message(self, *, QueueUrl: str, MaxNumberOfMessages: int, **_: Any) -> dict[str, Any]:
        self._count()
        assert QueueUrl == LETTERS
        most = min(MaxNumberOfMessages, self.sizes.popleft()) if self.sizes else MaxNumberOfMessages
        visible = [letter for number, letter in self.letters.items() if number not in self.hidden][:most]
        self.hidden |= {letter["MessageId"] for letter in visible}
        return {"Messages": visible} if visible else {}

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:
        self._count()
        assert QueueUrl == EVENTS
        assert len(Entries) <= 10
        assert sum(len(entry["MessageBody"].encode()) for entry in Entries) <= 256 * 1024
        refused = [entry for entry in Entries if entry["MessageBody"] in self.refused]
        failed = refused or self._first_of(Entries)
        self.events += [entry["MessageBody"] for entry in Entries if entry not in failed]
        for entry in Entries if self.fails_again else ():
            self.add(body=entry["MessageBody"], sent_at=time.time() + 1)
        return {"Failed": _failures(failed)}

    def delete_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:
        self._count()
        failed = self._first_of(Entries)
        for entry in Entries:
            if entry not in failed:
                number = entry["ReceiptHandle"].removeprefix("receipt-")
                del self.letters[number]
                self.hidden.discard(number)
        return {"Failed": _failures(failed)}

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        failed = self._first_of(Entries)
        for entry in Entries:
            if entry not in failed:
                self.hidden.discard(entry["ReceiptHandle"].removeprefix("receipt-"))
        return {"Failed": _failures(failed)}

    def _first_of(self, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the first entry of each full batch, if `fails_once`: a repeat of it is no full batch."""
        return entries[:1] if self.fails_once and len(entries) == MAX_ENTRIES else []

    def _count(self) -> None:
        if not self.requests_left:
            raise Killed
        self.requests_left -= 1

    def queue(self) -> DeadLetterQueue:
        return DeadLetterQueue(self, LETTERS, destination_url=EVENTS, bucket="my-bucket")  # type: ignore[arg-type]

    @property
    def bodies(self) -> set[str]:
        """Return the bodies on both queues."""
        return {*self.events, *(letter["Body"] for letter in self.letters.values())}


def _failures(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"Id": entry["Id"], "Code": "InternalError", "SenderFault": False} for entry in entries]


@pytest.fixture
def sqs() -> SQS:
    filled = SQS()
    for number in range(25):
        filled.add(f"photos/{number}.jpg", reason=f"HeadObject: AccessDenied, request ID {number}", sent_at=number)
    filled.add("a", "b", reason="EntityTooLarge")
    filled.add("moved")
    return filled


def nothing(_done: int) -> None:
    pass


def test_letters_are_grouped_by_reason_without_the_request_id(sqs: SQS) -> None:
    groups = grouped(sqs.queue().read(Selection()))
    assert [(group.reason, group.letters, group.example) for group in groups] == [
        ("HeadObject: AccessDenied", 25, "photos/0.jpg"),
        ("EntityTooLarge", 1, "a and 1 more"),
        (NO_REASON, 1, "moved"),
    ]
    assert groups[0].oldest_at == 0


def test_reading_leaves_every_letter_visible(sqs: SQS) -> None:
    assert len(sqs.queue().read(Selection())) == 27
    assert not sqs.hidden
    assert len(sqs.queue().read(Selection(), limit=5)) == 5
    assert not sqs.hidden


def test_one_empty_response_is_not_the_end(sqs: SQS) -> None:
    sqs.sizes.extend([3, 0, 10])
    assert len(sqs.queue().read(Selection())) == 27


@pytest.mark.parametrize(
    ("selection", "number"),
    [
        (Selection(), 27),
        (Selection(reason="accessdenied"), 25),
        (Selection(reason="request id 3"), 0),
        (Selection(key="photos/1*"), 11),
        (Selection(key="photos/1.jpg"), 1),
        (Selection(key="b"), 1),
        (Selection(since=20.0), 7),
        (Selection(until=20.0), 21),
        (Selection(reason="AccessDenied", key="photos/2?.jpg", since=22.0), 3),
    ],
)
def test_selection_has_the_letters_that_meet_all_conditions(sqs: SQS, selection: Selection, number: int) -> None:
    assert len(sqs.queue().read(selection)) == number


def test_key_with_the_characters_of_a_pattern_is_also_a_key() -> None:
    sqs = SQS()
    sqs.add("[a]")
    assert len(sqs.queue().read(Selection(key="[a]"))) == 1


def test_redrive_sends_a_part_back_and_releases_the_rest(sqs: SQS) -> None:
    result = sqs.queue().redrive(Selection(reason="AccessDenied"), nothing)
    assert (result.done, result.kept, result.errors) == (25, 2, ())
    assert len(sqs.events) == 25
    assert len(sqs.letters) == 2
    assert not sqs.hidden


@pytest.mark.parametrize("requests", range(11))
def test_redrive_that_is_killed_loses_no_letter(sqs: SQS, requests: int) -> None:
    before, sqs.requests_left = sqs.bodies, requests
    with pytest.raises(Killed):
        sqs.queue().redrive(Selection(), nothing)
    assert sqs.bodies == before
    assert not sqs.hidden


def test_letter_that_the_queue_refuses_stays(sqs: SQS) -> None:
    refused = sqs.letters["3"]["Body"]
    sqs.refused = {refused}
    result = sqs.queue().redrive(Selection(), nothing)
    assert (result.done, result.kept, result.errors) == (26, 1, ("not sent: InternalError",))
    assert [letter["Body"] for letter in sqs.letters.values()] == [refused]
    assert not sqs.hidden


def test_entry_of_a_batch_that_fails_once_is_repeated(sqs: SQS) -> None:
    sqs.fails_once = True
    bodies = sqs.bodies
    result = sqs.queue().redrive(Selection(), nothing)
    assert (result.done, result.kept, result.errors) == (27, 0, ())
    assert sorted(sqs.events) == sorted(bodies)


def test_letter_is_visible_again_although_a_change_of_its_visibility_fails_once(sqs: SQS) -> None:
    sqs.fails_once = True
    assert len(sqs.queue().read(Selection())) == 27
    assert not sqs.hidden


def test_letter_that_cannot_be_deleted_is_not_discarded(sqs: SQS, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = [{"Id": "0", "Code": "InternalError", "SenderFault": False}]
    monkeypatch.setattr(sqs, "delete_message_batch", lambda **_: {"Failed": failed})
    result = sqs.queue().discard(Selection(key="a"), nothing)
    assert (result.done, result.kept, result.errors) == (0, 27, ("not deleted: InternalError",))
    assert not sqs.hidden


def test_letter_that_fails_again_at_once_is_sent_back_once(sqs: SQS) -> None:
    sqs.requests_left, sqs.fails_again = 100, True
    result = sqs.queue().redrive(Selection(), nothing)
    assert (result.done, result.kept) == (27, 27)
    assert len(sqs.letters) == 27
    assert not sqs.hidden


def test_large_letters_are_sent_in_several_requests() -> None:
    sqs = SQS()
    for number in range(3):
        sqs.add(body=json.dumps({"s3-syncer": {"work": "keys", "keys": [f"{number}" * 1000] * 100}}))
    assert sqs.queue().redrive(Selection(), nothing).done == 3


def test_discard_deletes_the_selection_and_sends_nothing(sqs: SQS) -> None:
    result = sqs.queue().discard(Selection(key="a"), nothing)
    assert (result.done, result.kept) == (1, 26)
    assert not sqs.events
    assert not sqs.hidden


@pytest.mark.parametrize(
    ("body", "subject"),
    [
        ('{"s3-syncer": {"work": "range", "after": "k"}}', "the range after 'k' up to the end"),
        ("no JSON", "a message that the workers do not know"),
        ('{"Event": "s3:TestEvent"}', "a test event of S3"),
        (
            '{"s3-syncer": {"work": "parts", "key": "k", "etag": "e", "upload": "u", "size": 9, "part_size": 5,'
            ' "first": 1, "last": 2}}',
            "k",
        ),
    ],
)
def test_subject_names_the_work_of_a_letter_without_keys(body: str, subject: str) -> None:
    sqs = SQS()
    sqs.add(body=body, reason="x")
    assert [letter.subject for letter in sqs.queue().read(Selection())] == [subject]
