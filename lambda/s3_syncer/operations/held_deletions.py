"""The queue of the held deletions: read it, release it, or discard it.

A released deletion is bulk work, so that the guard does not count it: see docs/adr/0014-delete-guard.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..core.errors import Permanent
from ..core.events import decode
from ..core.work_items import DeletionWork
from .queues import queue_counts

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

#: Seconds for which a message stays hidden while the command works on it. A killed command hides it so long.
HIDDEN_S = 300

#: Messages in one response, at most. As many keys become one released message.
PORTION = 10

#: Requests without a message after which the queue counts as read. A response of SQS may be empty by chance.
_EMPTY_RESPONSES = 2


@dataclass(frozen=True, slots=True)
class HeldDeletion:
    """A message of the queue. `keys` is empty if the message is none of this product."""

    id: str
    receipt: str
    keys: tuple[str, ...]
    #: The time at which it was held, in seconds since 1970.
    held_at: float


@dataclass(slots=True)
class Result:
    """The number of deletions that were released or discarded, and the errors of SQS."""

    done: int = 0
    errors: list[str] = field(default_factory=list)


class HeldDeletions:
    """The held deletions of a module. The methods raise the errors of boto3."""

    def __init__(self, sqs: SQSClient, url: str, *, bulk_url: str, threads: int = 1) -> None:
        """Use the queue `url`, in `threads` portions at a time. Released deletions go to `bulk_url`."""
        self._sqs, self._url, self._bulk_url, self._threads = sqs, url, bulk_url, threads

    def count(self) -> int:
        """Return the approximate number of held deletions."""
        return queue_counts(self._sqs, self._url).total

    def read(self, limit: int | None = None) -> list[HeldDeletion]:
        """Return the held deletions, at most `limit`. They stay on the queue."""
        found: list[HeldDeletion] = []
        seen: set[str] = set()
        try:
            for portion in self._portions(lambda: limit is None or len(found) < limit, seen):
                found.extend(portion)
        finally:
            self._show(found)
        return found[:limit]

    def release(self, progress: Callable[[int], None], limit: int | None = None) -> Result:
        """Send the deletions to the workers, which do them whatever the limit says. Stop after about `limit`.

        A message is deleted after SQS has accepted its copy. So a command that is killed loses none. A deletion that is
        on both queues is done twice, and the second time finds nothing to delete.
        """
        return self._take(self._send, progress, limit)

    def discard(self, progress: Callable[[int], None], limit: int | None = None) -> Result:
        """Delete the messages, so that the objects stay in the target. Stop after about `limit`."""
        return self._take(None, progress, limit)

    def _take(
        self, send: Callable[[Sequence[HeldDeletion]], None] | None, progress: Callable[[int], None], limit: int | None
    ) -> Result:
        """Send and delete the messages in portions, and leave a message of another form."""
        result, lock = Result(), threading.Lock()
        seen: set[str] = set()

        def work() -> None:
            for portion in self._portions(lambda: limit is None or result.done < limit, seen):
                known = [each for each in portion if each.keys]
                if not known:
                    continue
                if send is not None:
                    send(known)
                errors = self._delete(known)
                with lock:
                    result.done += len(known)
                    result.errors += errors
                    progress(result.done)

        with ThreadPoolExecutor(self._threads, thread_name_prefix="portion") as pool:
            for ended in [pool.submit(work) for _ in range(self._threads)]:
                ended.result()
        return result

    def _portions(self, wants_more: Callable[[], bool], seen: set[str]) -> Iterator[list[HeldDeletion]]:
        """Yield each message once, in portions, until the queue has no other.

        `seen` has the IDs of all readers.
        """
        empty = 0
        while empty < _EMPTY_RESPONSES and wants_more():
            response = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=PORTION,
                VisibilityTimeout=HIDDEN_S,
                WaitTimeSeconds=1,  # asks all servers of SQS
                MessageSystemAttributeNames=["SentTimestamp"],
            )
            messages = [_held(each) for each in response.get("Messages", []) if each["MessageId"] not in seen]
            seen.update(each.id for each in messages)
            empty = 0 if messages else empty + 1
            if messages:
                yield messages

    def _send(self, portion: Sequence[HeldDeletion]) -> None:
        keys = tuple(key for each in portion for key in each.keys)
        body = DeletionWork(keys, released=True).to_json()
        self._sqs.send_message(QueueUrl=self._bulk_url, MessageBody=body)

    def _delete(self, portion: Sequence[HeldDeletion]) -> list[str]:
        """Delete the messages; return the errors. A message that stays is taken again by the next command."""
        response = self._sqs.delete_message_batch(
            QueueUrl=self._url,
            Entries=[{"Id": str(index), "ReceiptHandle": each.receipt} for index, each in enumerate(portion)],
        )
        return [f"not deleted: {each.get('Message', each['Code'])}" for each in response.get("Failed", [])]

    def _show(self, found: Sequence[HeldDeletion]) -> None:
        """Make the messages visible again at once."""
        for start in range(0, len(found), PORTION):
            self._sqs.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": each.receipt, "VisibilityTimeout": 0}
                    for index, each in enumerate(found[start : start + PORTION])
                ],
            )


def _held(message: Any) -> HeldDeletion:
    try:
        work = decode(message["Body"], "")
    except Permanent:
        work = None
    keys = work.keys if isinstance(work, DeletionWork) else ()
    held_at = int(message["Attributes"]["SentTimestamp"]) / 1000
    return HeldDeletion(message["MessageId"], message["ReceiptHandle"], keys, held_at)
