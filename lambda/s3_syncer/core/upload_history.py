"""The history of the multipart uploads of one key, which its messages carry. Pure.

A distributed copy has no state but the upload and the queue. So the messages of its key remember what has failed: each
of them has a bound, and nothing that was proven wrong is tried the same way again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class UploadHistory:
    """The uploads that a message and its predecessors have made for one key."""

    #: Uploads that were created, continued although no part had arrived since the last recheck, or awaited for
    #: an hour without a part.
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

    def observed(self, seen: str, *, patience_s: float) -> UploadHistory:
        """Return the history after a recheck with this fingerprint. A change ends the wait.

        A wait of `patience_s` seconds counts as an attempt: otherwise one upload without an end may follow another.
        """
        if seen == self.seen:
            return self
        return replace(self, attempts=self.attempts + (self.waited_s >= patience_s), seen=seen, waited_s=0)

    def waiting(self, delay_s: int) -> UploadHistory:
        """Return the history of a message that is delivered `delay_s` seconds later."""
        return replace(self, waited_s=self.waited_s + delay_s)

    def begun(self, *, counted: bool = True) -> UploadHistory:
        """Return the history after an upload was created or continued."""
        return replace(self, attempts=self.attempts + counted, waited_s=0)

    def failed(self, reason: str, *, disproved_etag: str = "") -> UploadHistory:
        """Return the history after an upload failed."""
        return replace(self, failure=reason, disproved_etag=disproved_etag or self.disproved_etag, waited_s=0)

    def to_json(self) -> dict[str, Any]:
        """Return the fields that have no default value."""
        return {name: value for name, value in asdict(self).items() if value}


def merged(one: UploadHistory | None, other: UploadHistory | None) -> UploadHistory | None:
    """Return one history for two messages of a key.

    It is the one with fewer attempts, so that no attempt is lost. A disproof counts for both.
    """
    if one is None or other is None:
        return one if other is None else other
    least = min(one, other, key=lambda history: (history.attempts, history.waited_s))
    return replace(least, disproved_etag=one.disproved_etag or other.disproved_etag)
