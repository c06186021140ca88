"""A mass of deletions on queues in memory: held, released and discarded."""

from __future__ import annotations

import json
import signal
import threading
from typing import Any, cast

import pytest
from tests.support.in_memory_store import MemoryBucket, capabilities_of_aws, stored
from tests.support.patience import PATIENCE_S

from s3_syncer.core.deadline import Deadline
from s3_syncer.core.units import MIB
from s3_syncer.core.work_items import DeletionWork, KeyWork
from s3_syncer.operations.held_deletions import HeldDeletions
from s3_syncer.operations.queue_reader import QueueReader
from s3_syncer.queue.deletion_guard import DeletionGuard, Deletions
from s3_syncer.queue.dispositions import Message
from s3_syncer.queue.sqs import Destinations, Queue, count_messages
from s3_syncer.queue.worker import Worker
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.distributed_copy import DistributedCopier
from s3_syncer.sync.transfer import Transfer

EVENTS, BULK, DELETIONS, HELD = "events", "bulk", "deletions", "held"

DELETED, HOLD_ABOVE = 20_000, 10_000


class Killed(BaseException):
    """The end of a command in the middle of its work."""


class SQS:
    """Queues in memory, without visibility timeouts.

    After `requests_left` requests, the next one kills the command.
    """

    def __init__(self) -> None:
        self.queues: dict[str, dict[str, str]] = {name: {} for name in (EVENTS, BULK, DELETIONS, HELD)}
        self.hidden: set[str] = set()
        self.requests_left = 10**9
        self._number, self._lock = 0, threading.Lock()

    def put(self, url: str, body: str) -> None:
        self._number += 1
        self.queues[url][str(self._number)] = body

    def receive_message(self, *, QueueUrl: str, MaxNumberOfMessages: int, **_: Any) -> dict[str, Any]:
        with self._lock:
            self._count()
            found: list[str] = []
            for id in self.queues[QueueUrl]:
                if len(found) == MaxNumberOfMessages:
                    break
                if id not in self.hidden:
                    found.append(id)
            self.hidden.update(found)
            return {"Messages": [self._message(id, self.queues[QueueUrl][id]) for id in found]}

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> dict[str, Any]:
        with self._lock:
            self._count()
            self.put(QueueUrl, MessageBody)
            return {}

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        with self._lock:
            for entry in Entries:
                self.put(QueueUrl, entry["MessageBody"])
            return {}

    def delete_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:
        with self._lock:
            self._count()
            for entry in Entries:
                self.queues[QueueUrl].pop(entry["ReceiptHandle"], None)
                self.hidden.discard(entry["ReceiptHandle"])
            return {}

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        assert QueueUrl == HELD
        with self._lock:
            self.hidden -= {entry["ReceiptHandle"] for entry in Entries if entry["VisibilityTimeout"] == 0}
            return {}

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:
        number = len(self.queues[QueueUrl])
        return {"Attributes": {name: str(number) if name == AttributeNames[0] else "0" for name in AttributeNames}}

    def _message(self, id: str, body: str) -> dict[str, Any]:
        attributes = {"SentTimestamp": "1000", "ApproximateReceiveCount": "1"}
        return {"MessageId": id, "ReceiptHandle": id, "Body": body, "Attributes": attributes}

    def _count(self) -> None:
        if not self.requests_left:
            raise Killed
        self.requests_left -= 1


class Mirror:
    """The workers of all queues. The source is empty, and the target has `objects` objects."""

    def __init__(self, objects: int) -> None:
        self.sqs = SQS()
        self.target = MemoryBucket({f"{number:05}": stored(b"1") for number in range(objects)})
        known = capabilities_of_aws()
        source = MemoryBucket()
        transfer = Transfer(source, self.target, memory=MIB, threads=1, capabilities=known)
        pair = BucketPair(source, self.target, transfer, capabilities=known)
        copier = DistributedCopier(source, self.target, transfer, prefix="", threshold=MIB)
        client = cast(Any, self.sqs)
        guard = DeletionGuard(lambda: count_messages(client, DELETIONS) + count_messages(client, HELD), HOLD_ABOVE)
        destinations = Destinations(BULK, "dead", DELETIONS, HELD)

        def worker(guard: DeletionGuard | None) -> Worker:
            return Worker(
                pair,
                cast(Any, None),
                copier,
                bucket="bucket",
                prefix="",
                threads=1,
                deletions=Deletions(are_deferred=True, guard=guard),
            )

        self._queues = {
            url: (Queue(client, url=url, destinations=destinations, bucket="bucket"), worker(each))
            for url, each in ((EVENTS, None), (BULK, None), (DELETIONS, guard))
        }

    def delete_everything(self) -> None:
        """Send an event for each key, and process all of them."""
        for key in self.target.objects:
            self.sqs.put(EVENTS, KeyWork((key,)).to_json())
        self.work(EVENTS)

    def work(self, url: str) -> None:
        """Process the messages of a queue, in one batch."""
        queue, worker = self._queues[url]
        messages = [Message(id, body, receipt=id) for id, body in self.sqs.queues[url].items()]
        dispositions = worker.run(messages, Deadline())
        assert queue.send_and_release(messages, dispositions) == []
        queue.delete(messages)

    def held(self, *, threads: int = 1) -> HeldDeletions:
        return HeldDeletions(cast(Any, self.sqs), HELD, bulk_url=BULK, threads=threads)


def ignore(done: int) -> None:
    """Show no progress."""


def test_twenty_thousand_deletions_at_once_are_held_and_a_release_does_them() -> None:
    mirror = Mirror(DELETED)
    mirror.delete_everything()
    assert len(mirror.sqs.queues[DELETIONS]) == DELETED
    mirror.work(DELETIONS)
    assert len(mirror.target.objects) == DELETED
    assert (len(mirror.sqs.queues[DELETIONS]), mirror.held().counts().total) == (0, DELETED)

    assert mirror.held(threads=8).release(ignore).done == DELETED
    assert mirror.held().counts().total == 0
    mirror.work(BULK)
    assert not mirror.target.objects


def test_twenty_thousand_discarded_deletions_leave_the_objects() -> None:
    mirror = Mirror(DELETED)
    mirror.delete_everything()
    mirror.work(DELETIONS)
    assert mirror.held(threads=8).discard(ignore).done == DELETED
    assert len(mirror.target.objects) == DELETED
    assert not any(mirror.sqs.queues.values())


def test_fewer_deletions_than_the_limit_are_done() -> None:
    mirror = Mirror(HOLD_ABOVE)
    mirror.delete_everything()
    mirror.work(DELETIONS)
    assert not mirror.target.objects
    assert not any(mirror.sqs.queues.values())


def hold(mirror: Mirror, number: int) -> None:
    for index in range(number):
        mirror.sqs.put(HELD, DeletionWork((f"{index:05}",)).to_json())


def released_keys(mirror: Mirror) -> set[str]:
    works = [json.loads(body)["s3-syncer"] for body in mirror.sqs.queues[BULK].values()]
    assert all(work["released"] for work in works)
    return {key for work in works for key in work["keys"]}


@pytest.mark.parametrize("requests", range(8))
def test_a_release_that_is_killed_loses_nothing(requests: int) -> None:
    mirror = Mirror(0)
    hold(mirror, 25)
    mirror.sqs.requests_left = requests
    with pytest.raises(Killed):
        mirror.held().release(ignore)
    mirror.sqs.requests_left, mirror.sqs.hidden = 10**9, set()
    mirror.held().release(ignore)
    assert released_keys(mirror) == {f"{index:05}" for index in range(25)}
    assert mirror.held().counts().total == 0


@pytest.mark.parametrize("threads", [1, 8])
def test_a_release_with_a_limit_leaves_the_rest(threads: int) -> None:
    mirror = Mirror(0)
    hold(mirror, 50)
    mirror.sqs.put(HELD, "no JSON")
    assert mirror.held(threads=threads).release(ignore, limit=15).done == 15
    assert len(released_keys(mirror)) == 15
    assert mirror.held().counts().total == 36


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return an event that is set once no further message may be taken."""
    event, end = threading.Event(), QueueReader.end

    def noting_end(reader: QueueReader) -> None:
        end(reader)
        event.set()

    monkeypatch.setattr(QueueReader, "end", noting_end)
    return event


def test_after_ctrl_c_a_release_takes_no_further_portion(ended: threading.Event) -> None:
    mirror = Mirror(0)
    hold(mirror, 200)

    def press_ctrl_c(done: int) -> None:
        if done == 100:
            # A signal of the system, because it also interrupts a main thread that waits for a lock.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            ended.wait(PATIENCE_S)

    with pytest.raises(KeyboardInterrupt):
        mirror.held().release(press_ctrl_c)
    assert mirror.held().counts().total == 100


def test_after_an_error_of_one_thread_no_thread_takes_a_further_portion(ended: threading.Event) -> None:
    mirror = Mirror(0)
    hold(mirror, 200)

    def fail_once(done: int) -> None:
        if done == 10:
            raise Killed
        ended.wait(PATIENCE_S)

    with pytest.raises(Killed):
        mirror.held(threads=2).release(fail_once)
    assert mirror.held().counts().total >= 180


def test_a_message_that_cannot_be_deleted_is_not_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = Mirror(0)
    hold(mirror, 3)
    failed = [{"Id": "0", "Code": "InternalError", "SenderFault": False}]
    monkeypatch.setattr(mirror.sqs, "delete_message_batch", lambda **_: {"Failed": failed})
    result = mirror.held().discard(ignore)
    assert (result.done, result.kept, result.errors) == (2, 1, ("not deleted: InternalError",))


def test_a_list_changes_nothing() -> None:
    mirror = Mirror(0)
    hold(mirror, 25)
    found = mirror.held().read(12)
    assert [each.keys for each in found] == [(f"{index:05}",) for index in range(12)]
    assert [each.held_at for each in found] == [1.0] * 12
    assert mirror.held().counts().total == 25
    assert not mirror.sqs.hidden


@pytest.mark.parametrize("body", ["no JSON", KeyWork(("a",)).to_json()])
def test_a_message_of_another_form_stays(body: str) -> None:
    mirror = Mirror(0)
    mirror.sqs.put(HELD, body)
    hold(mirror, 1)
    result = mirror.held().release(ignore)
    assert (result.done, result.kept, result.errors) == (1, 1, ())
    assert list(mirror.sqs.queues[HELD].values()) == [body]
    assert not mirror.sqs.hidden
