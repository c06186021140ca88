"""Writes of a worker without tag sync, which keep the tags that a worker with tag sync has written.

A PUT replaces the object together with its tags. A guarded write keeps the tags that the target's object has, and is
refused by the store if the target has another object by now: see `model.WriteGuard`. Where a store ignores the
condition, only the tags that were there before the write are kept.

An object without tags needs no further request, if its copy is made in one piece.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from ..core.errors import Changed, Permanent, SyncError
from ..core.model import ObjectState, WriteGuard
from ..stores.capabilities import TargetCapabilities
from ..stores.protocols import TargetBucket
from .key_identity import has_key, not_listed

_Written = TypeVar("_Written")

#: Attempts to complete one upload, while the target's object is replaced between its HEAD and each attempt.
_MAX_ATTEMPTS = 5


class WriteGuards:
    """The guards of the writes to one target. A worker with tag sync (`tags`) needs none."""

    def __init__(self, target: TargetBucket, capabilities: TargetCapabilities, *, tags: bool) -> None:
        self._target, self._capabilities, self._tags = target, capabilities, tags

    def guard(self, key: str, replaced: ObjectState | None) -> WriteGuard | None:
        """Return the guard of a write that replaces this object, or no object. Raises Changed if it is gone."""
        if self._tags:
            return None
        conditional = self._capabilities.conditional_writes
        if replaced is None:
            return WriteGuard(None, conditional=conditional)
        tags = self._target.tags(key) if replaced.tag_count else {}
        return WriteGuard(replaced.etag, tags, conditional=conditional)

    def renewed(self, key: str, guard: WriteGuard | None) -> WriteGuard | None:
        """Return the guard for the object that the target has now. Costs a HEAD if there was a guard."""
        return None if guard is None else self.guard(key, self._target.head(key, tags=False))

    def write(self, key: str, guard: WriteGuard | None, write: Callable[[WriteGuard | None], _Written]) -> _Written:
        """Return the result of the write. If the store does not know its condition, write without one."""
        try:
            return write(guard)
        except SyncError as error:
            if guard is None or not guard.conditional or not self._is_about_condition(key, guard, error):
                raise
        written = write(replace(guard, conditional=False))
        self._capabilities.record_conditions_refused()
        return written

    def complete(
        self,
        key: str,
        upload_id: str,
        etags: dict[int, str],
        replaced: ObjectState | None = None,  # noqa: ARG002
    ) -> str:
        """Complete an upload, and return the ETag of the object; without tag sync, keep the target's tags.

        The upload may have begun long ago. So the target is read now, whatever the copy `replaced`. If its object
        changes before the completion, it is read again. Raises Permanent if an object with another key has responded
        to this key since then.
        """

        def complete(guard: WriteGuard | None) -> str:
            return self._target.complete_upload(key, upload_id, etags, guard)

        self._ensure_own_key(key)
        if self._tags:
            return complete(None)
        attempt = 1
        while True:
            guard = self.guard(key, self._target.head(key, tags=False))
            try:
                etag = self.write(key, guard, complete)
            except Changed as error:
                if attempt == _MAX_ATTEMPTS or error.code == "NoSuchUpload":
                    raise
                attempt += 1
                continue
            if guard is not None and guard.tags:
                self._target.put_tags(key, guard.tags)
            return etag

    def _ensure_own_key(self, key: str) -> None:
        """Raise Permanent if the completion of an upload would replace the object of another key."""
        if self._capabilities.keeps_apart(self._target.prefix, key):
            return
        there = self._target.head(key, tags=False)
        if there is not None and not has_key(self._target, self._capabilities, key, there):
            raise not_listed()

    def _is_about_condition(self, key: str, guard: WriteGuard, error: SyncError) -> bool:
        """Return True if the store refuses conditional writes, or judges this condition wrongly.

        A store that refuses the write for another reason also refuses it without the condition.
        """
        if isinstance(error, Permanent):
            return True
        if error.code not in ("PreconditionFailed", "412"):
            return False
        target = self._target.head(key, tags=False)
        return (None if target is None else target.etag) == guard.etag
