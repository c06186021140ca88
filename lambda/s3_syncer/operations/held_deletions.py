"""The queue of the held deletions: read it, release it, or discard it.

A released deletion is bulk work, so that the guard does not count it: see docs/adr/0014-delete-guard.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
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


class _Quota:
    """The messages that may still be taken; None is no limit. Safe to share between threads."""

    def __init__(self, left: int | None) -> None:
        self._left, self._is_over, self._lock = left, False, threading.Lock()

    def take(self) -> int:
        """Return the number of messages that one request may take; 0 if none is left."""
        with self._lock:
            if self._left is None:
                return PORTION
            taken = min(PORTION, self._left)
            self._left -= taken
            return taken

    def give_back(self, number: int) -> None:
        """Give back messages that were not taken."""
        with self._lock:
            if self._left is not None and not self._is_over:
                self._left += number

    def end(self) -> None:
        """Let no further message be taken."""
        with self._lock:
            self._left, self._is_over = 0, True


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
            for portion in self._portions(_Quota(limit), seen):
                found.extend(portion)
        finally:
            self._show(found)
        return found

    def release(self, progress: Callable[[int], None], limit: int | None = None) -> Result:
        """Send the deletions to the workers, at most `limit` of them. The guard does not hold them again.

        A message is deleted after SQS has accepted its copy. So a command that is killed loses none. A deletion that is
        on both queues is done twice, and the second time finds nothing to delete.
        """
        return self._take(self._send, progress, limit)

    def discard(self, progress: Callable[[int], None], limit: int | None = None) -> Result:
        """Delete the messages, so that the objects stay in the target. Take at most `limit` of them."""
        return self._take(None, progress, limit)

    def _take(
        self, send: Callable[[Sequence[HeldDeletion]], None] | None, progress: Callable[[int], None], limit: int | None
    ) -> Result:
        """Send and delete the messages in portions, and leave a message of another form.

        After an error of one thread, or Ctrl-C, no thread takes a further portion.
        """
        result, lock, quota = Result(), threading.Lock(), _Quota(limit)
        seen: set[str] = set()

        def work() -> None:
            for portion in self._portions(quota, seen):
                known = [each for each in portion if each.keys]
                quota.give_back(len(portion) - len(known))
                if not known:
                    continue
                if send is not None:
                    send(known)
                errors = self._delete(known)
                with lock:
                    result.done += len(known) if send is not None else len(known) - len(errors)
                    result.errors += errors
                    progress(result.done)

        with ThreadPoolExecutor(self._threads, thread_name_prefix="portion") as pool:
            try:
                threads = [pool.submit(work) for _ in range(self._threads)]
                wait(threads, return_when=FIRST_EXCEPTION)
            finally:
                quota.end()
            for thread in threads:
                thread.result()
        return result

    def _portions(self, quota: _Quota, seen: set[str]) -> Iterator[list[HeldDeletion]]:
        """Yield each message once, in portions, until the quota is used or the queue has no other.

        `seen` has the IDs of all readers.
        """
        empty = 0
        while empty < _EMPTY_RESPONSES and (most := quota.take()):
            response = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=most,
                VisibilityTimeout=HIDDEN_S,
                WaitTimeSeconds=1,  # asks all servers of SQS
                MessageSystemAttributeNames=["SentTimestamp"],
            )
            messages = [_held(each) for each in response.get("Messages", []) if each["MessageId"] not in seen]
            seen.update(each.id for each in messages)
            quota.give_back(most - len(messages))
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
