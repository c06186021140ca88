"""The Lambda driver: an SQS batch in, the ids of what must be delivered again out; or tasks of S3 Batch Operations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypedDict

import boto3

from . import batch
from .connect import connect
from .deadline import Deadline
from .logs import log_json
from .ranges import Ranges
from .settings import function_settings
from .sqs import Queue
from .worker import Dead, Done, Later, Message, Worker, backoff

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


def handler(event: Mapping[str, Any], context: Context) -> BatchResponse | batch.Response:
    """Converges the keys of an SQS batch, or of the tasks of a job of S3 Batch Operations."""
    runtime = _runtime()
    remaining_s = context.get_remaining_time_in_millis() / 1000
    reserve_s = min(RESERVE_S, remaining_s * RESERVE_SHARE)
    deadline = Deadline.after(remaining_s - reserve_s)
    if "tasks" in event:
        return runtime.job.run(event, deadline, grace_s=reserve_s / 2)
    return _receive(event, runtime, deadline, grace_s=reserve_s / 2)


def _receive(event: Mapping[str, Any], runtime: _Runtime, deadline: Deadline, *, grace_s: float) -> BatchResponse:
    """What is not done comes back, what never can be is buried with its reason."""
    records = {record["messageId"]: record for record in event["Records"]}
    messages = {
        id: Message(id, record["body"], int(record["attributes"]["ApproximateReceiveCount"]))
        for id, record in records.items()
    }
    verdicts = runtime.worker.run(messages.values(), deadline, grace_s=grace_s)
    delays: dict[str, int] = {}
    for id, verdict in verdicts.items():
        match verdict:
            case Later(delay_s):
                delays[id] = delay_s
            case Done(more) if not runtime.queue.send(more):
                delays[id] = backoff(messages[id].attempt)
            case Dead() if not runtime.queue.bury(messages[id].body, verdict):
                delays[id] = backoff(messages[id].attempt)
    runtime.queue.give_back({records[id]["receiptHandle"]: delay for id, delay in delays.items()})
    return {"batchItemFailures": [{"itemIdentifier": id} for id in delays]}


@dataclass(frozen=True, slots=True)
class _Runtime:
    worker: Worker
    queue: Queue
    job: batch.Job


@cache
def _runtime() -> _Runtime:
    """Built by the first invocation, kept while the environment lives: clients, connections, credentials."""
    settings = function_settings(os.environ)
    log_json(settings.log_level)
    connection = connect(settings, threads=THREADS)
    ranges = Ranges(connection, prefix=settings.source_prefix, threads=THREADS)
    worker = Worker(
        connection.pair, ranges, bucket=settings.source_bucket, prefix=settings.source_prefix, threads=THREADS
    )
    queue = Queue(
        boto3.client("sqs"),
        url=settings.queue_url,
        dead_letter_url=settings.dead_letter_queue_url,
        bucket=settings.source_bucket,
    )
    job = batch.Job(worker, queue, bucket=settings.source_bucket, prefix=settings.source_prefix)
    return _Runtime(worker, queue, job)
