"""Requests to a queue and its dead-letter queue, for the function and the service."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError

from ..core.errors import Retryable, StoreUnusable
from ..core.work_items import DeletionWork, KeyWork
from .batch_requests import MAX_ENTRIES, batches, failed_entries, failure_reason
from .dispositions import Ack, DeadLetter, Disposition, Message, Retry, redelivery_delay_s
from .message_counts import queue_counts

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import (
        ChangeMessageVisibilityBatchRequestEntryTypeDef,
        DeleteMessageBatchRequestEntryTypeDef,
        MessageAttributeValueTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

    from ..core.work_items import Work

logger = logging.getLogger(__name__)

#: Longest delay of a new message in seconds (the same document, SendMessage).
MAX_DELAY_S = 900

#: Characters of an error that a message attribute keeps: enough to read, and far below the size limit of a message.
_ERROR_MAX = 1000

#: Characters that S3 allows in a key and SQS rejects in an attribute (the same document, SendMessage).
_REJECTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


_ERRORS = (ClientError, BotoCoreError)


@dataclass(frozen=True, slots=True)
class Destinations:
    """The URLs of the queues for new messages."""

    bulk: str
    dead_letters: str
    deletions: str = ""
    held_deletions: str = ""

    def url_for(self, work: Work) -> str:
        """Return the queue for a work item.

        A released deletion is bulk work, so that the guard does not count it.
        """
        if isinstance(work, DeletionWork) and not work.released:
            return (self.held_deletions if work.is_held else self.deletions) or self.bulk
        return self.bulk


class Queue:
    """A queue to receive from, with the destinations of new messages.

    `bucket` is the source bucket: dead letters have it as an attribute.
    """

    def __init__(self, client: SQSClient, *, url: str, destinations: Destinations, bucket: str) -> None:
        self._client, self._url, self._destinations, self._bucket = client, url, destinations, bucket

    def has_arn(self, arn: str) -> bool:
        """Return True if the queue to receive from has the name in this ARN."""
        return arn.rpartition(":")[2] == self._url.rpartition("/")[2]

    def check(self) -> None:
        """Raise StoreUnusable if the queue does not exist, cannot be reached, or denies access."""
        try:
            self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        except _ERRORS as error:
            raise StoreUnusable(f"cannot use the queue {self._url}: {error}", "QueueUnusable") from error

    def receive(self, max_messages: int, *, visibility_timeout_s: int, wait_s: int) -> list[Message]:
        """Receive up to `max_messages` messages, at most 10. Raises StoreUnusable.

        Wait up to `wait_s` seconds for the first message. SQS hides the messages from other workers for
        `visibility_timeout_s` seconds.
        """
        try:
            response = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=min(max_messages, MAX_ENTRIES),
                VisibilityTimeout=visibility_timeout_s,
                WaitTimeSeconds=wait_s,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        except _ERRORS as error:
            raise StoreUnusable(f"cannot receive from the queue {self._url}: {error}", "QueueUnusable") from error
        return [
            Message(
                message["MessageId"],
                message["Body"],
                int(message["Attributes"]["ApproximateReceiveCount"]),
                message["ReceiptHandle"],
            )
            for message in response.get("Messages", [])
        ]

    def send_and_release(self, messages: Iterable[Message], dispositions: Mapping[str, Disposition]) -> list[Message]:
        """Send remaining work and dead letters, and release the messages to retry.

        Return the released messages: the caller deletes the rest. A message is also released if the work that its
        disposition leaves, or its dead letter, could not be sent. It then takes the place of that work, so it returns
        no sooner than the work would have come. Several messages about one key leave the same work, which is sent once.
        """
        released: list[Message] = []
        delays: dict[str, int] = {}
        done: set[Work] = set()
        for message in messages:
            disposition = dispositions[message.id]
            left = [work for work in disposition.more if work not in done]
            if sent := self.send(left):
                done.update(left)
            match disposition:
                case Retry(delay_s):
                    pass
                case Ack() if not sent:
                    delay_s = redelivery_delay_s(message.attempt)
                case DeadLetter() if not (sent and self.send_to_dead_letter_queue(message.body, disposition)):
                    delay_s = redelivery_delay_s(message.attempt)
                case _:
                    continue
            delays[message.receipt] = delay_s if sent else max(delay_s, _longest_delay_s(disposition.more))
            released.append(message)
        self.release(delays)
        return released

    def delete(self, messages: Sequence[Message]) -> None:
        """Delete messages.

        A message that cannot be deleted is delivered again, and its keys are found unchanged.
        """
        for some in batches(messages):
            entries: list[DeleteMessageBatchRequestEntryTypeDef] = [
                {"Id": str(index), "ReceiptHandle": message.receipt} for index, message in enumerate(some)
            ]
            try:
                failed = failed_entries(self._client.delete_message_batch, self._url, entries)
            except _ERRORS as error:
                logger.warning("message not deleted", extra={"reason": str(error)})
                continue
            for one in failed:
                logger.warning("message not deleted", extra={"reason": failure_reason(one)})

    def release(self, delays: Mapping[str, int]) -> None:
        """Make SQS deliver messages, by receipt handle, again after that many seconds.

        If a request fails, SQS delivers the message again when its visibility timeout ends.
        """
        self._change_visibility(delays, "backoff not set")

    def extend(self, delays: Mapping[str, int]) -> Mapping[str, bool]:
        """Hide messages, by receipt handle, for that many seconds from now.

        Return the messages that were not extended, each with whether a later attempt may succeed. It cannot if SQS no
        longer accepts the receipt handle.
        """
        return self._change_visibility(delays, "visibility not extended")

    def _change_visibility(self, delays: Mapping[str, int], on_failure: str) -> Mapping[str, bool]:
        unchanged: dict[str, bool] = {}
        for handles in batches(list(delays)):
            entries: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
                {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": delays[handle]}
                for index, handle in enumerate(handles)
            ]
            try:
                failed = failed_entries(self._client.change_message_visibility_batch, self._url, entries)
            except _ERRORS as error:
                logger.warning("%s", on_failure, extra={"reason": str(error)})
                unchanged.update(dict.fromkeys(handles, True))
                continue
            for one in failed:
                logger.warning("%s", on_failure, extra={"reason": failure_reason(one)})
                unchanged[handles[int(one["Id"])]] = not one["SenderFault"]
        return unchanged

    def send(self, works: Iterable[Work]) -> bool:
        """Send each work item to its queue, and return True if all of them were accepted.

        Otherwise, the message that led to the work must not be deleted.
        """
        by_url: dict[str, list[Work]] = {}
        for work in works:
            by_url.setdefault(self._destinations.url_for(work), []).append(work)
        return all(self._send_to(url, each) for url, each in by_url.items())

    def _send_to(self, url: str, works: Sequence[Work]) -> bool:
        for some in batches(works):
            entries = [_entry(index, work) for index, work in enumerate(some)]
            try:
                failed = failed_entries(self._client.send_message_batch, url, entries)
            except _ERRORS:
                logger.exception("work not sent")
                return False
            if failed:
                logger.error("work not sent", extra={"reason": failure_reason(failed[0])})
                return False
        return True

    def send_to_dead_letter_queue(self, body: str, letter: DeadLetter) -> bool:
        """Send a message to the dead-letter queue, and return True if it was accepted.

        Otherwise, the message must not be deleted.
        """
        attributes = {"error": letter.error[:_ERROR_MAX], "bucket": self._bucket, "key": letter.key}
        try:
            self._client.send_message(
                QueueUrl=self._destinations.dead_letters,
                MessageBody=body,
                MessageAttributes={name: _attribute(value) for name, value in attributes.items() if value},
            )
        except _ERRORS as error:
            logger.exception("dead letter not sent", extra={"key": letter.key, "reason": str(error)})
            return False
        return True


def count_messages(client: SQSClient, url: str) -> int:
    """Return the approximate number of messages of a queue. Raises Retryable."""
    try:
        return queue_counts(client, url).total
    except (*_ERRORS, KeyError, ValueError) as error:
        raise Retryable(f"cannot count the messages of {url}: {error!r}", "QueueUnusable") from error


def _longest_delay_s(works: Iterable[Work]) -> int:
    return max((work.delay_s for work in works if isinstance(work, KeyWork)), default=0)


def _entry(index: int, work: Work) -> SendMessageBatchRequestEntryTypeDef:
    entry: SendMessageBatchRequestEntryTypeDef = {"Id": str(index), "MessageBody": work.to_json()}
    if isinstance(work, KeyWork) and work.delay_s:
        entry["DelaySeconds"] = min(work.delay_s, MAX_DELAY_S)
    return entry


def _attribute(value: str) -> MessageAttributeValueTypeDef:
    sendable = _REJECTED.sub(lambda found: quote(found.group(), errors="surrogatepass"), value)
    return {"DataType": "String", "StringValue": sendable}
