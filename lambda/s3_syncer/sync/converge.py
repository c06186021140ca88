"""The algorithm for one key: compare both sides, make them equal, and compare again.

An event says only that a key may have changed. So nothing here relies on its kind, its order or the number of events.
docs/convergence.md shows why this converges, and why simpler algorithms do not. tests/unit/test_interleavings.py runs
this code through every interleaving.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace

from ..core.compare import ABSENT, Difference, compare_locks, compare_tags
from ..core.deadline import Deadline
from ..core.errors import Changed, Permanent, Retryable, StaleWrite
from ..core.model import INLINE_BODY_MAX, NO_LOCK, ObjectState, WrittenObject
from ..stores.capabilities import (
    TAG_PROPERTIES,
    TAGS_REMOVED,
    TAGS_WITH_OBJECT,
    TAGS_WRITTEN,
    Property,
    properties_of,
)
from .bucket_pair import BucketPair
from .key_collisions import colliding_keys, collision, occupied
from .key_identity import NOT_LISTED, NOT_LISTED_CODE, has_key, not_listed
from .outcome import CHANGES, Action, Outcome
from .own_copies import OwnCopies
from .tag_writes import removing_untagged_copy, write_tags
from .write_checks import CONFIRM_AFTER_S, WriteChecks

#: Attempts before a key that keeps changing goes back to the queue. Its next message is on the queue in any case.
MAX_ATTEMPTS = 5

#: Writes of one key that a store is too busy for, until another worker may have written the key. Each takes
#: `availability.STALE_WRITE_S`, so all of them take as long as a command waits for a store.
MAX_STALE_WRITES = 15

_KEPT_CHANGING = "the source kept changing"


def converge(
    pair: BucketPair,
    key: str,
    deadline: Deadline,
    *,
    size: int = 0,
    own_copies: OwnCopies | None = None,
    checks: WriteChecks | None = None,
    is_listed: bool | None = None,
    is_event: bool = False,
) -> Outcome:
    """Make the key equal on both sides. A known `size` avoids a GET of a large object's first bytes.

    `is_event` says that the source reported a change of the key. The bytes of a small object are then read together
    with its state, also if the target has the key, because they probably differ. That saves an update one request.

    `is_listed` says if the target's listing shows the key; None without a listing: see `key_identity.has_key`.

    With `own_copies`, a copy that this caller brought is removed if its key is gone from the source, also where the
    pair does not delete. The worker of an event has none: where deletes are off, its copy stays.

    `checks` are those of earlier writes of the key by the same sweep, so that the first comparison is another of them.

    Returns the last write, or unchanged if both sides were equal already, or multipart for a copy by other workers.
    Returns excluded if the filters leave the key as it is. If its name decides, that takes no request.
    A write of tags after a copy belongs to the copy.
    Returns kept if the source has no such key any more and the target's object stays, and deferred if it stays until
    the message about its deletion.
    Raises a SyncError; writes made until then are harmless, because the next attempt starts from the beginning. Raises
    Permanent if the target does not keep what is written: see `write_checks`. Also raises it if the target has another
    key in the place of this one.
    """
    if (outcome := excluded_by_name(pair, key)) is not None:
        return outcome
    done, reason, request_id = Outcome("unchanged", "equal"), _KEPT_CHANGING, ""
    prefetch_body = size <= INLINE_BODY_MAX
    follows_write, checks = checks is not None, checks or WriteChecks()
    sides: _Sides | None = None
    attempts = stale_writes = 0
    while attempts < MAX_ATTEMPTS and stale_writes < MAX_STALE_WRITES:
        attempts += 1
        deadline.progress()
        deadline.check()
        try:
            if sides is None:
                sides = _compare_sides(
                    pair,
                    key,
                    prefetch_body=prefetch_body,
                    is_listed=is_listed,
                    expects_change=is_event,
                    own_copies=own_copies,
                )
                is_listed = None
                if follows_write:
                    sides, follows_write = _judge(pair, key, sides, checks, deadline), False
            step = _make_equal(pair, key, sides, deadline, own_copies, is_new=done.action == "copy")
            if isinstance(step, Outcome):
                return done if done.action in CHANGES and step.action in ("unchanged", "excluded") else step
            # The tags and the lock of a copy belong to the copy.
            if step.outcome.action not in ("tags", "lock") or done.action not in ("copy", "update"):
                done = step.outcome
            pair = replace(pair, direction=pair.direction.once_written())
            sides = _check_write(pair, key, step, deadline, prefetch_body=prefetch_body)
            if sides is not None and sides.source == step.source:
                sides = _judge(pair, key, sides, checks, deadline, step)
                if sides.difference is None and sides.source == step.source:
                    return done
            reason, request_id = _KEPT_CHANGING, ""
        except Changed as error:
            sides, reason, request_id = None, error.reason, error.request_id
            pair = replace(pair, direction=pair.direction.once_written())
            if isinstance(error, StaleWrite):
                attempts, stale_writes = attempts - 1, stale_writes + 1
    message = f"{reason}: gave up after {attempts + stale_writes} attempts"
    raise Retryable(message, "KeepsChanging", request_id=request_id)


def excluded_by_name(pair: BucketPair, key: str) -> Outcome | None:
    """Return the outcome of a key with a name that the filters exclude, or None. Makes no request."""
    reason = pair.filters.exclusion_by_name(key)
    return None if reason is None else Outcome("excluded", reason)


@dataclass(frozen=True, slots=True)
class _Sides:
    """Both sides of a key, as one check found them."""

    source: ObjectState | None
    #: The target's object without tags; None also if the check spared the request.
    target: ObjectState | None = None
    difference: Difference | None = None
    #: True if the source has no such key, and the object of another key responds to it in the target.
    is_other_key: bool = False
    #: The reason why a filter excludes these objects, which are then not compared.
    exclusion: str | None = None


@dataclass(frozen=True, slots=True)
class _Write:
    """A write to the target, and how to check it."""

    outcome: Outcome
    #: The state of the source that the target has now; None after a deletion.
    source: ObjectState | None
    #: The object that was written; None for a write of tags alone, or a deletion.
    copied: WrittenObject | None = None
    #: The target's object before the write.
    replaced: ObjectState | None = None
    #: The properties that the target must keep.
    properties: Set[Property] = frozenset()

    @property
    def wrote_tags(self) -> bool:
        return bool(self.properties & TAG_PROPERTIES)


def _compare_sides(
    pair: BucketPair,
    key: str,
    *,
    prefetch_body: bool,
    write: _Write | None = None,
    is_listed: bool | None = None,
    expects_change: bool = False,
    own_copies: OwnCopies | None = None,
) -> _Sides:
    """Read both sides and compare them, after `write` if there was one.

    An object that the target lacks must be copied. So the request to the source fetches the body as well, if the body
    is small. With `expects_change`, it also does that if the target has a small object. Raises Permanent if the target
    has another key in the place of this one.
    """
    target = pair.target.head(key, tags=False)
    # A GET of an empty object fails: it has no first byte.
    may_copy_body = target is None or (expects_change and 0 < target.size <= INLINE_BODY_MAX)
    source = (
        pair.source.get_small(key) if prefetch_body and may_copy_body else pair.source.head(key, confirm_missing=True)
    )
    if (exclusion := pair.filters.exclusion_by_size(source, target)) is not None:
        return _Sides(source, target, exclusion=exclusion)
    if target is not None and not has_key(
        pair.target, pair.capabilities, key, target, is_listed=is_listed, deletes=source is None
    ):
        if source is None:
            return _Sides(None, is_other_key=True)
        if write is None and (others := colliding_keys(pair.source, pair.target, pair.capabilities, key)):
            raise occupied(key, others)
        raise not_listed()
    if source is None:
        return _Sides(None, target, None if target is None else Difference("absent from the source"))
    if write is not None and write.source != source:
        write = None  # it is no longer the object that was written
    difference = _difference(pair, key, source, target, write, own_copies)
    if difference is None:
        tags = {TAGS_WRITTEN} if source.tags else set()
        pair.capabilities.record_kept(properties_of(source) | tags)
    return _Sides(source, target, difference)


def _difference(
    pair: BucketPair,
    key: str,
    source: ObjectState,
    target: ObjectState | None,
    write: _Write | None,
    own_copies: OwnCopies | None,
) -> Difference | None:
    """Return the difference, or None.

    The target's tags are read only if all else but the lock is equal, because a copy does not depend on them. After a
    copy of an object without tags they are not read: a PUT replaces the tags too.
    """
    if target is None:
        return Difference(ABSENT)
    written_etag = own_copies.written_etag(key, source) if own_copies is not None else None
    if write is not None and write.copied is not None:
        written_etag = write.copied.etag
    assumed = replace(target, tags=source.tags, lock=source.lock)
    difference = pair.compare(key, source, assumed, written_etag=written_etag)
    if difference is None and write is None:
        difference = compare_tags(source, pair.target.with_tags(key, target))
    elif difference is None and write is not None and write.wrote_tags:
        with removing_untagged_copy(pair.target, key, is_new=write.outcome.action == "copy"):
            difference = compare_tags(source, pair.target.with_tags(key, target))
    return difference or compare_locks(source, target)


def _make_equal(
    pair: BucketPair, key: str, sides: _Sides, deadline: Deadline, own_copies: OwnCopies | None, *, is_new: bool
) -> _Write | Outcome:
    """Remove the difference; return the write, or the outcome if nothing was written.

    `is_new` says that the previous attempt copied the object to a target that lacked it.
    """
    source, target, difference = sides.source, sides.target, sides.difference
    if sides.exclusion is not None:
        return Outcome("excluded", sides.exclusion, is_gone=source is None)
    if sides.is_other_key:
        return Outcome("unchanged", f"absent from the source, and {NOT_LISTED}", is_gone=True)
    if source is None:
        return _make_absent(pair, key, target, own_copies)
    if difference is None:
        return Outcome("unchanged", "equal")
    if target is None:
        return _copy(pair, key, source, target, difference, deadline, own_copies)
    if not (_may_replace(pair, key, own_copies) or _completes_own_copy(difference, key, source, target, own_copies)):
        return Outcome("unproven" if difference.unproven else "differs", difference.reason, source.size)
    if not difference.body and (difference.lock or pair.direction.writes_tags_alone):
        return _write_tags_and_lock(pair, key, source, target, difference, is_new=is_new)
    return _copy(pair, key, source, target, difference, deadline, own_copies)


def _make_absent(
    pair: BucketPair, key: str, target: ObjectState | None, own_copies: OwnCopies | None
) -> _Write | Outcome:
    """Delete a key from the target that the source does not have, unless deletions are off or deferred.

    A copy of this sweep is removed in any case.
    """
    if target is None and pair.target.is_missing(key):  # its 404 may have been the bucket's or a proxy's
        return Outcome("unchanged", "absent on both sides", is_gone=True)
    is_own = own_copies is not None and target is not None and own_copies.is_own(key, target)
    if not pair.delete and not is_own:
        return Outcome("kept", "deleted from the source, and deletes are off", is_gone=True)
    if pair.defers_deletions and not is_own:
        return Outcome("deferred", "absent from the source: goes to the queue of the deletions", is_gone=True)
    pair.target.delete(key)
    if is_own:
        reason = "deleted from the source after it was copied to a target that did not have it"
        return _Write(Outcome("undo", reason, is_gone=True), None)
    return _Write(Outcome("delete", "absent from the source", is_gone=True), None)


def _write_tags_and_lock(
    pair: BucketPair, key: str, source: ObjectState, target: ObjectState, difference: Difference, *, is_new: bool
) -> _Write:
    """Write the tags or the lock of an object. Its bytes and headers are equal."""
    properties: set[Property] = set()
    if not difference.lock:
        write_tags(pair.target, key, source.tags, is_new=is_new)
        properties.add(TAGS_WRITTEN if source.tags else TAGS_REMOVED)
    if compare_locks(source, target):
        pair.target.put_lock(key, source.lock, target.lock)
    action: Action = "lock" if difference.lock else "tags"
    return _Write(Outcome(action, difference.reason), source, properties=properties)


def _copy(
    pair: BucketPair,
    key: str,
    source: ObjectState,
    target: ObjectState | None,
    difference: Difference,
    deadline: Deadline,
    own_copies: OwnCopies | None,
) -> _Write | Outcome:
    """Copy the object over that of the target; return the outcome alone if other workers send the parts."""
    if own_copies is not None:
        own_copies.note(key, source, target)
    copied = pair.copier.copy(key, source, deadline, target)
    if not isinstance(copied, WrittenObject):
        return Outcome("multipart", difference.reason, more=tuple(copied))
    if own_copies is not None:
        own_copies.note_written(key, source, copied.etag)
    outcome = outcome_of_copy(pair, source, target is None, difference.reason, copied.etag)
    kept = properties_of(source)
    if source.tags:
        kept |= {TAGS_WITH_OBJECT if copied.carried_tags else TAGS_WRITTEN}
    return _Write(outcome, source, copied, target, kept)


def _may_replace(pair: BucketPair, key: str, own_copies: OwnCopies | None) -> bool:
    """Return True if the target's object may be replaced. A restore replaces each key once at most."""
    direction = pair.direction
    if own_copies is not None and own_copies.has_attempted(key):
        direction = direction.once_written()
    return direction.replaces


def _completes_own_copy(
    difference: Difference, key: str, source: ObjectState, target: ObjectState, own_copies: OwnCopies | None
) -> bool:
    """Return True if only the lock is missing at the copy of this object that this sweep made."""
    is_lock_alone = difference.lock and not difference.body
    return is_lock_alone and own_copies is not None and own_copies.written_etag(key, source) == target.etag


def outcome_of_copy(pair: BucketPair, source: ObjectState, is_new: bool, reason: str, etag: str) -> Outcome:
    """Return the outcome of a copy of `source` to which the target gave this ETag."""
    other = pair.direction.has_other_etag(source, etag)
    reason += "; the ETag is not the one of before" if other else ""
    return Outcome(
        "copy" if is_new else "update",
        reason,
        source.size,
        has_other_etag=other,
        has_earlier_md5=pair.direction.has_earlier_md5(source, etag),
    )


def _check_write(
    pair: BucketPair, key: str, write: _Write, deadline: Deadline, *, prefetch_body: bool
) -> _Sides | None:
    """Check a write; return both sides, or None if the source has changed and must be compared again.

    The source is always read. The target is read unless its earlier responses make that superfluous: see
    `stores/capabilities.py`. `TargetBucket.delete` has checked a deletion already.
    """
    if write.source is None:
        # For a deleted key one GET confirms the 404. A HEAD would need a second request to confirm it.
        return _Sides(None) if pair.source.get_small(key) is None else None
    is_proven = (
        (write.copied is None or write.copied.proves_bytes)
        and pair.capabilities.keeps_apart(pair.target.prefix, key)
        and write.source.lock == NO_LOCK  # the lock may have to be extended: see `ObjectLocks.sent_with`
    )
    if not pair.capabilities.needs_read(write.properties) and is_proven:
        return _Sides(write.source) if pair.source.head(key, confirm_missing=True) == write.source else None
    try:
        sides = _compare_sides(pair, key, prefetch_body=prefetch_body, write=write)
    except Permanent as error:
        if error.code == NOT_LISTED_CODE and write.copied is not None:
            _raise_for_collision(pair, key, deadline)
        raise
    if sides.difference is None:
        pair.capabilities.record_kept(write.properties)
    elif TAGS_WITH_OBJECT in write.properties and not sides.difference.body and sides.source == write.source:
        pair.capabilities.record_tags_ignored()
    return sides


def _raise_for_collision(pair: BucketPair, key: str, deadline: Deadline) -> None:
    """Raise Permanent if the target takes the copied key for another one, which is made equal first.

    That key had its last check before this copy, so its worker does not know that the object was replaced.
    """
    others = colliding_keys(pair.source, pair.target, pair.capabilities, key)
    for other in others:
        if pair.target.lists(other):
            converge(replace(pair, delete=False), other, deadline, is_listed=True)
    if others:
        raise collision(key, others)


def _judge(
    pair: BucketPair, key: str, sides: _Sides, checks: WriteChecks, deadline: Deadline, write: _Write | None = None
) -> _Sides:
    """Judge a check that follows a write of the same source object; return both sides.

    Raises Permanent if the target does not keep what is written, or Unseen if the checks may have returned an older
    state. The confirmation is spared if the target is known not to keep it: a sweep can have a million such keys.
    """
    if sides.source is None or sides.difference is None:
        return sides
    pair.capabilities.forget_kept()
    if write is not None:
        checks.note(write.copied, write.replaced, sides.target)
    if not checks.repeats(sides.difference, sides.source, sides.target):
        return sides
    lost = sides.difference.reason
    if not pair.capabilities.is_lost(lost):
        deadline.sleep(CONFIRM_AFTER_S)
        sides = _compare_sides(pair, key, prefetch_body=False, write=write)
        if sides.source is None or sides.difference is None:
            return sides
        if write is not None:
            checks.note(write.copied, write.replaced, sides.target)
        if not checks.repeats(sides.difference, sides.source, sides.target):
            return sides
        if checks.saw_write:
            pair.capabilities.record_lost(lost)
    raise checks.error
