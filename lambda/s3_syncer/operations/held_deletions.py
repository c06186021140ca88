"""The queue of the held deletions: read it, release it, or discard it.

A released deletion is bulk work, so that the guard does not count it: see docs/adr/0014-delete-guard.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.errors import Permanent
from ..core.events import decode
from ..core.work_items import DeletionWork
from ..queue.message_counts import QueueCounts, queue_counts
from .queue_reader import QueueReader, Result

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef


@dataclass(frozen=True, slots=True)
class HeldDeletion:
    """A message of the queue. `keys` is empty if the message is none of this product."""

    id: str
    keys: tuple[str, ...]
    #: The time at which it was held, in seconds since 1970.
    held_at: float


class HeldDeletions:
    """The held deletions of a module. The methods raise the errors of boto3."""

    def __init__(self, sqs: SQSClient, url: str, *, bulk_url: str, threads: int = 1) -> None:
        """Use the queue `url`, in `threads` portions at a time. Released deletions go to `bulk_url`."""
        self._sqs, self._url, self._bulk_url, self._threads = sqs, url, bulk_url, threads

    def counts(self) -> QueueCounts:
        """Return the approximate counts of the held deletions."""
        return queue_counts(self._sqs, self._url)

    def read(self, limit: int | None = None) -> list[HeldDeletion]:
        """Return the held deletions, at most `limit`. They stay on the queue."""
        with QueueReader(self._sqs, self._url, limit) as reader:
            return [_held(message) for portion in reader.portions() for message in portion]

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
        """Send and delete the messages in portions. Leave a message of another form, and count it as kept.

        After an error of one thread, or Ctrl-C, no thread takes a further portion.
        """
        done, errors, lock = 0, list[str](), threading.Lock()

        def work() -> None:
            nonlocal done
            for portion in reader.portions():
                known = [each for each in map(_held, portion) if each.keys]
                reader.give_back(len(portion) - len(known))
                if not known:
                    continue
                if send is not None:
                    send(known)
                failed = reader.delete([each.id for each in known])
                with lock:
                    done += len(known) if send is not None else len(known) - len(failed)
                    errors.extend(f"not deleted: {error}" for error in failed.values())
                    progress(done)

        with (
            QueueReader(self._sqs, self._url, limit) as reader,
            ThreadPoolExecutor(self._threads, thread_name_prefix="portion") as pool,
        ):
            try:
                threads = [pool.submit(work) for _ in range(self._threads)]
                wait(threads, return_when=FIRST_EXCEPTION)
            finally:
                reader.end()
            for thread in threads:
                thread.result()
            return Result(done, reader.left, tuple(errors))

    def _send(self, portion: Sequence[HeldDeletion]) -> None:
        keys = tuple(key for each in portion for key in each.keys)
        body = DeletionWork(keys, released=True).to_json()
        self._sqs.send_message(QueueUrl=self._bulk_url, MessageBody=body)


def _held(message: MessageTypeDef) -> HeldDeletion:
    try:
        work = decode(message["Body"], "")
    except Permanent:
        work = None
    keys = work.keys if isinstance(work, DeletionWork) else ()
    held_at = int(message["Attributes"]["SentTimestamp"]) / 1000
    return HeldDeletion(message["MessageId"], keys, held_at)
