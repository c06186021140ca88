"""Read the dead letters, group them by reason, send them back, or discard them."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ..core.errors import Permanent
from ..core.events import decode
from ..core.work_items import DeletionWork, KeyWork, PartsWork, RangeWork
from ..queue.batch_requests import failed_entries, failure_reason
from ..queue.message_counts import QueueCounts, queue_counts
from .queue_reader import QueueReader, Result
from .status import DeadLetterGroup

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageAttributeValueOutputTypeDef, MessageTypeDef

#: Bytes of one batch request, at most. SQS allows 1 MiB; 256 KiB was the limit until 2025.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
_BATCH_BYTES = 256 * 1024

#: The reason of a message that SQS itself moved, or that another service could not deliver.
NO_REASON = "no reason: SQS moved the message after its last delivery; the log has the failures of its keys"

#: The end of an error message, which differs between equal failures.
_REQUEST_ID = re.compile(r", request ID \S+$")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message of the dead-letter queue."""

    id: str
    body: str
    #: The error without the request ID, so that equal failures have equal reasons.
    reason: str
    error: str
    #: The keys that the message is about. Without one, `work` says what it is about.
    keys: tuple[str, ...]
    work: str
    #: Seconds since 1970.
    sent_at: float

    @property
    def subject(self) -> str:
        """Return what the message is about: a key and the number of further ones, or a kind of work."""
        if not self.keys:
            return self.work
        more = f" and {len(self.keys) - 1:,} more" if len(self.keys) > 1 else ""
        return f"{self.keys[0]}{more}"


@dataclass(frozen=True, slots=True)
class Selection:
    """The dead letters to act on: those that meet each condition that is given."""

    #: A part of the reason, in upper or lower case.
    reason: str = ""
    #: A key, or a pattern with * and ?.
    key: str = ""
    #: One of these keys, each without a pattern.
    keys: frozenset[str] = frozenset()
    #: Only letters sent since this time, in seconds since 1970.
    since: float = 0.0
    #: Only letters sent up to this time.
    until: float = math.inf

    @property
    def is_everything(self) -> bool:
        """Return True without a condition."""
        return self == Selection()

    def has(self, letter: DeadLetter) -> bool:
        """Return True if the letter meets the conditions."""
        has_key = not self.key or any(key == self.key or fnmatchcase(key, self.key) for key in letter.keys)
        has_key = has_key and (not self.keys or any(key in self.keys for key in letter.keys))
        return has_key and self.reason.lower() in letter.reason.lower() and self.since <= letter.sent_at <= self.until


class DeadLetterQueue:
    """The dead-letter queue of a module. The methods raise the errors of boto3."""

    def __init__(self, sqs: SQSClient, url: str, *, destination_url: str, bucket: str) -> None:
        """Use `url`; letters go back to `destination_url`. `bucket` is the source bucket."""
        self._sqs, self._url, self._destination_url, self._bucket = sqs, url, destination_url, bucket

    def counts(self) -> QueueCounts:
        """Return the approximate counts of the queue."""
        return queue_counts(self._sqs, self._url)

    def read(self, selection: Selection, *, limit: int | None = None) -> list[DeadLetter]:
        """Return the letters of the selection, among the first `limit` of the queue. They stay on the queue."""
        with QueueReader(self._sqs, self._url, limit) as reader:
            letters = [self._letter(message) for portion in reader.portions() for message in portion]
        return [letter for letter in letters if selection.has(letter)]

    def redrive(self, selection: Selection, progress: Callable[[int], None]) -> Result:
        """Send the letters of the selection back to the queue of the events.

        A letter is deleted after SQS has accepted its copy. So a command that is killed loses none: a letter that is on
        both queues is worked on twice, and the second time finds the key equal. A letter that fails again meanwhile
        stays: otherwise the command would not end as long as the workers reject it. If the clock of this computer is
        behind, the letters of the last minutes stay too.
        """
        return self._take(selection, self._send, progress)

    def discard(self, selection: Selection, progress: Callable[[int], None]) -> Result:
        """Delete the letters of the selection."""
        return self._take(selection, None, progress)

    def _take(
        self,
        selection: Selection,
        send: Callable[[Sequence[DeadLetter]], tuple[Sequence[DeadLetter], Sequence[str]]] | None,
        progress: Callable[[int], None],
    ) -> Result:
        """Send and delete the letters of the selection that are older than this call.

        A letter also stays if SQS does not accept its copy.
        """
        done, errors = 0, []
        older = replace(selection, until=min(selection.until, time.time()))
        with QueueReader(self._sqs, self._url) as reader:
            for portion in reader.portions():
                chosen = [letter for letter in map(self._letter, portion) if older.has(letter)]
                for some in _by_size(chosen):
                    sent, failures = (some, []) if send is None else send(some)
                    not_deleted = reader.delete([letter.id for letter in sent])
                    done += len(sent) if send is not None else len(sent) - len(not_deleted)
                    errors += [*failures, *(f"not deleted: {error}" for error in not_deleted.values())]
                progress(done)
            return Result(done, reader.left, tuple(errors))

    def _letter(self, message: MessageTypeDef) -> DeadLetter:
        attributes: Mapping[str, MessageAttributeValueOutputTypeDef] = message.get("MessageAttributes", {})
        error = attributes["error"].get("StringValue", "") if "error" in attributes else ""
        keys, work = self._subject(message["Body"])
        named = attributes["key"].get("StringValue") if "key" in attributes else None
        return DeadLetter(
            id=message["MessageId"],
            body=message["Body"],
            reason=_REQUEST_ID.sub("", error) or NO_REASON,
            error=error,
            # The attribute names the key that failed, with the characters that SQS rejects in another form.
            keys=keys if keys or named is None else (named,),
            work=work,
            sent_at=int(message["Attributes"]["SentTimestamp"]) / 1000,
        )

    def _subject(self, body: str) -> tuple[tuple[str, ...], str]:
        """Return the keys of a message, and the kind of its work."""
        try:
            work = decode(body, self._bucket)
        except Permanent:  # the reason says what is wrong with it
            return (), "a message that the workers do not know"
        match work:
            case KeyWork():
                return work.keys, "keys"
            case DeletionWork():
                return work.keys, "deletions"
            case PartsWork():
                return (work.key,), f"parts {work.first} to {work.last}"
            case RangeWork():
                return (
                    (),
                    f"the range after {work.after!r} up to {'the end' if work.until is None else repr(work.until)}",
                )
            case None:
                return (), "a test event of S3"

    def _send(self, letters: Sequence[DeadLetter]) -> tuple[list[DeadLetter], list[str]]:
        """Send copies of the letters; return those that SQS has accepted, and the errors of the rest."""
        entries = [{"Id": str(index), "MessageBody": letter.body} for index, letter in enumerate(letters)]
        failed = {
            each["Id"]: failure_reason(each)
            for each in failed_entries(self._sqs.send_message_batch, self._destination_url, entries)
        }
        sent = [letter for index, letter in enumerate(letters) if str(index) not in failed]
        return sent, [f"not sent: {reason}" for reason in failed.values()]


def grouped(letters: Iterable[DeadLetter]) -> list[DeadLetterGroup]:
    """Return the letters by reason, the most frequent reason first."""
    by_reason: dict[str, list[DeadLetter]] = {}
    for letter in letters:
        by_reason.setdefault(letter.reason, []).append(letter)
    numbers = Counter({reason: len(group) for reason, group in by_reason.items()})
    return [
        DeadLetterGroup(
            reason, number, by_reason[reason][0].subject, min(letter.sent_at for letter in by_reason[reason])
        )
        for reason, number in numbers.most_common()
    ]


def _by_size(letters: Sequence[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """Yield the letters in groups that fit into one request."""
    group: list[DeadLetter] = []
    size = 0
    for letter in letters:
        length = len(letter.body.encode())
        if group and size + length > _BATCH_BYTES:
            yield group
            group, size = [], 0
        group.append(letter)
        size += length
    if group:
        yield group
