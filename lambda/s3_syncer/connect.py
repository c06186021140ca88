"""Settings in, a connected pair of buckets out: the one place where the parts are put together."""

from __future__ import annotations

from .bucket import Bucket
from .clients import source_client, target_client
from .converge import Pair
from .settings import Settings
from .transfer import Transfer

#: Connections beyond one per thread: probes and tag requests that overlap with a body still being read.
SPARE_CONNECTIONS = 4


def connect(settings: Settings, *, threads: int) -> Pair:
    """A pair whose clients and buffers serve `threads` keys and as many parts at a time."""
    connections = 2 * threads + SPARE_CONNECTIONS
    source = Bucket(settings.source_bucket, settings.source_prefix, source_client(connections), tags=settings.tags)
    target = Bucket(
        settings.target_bucket,
        settings.target_prefix,
        target_client(settings, connections),
        tags=settings.tags,
    )
    transfer = Transfer(source, target, memory=settings.copy_memory, threads=threads)
    return Pair(source, target, transfer, delete=settings.delete)
