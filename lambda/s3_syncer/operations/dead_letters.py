"""Read the dead letters, group them by reason, send them back, or discard them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.errors import Permanent
from ..core.events import decode
from ..core.work_items import DeletionWork, KeyWork, PartsWork, RangeWork
from .log_lines import common_reason
from .status import DeadLetterGroup

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

#: Seconds for which a message stays hidden from other readers while it is read. A killed command hides it so long.
HIDDEN_S = 300

#: Messages and bytes of one batch request, at most. SQS allows 1 MiB; 256 KiB was the limit until 2025.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
_BATCH, _BATCH_BYTES = 10, 256 * 1024

#: Requests without a message after which the queue counts as read. A response of SQS may be empty by chance.
_EMPTY_RESPONSES = 2

#: The reason of a message that SQS itself moved, or that another service could not deliver.
NO_REASON = "no reason: SQS moved the message after its last delivery; the log has the failures of its keys"

#: The end of an error message, which differs between equal failures.
_REQUEST_ID = re.compile(r", request ID \S+$")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message of the dead-letter queue."""

    id: str
    receipt: str
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

    @property
    def is_everything(self) -> bool:
        """Return True without a condition."""
        return self == Selection()

    def has(self, letter: DeadLetter) -> bool:
        """Return True if the letter meets the conditions."""
        has_key = not self.key or any(key == self.key or fnmatchcase(key, self.key) for key in letter.keys)
        has_key = has_key and (not self.keys or any(key in self.keys for key in letter.keys))
        return has_key and self.reason.lower() in letter.reason.lower() and letter.sent_at >= self.since


@dataclass(frozen=True, slots=True)
class Result:
    """The number of letters that were sent back or discarded, and of the rest; the errors of SQS."""

    done: int
    kept: int
    errors: Sequence[str] = ()


class DeadLetterQueue:
    """The dead-letter queue of a module. The methods raise the errors of boto3."""

    def __init__(self, sqs: SQSClient, url: str, *, destination_url: str, bucket: str) -> None:
        """Use `url`; letters go back to `destination_url`. `bucket` is the source bucket."""
        self._sqs, self._url, self._destination_url, self._bucket = sqs, url, destination_url, bucket

    def read(self, selection: Selection, *, limit: int | None = None) -> list[DeadLetter]:
        """Return the letters of the selection, among the first `limit` of the queue. They stay on the queue."""
        found: list[DeadLetter] = []
        seen = 0
        try:
            for batch in self._batches():
                found += batch
                seen += len(batch)
                if limit is not None and seen >= limit:
                    break
        finally:
            self._release(found)
        return [letter for letter in found if selection.has(letter)]

    def redrive(self, selection: Selection, progress: Callable[[int], None]) -> Result:
        """Send the letters of the selection back to the queue of the events.

        A letter is deleted after SQS has accepted its copy. So a command that is killed loses none: a letter that is on
        both queues is worked on twice, and the second time finds the key equal.
        """
        return self._take(selection, self._send, progress)

    def discard(self, selection: Selection, progress: Callable[[int], None]) -> Result:
        """Delete the letters of the selection."""
        return self._take(selection, lambda letters: (letters, []), progress)

    def _take(
        self,
        selection: Selection,
        use: Callable[[Sequence[DeadLetter]], tuple[Sequence[DeadLetter], Sequence[str]]],
        progress: Callable[[int], None],
    ) -> Result:
        """Use the letters of the selection and delete those that `use` returns. Release all other letters."""
        done, kept, errors = 0, [], []
        try:
            for batch in self._batches():
                chosen = [letter for letter in batch if selection.has(letter)]
                kept += [letter for letter in batch if not selection.has(letter)]
                for some in _by_size(chosen):
                    used, failures = use(some)
                    errors += [*failures, *self._delete(used)]
                    kept += [letter for letter in some if letter not in used]
                    done += len(used)
                progress(done)
        finally:
            self._release(kept)
        return Result(done, len(kept), tuple(errors))

    def _batches(self) -> Iterator[list[DeadLetter]]:
        """Yield each message once, in batches, until the queue has no other."""
        seen: set[str] = set()
        empty = 0
        while empty < _EMPTY_RESPONSES:
            response = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_BATCH,
                VisibilityTimeout=HIDDEN_S,
                WaitTimeSeconds=1,  # asks all servers of SQS: https://docs.aws.amazon.com/AWSSimpleQueueService
                MessageSystemAttributeNames=["SentTimestamp"],
                MessageAttributeNames=["All"],
            )
            messages = response.get("Messages", [])
            new = [message for message in messages if message["MessageId"] not in seen]
            if messages and not new:  # the first ones are visible again: the queue was read once
                return
            empty = 0 if messages else empty + 1
            seen.update(message["MessageId"] for message in new)
            if new:
                yield [self._letter(message) for message in new]

    def _letter(self, message: Any) -> DeadLetter:
        attributes = message.get("MessageAttributes", {})
        error = attributes.get("error", {}).get("StringValue", "")
        keys, work = self._subject(message["Body"])
        named = attributes.get("key", {}).get("StringValue")
        return DeadLetter(
            id=message["MessageId"],
            receipt=message["ReceiptHandle"],
            body=message["Body"],
            reason=common_reason(_REQUEST_ID.sub("", error)) or NO_REASON,
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
        response = self._sqs.send_message_batch(
            QueueUrl=self._destination_url,
            Entries=[{"Id": str(index), "MessageBody": letter.body} for index, letter in enumerate(letters)],
        )
        failed = {each["Id"]: each.get("Message", each["Code"]) for each in response.get("Failed", [])}
        sent = [letter for index, letter in enumerate(letters) if str(index) not in failed]
        return sent, [f"not sent: {reason}" for reason in failed.values()]

    def _delete(self, letters: Sequence[DeadLetter]) -> list[str]:
        """Delete the letters from the dead-letter queue; return the errors."""
        if not letters:
            return []
        response = self._sqs.delete_message_batch(
            QueueUrl=self._url,
            Entries=[{"Id": str(index), "ReceiptHandle": letter.receipt} for index, letter in enumerate(letters)],
        )
        return [f"sent, and not deleted: {each.get('Message', each['Code'])}" for each in response.get("Failed", [])]

    def _release(self, letters: Sequence[DeadLetter]) -> None:
        """Make the letters visible again at once."""
        for some in _groups(letters, _BATCH):
            self._sqs.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": letter.receipt, "VisibilityTimeout": 0}
                    for index, letter in enumerate(some)
                ],
            )


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


def _groups(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
