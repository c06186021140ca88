"""The message counts of queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_VISIBLE, _IN_FLIGHT, _DELAYED = (f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed"))


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """The approximate numbers of messages of a queue. They are right about a minute after the last change.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
    """

    #: Messages that a worker can receive now.
    visible: int = 0
    #: Messages that a worker has received, or that wait for their next delivery after a failure.
    in_flight: int = 0
    #: Messages that were sent with a delay.
    delayed: int = 0

    @property
    def total(self) -> int:
        """Return the number of all messages."""
        return self.visible + self.in_flight + self.delayed


def queue_counts(sqs: SQSClient, url: str) -> QueueCounts:
    """Return the counts of the queue: one request. Raises the errors of boto3."""
    names: Any = [_VISIBLE, _IN_FLIGHT, _DELAYED]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return QueueCounts(*(int(attributes[name]) for name in names))
