"""The connected pair of buckets that every kind of work uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..stores.bucket import Bucket
from ..stores.object_locks import ObjectLocks
from ..stores.protocols import BucketLocation, Transport
from .bucket_pair import BucketPair
from .protocols import SmallObjectCopier
from .transfer import StreamCopier, Transfer


@dataclass(frozen=True, slots=True)
class SyncContext:
    """Both buckets, the transfer that copies between them, and the pair that convergence works on."""

    source: Bucket
    target: Bucket
    transfer: Transfer
    pair: BucketPair
    small_object_copier: SmallObjectCopier | None = None
    #: None if Object Lock is not mirrored.
    locks: ObjectLocks | None = None


class SmallObjectCopierFactory(Protocol):
    """Builds the copier that shares the buffer budget, bandwidth and ETag marker policy of a transfer."""

    def __call__(self, transfer: Transfer, *, tags: bool, object_lock: bool) -> SmallObjectCopier: ...


@dataclass(frozen=True, slots=True)
class Transports:
    """The faster ways between two buckets; None where boto3 is the only way."""

    source: Transport | None = None
    target: Transport | None = None
    stream_copier: StreamCopier | None = None
    small_object_copier: SmallObjectCopierFactory | None = None


#: Builds the transports between a source and a target. `crt/factory.py` has two.
TransportFactory = Callable[[BucketLocation, BucketLocation], Transports]
