"""Copies of large objects by many workers: the first creates an upload, all of them send parts.

The worker that finds all parts there completes the upload.

The only state is in the buckets and on the queue; ListParts of the upload shows which parts have been sent. So a part
that is requested twice is sent once, and a crash costs only the parts in flight. Two workers that complete the same
upload do no harm.

The message about the key stays on the queue until the key is equal on both sides. It rechecks the key from time to
time, and creates another upload if the current one received no part for a long time. So it repairs every failure of
the parts. docs/multipart.md shows why both sides end equal and no upload is left behind.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from ..core.compare import not_kept
from ..core.deadline import Deadline, OutOfTime
from ..core.errors import Changed, Permanent, Retryable, StoreUnusable
from ..core.model import ObjectState, Upload, WrittenObject
from ..core.multipart import PartPlan, UploadedPart, contiguous_runs, contradicts, is_resumable
from ..core.units import MIB
from ..core.work_items import KeyWork, PartsWork, Work
from ..stores.protocols import SourceBucket, TargetBucket
from .comparison import compare_objects
from .converge import BucketPair, Outcome, converge
from .transfer import Transfer
from .upload_decision import (
    Abort,
    ActiveUpload,
    Adopt,
    AlreadyEqual,
    CheckTarget,
    Create,
    GiveUp,
    Verify,
    Wait,
    decide,
    first_upload,
)

logger = logging.getLogger(__name__)

#: Bytes of one work item, which takes a function a few seconds.
ITEM_SIZE = 128 * MIB

#: Work items of one object. Each of them lists parts of the upload, so more of them mean more requests.
MAX_ITEMS = 1000

#: Bytes a second that a few functions together send. A key with an active upload is rechecked when its bytes should
#: have been sent at this rate.
RECHECK_BYTES_PER_S = 64 * MIB

#: Shortest and longest time in seconds before a recheck. The longest is the longest delay of SQS.
RECHECK_MIN_S, RECHECK_MAX_S = 30, 900


class DistributedCopier:
    """Divides copies of objects above `threshold` bytes into work items, and processes these items.

    `prefix` is the source's.
    """

    def __init__(
        self, source: SourceBucket, target: TargetBucket, transfer: Transfer, *, prefix: str, threshold: int
    ) -> None:
        self._source, self._target, self._transfer = source, target, transfer
        self._prefix = prefix
        self.threshold = threshold

    def converge(
        self, pair: BucketPair, key: str, deadline: Deadline, *, upload_attempts: int | None, redelivered: bool
    ) -> Outcome:
        """Make the key equal as `converge.converge` does, but divide a large object into work items.

        `upload_attempts` counts the uploads created so far; None means that the message tracks no upload. A
        `redelivered` message may have created an upload and then been lost, so the upload may have been left behind.
        """
        pair = replace(pair, copier=_Copier(self, self._transfer, upload_attempts or 0))
        if upload_attempts is None and not redelivered:
            return converge(pair, key, deadline)
        # The order matters. An upload that completes after this listing is in the listing, so the message comes again.
        # The result of an upload that completed before shows in the comparison that follows.
        before = self._active_uploads_if_listable(key, required=upload_attempts is not None)
        outcome = converge(pair, key, deadline)
        if outcome.action == "multipart" or not before:
            return outcome
        for each in before:
            # Such an upload is for an object that the source had before. A new object causes another event.
            if outcome.is_gone or each.is_abandoned:
                self._target.abort_upload(key, each.upload.id)
        # Also after an abort: the upload may have completed between the comparison and the abort.
        return replace(outcome, more=(self._recheck(key, outcome.size, upload_attempts or 0),))

    def _recheck(self, key: str, size: int, upload_attempts: int) -> KeyWork:
        """Return the message that checks the key again when `size` bytes should have been sent."""
        delay_s = min(max(size // RECHECK_BYTES_PER_S, RECHECK_MIN_S), RECHECK_MAX_S)
        return KeyWork((self._prefix + key,), delay_s=delay_s, upload_attempts=upload_attempts)

    # -- starting a copy -------------------------------------------------------------------------------------------

    def start(
        self,
        key: str,
        state: ObjectState,
        upload_attempts: int,
        deadline: Deadline,
        replaced: ObjectState | None = None,
    ) -> WrittenObject | Sequence[Work]:
        """Return the work that copies the object, or the copy if this worker made it. Raises a SyncError."""
        plan = self._transfer.plan(key, state)
        if plan is None or plan.count == 1:  # one request cannot be divided
            return self._transfer.copy(key, state, deadline, replaced)
        try:
            found, upload_attempts = self._upload_to_fill(key, state, plan, upload_attempts, deadline)
        except _ListingUploadsUnsupported:
            return self._transfer.copy(key, state, deadline, replaced)
        recheck = self._recheck(key, state.size, upload_attempts)
        if found is None:
            return [recheck]
        missing = [number for number in range(1, plan.count + 1) if number not in found.sent]
        # If no part is missing, the upload must only be completed, and any item does that.
        items = _items(self._prefix + key, state, plan, found.upload.id, missing or [plan.count], upload_attempts)
        return [*items, recheck]

    def _upload_to_fill(
        self, key: str, state: ObjectState, plan: PartPlan, upload_attempts: int, deadline: Deadline
    ) -> tuple[ActiveUpload | None, int]:
        """Return the upload to send the missing parts to, and the uploads created so far.

        The upload is None if another worker's upload is active.
        """
        uploads = self._active_uploads(key)
        verified: dict[str, bool] = {}
        is_equal: bool | None = None
        while True:
            decision = decide(
                state, plan, uploads, verified=verified, is_equal=is_equal, upload_attempts=upload_attempts
            )
            match decision:
                case Wait():
                    return None, upload_attempts
                case Verify(each):
                    verified[each.upload.id] = self._transfer.last_part_matches(key, state, plan, each.sent)
                case Abort(each):
                    self._target.abort_upload(key, each.upload.id)
                    uploads.remove(each)
                case Adopt(each):
                    return each, upload_attempts
                case CheckTarget():
                    is_equal = self._is_equal(key, state, upload_attempts)
                case AlreadyEqual():
                    raise Changed("another worker has just copied the object", "Copied")
                case Create():
                    created = self._create(key, state, plan, deadline)
                    return created, upload_attempts + (created is not None)
                case GiveUp():
                    raise Permanent(
                        f"gave up after {upload_attempts} multipart uploads of this object: the target is still not "
                        "equal. The reasons are in the dead-letter queue and in the log",
                        "PartsFailed",
                    )

    def _is_equal(self, key: str, state: ObjectState, upload_attempts: int) -> bool:
        """Return True if the target has the object.

        Raises Permanent if completed copies do not become equal: the target does not keep what is written. Another copy
        would not help, and large objects are expensive to send.
        """
        target, known = self._target.head(key), self._transfer.capabilities
        if target is None:
            return False
        difference = compare_objects(self._target, known, key, state, target)
        if difference is None:
            return True
        is_copy = difference.body and state.etag in (target.etag, target.marker)
        if is_copy and upload_attempts >= (1 if known.is_lost(difference.reason) else 2):
            known.record_lost(difference.reason)
            raise Permanent(not_kept(difference, state, target), "StillDifferent")
        return False

    def _active_uploads(self, key: str) -> list[ActiveUpload]:
        found = []
        with _unsupported_if_permanent():
            for upload in self._target.uploads(key):
                with suppress(Changed):  # another worker has just completed or aborted it
                    found.append(ActiveUpload(upload, self._target.parts(key, upload.id)))
        return found

    def _active_uploads_if_listable(self, key: str, *, required: bool) -> list[ActiveUpload]:
        """Return the uploads of a key, or none if the store does not list them.

        Raise a temporary error only if `required`; otherwise return no uploads, so that the key is converged.
        """
        try:
            return self._active_uploads(key)
        except _ListingUploadsUnsupported:
            return []
        except StoreUnusable:
            raise
        except Retryable:
            if required:
                raise
            return []

    def _create(self, key: str, state: ObjectState, plan: PartPlan, deadline: Deadline) -> ActiveUpload | None:
        """Create an upload and send its last part; return None if another worker created one first.

        The part is sent at once because some stores report a wrong creation time for an upload.
        """
        upload_id = self._transfer.create_upload(key, state)
        try:
            with _unsupported_if_permanent():
                uploads = self._target.uploads(key)
                self._target.parts(key, upload_id)
            first = first_upload(uploads, Upload(upload_id, 0.0))
            if first.id == upload_id:
                *_, last = plan.parts()
                sent = self._transfer.send_parts(key, state, upload_id, [last], deadline)
                return ActiveUpload(first, {last.number: UploadedPart(last.size, sent[last.number].etag)})
        except BaseException:
            self._transfer.abort(key, upload_id)
            raise
        self._target.abort_upload(key, upload_id)
        return None

    # -- processing a work item ------------------------------------------------------------------------------------

    def process_item(self, work: PartsWork, deadline: Deadline) -> Sequence[Work]:
        """Send the missing parts of a work item, and complete the upload if it then has all parts.

        Returns the work that is left: the rest of the parts, or a recheck of the key. Raises a SyncError if nothing of
        the item was done.
        """
        key = work.key.removeprefix(self._prefix)
        try:
            missing = self._missing(key, work)
            state = self._source.head(key)
            if state is None or state.etag != work.etag:
                return self._abort(key, work, "the source object has changed since the upload was created", state)
            left = self._send(key, state, work, missing, deadline)
            return left or self._complete(key, state, work)
        except Changed as error:
            if error.code == "NoSuchUpload":
                return []  # completed or aborted: the worker that did it, or the recheck, checks the key
            return self._abort(key, work, error.reason, self._source.head(key))
        except Permanent:
            self._transfer.abort(key, work.upload)
            raise

    def _abort(self, key: str, work: PartsWork, why: str, state: ObjectState | None) -> Sequence[Work]:
        """Abort the upload, and return a check of the key. `state` is that of the source now.

        The check of another version starts to count uploads again.
        """
        logger.info("abort", extra={"action": "abort", "key": work.key, "reason": why})
        self._target.abort_upload(key, work.upload)
        is_same = state is not None and state.etag == work.etag
        return [_check(work) if is_same else KeyWork((work.key,), work.since)]

    def _send(
        self, key: str, state: ObjectState, work: PartsWork, missing: list[int], deadline: Deadline
    ) -> list[PartsWork]:
        """Send the missing parts; return those that were not sent in time."""
        started, plan = time.monotonic(), PartPlan(work.size, work.part_size)
        parts = [part for part in plan.parts() if part.number in missing]
        try:
            self._transfer.send_parts(key, state, work.upload, parts, deadline)
            left = []
        except OutOfTime:
            left = self._missing(key, work)
            if left == missing:
                raise
        extra = {
            "action": "part",
            "key": work.key,
            "reason": f"parts {work.first} to {work.last} of {plan.count}",
            "bytes": sum(part.size for part in parts if part.number not in left),
            "duration_ms": round((time.monotonic() - started) * 1000),
        }
        logger.info("part", extra=extra)
        return [replace(work, first=first, last=last) for first, last in contiguous_runs(left, len(left))]

    def _missing(self, key: str, work: PartsWork) -> list[int]:
        sent = self._target.parts(key, work.upload, work.first - 1, work.last)
        return [number for number in range(work.first, work.last + 1) if number not in sent]

    def _complete(self, key: str, state: ObjectState, work: PartsWork) -> Sequence[Work]:
        """Complete the upload if it has all parts, and return a check of the key.

        If the parts are provably not the object's, abort the upload. The recheck creates another one, and counts it.
        """
        plan = PartPlan(work.size, work.part_size)
        sent = self._target.parts(key, work.upload)
        if len(sent) < plan.count:
            return []
        etags = {number: part.etag for number, part in sent.items()}
        if self._is_wrong(key, state, plan, sent):
            self._abort(key, work, "the parts of the upload do not give the source's ETag", state)
            return []
        self._transfer.guards.complete(key, work.upload, etags)
        logger.info("complete", extra={"action": "complete", "key": work.key, "bytes": work.size})
        return [_check(work)]

    def _is_wrong(self, key: str, state: ObjectState, plan: PartPlan, sent: Mapping[int, UploadedPart]) -> bool:
        """Return True if the parts of an upload are not the object's: damaged, or those of another version.

        If no compared part matches, the part ETags of the store are no MD5s, and prove nothing.
        """
        return (
            contradicts(state, plan, {number: part.etag for number, part in sent.items()})
            and (is_resumable(state, plan) or self._transfer.is_source_plan(key, plan))
            and self._transfer.has_md5_etags(key, state, plan, sent)
        )


@dataclass(frozen=True, slots=True)
class _Copier:
    """Copies small objects at once, and starts distributed copies of large ones."""

    distributed: DistributedCopier
    transfer: Transfer
    upload_attempts: int

    def copy(
        self, key: str, state: ObjectState, deadline: Deadline, replaced: ObjectState | None = None
    ) -> WrittenObject | Sequence[Work]:
        if state.size <= self.distributed.threshold:
            return self.transfer.copy(key, state, deadline, replaced)
        return self.distributed.start(key, state, self.upload_attempts, deadline, replaced)


class _ListingUploadsUnsupported(Exception):
    """The store does not list uploads, or denies it, so no worker can continue the upload of another."""


@contextmanager
def _unsupported_if_permanent() -> Iterator[None]:
    try:
        yield
    except Permanent as error:
        raise _ListingUploadsUnsupported from error


def _check(work: PartsWork) -> KeyWork:
    """Return the check of a key after its upload ended. It counts the uploads, which have a bound."""
    return KeyWork((work.key,), work.since, upload_attempts=work.upload_attempts)


def _items(
    key: str, state: ObjectState, plan: PartPlan, upload_id: str, numbers: Sequence[int], upload_attempts: int
) -> Iterator[PartsWork]:
    """Yield work items for these parts, of about the same number of bytes each."""
    item_size = max(ITEM_SIZE, -(-plan.size // MAX_ITEMS))
    most = max(1, item_size // plan.part_size)
    for first, last in contiguous_runs(numbers, most):
        yield PartsWork(key, state.etag, upload_id, plan.size, plan.part_size, first, last, upload_attempts)
