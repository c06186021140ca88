"""Count the objects and bytes that a check will read, from both listings, before it reads them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...core.compare import KeyDiff, KeyStatus
from ...core.deadline import Deadline
from ...core.filters import Filters
from ...core.listing_diff import Unordered, merge_listings
from ...operations.status import counted
from ...stores.protocols import Listing
from ...sync.key_sweep import SweepOptions
from ..output.progress import format_bytes
from .work_stealing import Range, WorkStealingScheduler, probe_concurrently

#: Ranges that are listed at a time, and requests that find the cuts of a range.
RANGES, PROBES = 16, 32


@dataclass(frozen=True, slots=True)
class ReadEstimate:
    """The objects to read, and the bytes of one side.

    Equal checksums, which no listing shows, can make it less.
    """

    objects: int
    bytes: int
    #: The keys that both listings have.
    of: int

    @property
    def text(self) -> str:
        """The estimate for people."""
        of = counted(self.of, "object")
        if not self.objects:
            return f"none of {of} must be read"
        each, both = format_bytes(self.bytes), format_bytes(2 * self.bytes)
        return f"reading up to {each} in {self.objects:,} of {of} from each store: {both} in all"


class ReadEstimator:
    """Counts over ranges of both listings; a `work_stealing.Sweeper`."""

    is_available = has_spare_capacity = True

    def __init__(self, source: Listing, target: Listing, options: SweepOptions, filters: Filters) -> None:
        self._source, self._target, self._options, self._filters = source, target, options, filters
        self._objects = self._bytes = self._keys = 0
        self._lock = threading.Lock()

    @property
    def estimate(self) -> ReadEstimate:
        return ReadEstimate(self._objects, self._bytes, self._keys)

    def sweep(
        self, range_: Range, deadline: Deadline, release_request: Deadline, release_rest: Callable[[str], None]
    ) -> str | None:
        listings = (side.listing(range_.after, range_.until) for side in (self._source, self._target))
        for page in merge_listings(*listings, after=range_.after, until=range_.until):
            pairs = [diff for diff in page.diffs if diff.source is not None and diff.target is not None]
            sizes = [diff.source.listed_size for diff in pairs if diff.source is not None and self._reads(diff)]
            with self._lock:
                self._keys += len(pairs)
                self._objects += len(sizes)
                self._bytes += sum(sizes)
            if page.until in (None, range_.until):
                break
            if deadline.passed():
                return page.until
            if release_request.passed():
                release_rest(page.until)
                break
        return None

    def _reads(self, diff: KeyDiff) -> bool:
        source, target, reads = diff.source, diff.target, self._options.reads
        if source is None or target is None or reads is None or source.archive is not None:
            return False
        if source.size != target.size or self._options.is_too_old(diff):
            return False
        if self._filters.exclusion(diff.key, source, target) is not None:
            return False
        is_proven = diff.status is KeyStatus.IN_SYNC or (source.etag is not None and source.etag == target.etag)
        return reads.reads(diff.key, "etag" if is_proven else "marker")


def estimate_reads(
    estimator: ReadEstimator, ranges: Sequence[Range], first_behind: Callable[[str], str | None], deadline: Deadline
) -> ReadEstimate | None:
    """Return what a check of these ranges will read; None if it was stopped, or a listing is not in order.

    Raises the SyncError of a listing.
    """
    scheduler = WorkStealingScheduler([estimator] * RANGES, probe_concurrently(first_behind, PROBES))
    try:
        return estimator.estimate if scheduler.run(ranges, deadline) is None else None
    except Unordered:
        return None
