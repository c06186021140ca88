"""Copies of large objects as work for many: one begins the upload, any send its parts, who sees them all completes it.

Nothing is remembered but in the buckets and on the queue: which parts were sent, the upload tells. So a part that is
asked for twice is sent once, a crash costs what was in flight, and two that complete the same upload do no harm.

A message about the key stays on the queue until the key is equal on both sides, as ever. It looks again from time to
time, and begins anew when nobody has been at the upload for long: whatever goes wrong with the parts, it makes good.
docs/architecture.md argues why this ends equal, and leaves no upload behind.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from ..core.compare import compare
from ..core.deadline import Deadline, OutOfTime
from ..core.errors import Changed, Permanent, Retryable, StoreUnusable
from ..core.model import ObjectState, Upload
from ..core.multipart import MIB, PartPlan, UploadedPart, contiguous_runs, matches_plan, multipart_etag
from ..core.work_items import KeyWork, PartsWork, Work
from ..stores.protocols import SourceBucket, TargetBucket
from .converge import BucketPair, Outcome, converge
from .transfer import Transfer, resumable

logger = logging.getLogger(__name__)

#: Bytes of one work item, which takes a function a few seconds; and items of one object, each of which lists its parts.
ITEM_SIZE = 128 * MIB
MAX_ITEMS = 1000

#: Seconds between two looks at a key whose parts are being sent: as long as a few functions take, at an assumed rate in
#: bytes a second, and at most as long as SQS keeps a message to itself.
WATCH_RATE = 64 * MIB
RECHECK_MIN_S, RECHECK_MAX_S = 30, 900

#: Seconds without a new part after which nobody is thought to be at an upload. It only has to be longer than a part
#: takes and than items wait on the queue: to be wrong costs the parts sent so far.
ABANDONED_AFTER_S = 3600.0

#: Times that the parts of a key are begun on behalf of one message: what fails for good does so again.
MAX_UPLOAD_ATTEMPTS = 3


class DistributedCopier:
    """Divides copies of objects above `above` bytes into work items, and does these. `prefix` is the source's."""

    def __init__(
        self, source: SourceBucket, target: TargetBucket, transfer: Transfer, *, prefix: str, above: int
    ) -> None:
        self._source, self._target, self._transfer = source, target, transfer
        self._prefix = prefix
        self.above = above

    def converge(
        self, pair: BucketPair, key: str, deadline: Deadline, *, upload_attempts: int | None, redelivered: bool
    ) -> Outcome:
        """As `converge.converge`, but the parts of a large object become work for others.

        `begun` says how often they did before, None that nothing is known of parts. A message that is `redelivered`
        may have begun some and been lost then, with an upload left behind.
        """
        pair = replace(pair, copier=_Copier(self, self._transfer, upload_attempts or 0))
        if upload_attempts is None and not redelivered:
            return converge(pair, key, deadline)
        # In this order: an upload that is completed from now on is among these, or the look below sees what it made.
        before = self._under_way_if_told(key, needed=upload_attempts is not None)
        outcome = converge(pair, key, deadline)
        if outcome.action == "multipart" or not before:
            return outcome
        for each in before:
            if each.idle_s >= ABANDONED_AFTER_S:
                self._target.abort_upload(key, each.upload.id)
        return replace(outcome, more=(self._recheck(key, outcome.size, upload_attempts or 0),))

    def _recheck(self, key: str, size: int, upload_attempts: int) -> KeyWork:
        """The message that looks at the key again when `size` bytes should have been sent."""
        delay_s = min(max(size // WATCH_RATE, RECHECK_MIN_S), RECHECK_MAX_S)
        return KeyWork((self._prefix + key,), delay_s=delay_s, upload_attempts=upload_attempts)

    # -- beginning -------------------------------------------------------------------------------------------------

    def begin(self, key: str, state: ObjectState, upload_attempts: int, deadline: Deadline) -> Sequence[Work]:
        """The work that copies the object; none when it had to be copied here. Raises a SyncError."""
        layout = self._transfer.plan(key, state)
        if layout is None:
            return self._transfer.copy(key, state, deadline)
        recheck = self._recheck(key, state.size, upload_attempts)
        try:
            under_way = self._under_way(key)
            if any(each.idle_s < ABANDONED_AFTER_S for each in under_way):
                return [recheck]
            found = self._left_over(key, state, layout, under_way)
            if found is None:
                target = self._target.head(key)
                if target is not None and compare(state, target) is None:
                    raise Changed("it has just been copied", "Copied")
                found = self._create(key, state, layout, upload_attempts, deadline)
                recheck = self._recheck(key, state.size, upload_attempts + (found is not None))
        except _ListingUploadsUnsupported:
            return self._transfer.copy(key, state, deadline)
        if found is None:
            return [recheck]
        missing = [number for number in range(1, layout.count + 1) if number not in found.sent]
        # With nothing missing it only has to be completed, and any item does that.
        return [*_items(self._prefix + key, state, layout, found.upload.id, missing or [layout.count]), recheck]

    def _under_way(self, key: str) -> list[_ActiveUpload]:
        found = []
        with _told():
            for upload in self._target.uploads(key):
                with suppress(Changed):  # it has just been completed, or dropped
                    found.append(_ActiveUpload(upload, self._target.parts(key, upload.id)))
        return found

    def _under_way_if_told(self, key: str, *, needed: bool) -> list[_ActiveUpload]:
        """Unless it is needed, a store that fails to tell must not keep a key from being converged."""
        try:
            return self._under_way(key)
        except _ListingUploadsUnsupported:
            return []
        except StoreUnusable:
            raise
        except Retryable:
            if needed:
                raise
            return []

    def _left_over(
        self, key: str, state: ObjectState, layout: PartPlan, quiet: Sequence[_ActiveUpload]
    ) -> _ActiveUpload | None:
        """The upload of this very object that somebody began and nobody goes on with; all others are dropped."""
        found = None
        for each in quiet:
            ours = found is None and resumable(state, layout) and matches_plan(layout, each.sent)
            if ours and self._transfer.last_part_matches(key, state, layout, each.sent):
                found = each
            else:
                self._target.abort_upload(key, each.upload.id)
        return found

    def _create(
        self, key: str, state: ObjectState, layout: PartPlan, upload_attempts: int, deadline: Deadline
    ) -> _ActiveUpload | None:
        """A new upload with its last part, or None when somebody else was faster.

        The part is sent at once, because not every store is to be believed about when an upload was begun.
        """
        if upload_attempts >= MAX_UPLOAD_ATTEMPTS:
            raise Permanent(
                f"the parts of this object were begun {upload_attempts} times and it is still not equal: the dead "
                "letters and the log have the reasons",
                "PartsFailed",
            )
        id = self._transfer.begin(key, state)
        try:
            with _told():
                uploads = self._target.uploads(key)
                self._target.parts(key, id)
            first = max(uploads, key=lambda upload: (upload.age_s, upload.id), default=Upload(id, 0.0))
            if first.id == id:
                *_, last = layout.parts()
                etags = self._transfer.send(key, state, id, [last], deadline)
                return _ActiveUpload(first, {last.number: UploadedPart(last.size, etags[last.number])})
        except BaseException:
            self._transfer.abandon(key, id)
            raise
        self._target.abort_upload(key, id)
        return None

    # -- doing -----------------------------------------------------------------------------------------------------

    def do(self, work: PartsWork, deadline: Deadline) -> Sequence[Work]:
        """Sends what is missing of these parts, and completes the upload when nothing is missing of it at all.

        Returns what is left to do: the rest of the parts, or a look at the key. Raises a SyncError when nothing of
        it was done.
        """
        key = work.key.removeprefix(self._prefix)
        try:
            missing = self._missing(key, work)
            state = self._source.head(key)
            if state is None or state.etag != work.etag:
                return self._drop(key, work, "the object is no longer what its parts were begun for")
            left = self._send(key, state, work, missing, deadline)
            return left or self._complete(key, state, work)
        except Changed as error:
            if error.code == "NoSuchUpload":
                return []  # it was completed, or dropped: whoever did that, or watches, has the key looked at
            return self._drop(key, work, str(error))
        except Permanent:
            self._transfer.abandon(key, work.upload)
            raise

    def _drop(self, key: str, work: PartsWork, why: str) -> Sequence[Work]:
        """Aborts the upload, and has the key looked at."""
        logger.info("dropped", extra={"action": "dropped", "key": work.key, "reason": why})
        self._target.abort_upload(key, work.upload)
        return [KeyWork((work.key,))]

    def _send(
        self, key: str, state: ObjectState, work: PartsWork, missing: list[int], deadline: Deadline
    ) -> list[PartsWork]:
        """Sends what is missing; returns what time did not suffice for."""
        began, layout = time.monotonic(), PartPlan(work.size, work.part_size)
        parts = [part for part in layout.parts() if part.number in missing]
        try:
            self._transfer.send(key, state, work.upload, parts, deadline)
            left = []
        except OutOfTime:
            left = self._missing(key, work)
            if left == missing:
                raise
        extra = {
            "action": "part",
            "key": work.key,
            "reason": f"parts {work.first} to {work.last} of {layout.count}",
            "bytes": sum(part.size for part in parts if part.number not in left),
            "duration_ms": round((time.monotonic() - began) * 1000),
        }
        logger.info("part", extra=extra)
        return [replace(work, first=first, last=last) for first, last in contiguous_runs(left, len(left))]

    def _missing(self, key: str, work: PartsWork) -> list[int]:
        sent = self._target.parts(key, work.upload, work.first - 1, work.last)
        return [number for number in range(work.first, work.last + 1) if number not in sent]

    def _complete(self, key: str, state: ObjectState, work: PartsWork) -> Sequence[Work]:
        """Completes the upload if all of its parts are there, and then has the key looked at."""
        layout = PartPlan(work.size, work.part_size)
        sent = self._target.parts(key, work.upload)
        if len(sent) < layout.count:
            return []
        etags = {number: part.etag for number, part in sent.items()}
        others = resumable(state, layout) and multipart_etag(etags) != state.etag
        if others and self._transfer.last_part_matches(
            key, state, layout, sent
        ):  # else the store's ETags prove nothing
            return self._drop(key, work, "the parts that were sent are not all of this object")
        self._target.complete_upload(key, work.upload, etags)
        logger.info("complete", extra={"action": "complete", "key": work.key, "bytes": work.size})
        return [KeyWork((work.key,))]


@dataclass(frozen=True, slots=True)
class _Copier:
    """What copies small objects at once, and begins the parts of large ones, which was done `begun` times before."""

    parts: DistributedCopier
    transfer: Transfer
    upload_attempts: int

    def copy(self, key: str, state: ObjectState, deadline: Deadline) -> Sequence[Work]:
        if state.size <= self.parts.above:
            return self.transfer.copy(key, state, deadline)
        return self.parts.begin(key, state, self.upload_attempts, deadline)


@dataclass(frozen=True, slots=True)
class _ActiveUpload:
    """An upload and what it has got."""

    upload: Upload
    sent: Mapping[int, UploadedPart]

    @property
    def idle_s(self) -> float:
        """Seconds since anything happened to it, by its parts where it has some."""
        return min((part.age_s for part in self.sent.values()), default=self.upload.age_s)


class _ListingUploadsUnsupported(Exception):
    """The store does not tell of uploads, or not to us, so nobody could go on with what another has begun."""


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except Permanent as error:
        raise _ListingUploadsUnsupported from error


def _items(key: str, state: ObjectState, layout: PartPlan, upload: str, numbers: Sequence[int]) -> Iterator[PartsWork]:
    """These parts as items of about the same number of bytes."""
    item_size = max(ITEM_SIZE, -(-layout.size // MAX_ITEMS))
    most = max(1, item_size // layout.part_size)
    for first, last in contiguous_runs(numbers, most):
        yield PartsWork(key, state.etag, upload, layout.size, layout.part_size, first, last)
