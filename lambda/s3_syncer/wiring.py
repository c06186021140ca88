"""Composition root: build the connected buckets and the queue worker from the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .process_tuning import return_large_buffers
from .queue.sqs import Queue
from .queue.worker import Worker
from .settings import Settings
from .stores.bucket import Bucket
from .stores.clients import queue_client, source_client, target_client
from .sync.context import SyncContext
from .sync.converge import BucketPair
from .sync.distributed_copy import DistributedCopier
from .sync.range_sweep import RangeSweeper
from .sync.sweep import Lane
from .sync.transfer import Transfer

#: Connections beyond one per thread: probes and tag requests that overlap with a body still being read.
SPARE_CONNECTIONS = 4


def connect(settings: Settings, *, threads: int, resumes: bool = False) -> SyncContext:
    """A connection whose clients and buffers serve `threads` keys and as many parts at a time.

    With `resumes`, a large object is gone on with where the last run left it: see `transfer.Transfer`.
    """
    return_large_buffers()
    connections = 2 * threads + SPARE_CONNECTIONS
    source = Bucket(settings.source_bucket, settings.source_prefix, source_client(connections), tags=settings.tags)
    target = Bucket(
        settings.target_bucket,
        settings.target_prefix,
        target_client(settings, connections),
        tags=settings.tags,
    )
    transfer = Transfer(
        source,
        target,
        memory=settings.copy_memory,
        threads=threads,
        bytes_per_s=settings.bytes_per_s,
        resumes=resumes,
    )
    return SyncContext(source, target, transfer, BucketPair(source, target, transfer, delete=settings.delete))


@dataclass(frozen=True, slots=True)
class QueueContext:
    """`bucket` and `prefix` are the source's."""

    bucket: str
    prefix: str
    worker: Worker
    queue: Queue


def no_lane(context: SyncContext) -> Lane | None:  # noqa: ARG001 - the interface of a lane's opening
    """For who has no awscrt, or no time to import it."""
    return None


def build_queue_worker(
    settings: Settings,
    *,
    threads: int,
    range_threads: int,
    open_lane: Callable[[SyncContext], Lane | None] = no_lane,
) -> QueueContext:
    """A worker that converges `threads` keys at a time, and in each range `range_threads`. Raises StoreUnusable."""
    context = connect(settings, threads=threads)
    bucket, prefix = settings.source_bucket, settings.source_prefix
    parts = DistributedCopier(
        context.source, context.target, context.transfer, prefix=prefix, above=settings.distributed_copy_threshold
    )
    ranges = RangeSweeper(
        context, prefix=prefix, threads=range_threads, max_object_size=parts.above, lane=open_lane(context)
    )
    queue = Queue(
        queue_client(threads + SPARE_CONNECTIONS),
        url=settings.queue_url,
        dead_letter_url=settings.dead_letter_queue_url,
        bucket=bucket,
    )
    worker = Worker(context.pair, ranges, parts, bucket=bucket, prefix=prefix, threads=threads)
    return QueueContext(bucket, prefix, worker, queue)
