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
    sent_at: float = 0.0
    received: int = 0
    received_at: float = 0.0
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
    delay_s: float = 0.0
    #: The number of messages since each moment at which it changed.
    counts: list[tuple[float, int]] = field(default_factory=lambda: [(float("-inf"), 0)])

    def least(self, start_s: float, end_s: float) -> int:
        """Return the smallest number of messages between two moments."""
        before = max(index for index, (since, _) in enumerate(self.counts) if since <= start_s)
        return min(number for since, number in self.counts[before:] if since <= end_s)

    def count(self, now: float) -> None:
        if self.counts[-1][1] != len(self.messages):
            self.counts.append((now, len(self.messages)))


class Sqs(Server):
    """Queues by URL. `redrive` moves a message that was received too often to its dead-letter queue."""

    def __init__(self, scheduler: Scheduler, faults: QueueFaults = NO_QUEUE_FAULTS) -> None:
        super().__init__("sqs", scheduler)
        self.faults = faults
        #: Seconds by which the counts of messages may lag.
        self.count_lag_s = 0.0
        #: Called with the URL of a queue and each message that is sent to it, or that its last receiver deletes.
        self.on_sent: Callable[[str, Queued], object] = lambda url, message: None
        self.on_deleted: Callable[[str, Queued], object] = lambda url, message: None
        self._queues: dict[str, _Queue] = {}
        self._waiting: list[Task] = []

    def create(
        self, url: str, *, dead_letter_url: str | None = None, max_receive_count: int = 1000, delay_s: float = 0.0
    ) -> None:
        """Create a queue with a delay for each message. A dead-letter queue is another queue."""
        self._queues[url] = _Queue({}, dead_letter_url, max_receive_count, delay_s)

    def least(self, url: str, start_s: float, end_s: float) -> int:
        """Return the smallest number of messages of a queue between two moments."""
        return self._queues[url].least(start_s, end_s)

    def reported(self, url: str) -> int:
        """Return the number of messages that SQS reports now: that of a moment up to `count_lag_s` ago."""
        moment = self.scheduler.now - (self.scheduler.choose((0.0, 0.5, 1.0)) * self.count_lag_s)
        return self._queues[url].least(moment, moment)

    def messages(self, url: str) -> list[Queued]:
        """Return the messages of a queue: visible, delayed and in flight."""
        return list(self._queues[url].messages.values())

    def send(self, url: str, body: str, delay_s: float = 0.0, attributes: Mapping[str, str] | None = None) -> str:
        """Add a message that can be received after `delay_s` seconds; return its ID."""
        id = f"m{self.scheduler.number()}"
        queue, now = self._queues[url], self.scheduler.now
        queue.messages[id] = Queued(id, body, now + (delay_s or queue.delay_s), attributes or {}, now)
        queue.count(now)
        self.on_sent(url, queue.messages[id])
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
                queue.count(now)
                self.scheduler.note(self.name, "moves to the dead-letter queue:", message.body)
                continue
            message.received += 1
            message.received_at = now
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
        self._queues[url].count(self.scheduler.now)
        if message.receipt == receipt:
            self.on_deleted(url, message)

    def expire(self, url: str, number: int) -> None:
        """Delete the oldest messages, as SQS does when their retention ends."""
        queue = self._queues[url]
        for id in sorted(queue.messages, key=lambda id: queue.messages[id].sent_at)[:number]:
            del queue.messages[id]
        queue.count(self.scheduler.now)

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
        def count() -> Response:
            visible = "ApproximateNumberOfMessages"
            return {
                "Attributes": {
                    name: str(self._sqs.reported(QueueUrl) if name == visible else 0) for name in AttributeNames
                }
            }

        return self._request("get_queue_attributes", QueueUrl, count)

    def receive_message(
        self,
        *,
        QueueUrl: str,
        MaxNumberOfMessages: int,
        VisibilityTimeout: int,
        WaitTimeSeconds: int,
        MessageSystemAttributeNames: Iterable[str],
        MessageAttributeNames: Iterable[str] = (),
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
                        "Attributes": {
                            "ApproximateReceiveCount": str(message.received),
                            "SentTimestamp": str(round(1000 * (EPOCH + message.sent_at))),
                        },
                    }
                    for message in found
                ]
            }

        return self._request("receive_message", QueueUrl, apply)

    def send_message(
        self, *, QueueUrl: str, MessageBody: str, MessageAttributes: Mapping[str, Mapping[str, str]] | None = None
    ) -> Response:
        attributes = {name: value["StringValue"] for name, value in (MessageAttributes or {}).items()}
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
