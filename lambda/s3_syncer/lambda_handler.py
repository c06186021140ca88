"""The Lambda function: process SQS batches, and tasks of S3 Batch Operations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from .core.deadline import Deadline
from .logs import log_json
from .queue.bus_events import dead_letters
from .queue.dispositions import DeadLetter, Message
from .settings import Settings, function_settings
from .transport.factory import plain_transports
from .versions import log_versions
from .wiring import QueueContext, QueueWorker, build_doctor, build_queue_worker

if TYPE_CHECKING:
    from .queue.s3_batch import Response

#: Keys that one invocation converges at a time. As many parts are in flight in addition.
THREADS = 8

#: Seconds kept back at the end of an invocation: half to abort uploads, half to release messages.
RESERVE_S = 15.0

#: Largest share of the remaining time that the reserve takes.
RESERVE_SHARE = 0.25


class Context(Protocol):
    """The part of Lambda's context object that the function uses."""

    def get_remaining_time_in_millis(self) -> int: ...


class BatchItemFailure(TypedDict):
    """The ID of a message that Lambda must return to the queue."""

    itemIdentifier: str


class BatchResponse(TypedDict):
    """https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html"""

    batchItemFailures: list[BatchItemFailure]


def handler(event: Mapping[str, Any], context: Context) -> BatchResponse | Response | dict[str, Any]:
    """Process an SQS batch or the tasks of an S3 Batch Operations job, or return the report of the doctor."""
    if "doctor" in event:
        deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000 - RESERVE_S)
        return build_doctor(_start(os.environ)).run(deadline).as_json()
    return _function().handle(event, context)


@cache
def _function() -> Function:
    """Build the function at the first invocation.

    Its clients, connections and credentials last as long as the process.
    """
    return Function.from_environment(os.environ)


def _start(environ: Mapping[str, str]) -> Settings:
    """Return the settings, and begin to log at their level. Raises SettingsError.

    Call it before the first request: before it, the libraries log secrets at DEBUG.
    """
    settings = function_settings(environ)
    log_json(settings.log_level)
    log_versions()
    return settings


class Function:
    """The Lambda function with its clients."""

    def __init__(self, queue_context: QueueContext) -> None:
        self._live, self._others = queue_context.live, queue_context.others
        self._notify = queue_context.notify
        self._bucket, self._prefix = queue_context.bucket, queue_context.prefix

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Function:
        """Build a function from its environment variables. Raises SettingsError with every mistake in them."""
        settings = _start(environ)
        return cls(build_queue_worker(settings, threads=THREADS, range_threads=THREADS, transports=plain_transports))

    def handle(self, event: Mapping[str, Any], context: Context) -> BatchResponse | Response:
        """Process an event of SQS or of S3 Batch Operations before the time of the invocation ends."""
        remaining_s = context.get_remaining_time_in_millis() / 1000
        reserve_s = min(RESERVE_S, remaining_s * RESERVE_SHARE)
        deadline = Deadline.after(remaining_s - reserve_s)
        run = self._process_tasks if "tasks" in event else self._process_batch
        return run(event, deadline, grace_s=reserve_s / 2)

    def _process_tasks(self, event: Mapping[str, Any], deadline: Deadline, *, grace_s: float) -> Response:
        """Process the tasks of an S3 Batch Operations job."""
        from .queue.s3_batch import BatchOperationsTasks  # here, because a function that only gets messages needs none

        tasks = BatchOperationsTasks(self._live.worker, self._live.queue, bucket=self._bucket, prefix=self._prefix)
        return tasks.run(event, deadline, grace_s=grace_s)

    def _process_batch(self, event: Mapping[str, Any], deadline: Deadline, *, grace_s: float) -> BatchResponse:
        """Process an SQS batch. Lambda deletes the messages that the response does not name."""
        messages = [
            Message(
                record["messageId"],
                record["body"],
                int(record["attributes"]["ApproximateReceiveCount"]),
                record["receiptHandle"],
            )
            for record in event["Records"]
        ]
        queue_arn = next((record.get("eventSourceARN", "") for record in event["Records"]), "")
        receiving = self._receiving(queue_arn)
        dispositions = receiving.worker.run(messages, deadline, grace_s=grace_s)
        returned = receiving.queue.send_and_release(messages, dispositions)
        done = [dispositions[message.id] for message in messages if message not in returned]
        if letters := [disposition for disposition in done if isinstance(disposition, DeadLetter)]:
            self._notify(dead_letters(letters))
        return {"batchItemFailures": [{"itemIdentifier": message.id} for message in returned]}

    def _receiving(self, queue_arn: str) -> QueueWorker:
        """Return the queue of a batch, which is the same for all of its messages, and the worker for it."""
        return next((each for each in self._others if each.queue.has_arn(queue_arn)), self._live)
