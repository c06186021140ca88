"""The history of the multipart uploads of one key, which its messages carry. Pure.

A distributed copy has no state but the upload and the queue. So the messages of its key remember what has failed: each
of them has a bound, and nothing that was proven wrong is tried the same way again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class UploadHistory:
    """The uploads that a message and its predecessors have made for one key."""

    #: Uploads of this version of the source that were created, continued although no part had arrived since the last
    #: recheck, or awaited for an hour without a part. An upload that this message created and then awaits counts once.
    attempts: int = 0
    #: ETag of a source object, if the parts of an upload disproved its part plan; "" if none did. That object is copied
    #: with this project's own part plan.
    disproved_etag: str = ""
    #: Fingerprint of the uploads and parts that the last recheck found, see `upload_decision.fingerprint`.
    seen: str = ""
    #: Seconds for which the rechecks have found nothing else.
    waited_s: int = 0
    #: The reason for which the latest upload failed, as far as it is known.
    failure: str = ""
    #: The upload that counted as an attempt when it was created or continued; "" once the target does not list it.
    counted: str = ""
    #: ETag of the source object that `attempts` counts for; "" before the first upload.
    etag: str = ""
    #: Versions of the source object before that one that had an upload: the source changed before the key was equal.
    versions: int = 0

    def of_version(self, etag: str) -> UploadHistory:
        """Return the history for the source object with this ETag. The attempts of each version count apart."""
        if not self.etag or etag == self.etag:
            return replace(self, etag=etag)
        return replace(self, attempts=0, etag=etag, versions=self.versions + (self.attempts > 0), failure="")

    def observed(self, seen: str, upload_ids: Collection[str], *, patience_s: float) -> UploadHistory:
        """Return the history after a recheck that found these uploads, with the fingerprint `seen`.

        A change ends the wait. A wait of `patience_s` seconds counts as an attempt: otherwise one upload without an end
        may follow another. A wait for an upload that counts already is no further attempt. Another message may have
        aborted that upload.
        """
        if seen == self.seen:
            return self
        counted = self.counted if self.counted in upload_ids else ""
        return replace(self._after_wait(patience_s), seen=seen, counted=counted)

    def waiting(self, delay_s: int) -> UploadHistory:
        """Return the history of a message that is delivered `delay_s` seconds later."""
        return replace(self, waited_s=self.waited_s + delay_s)

    def begun(self, upload_id: str) -> UploadHistory:
        """Return the history after an upload was created, or continued without progress."""
        return replace(self, attempts=self.attempts + 1, waited_s=0, counted=upload_id)

    def resumed(self) -> UploadHistory:
        """Return the history after an upload was continued that has received a part since the last recheck."""
        return replace(self, waited_s=0)

    def outrun(self, *, patience_s: float) -> UploadHistory:
        """Return the history after another worker created an upload first."""
        return replace(self._after_wait(patience_s), counted="")

    def _after_wait(self, patience_s: float) -> UploadHistory:
        is_attempt = self.waited_s >= patience_s and not self.counted
        return replace(self, attempts=self.attempts + is_attempt, waited_s=0)

    def failed(self, reason: str, *, disproved_etag: str = "") -> UploadHistory:
        """Return the history after an upload failed."""
        return replace(self, failure=reason, disproved_etag=disproved_etag or self.disproved_etag, waited_s=0)

    def to_json(self) -> dict[str, Any]:
        """Return the fields that have no default value."""
        return {name: value for name, value in asdict(self).items() if value}


def merged(one: UploadHistory | None, other: UploadHistory | None) -> UploadHistory | None:
    """Return one history for two messages of a key.

    It is the one with fewer versions and attempts, so that no attempt is lost. A disproof counts for both.
    """
    if one is None or other is None:
        return one if other is None else other
    least = min(one, other, key=lambda history: (history.versions, history.attempts, history.waited_s))
    return replace(least, disproved_etag=one.disproved_etag or other.disproved_etag)
