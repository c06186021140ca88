"""The two buckets that are made equal, and the rules for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..core.compare import Difference
from ..core.deadline import Deadline
from ..core.filters import NO_FILTERS, Filters
from ..core.model import ObjectState, WrittenObject
from ..core.work_items import Work
from ..stores.capabilities import TargetCapabilities
from ..stores.protocols import SourceBucket, TargetBucket
from .direction import TO_MIRROR, ToMirror


class Copier(Protocol):
    """Copies an object: see `transfer.Transfer`."""

    def copy(
        self, key: str, state: ObjectState, deadline: Deadline, replaced: ObjectState | None = None
    ) -> WrittenObject | Sequence[Work]:
        """Copy the object over the `replaced` one of the target, or return the work that copies it.

        Once that work ends, the key is checked again.
        """


@dataclass(frozen=True, slots=True)
class BucketPair:
    """A source, a target, and the copier between them."""

    source: SourceBucket
    target: TargetBucket
    copier: Copier
    #: False keeps keys in the target that were deleted from the source.
    delete: bool = True
    #: The keys that are mirrored, relative to the prefix. Nothing is written or deleted for any other key.
    filters: Filters = NO_FILTERS
    #: True leaves each deletion to a message: the outcome is `deferred`.
    defers_deletions: bool = False
    #: True in a plain sweep: see `compare.compare`.
    trusts_time: bool = False
    #: The rules that a restore reverses.
    direction: ToMirror = field(default=TO_MIRROR, compare=False)
    #: What is known of the target. The copier learns about its ETags too, so both share this object.
    capabilities: TargetCapabilities = field(default_factory=TargetCapabilities, compare=False)

    def compare(
        self, key: str, source: ObjectState, target: ObjectState, *, written_etag: str | None = None
    ) -> Difference | None:
        """Return the difference between both objects of a key, or None: see `compare.compare`."""
        return self.direction.compare(
            self.source,
            self.target,
            self.capabilities,
            key,
            source,
            target,
            written_etag=written_etag,
            trusts_time=self.trusts_time,
        )
