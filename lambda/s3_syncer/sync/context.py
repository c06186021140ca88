"""The connected pair of buckets that every kind of work uses."""

from __future__ import annotations

from dataclasses import dataclass

from ..stores.bucket import Bucket
from .converge import BucketPair
from .transfer import Transfer


@dataclass(frozen=True, slots=True)
class SyncContext:
    """Both buckets, the transfer that copies between them, and the pair that convergence works on."""

    source: Bucket
    target: Bucket
    transfer: Transfer
    pair: BucketPair
