"""The reversed direction: objects go back from the mirror to the bucket that it mirrors.

The mirror is the source of the copy, and the bucket is its target. These rules are the other way round:

- **Comparison.** The question is still the one of live sync: is the mirror's object a copy of the bucket's? So both
  sides change places, and the ETag marker is read on the side that is read from. The lock is not reversed: the bucket
  must protect its object as the mirror does.
- **Marker.** None is written. It says which ETag the object had, and so which part plan gives the same one again.
- **Writes.** An object that the bucket has stays, unless the restore replaces objects. Each write names the object that
  it may replace, so that the write of another program in between is never lost.
- **Deletions.** A restore deletes nothing, not even its own copies: live sync mirrors them, or deletes them later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ..core.compare import Difference, compare_locks
from ..core.errors import Retryable
from ..core.model import MD5, ListEntry, ObjectState, WriteGuard
from ..core.multipart import Limits, PartPlan, likely_plan, reproduce_plan
from ..stores.capabilities import TargetCapabilities
from ..stores.protocols import SourceBucket, TargetBucket
from .comparison import compare_objects
from .direction import ToMirror
from .etag_marker import EtagMarkerPolicy
from .own_copies import OwnCopies
from .write_guards import WriteGuards

_Written = TypeVar("_Written")

_NOT_COMPARABLE = "content is not proven: the object in the bucket has another ETag, which is no MD5"


def earlier_etag(state: ObjectState) -> str:
    """Return the ETag that an object of the mirror had in the bucket: that of the marker, or else its own."""
    return state.marker or state.etag


@dataclass(frozen=True, slots=True)
class FromMirror(ToMirror):
    """The direction from the mirror to the bucket. With `replaces`, objects that differ are replaced."""

    replaces: bool = False
    #: What is known of the mirror. The capabilities of a pair are those of its target.
    mirror: TargetCapabilities = field(default_factory=TargetCapabilities, compare=False)

    # A copy of the whole object can name the object that it replaces; PutObjectTagging cannot.
    writes_tags_alone = False
    # Live sync may mirror a restored object at once. Without its tags, the mirror would lose them too.
    writes_tags_with_object = True
    # Each object to replace is compared first.
    replaces_unread = False
    # The hold may be younger than the mirror's object, because no event reports a hold.
    removes_holds = False

    def once_written(self) -> FromMirror:
        """Return the direction without replacements: what the bucket has now may be of another program."""
        return replace(self, replaces=False)

    def own_copies(self) -> OwnCopies:
        return RestoredCopies()

    # -- comparison ------------------------------------------------------------------------------------------------

    def compare(
        self,
        source_bucket: SourceBucket,
        target_bucket: TargetBucket,  # noqa: ARG002
        capabilities: TargetCapabilities,  # noqa: ARG002
        key: str,
        source: ObjectState,
        target: ObjectState,
        *,
        written_etag: str | None = None,
        trusts_time: bool = False,  # noqa: ARG002 - a restored object is newer than the mirror's in any case
    ) -> Difference | None:
        """Compare as live sync does: the object of the bucket is the original, that of the mirror the copy.

        `written_etag` is the ETag of the copy that this process has made of exactly this object of the mirror.
        """
        original = replace(target, etag=source.etag if target.etag == written_etag else target.etag, lock=source.lock)
        found = compare_objects(source_bucket, self.mirror, key, original, source)
        if found == Difference("content") and original.md5 is None:
            return Difference(_NOT_COMPARABLE, unproven=True)
        return found or compare_locks(source, target)

    def has_other_etag(self, source: ObjectState, etag: str) -> bool:
        return etag not in ("", earlier_etag(source))

    def has_earlier_md5(self, source: ObjectState, etag: str) -> bool | None:
        """Return True if the copy has the MD5 of before, and False if the marker names another one.

        Return None if one of the ETags has not the form of an MD5. False proves no damage: under a KMS key an ETag has
        the form of an MD5, and is none.
        """
        earlier = earlier_etag(source)
        if not (MD5.fullmatch(earlier) and MD5.fullmatch(etag)):
            return None
        if etag == earlier:
            return True
        return None if source.marker is None else False

    # -- copies ----------------------------------------------------------------------------------------------------

    def marker_policy(self, capabilities: TargetCapabilities) -> EtagMarkerPolicy:
        return NoMarkers(capabilities)

    def guards(self, target: TargetBucket, capabilities: TargetCapabilities, *, tags: bool) -> WriteGuards:
        return RestoreGuards(target, capabilities, tags=tags)

    def largest_whole(self, usual: int, memory: int) -> int:
        """Return the whole memory: only an object in one piece gets back an ETag that is its MD5."""
        return max(usual, memory)

    def same_etag_plan(
        self, source: SourceBucket, key: str, state: ObjectState, *, largest_part: int, limits: Limits
    ) -> PartPlan | None:
        """Return the part plan of the ETag that the object had before, or None.

        The mirror's parts are that plan if it has as many of them. Otherwise the plan is guessed from their number.
        """
        count = replace(state, etag=earlier_etag(state)).part_count
        if count is None or state.size == 0:
            return None
        found = source.first_part(key)
        if found and found[0] == count:
            return reproduce_plan(state.size, *found, largest_part=largest_part, limits=limits)
        return likely_plan(state.size, count, largest_part=largest_part, limits=limits)

    def trusted(self, state: ObjectState) -> ObjectState:
        """Return the state; with an ETag that proves nothing, unless both stores computed the same one."""
        return state if state.marker == state.etag else replace(state, kms=True)

    def check_bytes(self, state: ObjectState, md5: str) -> None:
        """Raise Retryable if the mirror's ETag is known to be an MD5, and is not that of the bytes.

        The marker cannot prove damage: it is no MD5 if the bucket encrypted the object with a KMS key.
        """
        if state.md5 is None:
            return
        if state.md5 != md5 and (state.marker == state.etag or self.mirror.gives_md5):
            raise Retryable(f"the MD5 of the bytes read is not the mirror's ETag {state.etag}", "BadDigest")
        self.mirror.record_etag(is_md5=state.md5 == md5)


class NoMarkers(EtagMarkerPolicy):
    """The policy of a restore: no object of the bucket gets a marker."""

    @property
    def target_gives_md5(self) -> bool:
        """False, so that a stream proves its bytes before the last of them is sent."""
        return False

    def marker_for(self, state: ObjectState) -> str | None:  # noqa: ARG002
        return None

    def marker_of_upload(self, state: ObjectState) -> str | None:  # noqa: ARG002
        return None

    def needs_rewrite(self, state: ObjectState, written: str | None, etag: str) -> bool:  # noqa: ARG002
        return False


class RestoreGuards(WriteGuards):
    """The guards of a restore: every write has a condition, and none is made without it.

    Without tag sync, an object that is replaced keeps its tags. Otherwise it gets those of the mirror.
    """

    def guard(self, key: str, replaced: ObjectState | None) -> WriteGuard:
        etag = None if replaced is None else replaced.etag
        if self._tags:
            return WriteGuard(etag, None)
        return WriteGuard(etag, self._target.tags(key) if replaced is not None and replaced.tag_count else {})

    def renewed(self, key: str, guard: WriteGuard | None) -> WriteGuard | None:  # noqa: ARG002
        """Return the same guard: it names the object that was compared."""
        return guard

    def write(self, key: str, guard: WriteGuard | None, write: Callable[[WriteGuard | None], _Written]) -> _Written:  # noqa: ARG002
        return write(guard)

    def complete(self, key: str, upload_id: str, etags: dict[int, str], replaced: ObjectState | None = None) -> str:
        """Complete an upload over the compared object, and return the ETag. Raises Changed for any other."""
        guard = self.guard(key, replaced)
        etag = self._target.complete_upload(key, upload_id, etags, guard)
        if guard.tags:
            self._target.put_tags(key, guard.tags)
        return etag


class RestoredCopies(OwnCopies):
    """The keys that a restore wrote. None of them is ever removed again."""

    def __init__(self) -> None:
        super().__init__()
        self._attempted: set[str] = set()
        #: By key: the ETags of the mirror's object and of its copy.
        self._written: dict[str, tuple[str, str]] = {}

    def note(self, key: str, source: ObjectState, replaced: ObjectState | ListEntry | None) -> None:  # noqa: ARG002
        self._attempted.add(key)

    def note_written(self, key: str, source: ObjectState, etag: str) -> None:
        self._written[key] = source.etag, etag

    def written_etag(self, key: str, source: ObjectState) -> str | None:
        of, etag = self._written.get(key, ("", None))
        return etag if of == source.etag else None

    def has_attempted(self, key: str) -> bool:
        return key in self._attempted
