"""SQS in memory, as `queue/sqs.py` and Lambda use it: at least once, in any order, with redrive.

To add a fault: add its rate to `faults.QueueFaults`, and use it in `Sqs` with `_happens`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

from .client import Connection
from .faults import NO_QUEUE_FAULTS, QueueFaults
from .scheduler import Scheduler, Task
from .store import Refused, Response, Server
from .threads import EPOCH

#: Seconds between a change of the source and its event in the queue.
EVENT_DELAYS_S = (0.0, 0.0, 0.1, 1.0, 5.0, 60.0)


@dataclass(slots=True)
class Queued:
    """A message in a queue. It can be received once `visible_at` has come."""

    id: str
    body: str
    visible_at: float
    attributes: Mapping[str, str] = field(default_factory=dict)
    received: int = 0
    receipt: str = ""
    #: True once a receiver has deleted it. A duplicate of it may still be delivered.
    deleted: bool = False

    @property
    def key(self) -> str | None:
        """The key that the product gave a dead letter."""
        return self.attributes.get("key")


@dataclass(slots=True)
class _Queue:
    messages: dict[str, Queued] = field(default_factory=dict)
    dead_letter_url: str | None = None
    max_receive_count: int = 0


class Sqs(Server):
    """Queues by URL. `redrive` moves a message that was received too often to its dead-letter queue."""

    def __init__(self, scheduler: Scheduler, faults: QueueFaults = NO_QUEUE_FAULTS) -> None:
        super().__init__("sqs", scheduler)
        self.faults = faults
        self._queues: dict[str, _Queue] = {}
        self._waiting: list[Task] = []

    def create(self, url: str, *, dead_letter_url: str | None = None, max_receive_count: int = 1000) -> None:
        """Create a queue. A dead-letter queue is another queue."""
        self._queues[url] = _Queue({}, dead_letter_url, max_receive_count)

    def messages(self, url: str) -> list[Queued]:
        """Return the messages of a queue: visible, delayed and in flight."""
        return list(self._queues[url].messages.values())

    def send(self, url: str, body: str, delay_s: float = 0.0, attributes: Mapping[str, str] | None = None) -> str:
        """Add a message that can be received after `delay_s` seconds; return its ID."""
        id = f"m{self.scheduler.number()}"
        self._queues[url].messages[id] = Queued(id, body, self.scheduler.now + delay_s, attributes or {})
        self._wake()
        return id

    def notify(self, url: str, bucket: str, key: str, event: str) -> None:
        """Send an event of S3, after a delay, and perhaps twice."""
        now = self.scheduler.now
        moment = datetime.fromtimestamp(EPOCH + now, UTC)
        record = {
            "eventName": event,
            "eventTime": f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z",
            "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key)}},
        }
        body = json.dumps({"Records": [record]})
        for _ in range(1 + self._happens("repeated_event")):
            self.send(url, body, self.scheduler.choose(EVENT_DELAYS_S))

    def receive(self, url: str, most: int, visibility_timeout_s: float) -> list[Queued]:
        """Return up to `most` visible messages in any order, and hide them."""
        queue, now = self._queues[url], self.scheduler.now
        visible = [message for message in queue.messages.values() if message.visible_at <= now]
        found: list[Queued] = []
        while visible and len(found) < most:
            message = visible.pop(self.scheduler.choose(range(len(visible))))
            if message.received >= queue.max_receive_count and queue.dead_letter_url is not None:
                del queue.messages[message.id]
                self._queues[queue.dead_letter_url].messages[message.id] = message
                self.scheduler.note(self.name, "moves to the dead-letter queue:", message.body)
                continue
            message.received += 1
            message.receipt = f"{message.id}:{message.received}"
            message.visible_at = now + visibility_timeout_s
            found.append(message)
        return found

    def delete(self, url: str, receipt: str) -> None:
        """Delete the message.

        SQS may keep a message that was delivered again since, and may deliver a deleted message once more.
        """
        message = self._by_receipt(url, receipt)
        if message is None:
            return
        if message.receipt != receipt and self.scheduler.chance(0.5):
            return
        if not message.deleted and self._happens("duplicate"):
            message.deleted = True
            return
        del self._queues[url].messages[message.id]

    def change_visibility(self, url: str, receipt: str, timeout_s: float) -> None:
        """Hide the message for that time. Raises Refused if the receipt handle is no longer valid."""
        message = self._by_receipt(url, receipt)
        if message is None or message.receipt != receipt or message.visible_at <= self.scheduler.now:
            raise Refused("ReceiptHandleIsInvalid", 400)
        message.visible_at = self.scheduler.now + timeout_s
        self._wake()

    def wait(self, url: str, timeout_s: float) -> bool:
        """Wait until a message of the queue is visible; return False if the time ran out first."""
        end = self.scheduler.now + timeout_s
        while True:
            now = self.scheduler.now
            due = min((message.visible_at for message in self._queues[url].messages.values()), default=end)
            if due <= now:
                return True
            if now >= end:
                return False
            task = self.scheduler.task
            self._waiting.append(task)
            try:
                self.scheduler.park(min(due, end) - now, "receive")
            finally:
                self._waiting.remove(task)

    def _wake(self) -> None:
        for task in self._waiting:
            self.scheduler.wake(task)

    def _by_receipt(self, url: str, receipt: str) -> Queued | None:
        return self._queues[url].messages.get(receipt.partition(":")[0])

    def _happens(self, name: str) -> bool:
        """Return True if the fault with this name happens now, and count it."""
        rate: float = getattr(self.faults, name)
        return rate > 0 and self.scheduler.chance(rate) and self.scheduler.count(name)

    # -- the requests of clients -----------------------------------------------------------------------------------

    def batch(self, entries: Sequence[Mapping[str, Any]], apply: Callable[[Mapping[str, Any]], object]) -> Response:
        """Apply each entry of a batch request; return the response with the entries that failed."""
        failed = []
        for entry in entries:
            try:
                self._meet_failed_entry()
                apply(entry)
            except Refused as error:
                failed.append(
                    {"Id": entry["Id"], "Code": error.code, "Message": error.code, "SenderFault": error.status < 500}
                )
        return {"Failed": failed} if failed else {}

    def _meet_failed_entry(self) -> None:
        if self._happens("failed_entry"):
            raise Refused("InternalError", 500)


class SqsClient:
    """A client in boto3's form for the queues at the other end of a connection."""

    def __init__(self, sqs: Sqs, connection: Connection) -> None:
        self._sqs, self._connection = sqs, connection

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: Iterable[str]) -> Response:
        return self._request("get_queue_attributes", QueueUrl, lambda: {"Attributes": {}})

    def receive_message(
        self,
        *,
        QueueUrl: str,
        MaxNumberOfMessages: int,
        VisibilityTimeout: int,
        WaitTimeSeconds: int,
        MessageSystemAttributeNames: Iterable[str],
    ) -> Response:
        self._sqs.wait(QueueUrl, WaitTimeSeconds)

        def apply() -> Response:
            found = self._sqs.receive(QueueUrl, MaxNumberOfMessages, VisibilityTimeout)
            return {
                "Messages": [
                    {
                        "MessageId": message.id,
                        "Body": message.body,
                        "ReceiptHandle": message.receipt,
                        "Attributes": {"ApproximateReceiveCount": str(message.received)},
                    }
                    for message in found
                ]
            }

        return self._request("receive_message", QueueUrl, apply)

    def send_message(
        self, *, QueueUrl: str, MessageBody: str, MessageAttributes: Mapping[str, Mapping[str, str]]
    ) -> Response:
        attributes = {name: value["StringValue"] for name, value in MessageAttributes.items()}
        return self._request(
            "send_message", QueueUrl, lambda: {"MessageId": self._sqs.send(QueueUrl, MessageBody, 0.0, attributes)}
        )

    def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[Mapping[str, Any]]) -> Response:
        def send(entry: Mapping[str, Any]) -> None:
            self._sqs.send(QueueUrl, entry["MessageBody"], entry.get("DelaySeconds", 0))

        return self._request("send_message_batch", QueueUrl, lambda: self._sqs.batch(Entries, send))

    def delete_message_batch(self, *, QueueUrl: str, Entries: Sequence[Mapping[str, Any]]) -> Response:
        def delete(entry: Mapping[str, Any]) -> None:
            self._sqs.delete(QueueUrl, entry["ReceiptHandle"])

        return self._request("delete_message_batch", QueueUrl, lambda: self._sqs.batch(Entries, delete))

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Sequence[Mapping[str, Any]]) -> Response:
        def change(entry: Mapping[str, Any]) -> None:
            self._sqs.change_visibility(QueueUrl, entry["ReceiptHandle"], entry["VisibilityTimeout"])

        return self._request("change_message_visibility_batch", QueueUrl, lambda: self._sqs.batch(Entries, change))

    def _request(self, operation: str, url: str, apply: Callable[[], Response]) -> Response:
        return self._connection.request(operation, apply, subject=url, is_write=operation.startswith("send"))
