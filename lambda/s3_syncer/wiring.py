"""Settings in, a connected pair of buckets out: the one place where the parts are put together."""

from __future__ import annotations

from dataclasses import dataclass

from .process_tuning import give_back_buffers
from .settings import Settings
from .stores.bucket import Bucket
from .stores.clients import source_client, target_client
from .sync.converge import Pair
from .sync.transfer import Transfer

#: Connections beyond one per thread: probes and tag requests that overlap with a body still being read.
SPARE_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class Connection:
    """Both buckets, what copies between them, and the pair that convergence works on."""

    source: Bucket
    target: Bucket
    transfer: Transfer
    pair: Pair


def connect(settings: Settings, *, threads: int, resumes: bool = False) -> Connection:
    """A connection whose clients and buffers serve `threads` keys and as many parts at a time.

    With `resumes`, a large object is gone on with where the last run left it: see `transfer.Transfer`.
    """
    give_back_buffers()
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
    return Connection(source, target, transfer, Pair(source, target, transfer, delete=settings.delete))
