"""The Lambda driver: an SQS batch in, the ids of what must be delivered again out; or tasks of S3 Batch Operations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol, TypedDict

from .core.deadline import Deadline
from .logs import log_json
from .queue import s3_batch
from .queue.worker import Message
from .settings import function_settings
from .wiring import QueueContext, build_queue_worker

#: Keys converged at a time by one invocation, and parts in flight besides.
THREADS = 8

#: Seconds kept back at the end of an invocation, one half for dropping what has begun and one for handing the rest
#: of the batch back, and the most of the invocation's time that this may take.
RESERVE_S = 15.0
RESERVE_SHARE = 0.25


class Context(Protocol):
    """What this driver uses of Lambda's context object."""

    def get_remaining_time_in_millis(self) -> int: ...


class BatchItemFailure(TypedDict):
    itemIdentifier: str


class BatchResponse(TypedDict):
    """https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html"""

    batchItemFailures: list[BatchItemFailure]


def handler(event: Mapping[str, Any], context: Context) -> BatchResponse | s3_batch.Response:
    """Converges the keys of an SQS batch, or of the tasks of a job of S3 Batch Operations."""
    runtime = _runtime()
    remaining_s = context.get_remaining_time_in_millis() / 1000
    reserve_s = min(RESERVE_S, remaining_s * RESERVE_SHARE)
    deadline = Deadline.after(remaining_s - reserve_s)
    if "tasks" in event:
        job = s3_batch.Job(runtime.worker, runtime.queue, bucket=runtime.bucket, prefix=runtime.prefix)
        return job.run(event, deadline, grace_s=reserve_s / 2)
    return _receive(event, runtime, deadline, grace_s=reserve_s / 2)


def _receive(event: Mapping[str, Any], runtime: QueueContext, deadline: Deadline, *, grace_s: float) -> BatchResponse:
    """What is not done comes back, what never can be is buried with its reason."""
    messages = [
        Message(
            record["messageId"],
            record["body"],
            int(record["attributes"]["ApproximateReceiveCount"]),
            record["receiptHandle"],
        )
        for record in event["Records"]
    ]
    dispositions = runtime.worker.run(messages, deadline, grace_s=grace_s)
    returned = runtime.queue.apply(messages, dispositions)
    return {"batchItemFailures": [{"itemIdentifier": message.id} for message in returned]}


@cache
def _runtime() -> QueueContext:
    """Built by the first invocation, kept while the environment lives: clients, connections, credentials."""
    settings = function_settings(os.environ)
    log_json(settings.log_level)
    return build_queue_worker(settings, threads=THREADS, range_threads=THREADS)
