"""The algorithm for one key: compare both sides, make them equal, and compare again.

An event says only that a key may have changed. So nothing here relies on its kind, its order or the number of events.
docs/architecture.md shows why this converges, and why simpler algorithms do not. tests/unit/test_interleavings.py runs
this code through every interleaving.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from ..core.compare import ABSENT, Difference, compare_tags
from ..core.deadline import Deadline
from ..core.errors import Changed, Retryable
from ..core.model import INLINE_BODY_MAX, ObjectState
from ..core.work_items import Work
from ..stores.protocols import SourceBucket, TargetBucket
from .etag_marker import EtagMarkerPolicy
from .own_copies import OwnCopies

#: Attempts before a key that keeps changing goes back to the queue. Its next message is on the queue in any case.
MAX_ATTEMPTS = 5

_KEPT_CHANGING = "the source kept changing"


class Copier(Protocol):
    """Copies an object: see `transfer.Transfer`."""

    def copy(self, key: str, state: ObjectState, deadline: Deadline) -> Sequence[Work]:
        """Copy the object, or return the work that copies it. Once that work ends, the key is checked again."""


@dataclass(frozen=True, slots=True)
class BucketPair:
    """A source, a target, and the copier between them."""

    source: SourceBucket
    target: TargetBucket
    copier: Copier
    #: False keeps keys in the target that were deleted from the source.
    delete: bool = True
    #: What is known of the target's ETags. The copier learns it too, so both share it.
    marker_policy: EtagMarkerPolicy = field(default_factory=EtagMarkerPolicy, compare=False)


#: An action in an outcome and in the log. The first five write to the target: `undo` removes a copy that the same sweep
#: brought. `multipart` means that other workers send the parts. A sweep reports missing, differs, extra, stale and
#: large: see `sweep.py`. `part` and `range` are work from a queue, and `failed` is a key of `s3-syncer sync` that could
#: not be made equal.
Action = Literal[
    "copy",
    "update",
    "tags",
    "delete",
    "undo",
    "unchanged",
    "kept",
    "multipart",
    "missing",
    "differs",
    "extra",
    "stale",
    "large",
    "part",
    "range",
    "failed",
]

#: The actions that write to the target.
CHANGES: frozenset[Action] = frozenset({"copy", "update", "tags", "delete", "undo"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The action for a key, and its reason."""

    action: Action
    reason: str
    size: int = 0  # bytes sent
    #: The work that must be done before the key can be equal.
    more: tuple[Work, ...] = ()


def converge(
    pair: BucketPair, key: str, deadline: Deadline, *, size: int = 0, own_copies: OwnCopies | None = None
) -> Outcome:
    """Make the key equal on both sides. A known `size` avoids a GET of a large object's first bytes.

    With `own_copies`, a copy that this caller brought is removed if its key is gone from the source, also where the
    pair does not delete. The worker of an event has none: where deletes are off, its copy stays.

    Returns the last write, or unchanged if both sides were equal already, or multipart for a copy by other workers.
    Returns kept if the source has no such key any more and the target's object stays.
    Raises a SyncError; writes made until then are harmless, because the next attempt starts from the beginning.
    """
    done, reason, request_id = Outcome("unchanged", "equal"), _KEPT_CHANGING, ""
    for _ in range(MAX_ATTEMPTS):
        deadline.progress()
        deadline.check()
        try:
            step, state = _make_equal(pair, key, deadline, own_copies, prefetch_body=size <= INLINE_BODY_MAX)
        except Changed as error:
            reason, request_id = error.reason, error.request_id
            continue
        if step.action in ("multipart", "kept"):
            return step
        if step.action == "unchanged":
            return step if done.action == "unchanged" else done
        done = step
        # For a deleted key one GET confirms the 404. A HEAD would need a second request to confirm it.
        again = pair.source.get_small(key) if state is None else pair.source.head(key, confirm_missing=True)
        if again == state:
            return done
        reason, request_id = _KEPT_CHANGING, ""
    message = f"{reason}: gave up after {MAX_ATTEMPTS} attempts"
    raise Retryable(message, "KeepsChanging", request_id=request_id)


def _make_equal(
    pair: BucketPair, key: str, deadline: Deadline, own_copies: OwnCopies | None, *, prefetch_body: bool
) -> tuple[Outcome, ObjectState | None]:
    """Compare both sides and make them equal; return the outcome and the compared state of the source.

    An object that the target lacks must be copied. So the request to the source fetches the body as well, if the body
    is small.
    """
    target = pair.target.head(key, tags=False)
    source = (
        pair.source.get_small(key) if target is None and prefetch_body else pair.source.head(key, confirm_missing=True)
    )
    return _apply(pair, key, source, target, deadline, own_copies), source


def _apply(
    pair: BucketPair,
    key: str,
    source: ObjectState | None,
    target: ObjectState | None,
    deadline: Deadline,
    own_copies: OwnCopies | None,
) -> Outcome:
    if source is None:
        if target is None and pair.target.is_missing(key):  # its 404 may have been the bucket's or a proxy's
            return Outcome("unchanged", "absent on both sides")
        is_own = own_copies is not None and target is not None and own_copies.is_own(key, target)
        if not pair.delete and not is_own:
            return Outcome("kept", "deleted from the source, and deletes are off")
        pair.target.delete(key)
        if is_own:
            return Outcome("undo", "deleted from the source after it was copied to a target that did not have it")
        return Outcome("delete", "absent from the source")
    difference = _difference(pair, key, source, target)
    if difference is None:
        return Outcome("unchanged", "equal")
    if not difference.body:
        pair.target.put_tags(key, source.tags)
        return Outcome("tags", difference.reason)
    if own_copies is not None:
        own_copies.note(key, source, target)
    if more := pair.copier.copy(key, source, deadline):
        return Outcome("multipart", difference.reason, more=tuple(more))
    return Outcome("copy" if target is None else "update", difference.reason, source.size)


def _difference(pair: BucketPair, key: str, source: ObjectState, target: ObjectState | None) -> Difference | None:
    """Return the difference, or None.

    The target's tags are read only if all else is equal, because a copy does not depend on them.
    """
    if target is None:
        return Difference(ABSENT)
    difference = pair.marker_policy.compare(pair.target, key, source, replace(target, tags=source.tags))
    return difference or compare_tags(source, pair.target.with_tags(key, target))
