"""The next step in the copy of a large object, given the multipart uploads of its key. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..core.model import ObjectState, Upload
from ..core.multipart import PartPlan, UploadedPart, is_resumable, matches_plan
from ..core.upload_history import UploadHistory

#: Seconds without a new part after which an upload counts as abandoned. They must exceed the time that one part takes
#: and the time that work items wait on the queue. A wrong value costs the parts that were sent, and nothing else.
ABANDONED_AFTER_S = 3600.0

#: Uploads that are created, or continued without progress, for one message and its successors. A permanent fault makes
#: each of them fail.
MAX_UPLOAD_ATTEMPTS = 3

#: Versions of a source object with an upload each that one message and its successors begin. Each change of the source
#: causes an event, and the message of the last event copies the last version. So no copy is lost with the
#: bound, and a source that responds with another ETag each time, without a change, ends too.
MAX_VERSIONS = 10

#: Seconds of rechecks without a change after which an upload of a finished key counts as impossible to abort. The
#: upload was aborted several times by then.
MAX_WAIT_S = 2 * int(ABANDONED_AFTER_S)


@dataclass(frozen=True, slots=True)
class ActiveUpload:
    """A multipart upload of the target and the parts that it has."""

    upload: Upload
    sent: Mapping[int, UploadedPart]

    @property
    def idle_s(self) -> float:
        """Seconds since the last part arrived, or since the upload was created if it has no parts."""
        return min((part.age_s for part in self.sent.values()), default=self.upload.age_s)

    def is_abandoned(self, history: UploadHistory) -> bool:
        """Return True if no part arrived for ABANDONED_AFTER_S.

        The times of the store say so, or the rechecks of this key, because some stores report wrong times.
        """
        return max(self.idle_s, history.waited_s) >= ABANDONED_AFTER_S


@dataclass(frozen=True, slots=True)
class Wait:
    """Recheck the key later: another worker sends parts of an upload."""


@dataclass(frozen=True, slots=True)
class Verify:
    """Compare the upload's last part with the bytes of the source, and decide again."""

    upload: ActiveUpload


@dataclass(frozen=True, slots=True)
class Abort:
    """Abort the upload, and decide again without it: it is abandoned and not provably of this object."""

    upload: ActiveUpload


@dataclass(frozen=True, slots=True)
class Adopt:
    """Send the missing parts of the upload."""

    upload: ActiveUpload


@dataclass(frozen=True, slots=True)
class CheckTarget:
    """Compare the target's object with the source's, and decide again."""


@dataclass(frozen=True, slots=True)
class AlreadyEqual:
    """Do nothing: another worker has completed the copy since the key was compared."""


@dataclass(frozen=True, slots=True)
class Create:
    """Create an upload."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Send the message to the dead-letter queue: its uploads have failed, or ended by changes, too often."""


Decision = Wait | Verify | Abort | Adopt | CheckTarget | AlreadyEqual | Create | GiveUp


def decide(
    state: ObjectState,
    plan: PartPlan,
    uploads: Sequence[ActiveUpload],
    *,
    verified: Mapping[str, bool],
    is_equal: bool | None,
    history: UploadHistory,
) -> Decision:
    """Return the next step for an object of the source that is copied by `plan`.

    `uploads` are those of its key that have not been aborted. `verified` has by upload id the results of Verify, and
    `is_equal` the result of CheckTarget, None before it. `history` has observed these uploads. An upload is continued
    without a bound as long as parts arrive between the rechecks.
    """
    if any(not each.is_abandoned(history) for each in uploads):
        return Wait()
    adopted: ActiveUpload | None = None
    may_begin = history.attempts < MAX_UPLOAD_ATTEMPTS and history.versions < MAX_VERSIONS
    for each in uploads:
        if history.waited_s > 0 and not may_begin:
            return Abort(each)
        if adopted is not None or not is_resumable(state, plan) or not matches_plan(plan, each.sent):
            return Abort(each)
        if each.upload.id not in verified:
            return Verify(each)
        if not verified[each.upload.id]:
            return Abort(each)
        adopted = each
    if adopted is not None:
        return Adopt(adopted)
    if is_equal is None:
        return CheckTarget()
    if is_equal:
        return AlreadyEqual()
    return Create() if may_begin else GiveUp()


def first_upload(uploads: Sequence[Upload], created: Upload) -> Upload:
    """Return the upload that continues if several workers have created one at the same time.

    All of them choose the oldest upload, and of the same age the one with the last id. `created` is this worker's own
    upload, for a store that does not list it yet.
    """
    return max(uploads, key=lambda upload: (upload.age_s, upload.id), default=created)


def fingerprint(uploads: Sequence[ActiveUpload]) -> str:
    """Return a short text that changes when an upload or a part arrives or goes; "" for no uploads."""
    if not uploads:
        return ""
    seen = sorted((each.upload.id, sorted(each.sent)) for each in uploads)
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]
