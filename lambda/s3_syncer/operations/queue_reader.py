"""Read a queue for a command: in portions, up to a limit, and without a loss if the command is killed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ..core import fence
from ..queue.batch_requests import MAX_ENTRIES, batches, failed_entries, failure_reason

if TYPE_CHECKING:
    from types import TracebackType

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

#: Seconds for which a message stays hidden from other readers while it is read. A killed command hides it so long.
HIDDEN_S = 300

#: Requests without a message after which the queue counts as read. A response of SQS may be empty by chance.
_EMPTY_RESPONSES = 2


#: Requests for messages at a time, at most: one for each thread that reads.
_MAX_REQUESTS = 32


@dataclass(frozen=True, slots=True)
class Result:
    """The number of messages that a command took and of those that it left; the errors of SQS."""

    done: int
    kept: int
    errors: Sequence[str] = ()


class QueueReader:
    """The messages of a queue, each read once.

    At the end of the context, the messages that were not deleted are visible again, also after an error or Ctrl-C. The
    requests for messages run in threads: a signal would otherwise lose a response, and hide its messages.
    Safe to share between threads. The methods raise the errors of boto3.
    """

    def __init__(self, sqs: SQSClient, url: str, limit: int | None = None) -> None:
        """Read at most `limit` messages of the queue `url`."""
        self._sqs, self._url = sqs, url
        self._quota, self._is_over, self._lock = limit, False, threading.Lock()
        self._seen: set[str] = set()
        #: The last receipt handles, by ID, of the messages that were read and not deleted.
        self._receipts: dict[str, str] = {}
        self._requests = ThreadPoolExecutor(_MAX_REQUESTS, thread_name_prefix="receive")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()
        self._requests.shutdown()
        self._show()

    @property
    def left(self) -> int:
        """Return the number of messages that were read and not deleted."""
        return len(self._receipts)

    def portions(self) -> Iterator[list[MessageTypeDef]]:
        """Yield messages until the limit is reached, the queue has no other, or `end` was called.

        Each message has its `SentTimestamp` and all attributes of its sender.
        """
        empty = 0
        while empty < _EMPTY_RESPONSES and (most := self._take()):
            messages = self._requests.submit(fence.carried(self._receive), most).result()
            self.give_back(most - len(messages))
            empty = 0 if messages else empty + 1
            if messages:
                yield messages

    def _receive(self, most: int) -> list[MessageTypeDef]:
        response = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=most,
            VisibilityTimeout=HIDDEN_S,
            WaitTimeSeconds=1,  # asks all servers of SQS: https://docs.aws.amazon.com/AWSSimpleQueueService
            MessageSystemAttributeNames=["SentTimestamp"],
            MessageAttributeNames=["All"],
        )
        return self._new(response.get("Messages", []))

    def give_back(self, number: int) -> None:
        """Do not count that many messages for the limit."""
        with self._lock:
            if self._quota is not None and not self._is_over:
                self._quota += number

    def end(self) -> None:
        """Let no thread read a further portion."""
        with self._lock:
            self._quota, self._is_over = 0, True

    def delete(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Delete a portion of messages by ID. Return the errors of SQS by ID."""
        if not ids:
            return {}
        entries = [{"Id": str(index), "ReceiptHandle": self._receipts[id]} for index, id in enumerate(ids)]
        failed = {
            ids[int(each["Id"])]: failure_reason(each)
            for each in failed_entries(self._sqs.delete_message_batch, self._url, entries)
        }
        with self._lock:
            for id in ids:
                if id not in failed:
                    del self._receipts[id]
        return failed

    def _take(self) -> int:
        """Return the number of messages that one request may read; 0 if none is left."""
        with self._lock:
            if self._quota is None:
                return MAX_ENTRIES
            taken = min(MAX_ENTRIES, self._quota)
            self._quota -= taken
            return taken

    def _new(self, messages: Sequence[MessageTypeDef]) -> list[MessageTypeDef]:
        """Return the messages that were not read before.

        A message that was visible in between has a new receipt handle.
        """
        with self._lock:
            new = [message for message in messages if message["MessageId"] not in self._seen]
            self._seen.update(message["MessageId"] for message in new)
            self._receipts.update((message["MessageId"], message["ReceiptHandle"]) for message in messages)
            return new

    def _show(self) -> None:
        """Make the messages that are left visible at once."""
        for receipts in batches(list(self._receipts.values())):
            entries = [
                {"Id": str(index), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                for index, receipt in enumerate(receipts)
            ]
            failed_entries(self._sqs.change_message_visibility_batch, self._url, entries)
