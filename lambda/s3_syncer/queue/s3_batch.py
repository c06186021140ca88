"""Process the tasks of S3 Batch Operations: each task gets a result.

A task names a key of the job's manifest, and has the effect of a message with that key. The job itself repeats a task
with a temporary failure, and writes the results into its report.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ..core.deadline import Deadline
from ..core.errors import Permanent
from ..core.events import decode_task
from ..core.fence import LATE_WRITE_S
from ..core.work_items import KeyWork, Work, following
from .decision_log import log_failure
from .dispositions import Ack, DeadLetter, Disposition, Message, Retry
from .late_checks import late_checks
from .worker import Worker

if TYPE_CHECKING:
    from .sqs import Queue

ResultCode = Literal["Succeeded", "TemporaryFailure", "PermanentFailure"]

#: Characters of a result string that are kept: the report is a table with one line for each task.
RESULT_MAX = 1000

UNSENT = "the remaining work could not be sent to the queue"
UNCHECKED = (
    "a write to the key may still take effect, and the message that compares the key after it could not be sent to the "
    f"queue: run `s3-syncer sync KEY` after {LATE_WRITE_S // 60} minutes"
)


class TaskResult(TypedDict):
    """The result of one task."""

    taskId: str
    resultCode: ResultCode
    resultString: str


class Response(TypedDict):
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-invoke-lambda.html"""

    invocationSchemaVersion: str
    treatMissingKeysAs: ResultCode
    invocationId: str
    results: list[TaskResult]


class BatchOperationsTasks:
    """Process the tasks of any job with the worker of the queue.

    `bucket` and `prefix` are those of the source.
    """

    def __init__(self, worker: Worker, queue: Queue, *, bucket: str, prefix: str) -> None:
        self._worker, self._queue = worker, queue
        self._bucket, self._prefix = bucket, prefix

    def run(self, event: Mapping[str, Any], deadline: Deadline, *, grace_s: float) -> Response:
        """Process the tasks of an event. A failure is the result of its task and is not raised.

        The job repeats a failed task soon. So if a write to its key may still take effect, a message checks the key
        when that is over. Without that message, the failure is permanent: a repeated task could find the key equal
        before the write, and nothing would compare it afterwards.
        """
        version = event["invocationSchemaVersion"]
        works: dict[str, KeyWork] = {}
        dispositions: dict[str, Disposition] = {}
        for task in event["tasks"]:
            try:
                works[task["taskId"]] = self._decode(task, version)
            except Permanent as error:
                dispositions[task["taskId"]] = DeadLetter(str(error))
                log_failure(task.get("s3Key", ""), error)
        messages = [Message(id, work.to_json()) for id, work in works.items()]
        dispositions |= self._worker.run(messages, deadline, grace_s=grace_s)
        for id, disposition in dispositions.items():
            more: tuple[Work, ...] = disposition.more
            if isinstance(disposition, Retry) and disposition.is_uncertain:
                more = (*more, *following(late_checks(works[id].keys, 0), works[id].hops))
            if not self._queue.send(more):
                dispositions[id] = DeadLetter(UNCHECKED) if any(map(_is_late_check, more)) else Retry(0, UNSENT)
        return {
            "invocationSchemaVersion": version,
            "treatMissingKeysAs": "TemporaryFailure",  # a task without a result counts as failed, not as done
            "invocationId": event["invocationId"],
            "results": [_result(task["taskId"], dispositions[task["taskId"]]) for task in event["tasks"]],
        }

    def _decode(self, task: Mapping[str, Any], version: object) -> KeyWork:
        """Return the work of a task. Raises Permanent for a key outside the prefix.

        An event for such a key is ignored. A task names the key on purpose, and the report must not call it mirrored.
        """
        work = decode_task(task, version, self._bucket)
        for key in work.keys:
            if not key.startswith(self._prefix) or key == self._prefix:
                raise Permanent(f"{key!r} is not below the prefix {self._prefix!r}: only keys below it are mirrored")
        return work


def _is_late_check(work: Work) -> bool:
    """Return True for the comparison of a key after a write without a response."""
    return isinstance(work, KeyWork) and work.late_checks > 0


def _result(task_id: str, disposition: Disposition) -> TaskResult:
    code, text = _code_and_text(disposition)
    return {"taskId": task_id, "resultCode": code, "resultString": text[:RESULT_MAX]}


def _code_and_text(disposition: Disposition) -> tuple[ResultCode, str]:
    match disposition:
        case Ack(more, exclusion):
            return "Succeeded", f"sent to the queue as {len(more)} messages" if more else exclusion or "equal"
        case Retry(reason=reason):
            return "TemporaryFailure", reason
        case DeadLetter(error):
            return "PermanentFailure", error
