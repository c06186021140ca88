"""S3 Batch Operations: the tasks of a job in, a result for each out.

A task names a key of the job's manifest, so it asks for what a message with that key would. A job tries again by
itself what failed for now, and writes the results into its report.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ..core.deadline import Deadline
from ..core.errors import Permanent
from ..core.events import decode_task
from ..core.work_items import KeyWork
from .worker import Ack, DeadLetter, Disposition, Message, Retry, Worker

if TYPE_CHECKING:
    from .sqs import Queue

logger = logging.getLogger(__name__)

Code = Literal["Succeeded", "TemporaryFailure", "PermanentFailure"]

#: Characters of a result kept for the report, where each is a field of a line.
RESULT_MAX = 1000


class Result(TypedDict):
    taskId: str
    resultCode: Code
    resultString: str


class Response(TypedDict):
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-invoke-lambda.html"""

    invocationSchemaVersion: str
    treatMissingKeysAs: Code
    invocationId: str
    results: list[Result]


class Job:
    """Does the tasks of jobs with the worker that does the messages; `bucket` and `prefix` are the source's."""

    def __init__(self, worker: Worker, queue: Queue, *, bucket: str, prefix: str) -> None:
        self._worker, self._queue = worker, queue
        self._bucket, self._prefix = bucket, prefix

    def run(self, event: Mapping[str, Any], deadline: Deadline, *, grace_s: float) -> Response:
        """Raises nothing for what goes wrong with a task: that is its result."""
        version = event["invocationSchemaVersion"]
        messages: list[Message] = []
        dispositions: dict[str, Disposition] = {}
        for task in event["tasks"]:
            try:
                messages.append(Message(task["taskId"], self._decode(task, version).to_json()))
            except Permanent as error:
                dispositions[task["taskId"]] = DeadLetter(str(error))
                extra = {"action": "dead-letter", "key": task.get("s3Key", ""), "reason": str(error)}
                logger.log(logging.ERROR, "dead-letter", extra=extra)
        dispositions |= self._worker.run(messages, deadline, grace_s=grace_s)
        return {
            "invocationSchemaVersion": version,
            "treatMissingKeysAs": "TemporaryFailure",  # what is not said to be done is not
            "invocationId": event["invocationId"],
            "results": [self._result(task["taskId"], dispositions[task["taskId"]]) for task in event["tasks"]],
        }

    def _decode(self, task: Mapping[str, Any], version: object) -> KeyWork:
        """Raises Permanent for what is not ours: an event about it may be overheard, but a task means it."""
        work = decode_task(task, version, self._bucket)
        for key in work.keys:
            if not key.startswith(self._prefix) or key == self._prefix:
                raise Permanent(f"{key!r} is not below the prefix {self._prefix!r}, which is all that is mirrored")
        return work

    def _result(self, id: str, disposition: Disposition) -> Result:
        code, text = self._outcome(disposition)
        return {"taskId": id, "resultCode": code, "resultString": text[:RESULT_MAX]}

    def _outcome(self, disposition: Disposition) -> tuple[Code, str]:
        if not self._queue.send(disposition.more):
            return "TemporaryFailure", "what is left to do could not be put on the queue"
        match disposition:
            case Ack(more):
                return "Succeeded", f"handed on to the queue in {len(more)} messages" if more else "equal"
            case Retry(reason=reason):
                return "TemporaryFailure", reason
            case DeadLetter(error):
                return "PermanentFailure", error
