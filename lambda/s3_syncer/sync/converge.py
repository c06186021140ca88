"""The algorithm for one key: look, make equal, look again.

An event says only that a key may have changed, so nothing here trusts one: not its kind, its order or its number.
docs/architecture.md says why this converges and what does not; tests/unit/test_interleavings.py runs this very code
through every interleaving.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ..core.compare import ABSENT, Difference, compare
from ..core.deadline import Deadline
from ..core.errors import Changed, Retryable
from ..core.model import INLINE_BODY_MAX, ObjectState
from ..core.work_items import Work
from ..stores.protocols import SourceBucket, TargetBucket

#: Looks before a key that keeps changing goes back to the queue, where its next message is waiting anyway.
MAX_LOOKS = 5


class Copier(Protocol):
    """What copies an object: see `transfer.Transfer`."""

    def copy(self, key: str, state: ObjectState, deadline: Deadline) -> Sequence[Work]:
        """Copies, or returns the work that will; whoever ends that work has the key looked at again."""


@dataclass(frozen=True, slots=True)
class BucketPair:
    """A source, a target and what makes copies between them."""

    source: SourceBucket
    target: TargetBucket
    copier: Copier
    #: False keeps in the target what was deleted from the source.
    delete: bool = True


#: The actions that write to the target.
CHANGES = frozenset({"copy", "update", "tags", "delete"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done for a key and why: `action` is one of CHANGES, or kept, or none, or parts, which others will send.

    A sweep has names of its own for what it leaves as it is: see `sweep.py`.
    """

    action: str
    reason: str
    size: int = 0  # bytes sent
    #: What is to be done before the key can be equal.
    more: tuple[Work, ...] = ()


def converge(pair: BucketPair, key: str, deadline: Deadline, *, size: int = 0) -> Outcome:
    """Makes the key equal on both sides. Who knows its `size` in bytes spares a look that would bring some of many.

    Returns what the last write did, none when both sides were equal already, or parts for a copy that others make.
    Raises a SyncError; whatever was done until then is harmless, because the next look starts afresh.
    """
    done, reason = Outcome("unchanged", "equal"), ""
    for _ in range(MAX_LOOKS):
        deadline.progress()
        deadline.check()
        try:
            step, state = _make_equal(pair, key, deadline, prefetch_body=size <= INLINE_BODY_MAX)
        except Changed as error:
            reason = str(error)
            continue
        if step.action == "multipart":
            return step
        if step.action in ("unchanged", "kept"):
            return step if done.action == "unchanged" else done
        done = step
        # Of a key that is gone, a GET says so for sure, where a HEAD would have to be followed by one.
        again = pair.source.get_small(key) if state is None else pair.source.head(key, confirm_missing=True)
        if again == state:
            return done
        reason = "the source is no longer what was copied"
    raise Retryable(f"not equal after {MAX_LOOKS} looks, the last because {reason}", "KeepsChanging")


def _make_equal(
    pair: BucketPair, key: str, deadline: Deadline, *, prefetch_body: bool
) -> tuple[Outcome, ObjectState | None]:
    """Looks at both sides and makes them equal; returns what was done and the source as it was looked at.

    What the target lacks will be copied, so that the look at the source may as well bring the bytes, if they are few.
    """
    target = pair.target.head(key, tags=False)
    source = (
        pair.source.get_small(key) if target is None and prefetch_body else pair.source.head(key, confirm_missing=True)
    )
    return _done(pair, key, source, target, deadline), source


def _done(
    pair: BucketPair, key: str, source: ObjectState | None, target: ObjectState | None, deadline: Deadline
) -> Outcome:
    if source is None:
        if target is None:
            return Outcome("unchanged", "absent on both sides")
        if not pair.delete:
            return Outcome("kept", "deleted from the source, and deletes are off")
        pair.target.delete(key)
        return Outcome("delete", "absent from the source")
    difference = _difference(pair, key, source, target)
    if difference is None:
        return Outcome("unchanged", "equal")
    if not difference.body:
        pair.target.put_tags(key, source.tags)
        return Outcome("tags", difference.reason)
    if more := pair.copier.copy(key, source, deadline):
        return Outcome("multipart", difference.reason, more=tuple(more))
    return Outcome("copy" if target is None else "update", difference.reason, source.size)


def _difference(pair: BucketPair, key: str, source: ObjectState, target: ObjectState | None) -> Difference | None:
    """The target's tags are asked for only where all else is equal: a copy or a deletion takes no notice of them."""
    if target is None:
        return Difference(ABSENT)
    return compare(source, replace(target, tags=source.tags)) or compare(source, pair.target.with_tags(key, target))
