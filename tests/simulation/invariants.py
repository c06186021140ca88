"""The promises that every history must keep, checked once nothing moves any more.

A history is quiet when the queue is empty, no request is late, and no process has work. To add a promise, write a
function that yields one plain line for each violation, and list it in INVARIANTS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from s3_syncer.core.errors import Permanent
from s3_syncer.core.events import decode
from s3_syncer.core.filters import NO_FILTERS, Filters
from s3_syncer.core.work_items import KeyWork, PartsWork
from s3_syncer.sync.upload_decision import MAX_UPLOAD_ATTEMPTS

from .sqs import Queued
from .store import Store, Version


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a sweep that began when the history was quiet: its name, and the keys that it named."""

    name: str
    #: True if the sweep says that both sides are equal: exit code 0.
    equal: bool
    #: Keys that it reported as different, failed or unproven.
    named: Set[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A history that is quiet, with what it must be judged by."""

    source: Store
    target: Store
    #: The messages that are still on the queue.
    queue: Sequence[Queued] = ()
    dead_letters: Sequence[Queued] = ()
    #: Keys that a sweep, a check or a job of S3 Batch Operations reported: different, failed, unproven or extra.
    findings: Set[str] = frozenset()
    #: The keys that must be equal: those with an event, or all keys of the source after a sweep.
    duty: Set[str] = frozenset()
    #: The keys that the source lost at the end. No event says that they are gone.
    lost: Set[str] = frozenset()
    #: True if the live sync deletes.
    deletes: bool = True
    #: True if tags are mirrored.
    tags: bool = True
    #: The objects of the target at the beginning.
    before: Mapping[str, Version] = field(default_factory=dict)
    #: The filters of all workers and sweeps.
    filters: Filters = NO_FILTERS
    #: Texts in the error of each dead letter that the history explains.
    explained_errors: Sequence[str] = ()
    #: The deletions that the delete guard let through when it had to be shut.
    guard_breaches: Sequence[str] = ()
    #: By sweep: the objects that it deleted, and its limit; None is no limit.
    deletions: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    #: The writes of restores that they must not make.
    restore_breaches: Sequence[str] = ()
    #: The objects of the mirror that the source must have again after a restore.
    restored: Mapping[str, Version] = field(default_factory=dict)
    #: The verdicts of sweeps over a quiet history.
    verdicts: Sequence[Verdict] = ()
    #: True if an upload may stay behind: see docs/operations.md, "Incomplete multipart uploads".
    uploads_may_stay: bool = False

    @property
    def excused(self) -> Set[str]:
        """The keys that a dead letter or a finding names, those that the filters exclude, and the lost ones."""
        named = {key for letter in self.dead_letters for key in keys_of(letter)}
        return self.findings | self.lost | named | {key for key in self.duty if self.is_excluded(key)}

    def is_excluded(self, key: str) -> bool:
        """Return True if the filters exclude the key as it is now."""
        return self.excludes_name(key) or self.excludes_size(self.source.current(key) or self.target.current(key))

    def excludes_name(self, key: str) -> bool:
        return self.filters.exclusion_by_name(key) is not None

    def excludes_size(self, version: Version | None) -> bool:
        """Return True if the limits exclude an object of this size. The code of the product is not used."""
        if version is None:
            return False
        size, largest = len(version.body), self.filters.max_size
        return size < (self.filters.min_size or 0) or (largest is not None and size > largest)


def keys_of(message: Queued) -> Set[str]:
    """Return the keys that a message names: its own attribute, or those of its work."""
    if message.key is not None:
        return {message.key}
    try:
        work = decode(message.body, "source")
    except Permanent:
        return frozenset()
    if isinstance(work, KeyWork):
        return set(work.keys)
    return {work.key} if isinstance(work, PartsWork) else frozenset()


def every_message_ended(end: Ending) -> Iterator[str]:
    for message in end.queue:
        yield f"a message is still on the queue: {message.body}"


def no_request_is_late(end: Ending) -> Iterator[str]:
    for store in (end.source, end.target):
        if store.late_requests:
            yield f"the history ended before {store.late_requests} late requests of the {store.name}"


def nothing_is_missing(end: Ending) -> Iterator[str]:
    """Each object that the source has is in the target."""
    listed = end.target.objects
    for key in end.source.objects:
        if key in end.duty - end.excused and key not in listed:
            yield f"{key}: the source has the object and the target does not"


def copies_are_equal(end: Ending) -> Iterator[str]:
    """Each object that both sides have has the same body, headers, metadata and tags."""
    listed = end.target.objects
    for key in end.duty - end.excused:
        source, target = end.source.current(key), listed.get(key)
        if source is None or target is None:
            continue
        for name, one, other in zip(
            ("body", "headers or metadata", "tags"), source.mirrored, target.mirrored, strict=True
        ):
            if one != other and (end.tags or name != "tags"):
                yield f"{key}: the {name} differ: {_short(one)} in the source, {_short(other)} in the target"


def no_ghost_stays(end: Ending) -> Iterator[str]:
    """An object that was deleted from the source is not in the target, where live sync deletes."""
    if not end.deletes:
        return
    for key in end.target.objects:
        if key in end.duty - end.excused and end.source.current(key) is None:
            yield f"{key}: the object was deleted from the source, and the target still has it"


def nothing_of_others_is_gone(end: Ending) -> Iterator[str]:
    """Without deletes, each object that was in the target before is still there."""
    if end.deletes:
        return
    for key in end.before:
        if end.target.current(key) is None:
            yield f"{key}: the object was in the target before, deletes are off, and it is gone"


def excluded_keys_stay(end: Ending) -> Iterator[str]:
    """The target has nothing for an excluded key but what it had before, and nothing of it is gone."""
    for key in {**end.before, **end.target.objects}:
        before, now = end.before.get(key), end.target.current(key)
        if end.excludes_name(key):
            if before is not now:
                yield f"{key}: the filters exclude the name, and the object of the target changed"
        elif now is not None and now is not before and end.excludes_size(now):
            yield f"{key}: the filters exclude objects of {len(now.body)} bytes, and one was copied"
        elif now is None and key not in end.duty and end.excludes_size(before):
            yield f"{key}: the filters exclude the object that only the target had, and it is gone"


def delete_limits_hold(end: Ending) -> Iterator[str]:
    for name, (made, limit) in end.deletions.items():
        if limit is not None and made > limit:
            yield f"{name} deleted {made} objects, and its limit is {limit}"


def guard_holds(end: Ending) -> Iterator[str]:
    """No deletion is done while more of them wait or are held than the guard lets through."""
    yield from end.guard_breaches


def restores_keep_what_is_there(end: Ending) -> Iterator[str]:
    """A restore replaces only what it may, writes no ETag marker, and deletes nothing."""
    yield from end.restore_breaches


def lost_objects_are_back(end: Ending) -> Iterator[str]:
    """After a restore, the source has each object of the mirror that the restore does not name."""
    for key, expected in end.restored.items():
        is_excluded = end.excludes_name(key) or end.excludes_size(expected)
        if not is_excluded and not _same(expected, end.source.current(key), tags=end.tags):
            yield f"{key}: the restore reports no failure, and the source differs from the mirror"


def verdicts_are_true(end: Ending) -> Iterator[str]:
    """A sweep over a quiet history that says "equal" is right, and each difference has its key named."""
    for verdict in end.verdicts:
        listed = end.target.objects
        for key in {**end.source.objects, **listed}:
            source, target = end.source.current(key), listed.get(key)
            if end.is_excluded(key):
                if key in verdict.named:
                    yield f"{key}: {verdict.name} names this key, and the filters exclude it"
                continue
            if source is None and not end.deletes:
                continue
            if _same(source, target, tags=end.tags):
                continue
            if verdict.equal:
                yield f"{key}: {verdict.name} says that both sides are equal, and this key differs"
            elif key not in verdict.named:
                yield f"{key}: {verdict.name} does not name this key, and it differs"


def no_upload_stays(end: Ending) -> Iterator[str]:
    if end.uploads_may_stay:
        return
    for key in end.target.upload_keys:
        yield f"{key}: a multipart upload stays behind in the target"


def dead_letters_are_explained(end: Ending) -> Iterator[str]:
    for letter in end.dead_letters:
        error = letter.attributes.get("error", "redrive")
        gave_up = re.match(r"gave up after \d+ multipart uploads", error)
        if gave_up and all(end.target.idle_uploads[key] >= MAX_UPLOAD_ATTEMPTS for key in keys_of(letter)):
            continue
        if not any(text in error for text in end.explained_errors):
            yield f"a dead letter without a cause in this history: {error}: {letter.body}"


#: Every promise. An earlier one explains more.
INVARIANTS: tuple[Callable[[Ending], Iterator[str]], ...] = (
    nothing_is_missing,
    copies_are_equal,
    no_ghost_stays,
    nothing_of_others_is_gone,
    excluded_keys_stay,
    delete_limits_hold,
    guard_holds,
    restores_keep_what_is_there,
    lost_objects_are_back,
    verdicts_are_true,
    no_upload_stays,
    dead_letters_are_explained,
    every_message_ended,
    no_request_is_late,
)


def violations(end: Ending) -> list[str]:
    """Return one line for each broken promise, with the name of the promise."""
    return [f"{check.__name__}: {line}" for check in INVARIANTS for line in sorted(check(end))]


def _same(source: Version | None, target: Version | None, *, tags: bool) -> bool:
    if source is None or target is None:
        return source is target
    count = 3 if tags else 2
    return source.mirrored[:count] == target.mirrored[:count]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"
