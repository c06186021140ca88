"""The work queue and its dead letters, as the drivers that take messages from SQS use them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError

from ..core.errors import StoreUnusable
from ..core.work_items import KeyWork
from .worker import Ack, DeadLetter, Disposition, Message, Retry, redelivery_delay_s

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import (
        BatchResultErrorEntryTypeDef,
        ChangeMessageVisibilityBatchRequestEntryTypeDef,
        DeleteMessageBatchRequestEntryTypeDef,
        MessageAttributeValueTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

    from ..core.work_items import Work

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Entries in one batch request and messages in one answer,
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/
BATCH = 10

#: The longest that SQS keeps a new message to itself, in seconds (the same document, SendMessage).
LONGEST_DELAY_S = 900

#: Characters of an error kept in a message attribute: enough to read, far from the size limit of a message.
_ERROR_MAX = 1000

#: What SQS refuses in an attribute although S3 allows it in a key (the same document, SendMessage).
_UNSENDABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


_ERRORS = (ClientError, BotoCoreError)


class Queue:
    """The queue that work comes from and the one that lost messages go to."""

    def __init__(self, client: SQSClient, *, url: str, dead_letter_url: str, bucket: str) -> None:
        self._client = client
        self._url, self._dead_letter_url = url, dead_letter_url
        self._bucket = bucket

    def check(self) -> None:
        """Raises StoreUnusable when the queue does not exist, cannot be reached, or is somebody else's."""
        try:
            self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        except _ERRORS as error:
            raise StoreUnusable(f"the queue {self._url} cannot be used: {error}", "QueueUnusable") from error

    def receive(self, max_messages: int, *, visibility_timeout_s: int, wait_s: int) -> list[Message]:
        """Up to `most` messages, waited for, hidden from others for a while. Raises StoreUnusable."""
        try:
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=min(max_messages, BATCH),
                VisibilityTimeout=visibility_timeout_s,
                WaitTimeSeconds=wait_s,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        except _ERRORS as error:
            raise StoreUnusable(f"the queue {self._url} gives no messages: {error}", "QueueUnusable") from error
        return [
            Message(
                message["MessageId"],
                message["Body"],
                int(message["Attributes"]["ApproximateReceiveCount"]),
                message["ReceiptHandle"],
            )
            for message in answer.get("Messages", [])
        ]

    def apply(self, messages: Iterable[Message], dispositions: Mapping[str, Disposition]) -> list[Message]:
        """Does what the verdicts ask for, and returns what was given back; all other messages are to be deleted."""
        returned: list[Message] = []
        delays: dict[str, int] = {}
        for message in messages:
            disposition = dispositions[message.id]
            sent = self.send(disposition.more)
            match disposition:
                case Retry(delay_s):
                    pass
                case Ack() if not sent:
                    delay_s = redelivery_delay_s(message.attempt)
                case DeadLetter() if not (sent and self.send_to_dead_letter_queue(message.body, disposition)):
                    delay_s = redelivery_delay_s(message.attempt)
                case _:
                    continue
            delays[message.receipt] = delay_s
            returned.append(message)
        self.release(delays)
        return returned

    def delete(self, messages: Sequence[Message]) -> None:
        """Takes messages that are done off the queue. One that stays is delivered again, and found to be done."""
        for some in _batches(messages):
            entries: list[DeleteMessageBatchRequestEntryTypeDef] = [
                {"Id": str(index), "ReceiptHandle": message.receipt} for index, message in enumerate(some)
            ]
            try:
                failed = self._client.delete_message_batch(QueueUrl=self._url, Entries=entries).get("Failed", [])
            except _ERRORS as error:
                logger.warning("message not deleted", extra={"reason": str(error)})
                continue
            for one in failed:
                logger.warning("message not deleted", extra={"reason": _reason(one)})

    def release(self, delays: Mapping[str, int]) -> None:
        """Lets messages, by receipt handle, be delivered again after so many seconds.

        Failing to is not failing the message: it comes back all the same, when its visibility timeout ends.
        """
        self._change_visibility(delays, "backoff not set")

    def extend(self, delays: Mapping[str, int]) -> Mapping[str, bool]:
        """Keeps messages, by receipt handle, hidden for so many seconds more.

        Tells of those that are not whether trying again is of use: SQS may have taken the message back.
        """
        return self._change_visibility(delays, "visibility not extended")

    def _change_visibility(self, delays: Mapping[str, int], otherwise: str) -> Mapping[str, bool]:
        unchanged: dict[str, bool] = {}
        for handles in _batches(list(delays)):
            entries: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
                {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": delays[handle]}
                for index, handle in enumerate(handles)
            ]
            try:
                answer = self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
            except _ERRORS as error:
                logger.warning("%s", otherwise, extra={"reason": str(error)})
                unchanged.update(dict.fromkeys(handles, True))
                continue
            for failed in answer.get("Failed", []):
                logger.warning("%s", otherwise, extra={"reason": _reason(failed)})
                unchanged[handles[int(failed["Id"])]] = not failed["SenderFault"]
        return unchanged

    def send(self, works: Iterable[Work]) -> bool:
        """Puts work on the queue; False when some of it could not be, so whoever asked for it must not be lost."""
        for some in _batches(list(works)):
            entries = [_entry(index, work) for index, work in enumerate(some)]
            try:
                answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
            except _ERRORS:
                logger.exception("work not sent")
                return False
            if failed := answer.get("Failed"):
                logger.error("work not sent", extra={"reason": _reason(failed[0])})
                return False
        return True

    def send_to_dead_letter_queue(self, body: str, dead: DeadLetter) -> bool:
        """Sends a message to the dead-letter queue with its reason; False when that failed, so it must not be lost."""
        attributes = {"error": dead.error[:_ERROR_MAX], "bucket": self._bucket, "key": dead.key}
        try:
            self._client.send_message(
                QueueUrl=self._dead_letter_url,
                MessageBody=body,
                MessageAttributes={name: _attribute(value) for name, value in attributes.items() if value},
            )
        except _ERRORS as error:
            logger.exception("dead letter not sent", extra={"key": dead.key, "reason": str(error)})
            return False
        return True


def _entry(index: int, work: Work) -> SendMessageBatchRequestEntryTypeDef:
    entry: SendMessageBatchRequestEntryTypeDef = {"Id": str(index), "MessageBody": work.to_json()}
    if isinstance(work, KeyWork) and work.delay_s:
        entry["DelaySeconds"] = min(work.delay_s, LONGEST_DELAY_S)
    return entry


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[begin : begin + BATCH] for begin in range(0, len(items), BATCH))


def _reason(failed: BatchResultErrorEntryTypeDef) -> str:
    return failed.get("Message", failed["Code"])


def _attribute(value: str) -> MessageAttributeValueTypeDef:
    sendable = _UNSENDABLE.sub(lambda found: quote(found.group(), errors="surrogatepass"), value)
    return {"DataType": "String", "StringValue": sendable}
