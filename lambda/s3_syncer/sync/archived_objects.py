"""The objects of the source that are in an archive: report them, or ask for their restore.

The bytes of such an object cannot be read. Each of them costs at most one request in a run, or two if its restore is
requested. On AWS the listing shows the restores, so an object that is not restored costs no request at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..core.compare import KeyDiff, differs_by_listing
from ..core.errors import Permanent, SyncError
from ..core.model import Archive, ListEntry
from ..core.units import GB
from ..stores.protocols import ArchiveBucket
from .outcome import Outcome
from .sweep_limits import LocalLimit

#: The speed and the price of a restore, as AWS names it.
Tier = Literal["Bulk", "Standard", "Expedited"]

#: The archives without expedited restores: https://docs.aws.amazon.com/AmazonS3/latest/userguide/restoring-objects.html
_NOT_EXPEDITED = frozenset({"DEEP_ARCHIVE", "DEEP_ARCHIVE_ACCESS"})

#: The storage classes of which a restore makes a copy for some days. Intelligent-Tiering moves the object instead.
_TEMPORARY = frozenset({"GLACIER", "DEEP_ARCHIVE"})

#: The error code for an object of which a restore is in progress.
_IN_PROGRESS = "RestoreAlreadyInProgress"


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """The restores that a sweep may request."""

    tier: Tier
    #: Days for which a restored copy stays.
    days: int
    #: Bytes of all objects of which the sweep requests the restore; None is no limit.
    max_bytes: int | None = None

    def request(self, archive: Archive) -> Mapping[str, Any]:
        """Return the RestoreRequest of S3 for an object of this archive."""
        if archive.storage_class in _TEMPORARY:
            return {"Days": self.days, "GlacierJobParameters": {"Tier": self.tier}}
        return {"GlacierJobParameters": {"Tier": self.tier}}


class ArchivedObjects:
    """Decides about the archived objects of a sweep. Safe to share between threads.

    With `restore`, it asks for restores. With `dry_run` as well, it only says of which objects it would ask for them.
    """

    def __init__(self, source: ArchiveBucket, restore: RestoreOptions | None, *, dry_run: bool) -> None:
        self._source, self._restore, self._dry_run = source, restore, dry_run
        self._limit = LocalLimit(None if restore is None else restore.max_bytes)

    def outcome(self, diff: KeyDiff, *, md5s: bool) -> Outcome | None:
        """Return the outcome of a key that must be copied from an archive; None for any other key.

        `md5s` is as in `differs_by_listing`. Where the listings prove no difference, the objects must be compared.
        Raises a SyncError.
        """
        entry = diff.source
        if entry is None or entry.archive is None or differs_by_listing(entry, diff.target, md5s=md5s) is None:
            return None
        archive = self._with_restore(entry.key, entry.archive)
        return None if archive is None else self._unreadable(entry, archive)

    def unreadable(self, entry: ListEntry, archive: Archive | None) -> Outcome:
        """Return the outcome of a key of which the object turned out to be in an archive. Raises a SyncError.

        The archive is None if only the error of a read shows it.
        """
        archive = archive or Archive("an archive")
        if archive.is_restoring is None and self._restore is not None:
            archive = self._looked_up(entry.key) or archive
        return self._unreadable(entry, archive)

    def _with_restore(self, key: str, archive: Archive) -> Archive | None:
        """Return the archive of a listed object with the state of its restore; None if the object can be read."""
        return archive if archive.is_restoring is not None or self._source.lists_restores else self._looked_up(key)

    def _looked_up(self, key: str) -> Archive | None:
        state = self._source.head(key, tags=False)
        return None if state is None else state.archive

    def _unreadable(self, entry: ListEntry, archive: Archive) -> Outcome:
        place, options, size = f"the object is in {archive.storage_class}", self._restore, entry.listed_size
        if archive.is_restoring:
            return Outcome("archived", f"{place}, and its restore is in progress", size)
        if options is None:
            return Outcome("archived", f"{place}: restore it, then copy it again", size)
        if options.tier == "Expedited" and archive.storage_class in _NOT_EXPEDITED:
            return Outcome("archived", f"{place}, which has no expedited restores", size)
        if not self._limit.acquire(size):
            limit = (options.max_bytes or 0) / GB
            return Outcome("archived", f"{place}, and the limit of {limit:g} GB to restore is reached", size)
        if not self._dry_run:
            try:
                self._source.restore(entry.key, options.request(archive))
            except Permanent:
                self._limit.release(size)
                raise
            except SyncError as error:
                # Each such request counts: one without a response may have been served, and its repeat gets this code.
                if error.code != _IN_PROGRESS:
                    raise
                return Outcome("archived", f"{place}, and its restore is in progress", size)
        return Outcome("restore", f"{place}: {options.tier.lower()} restore", size)
