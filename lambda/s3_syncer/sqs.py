"""The work queue and its dead letters, as the drivers that take messages from SQS use them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError

from .work import KeyWork

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageAttributeValueTypeDef, SendMessageBatchRequestEntryTypeDef

    from .work import Work
    from .worker import Dead

logger = logging.getLogger(__name__)

#: Entries in one batch request, https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/
_BATCH = 10

#: The longest that SQS keeps a new message to itself, in seconds (the same document, SendMessage).
LONGEST_DELAY_S = 900

#: Characters of an error kept in a message attribute: enough to read, far from the size limit of a message.
_ERROR_MAX = 1000

#: What SQS refuses in an attribute although S3 allows it in a key (the same document, SendMessage).
_UNSENDABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Queue:
    """The queue that work comes from and the one that lost messages go to."""

    def __init__(self, client: SQSClient, *, url: str, dead_letter_url: str, bucket: str) -> None:
        self._client = client
        self._url, self._dead_letter_url = url, dead_letter_url
        self._bucket = bucket

    def give_back(self, delays: Mapping[str, int]) -> None:
        """Lets messages, by receipt handle, be delivered again after so many seconds.

        Failing to is not failing the message: it comes back all the same, when its visibility timeout ends.
        """
        handles = list(delays)
        for begin in range(0, len(handles), _BATCH):
            entries = [
                {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": delays[handle]}
                for index, handle in enumerate(handles[begin : begin + _BATCH])
            ]
            try:
                answer = self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[arg-type]
            except (ClientError, BotoCoreError) as error:
                logger.warning("backoff not set", extra={"reason": str(error)})
                continue
            for failed in answer.get("Failed", []):
                logger.warning("backoff not set", extra={"reason": failed.get("Message", failed["Code"])})

    def send(self, works: Iterable[Work]) -> bool:
        """Puts work on the queue; False when some of it could not be, so whoever asked for it must not be lost."""
        waiting = list(works)
        for begin in range(0, len(waiting), _BATCH):
            entries = [_entry(index, work) for index, work in enumerate(waiting[begin : begin + _BATCH])]
            try:
                answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
            except (ClientError, BotoCoreError):
                logger.exception("work not sent")
                return False
            if failed := answer.get("Failed"):
                logger.error("work not sent", extra={"reason": failed[0].get("Message", failed[0]["Code"])})
                return False
        return True

    def bury(self, body: str, dead: Dead) -> bool:
        """Sends a message to the dead-letter queue with its reason; False when that failed, so it must not be lost."""
        attributes = {"error": dead.error[:_ERROR_MAX], "bucket": self._bucket, "key": dead.key}
        try:
            self._client.send_message(
                QueueUrl=self._dead_letter_url,
                MessageBody=body,
                MessageAttributes={name: _attribute(value) for name, value in attributes.items() if value},
            )
        except (ClientError, BotoCoreError) as error:
            logger.exception("dead letter not sent", extra={"key": dead.key, "reason": str(error)})
            return False
        return True


def _entry(index: int, work: Work) -> SendMessageBatchRequestEntryTypeDef:
    entry: SendMessageBatchRequestEntryTypeDef = {"Id": str(index), "MessageBody": work.to_json()}
    if isinstance(work, KeyWork) and work.delay_s:
        entry["DelaySeconds"] = min(work.delay_s, LONGEST_DELAY_S)
    return entry


def _attribute(value: str) -> MessageAttributeValueTypeDef:
    sendable = _UNSENDABLE.sub(lambda found: quote(found.group(), errors="surrogatepass"), value)
    return {"DataType": "String", "StringValue": sendable}
