"""Explain one key: both objects, the decision of a worker now, and its history. Writes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar, cast

from botocore.exceptions import BotoCoreError, ClientError

from ..core.deadline import Deadline
from ..core.errors import Archived, Retryable, SyncError, judged
from ..core.model import ObjectState, WrittenObject
from ..core.multipart import USUAL_LIMITS, Limits, check_size
from ..core.work_items import Work
from ..stores.protocols import TargetBucket
from ..sync.bucket_pair import BucketPair
from ..sync.converge import converge
from .dead_letters import DeadLetter, DeadLetterQueue, Selection
from .log_lines import LogLine
from .status import counted
from .worker_log import WorkerLog

#: Periods of the log in seconds, the newest first, up to the length that the user asks for.
_FIRST_PERIODS_S = (600.0, 3600.0, 6 * 3600.0)

#: Pages of the log, and dead letters, that are read at most. A page is one request, and ten letters are one.
MAX_PAGES, MAX_LETTERS = 50, 1000

#: The requests of a bucket that change nothing.
_READS = frozenset({"prefix", "tag_support", "head", "is_missing", "lists", "with_tags", "read", "tags", "note_copied"})


_T = TypeVar("_T")


class _WouldWrite(BaseException):
    """A request that would change the target. No handler of errors may catch it."""

    def __init__(self, operation: str) -> None:
        self.operation = operation


class _ReadOnly:
    """A target that serves reads, and ends the work at the first write."""

    def __init__(self, bucket: TargetBucket) -> None:
        self._bucket = bucket

    def __getattr__(self, name: str) -> Any:
        if name in _READS:
            return getattr(self._bucket, name)

        def refuse(*_: Any, **__: Any) -> None:
            raise _WouldWrite(name)

        return refuse


class _NoCopies:
    """A copier that leaves each copy to other workers, so that the outcome has the reason for the copy."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def copy(self, key: str, state: ObjectState, *_: object) -> WrittenObject | Sequence[Work]:  # noqa: ARG002
        """Return no work. Raises Permanent for an object that cannot be read, or is too large for the target."""
        check_size(state.size, self._limits)
        if state.archive is not None:
            raise Archived.of(state.archive)
        return ()


@dataclass(frozen=True, slots=True)
class Decision:
    """The action of a worker that checks the key now, and the rule that decides it."""

    #: `copy`, `update`, `tags`, `delete`, `kept`, `unchanged`, `excluded`, or `retry` or `dead-letter` for an error.
    action: str
    reason: str

    @property
    def is_equal(self) -> bool:
        """Return True if nothing needs to be done."""
        return self.action in ("unchanged", "excluded")


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that is known about a key."""

    key: str
    source: ObjectState | None
    target: ObjectState | None
    #: The errors of the stores, by side. A side with an error is unknown, and not absent.
    errors: dict[str, str]
    decision: Decision
    #: The lines about the key, the oldest first, and the seconds of the log that were searched.
    lines: Sequence[LogLine]
    log_s: float
    letters: Sequence[DeadLetter]
    #: Parts that could not be read, and why.
    notes: Sequence[str] = ()

    @property
    def place(self) -> str:
        """Return where the last message about the key is, as far as the log and the dead letters show it."""
        if self.letters:
            return f"dead: {counted(len(self.letters), 'message')} about the key in the dead-letter queue"
        if self.decision.action == "excluded":
            return "ignored: workers acknowledge each message about the key, and log no line about it"
        last = next((line for line in reversed(self.lines) if line.action), None)
        if last is None:
            return "unknown: the log has no line about the key, and SQS cannot search a queue"
        match last.action:
            case "retry" | "failed":
                return "queued: the last attempt failed, and the message returns within 15 minutes"
            case "held":
                return "held: its deletion waits until a person releases it with `s3-syncer deletions release`"
            case "deferred" | "forward":
                return "queued: its deletion waits on the queue of the deletions"
            case "multipart" | "part":
                return "in work: several workers copy its parts"
            case "dead-letter":
                return "done: its dead letter is no longer in the dead-letter queue"
            case _:
                return f"done: the last line about the key has the action {last.action}"

    def as_json(self) -> dict[str, Any]:
        """Return the explanation as JSON."""
        return {
            "key": self.key,
            "source": _as_json(self.source),
            "target": _as_json(self.target),
            "errors": self.errors,
            "decision": asdict(self.decision),
            "place": self.place,
            "log": [{"at": line.at, "group": line.group, **line.fields} for line in self.lines],
            "log_s": self.log_s,
            "dead_letters": [
                {"reason": letter.reason, "error": letter.error, "sent_at": letter.sent_at} for letter in self.letters
            ],
            "notes": list(self.notes),
        }


def decide(pair: BucketPair, key: str, deadline: Deadline, limits: Limits = USUAL_LIMITS) -> Decision:
    """Return the decision of a worker about the key, relative to the prefix of the source.

    The code of the workers makes it, on a target that takes no write. It reads both objects, and at most 64 MiB of an
    object with ETags that contradict each other.
    """
    target = cast(TargetBucket, _ReadOnly(pair.target))
    read_only = replace(pair, target=target, copier=_NoCopies(limits), defers_deletions=True)
    try:
        outcome = converge(read_only, key, deadline, size=1 << 62)  # a large size: no body is read in advance
        is_copy = outcome.action == "multipart"
        is_new = is_copy and pair.target.is_missing(key)  # also an error if the bucket is missing
    except _WouldWrite as write:
        if write.operation == "put_lock":
            return Decision("lock", "Object Lock")
        return Decision("tags" if write.operation in ("put_tags", "require_tags") else write.operation, "tags")
    except SyncError as error:
        found = judged(error)
        return Decision("retry" if isinstance(found, Retryable) else "dead-letter", str(found))
    if is_copy:
        return Decision("copy" if is_new else "update", outcome.reason)
    if outcome.action == "deferred":
        return Decision("delete", "absent from the source")
    return Decision(outcome.action, outcome.reason)


def explain(
    pair: BucketPair,
    key: str,
    *,
    prefix: str,
    log: WorkerLog,
    letters: DeadLetterQueue,
    now: float,
    since_s: float,
    limits: Limits = USUAL_LIMITS,
) -> Explanation:
    """Return what is known about a whole key of the source; `prefix` is that of the source.

    The log is read for the last `since_s` seconds. A part that cannot be read is a note.
    """
    relative, errors, notes = key.removeprefix(prefix), dict[str, str](), list[str]()

    def state(side: str, read: Callable[[], ObjectState | None]) -> ObjectState | None:
        try:
            return read()
        except SyncError as error:
            errors[side] = str(error)
            return None

    def optional(what: str, read: Callable[[], _T]) -> _T | None:
        try:
            return read()
        except (ClientError, BotoCoreError) as error:
            notes.append(f"{what} cannot be read: {error}")
            return None

    source = state("source", lambda: pair.source.head(relative, confirm_missing=True))
    target = state("target", lambda: _with_tags(pair.target, relative))
    decision = decide(pair, relative, Deadline(), limits)
    periods_s = (*(each for each in _FIRST_PERIODS_S if each < since_s), since_s)
    found = optional("the log", lambda: log.newest(_pattern(key), now, periods_s, max_pages=MAX_PAGES))
    if found is not None and not found.is_complete:
        notes.append(f"the log is long: only its last {now - found.since:,.0f} s were searched")
    selection = Selection(keys=frozenset({key}))
    return Explanation(
        key,
        source,
        target,
        errors,
        decision,
        [line for line in found.lines if line.key == key] if found else [],
        now - found.since if found else 0.0,
        optional("the dead-letter queue", lambda: letters.read(selection, limit=MAX_LETTERS)) or [],
        notes,
    )


def _pattern(key: str) -> str:
    """Return the filter for the log lines about a key. An asterisk in the key also matches other keys.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    """
    return f"{{ $.key = {json.dumps(key, ensure_ascii=False)} }}"


def _with_tags(target: TargetBucket, key: str) -> ObjectState | None:
    """Return the object with its tags, or None if the target has no such key. Raises SyncError."""
    found = target.head(key, tags=False)
    if found is not None:
        return target.with_tags(key, found)
    target.is_missing(key)  # the 404 may be that of the bucket
    return None


def _as_json(state: ObjectState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    time = state.last_modified
    return {
        "size": state.size,
        "etag": state.etag,
        "last_modified": None if time is None else time.isoformat(),
        "headers": dict(state.headers),
        "metadata": dict(state.metadata),
        "tags": dict(state.tags),
        "object_lock": state.lock.headers,
        "marker": state.marker,
        "archived": state.archived,
    }
