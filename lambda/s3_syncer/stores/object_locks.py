"""Read and write the Object Lock of objects, if the target has it.

The lock comes with the response to a HEAD or GET, so that an object without a lock costs no further request. The target
is asked once if it has Object Lock, at the first object with a lock. Without it, each write with a lock would fail.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..core import object_lock
from ..core.errors import POLICY_CODES, SyncError
from ..core.model import NO_LOCK, ObjectLock, ObjectState
from .object_tags import Call, is_unsupported

logger = logging.getLogger(__name__)

#: The finding about a target that cannot protect its objects.
NOT_MIRRORED = (
    "the target has no Object Lock, so no retention and no legal hold is copied: create its bucket with Object Lock, "
    "or switch --object-lock (sync.object_lock) off"
)

#: The error codes for a bucket without Object Lock.
_MISSING_CODES = frozenset({"ObjectLockConfigurationNotFoundError", "ObjectLockConfigurationNotFound", "NoSuchLock"})


@dataclass(frozen=True, slots=True)
class LockConfiguration:
    """The Object Lock of a bucket, as far as the access key may know."""

    #: False if no object can have a lock.
    exists: bool
    #: False if a new version without a retention has none.
    may_have_default: bool = False


class ObjectLocks:
    """The locks that are mirrored between two buckets. Safe to share between threads."""

    def __init__(self, target: Callable[[], LockConfiguration], *, removes_holds: bool = True) -> None:
        """Read locks if the target has Object Lock. `target` asks for that, and may raise a SyncError.

        Without `removes_holds`, a source that says that its object has no legal hold counts as one that says nothing.
        """
        self._target, self._removes_holds, self._lock = target, removes_holds, threading.Lock()
        self._found: LockConfiguration | None = None

    def of(self, headers: Mapping[str, str]) -> ObjectLock:
        """Return the lock that a response shows; none if the target cannot have it. Raises a SyncError."""
        found = object_lock.read(headers)
        if found.legal_hold is False and not self._removes_holds:
            found = replace(found, legal_hold=None)
        return found if found != NO_LOCK and self.are_mirrored() else NO_LOCK

    def are_mirrored(self) -> bool:
        """Return True if the target has Object Lock. Raises a SyncError. The first call costs one request."""
        return self._configuration().exists

    def sent_with(self, state: ObjectState) -> ObjectState:
        """Return the object with the lock that comes with its write. Raises a SyncError.

        A retention would replace the default retention of the target's bucket, which may be longer. So where there may
        be one, the new version gets the default first. The check after the write then extends it, if that is needed.
        """
        lock = state.lock
        if lock.retention is None or not self._configuration().may_have_default:
            return state
        return replace(state, lock=replace(lock, retention=None))

    def _configuration(self) -> LockConfiguration:
        with self._lock:
            if self._found is None:
                self._found = self._target()
                if not self._found.exists:
                    logger.warning(NOT_MIRRORED)
            return self._found


def lock_configuration(call: Call) -> LockConfiguration:
    """Return the Object Lock of the bucket. Raises a SyncError.

    An access key that may not ask for it counts as one for a bucket with every kind of lock.
    """
    try:
        fields = call("get_object_lock_configuration", None).fields
    except SyncError as error:
        if error.code in _MISSING_CODES or is_unsupported(error):
            return LockConfiguration(exists=False)
        if error.code not in POLICY_CODES:
            raise
        return LockConfiguration(exists=True, may_have_default=True)
    found = fields.get("ObjectLockConfiguration", {})
    return LockConfiguration(exists=found.get("ObjectLockEnabled") == "Enabled", may_have_default="Rule" in found)


def write_lock(call: Call, key: str, wanted: ObjectLock, there: ObjectLock) -> None:
    """Protect the current version of an object, which has the lock `there`, as `wanted` says.

    Raises a SyncError. A retention is only extended. A legal hold is removed only if the source says that it has none.
    """
    retention = object_lock.retention_to_write(wanted, there)
    if retention is not None:
        call("put_object_retention", key, Retention={"Mode": retention.mode, "RetainUntilDate": retention.until})
    if object_lock.has_other_hold(wanted, there):
        call("put_object_legal_hold", key, LegalHold={"Status": "ON" if wanted.legal_hold else "OFF"})
