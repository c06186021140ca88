"""The copies that one sweep made, so that it can remove them again.

A sweep without deletes must not leave a copy of a key that was deleted from the source meanwhile. Live sync may have
processed the deletion before the copy arrived, and no other worker checks the key again. But the sweep may remove
only an object that it brought itself, to a key under which the target had nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..core.model import ListEntry, ObjectState


@dataclass(frozen=True, slots=True)
class _Copy:
    """The source object of a copy. The copy may have failed, or its response may have been lost."""

    size: int
    etag: str
    md5: str | None
    #: True if the target had nothing under the key before the first copy of this sweep.
    brought: bool


class OwnCopies:
    """The keys that a sweep wrote, and the source object that it wrote last.

    Threads may share it if only one of them at a time works on a key.
    """

    def __init__(self) -> None:
        self._copies: dict[str, _Copy] = {}

    def __bool__(self) -> bool:
        return bool(self._copies)

    def __contains__(self, key: str) -> bool:
        return key in self._copies

    def __iter__(self) -> Iterator[str]:
        return iter(self._copies)

    def note(self, key: str, source: ObjectState, replaced: ObjectState | ListEntry | None) -> None:
        """Remember a copy of `source` before it is written over `replaced`, the target's object or None.

        The note comes first because a write without a response may have succeeded.
        """
        brought = replaced is None or self.is_own(key, replaced)
        self._copies[key] = _Copy(source.size, source.etag, source.md5, brought)

    def note_written(self, key: str, source: ObjectState, etag: str) -> None:
        """Remember the ETag that the target gave the copy of `source`. The marker makes up for that here."""

    def written_etag(self, key: str, source: ObjectState) -> str | None:  # noqa: ARG002 - see `restore.RestoredCopies`
        """Return the ETag of the copy of `source` that the sweep made, or None if the marker shows it."""
        return None

    def has_attempted(self, key: str) -> bool:
        """Return True if the sweep wrote the key, or tried to."""
        return key in self._copies

    def is_own(self, key: str, target: ObjectState | ListEntry) -> bool:
        """Return True if the sweep brought the key, and the target's object is still that copy.

        The ETag or the marker proves that, never the time. A copy that neither proves does not count as own.
        """
        copy = self._copies.get(key)
        if copy is None or not copy.brought or target.size != copy.size:
            return False
        if target.etag == copy.etag:
            return True
        if not isinstance(target, ObjectState) or target.marker != copy.etag:
            return False
        return copy.md5 is None or target.md5 is None  # two MD5s that differ: another tool kept the marker
