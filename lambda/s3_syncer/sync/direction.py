"""The rules that depend on the direction of a copy: from the source to its mirror, or back.

`ToMirror` is the direction of every other command and of the workers. `restore.FromMirror` reverses it. All code that
compares, copies or sweeps asks the direction, and knows no other difference between the two.
"""

from __future__ import annotations

from ..core.compare import Difference
from ..core.errors import Retryable
from ..core.model import ObjectState
from ..core.multipart import Limits, PartPlan, reproduce_plan
from ..stores.capabilities import TargetCapabilities
from ..stores.protocols import SourceBucket, TargetBucket
from .comparison import compare_objects
from .etag_marker import EtagMarkerPolicy
from .own_copies import OwnCopies
from .write_guards import WriteGuards


class ToMirror:
    """The direction from the source to its mirror: the mirror becomes equal, and has the ETag marker."""

    #: True if an object of the target may be replaced by the one of the source.
    replaces = True
    #: True if the listings suffice to replace an object of the target.
    replaces_unread = True
    #: True if a difference of the tags alone is removed by a write of the tags alone.
    writes_tags_alone = True
    #: True if a legal hold ends with that of the source.
    removes_holds = True
    #: True if the first write of an object must have its tags.
    writes_tags_with_object = False

    def once_written(self) -> ToMirror:
        """Return the direction of a key after a write to it, or after a conflict with another writer."""
        return self

    def own_copies(self) -> OwnCopies:
        """Return the memory of the copies to one page of a sweep."""
        return OwnCopies()

    # -- comparison ------------------------------------------------------------------------------------------------

    def compare(
        self,
        source_bucket: SourceBucket,  # noqa: ARG002 - the mirror of a restore
        target_bucket: TargetBucket,
        capabilities: TargetCapabilities,
        key: str,
        source: ObjectState,
        target: ObjectState,
        *,
        written_etag: str | None = None,
        trusts_time: bool = False,
    ) -> Difference | None:
        """Compare two objects: see `compare.compare`."""
        return compare_objects(
            target_bucket, capabilities, key, source, target, written_etag=written_etag, trusts_time=trusts_time
        )

    def has_other_etag(self, source: ObjectState, etag: str) -> bool:  # noqa: ARG002
        """Return True if a copy should have another ETag. Here the marker makes up for that."""
        return False

    def has_earlier_md5(self, source: ObjectState, etag: str) -> bool | None:  # noqa: ARG002
        """Return True or False if the ETag of a copy is the MD5 of an earlier object, or not. Here None."""
        return None

    # -- copies ----------------------------------------------------------------------------------------------------

    def marker_policy(self, capabilities: TargetCapabilities) -> EtagMarkerPolicy:
        """Return the policy that decides which copies have the ETag marker."""
        return EtagMarkerPolicy(capabilities)

    def guards(self, target: TargetBucket, capabilities: TargetCapabilities, *, tags: bool) -> WriteGuards:
        """Return the guards of the writes."""
        return WriteGuards(target, capabilities, tags=tags)

    def largest_whole(self, usual: int, memory: int) -> int:  # noqa: ARG002
        """Return the bytes of the largest object to copy in one piece; `usual` suits most copies."""
        return usual

    def same_etag_plan(
        self, source: SourceBucket, key: str, state: ObjectState, *, largest_part: int, limits: Limits
    ) -> PartPlan | None:
        """Return the part plan that gives the copy the ETag of the source's object, or None if there is none."""
        # Under KMS an ETag does not depend on the parts alone, so the source's part plan has no advantage.
        if state.part_count is None or state.size == 0 or state.kms:
            return None
        found = source.first_part(key)
        return reproduce_plan(state.size, *found, largest_part=largest_part, limits=limits) if found else None

    def trusted(self, state: ObjectState) -> ObjectState:
        """Return the state with an ETag that proves the bytes of parts, as far as an ETag can."""
        return state

    def check_bytes(self, state: ObjectState, md5: str) -> None:
        """Raise Retryable if bytes with this hex MD5 are certainly not those of the object."""
        if state.md5 not in (None, md5):
            raise Retryable(f"the MD5 of the bytes read is not the source's ETag {state.etag}", "BadDigest")


#: The direction of every command but `restore`, and of the workers.
TO_MIRROR = ToMirror()
