"""The messages of a batch that ask for one key, as one request. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from ..core.upload_history import UploadHistory, merged
from ..core.work_items import KeyWork

_Number = TypeVar("_Number", int, float)


@dataclass(slots=True)
class KeyRequest:
    """The messages of a batch that ask for one key, as one request."""

    #: Time of the oldest event, in seconds since the epoch; None for work without an event.
    since: float | None = None
    #: The highest number of deliveries.
    attempt: int = 1
    #: The multipart uploads of the key; None if no message tracks an upload.
    uploads: UploadHistory | None = None
    #: The lowest number of full attempts; None before the first message.
    full_attempts: int | None = None
    #: The lowest number of late checks in a row; None before the first message.
    late_checks: int | None = None
    #: The highest number of hops.
    hops: int = 0
    #: True if a message asks for the deletion of the key.
    may_delete: bool = False
    #: True if a message comes from a released deletion.
    released: bool = False

    def add(self, work: KeyWork, attempt: int, *, may_delete: bool) -> None:
        """Add a message."""
        self.may_delete |= may_delete or work.released
        self.released |= work.released
        self.since = _least(self.since, work.since)
        self.attempt = max(self.attempt, attempt)
        self.uploads = merged(self.uploads, work.uploads)
        self.full_attempts = _least(self.full_attempts, work.full_attempts)
        self.late_checks = _least(self.late_checks, work.late_checks)
        self.hops = max(self.hops, work.hops)

    @property
    def is_repeated(self) -> bool:
        """Return True if an earlier attempt at the key has failed."""
        return self.attempt > 1 or bool(self.full_attempts)

    def next_attempt(self, key: str) -> KeyWork:
        """Return the work on the key after a full attempt that was not done."""
        return KeyWork(
            (key,),
            since=self.since,
            uploads=self.uploads,
            full_attempts=(self.full_attempts or 0) + 1,
            late_checks=self.late_checks or 0,
            released=self.released,
        )


def _least(one: _Number | None, other: _Number | None) -> _Number | None:
    """Return the smaller number; None counts as no number."""
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
