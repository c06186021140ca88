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
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..core.compare import not_kept
from ..core.deadline import Deadline, OutOfTime
from ..core.errors import Changed, Permanent, Retryable, StoreUnusable, judged
from ..core.filters import NO_FILTERS, Filters
from ..core.model import ObjectState, Upload, WrittenObject
from ..core.multipart import PartPlan, UploadedPart, contiguous_runs, contradicts, is_resumable
from ..core.units import MIB
from ..core.upload_history import UploadHistory
from ..core.work_items import KeyWork, PartsWork, Work, lag_ms
from ..stores.protocols import SourceBucket, TargetBucket
from .bucket_pair import BucketPair
from .comparison import compare_objects
from .converge import converge, excluded_by_name
from .outcome import Outcome
from .transfer import Transfer
from .upload_decision import (
    ABANDONED_AFTER_S,
    MAX_VERSIONS,
    MAX_WAIT_S,
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
    fingerprint,
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

    `prefix` is the source's. The parts of a key that the `filters` exclude by now are not sent.
    """

    def __init__(
        self,
        source: SourceBucket,
        target: TargetBucket,
        transfer: Transfer,
        *,
        prefix: str,
        threshold: int,
        filters: Filters = NO_FILTERS,
    ) -> None:
        self._source, self._target, self._transfer = source, target, transfer
        self._prefix, self._filters = prefix, filters
        self.threshold = threshold

    def converge(
        self, pair: BucketPair, key: str, deadline: Deadline, *, uploads: UploadHistory | None, redelivered: bool
    ) -> Outcome:
        """Make the key equal as `converge.converge` does, but divide a large object into work items.

        `uploads` are those of the messages before; None means that the message tracks no upload. A `redelivered`
        message may have created an upload and then been lost, so the upload may have been left behind.
        """
        if (outcome := excluded_by_name(pair, key)) is not None:  # before a request about its uploads
            return outcome
        history = uploads or UploadHistory()
        pair = replace(pair, copier=_Copier(self, self._transfer, history))
        if uploads is None and not redelivered:
            return converge(pair, key, deadline, is_event=True)
        # The order matters. An upload that completes after this listing is in the listing, so the message comes again.
        # The result of an upload that completed before shows in the comparison that follows.
        before = self._active_uploads_if_listable(key, required=uploads is not None)
        outcome = converge(pair, key, deadline)
        if outcome.action == "multipart" or not before:
            return outcome
        history = _observed(history, before)
        if history.waited_s >= MAX_WAIT_S:
            raise Permanent(_cannot_abort(before), "UploadNotAborted")
        for each in before:
            # Such an upload is for an object that the source had before. A new object causes another event.
            if outcome.is_gone or each.is_abandoned(history):
                self._target.abort_upload(key, each.upload.id)
        # Also after an abort: the upload may have completed between the comparison and the abort.
        return replace(outcome, more=(self._recheck(key, outcome.size, history),))

    def _recheck(self, key: str, size: int, history: UploadHistory) -> KeyWork:
        """Return the message that checks the key again when `size` bytes should have been sent.

        While nothing changes, each delay is as long as all before it together.
        """
        delay_s = min(max(size // RECHECK_BYTES_PER_S, RECHECK_MIN_S, history.waited_s), RECHECK_MAX_S)
        return KeyWork((self._prefix + key,), delay_s=delay_s, uploads=history.waiting(delay_s))

    # -- starting a copy -------------------------------------------------------------------------------------------

    def start(
        self,
        key: str,
        state: ObjectState,
        history: UploadHistory,
        deadline: Deadline,
        replaced: ObjectState | None = None,
    ) -> WrittenObject | Sequence[Work]:
        """Return the work that copies the object, or the copy if this worker made it. Raises a SyncError."""
        history = history.of_version(state.etag)
        plan = self._transfer.plan(key, state, own=history.disproved_etag == state.etag)
        if plan is None or plan.count == 1:  # one request cannot be divided
            return self._transfer.copy(key, state, deadline, replaced)
        try:
            found, history = self._upload_to_fill(key, state, plan, history, deadline)
        except _ListingUploadsUnsupported:
            return self._transfer.copy(key, state, deadline, replaced)
        recheck = self._recheck(key, state.size, history)
        if found is None:
            return [recheck]
        missing = [number for number in range(1, plan.count + 1) if number not in found.sent]
        # If no part is missing, the upload must only be completed, and any item does that.
        items = _items(self._prefix + key, state, plan, found.upload.id, missing or [plan.count], history)
        return [*items, recheck]

    def _upload_to_fill(
        self, key: str, state: ObjectState, plan: PartPlan, history: UploadHistory, deadline: Deadline
    ) -> tuple[ActiveUpload | None, UploadHistory]:
        """Return the upload to send the missing parts to, and the history with it.

        The upload is None if another worker's upload is active.
        """
        uploads = self._active_uploads(key)
        history = _observed(history, uploads)
        aborted: set[str] = set()
        verified: dict[str, bool] = {}
        is_equal: bool | None = None
        while True:
            match decide(state, plan, uploads, verified=verified, is_equal=is_equal, history=history):
                case Wait():
                    return None, history
                case Verify(each):
                    verified[each.upload.id] = self._transfer.last_part_matches(key, state, plan, each.sent)
                case Abort(each):
                    self._target.abort_upload(key, each.upload.id)
                    uploads.remove(each)
                    aborted.add(each.upload.id)
                case Adopt(each):
                    return each, history.begun(each.upload.id) if history.waited_s > 0 else history.resumed()
                case CheckTarget():
                    is_equal = self._is_equal(key, state, history.attempts)
                case AlreadyEqual():
                    raise Changed("another worker has just copied the object", "Copied")
                case Create():
                    created = self._create(key, state, plan, aborted, deadline)
                    if created is None:
                        return None, history.outrun(patience_s=ABANDONED_AFTER_S)
                    return created, history.begun(created.upload.id)
                case GiveUp():
                    raise _gave_up(history)

    def _is_equal(self, key: str, state: ObjectState, attempts: int) -> bool:
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
        if is_copy and attempts >= (1 if known.is_lost(difference.reason) else 2):
            known.record_lost(difference.reason)
            raise Permanent(not_kept(difference, state, target), "StillDifferent")
        return False

    def _active_uploads(self, key: str) -> list[ActiveUpload]:
        with _unsupported_if_permanent():
            return [active for upload in self._target.uploads(key) if (active := self._active(key, upload)) is not None]

    def _active(self, key: str, upload: Upload) -> ActiveUpload | None:
        """Return a listed upload with its parts, or None if the store no longer finds it.

        Another worker has just completed or aborted it, or the store lists an upload that it has lost. Nothing can be
        sent to that one, so it is aborted: if another worker ended it, the abort has no effect.
        """
        try:
            return ActiveUpload(upload, self._target.parts(key, upload.id))
        except Changed:
            self._transfer.abort(key, upload.id)
            return None

    def _active_uploads_if_listable(self, key: str, *, required: bool) -> list[ActiveUpload]:
        """Return the uploads of a key, or none if the store does not list them.

        Raises a temporary error only if `required`; otherwise return no uploads, so that the key is converged.
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

    def _create(
        self, key: str, state: ObjectState, plan: PartPlan, aborted: Set[str], deadline: Deadline
    ) -> ActiveUpload | None:
        """Create an upload and send its last part; return None if another worker created one first.

        The `aborted` uploads do not count, because a store may list them for a while. The part is sent at once because
        some stores report a wrong creation time for an upload.
        """
        upload_id = self._transfer.create_upload(key, state)
        try:
            with _unsupported_if_permanent():
                uploads = [each for each in self._target.uploads(key) if each.id not in aborted]
                self._target.parts(key, upload_id)
                found = [each for each in uploads if each.id == upload_id or self._active(key, each)]
            first = first_upload(found, Upload(upload_id, 0.0))
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
        if (exclusion := self._filters.exclusion(key, work, None)) is not None:
            # The filters have changed since the upload was created. Its ID is that of a copy of this project.
            logger.info("abort", extra={"action": "abort", "key": work.key, "reason": exclusion})
            self._target.abort_upload(key, work.upload)
            return []
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
        except Permanent as error:
            if isinstance(judged(error), Permanent):
                self._transfer.abort(key, work.upload)
            raise

    def _abort(
        self, key: str, work: PartsWork, why: str, state: ObjectState | None, *, disproved_etag: str = ""
    ) -> Sequence[Work]:
        """Abort the upload, and return a check of the key. `state` is that of the source now.

        If the source has changed again during the copy, the recheck of the upload copies the next version, after its
        delay. One more check for each change would double the uploads with each version.
        """
        logger.info("abort", extra={"action": "abort", "key": work.key, "reason": why})
        self._target.abort_upload(key, work.upload)
        history = work.uploads
        if state is not None and state.etag == work.etag:
            history = history.failed(why, disproved_etag=disproved_etag)
        elif history.versions:
            return []
        return [KeyWork((work.key,), work.since, uploads=history)]

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
            if len(left) >= len(missing):
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

        If the parts are provably not the object's, abort the upload. If the source has other parts than the plan, the
        next upload has this project's own plan: only the source's plan has that proof.
        """
        plan = PartPlan(work.size, work.part_size)
        sent = self._target.parts(key, work.upload)
        if len(sent) < plan.count:
            return []
        etags = {number: part.etag for number, part in sent.items()}
        if self._is_wrong(key, state, plan, sent):
            disproved_etag = "" if self._transfer.is_source_plan(key, plan) else state.etag
            reason = "the parts of the upload do not give the source's ETag"
            return self._abort(key, work, reason, state, disproved_etag=disproved_etag)
        self._transfer.guards.complete(key, work.upload, etags)
        lag = lag_ms(work.since, time.time())
        logger.info("complete", extra={"action": "complete", "key": work.key, "bytes": work.size, "lag_ms": lag})
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
    history: UploadHistory

    def copy(
        self, key: str, state: ObjectState, deadline: Deadline, replaced: ObjectState | None = None
    ) -> WrittenObject | Sequence[Work]:
        if state.size <= self.distributed.threshold:
            return self.transfer.copy(key, state, deadline, replaced)
        return self.distributed.start(key, state, self.history, deadline, replaced)


class _ListingUploadsUnsupported(Exception):
    """The store does not list uploads, or denies it, so no worker can continue the upload of another."""


@contextmanager
def _unsupported_if_permanent() -> Iterator[None]:
    try:
        yield
    except Permanent as error:
        raise _ListingUploadsUnsupported from error


def _observed(history: UploadHistory, uploads: Sequence[ActiveUpload]) -> UploadHistory:
    ids = [each.upload.id for each in uploads]
    return history.observed(fingerprint(uploads), ids, patience_s=ABANDONED_AFTER_S)


def _check(work: PartsWork) -> KeyWork:
    """Return the check of a key after its upload was completed."""
    return KeyWork((work.key,), work.since, uploads=work.uploads)


def _gave_up(history: UploadHistory) -> Permanent:
    if history.versions >= MAX_VERSIONS:
        return Permanent(
            f"the source object changed during the multipart uploads of {history.versions} versions: copy it with "
            "`s3-syncer sync KEY` when it changes less often than a copy takes",
            "SourceKeepsChanging",
        )
    reason = history.failure or (
        "the target is still not equal. The source changed, no part arrived for an hour, or another dead letter of the "
        "key has the reason"
    )
    return Permanent(f"gave up after {history.attempts} multipart uploads of this object: {reason}", "PartsFailed")


def _cannot_abort(uploads: Sequence[ActiveUpload]) -> str:
    ids = ", ".join(each.upload.id for each in uploads)
    return (
        f"the key needs no copy, but after {MAX_WAIT_S} s without a new part the target still lists multipart uploads "
        f"of it, although they were aborted: remove them with the target's own tools ({ids})"
    )


def _items(
    key: str, state: ObjectState, plan: PartPlan, upload_id: str, numbers: Sequence[int], history: UploadHistory
) -> Iterator[PartsWork]:
    """Yield work items for these parts, of about the same number of bytes each."""
    item_size = max(ITEM_SIZE, -(-plan.size // MAX_ITEMS))
    most = max(1, item_size // plan.part_size)
    for first, last in contiguous_runs(numbers, most):
        yield PartsWork(key, state.etag, upload_id, plan.size, plan.part_size, first, last, history)
