"""Settings in, a worker and the queue it works off out: what the drivers have in common that take messages from SQS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .queue.sqs import Queue
from .queue.worker import Worker
from .settings import Settings
from .stores.clients import queue_client
from .sync.distributed_copy import Parts
from .sync.range_sweep import Ranges
from .sync.sweep import Lane
from .wiring import SPARE_CONNECTIONS, Connection, connect


@dataclass(frozen=True, slots=True)
class Runtime:
    """`bucket` and `prefix` are the source's."""

    bucket: str
    prefix: str
    worker: Worker
    queue: Queue


def no_lane(connection: Connection) -> Lane | None:  # noqa: ARG001 - the interface of a lane's opening
    """For who has no awscrt, or no time to import it."""
    return None


def assemble(
    settings: Settings,
    *,
    threads: int,
    range_threads: int,
    open_lane: Callable[[Connection], Lane | None] = no_lane,
) -> Runtime:
    """A worker that converges `threads` keys at a time, and in each range `range_threads`. Raises StoreUnusable."""
    connection = connect(settings, threads=threads)
    bucket, prefix = settings.source_bucket, settings.source_prefix
    parts = Parts(connection.source, connection.target, connection.transfer, prefix=prefix, above=settings.parts_above)
    ranges = Ranges(connection, prefix=prefix, threads=range_threads, largest=parts.above, lane=open_lane(connection))
    queue = Queue(
        queue_client(threads + SPARE_CONNECTIONS),
        url=settings.queue_url,
        dead_letter_url=settings.dead_letter_queue_url,
        bucket=bucket,
    )
    worker = Worker(connection.pair, ranges, parts, bucket=bucket, prefix=prefix, threads=threads)
    return Runtime(bucket, prefix, worker, queue)
