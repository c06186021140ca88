"""The comparison of two objects, and of their listing entries. Pure.

Only this module decides if two objects are equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from operator import ge
from typing import cast

from . import object_lock
from .headers import CONTENT_HEADERS, meaning
from .model import MD5, SOURCE_ETAG_MARKER, KeyPage, ListEntry, ObjectState

#: The reason to copy an object that the target does not have.
ABSENT = "absent from the target"

_NEWER = "source is newer"

_LOCK = "Object Lock"

#: An object has metadata that no response shows, so that nothing compares it.
_HIDDEN = "metadata that responses do not show"

#: The reasons for a copy that another copy would prove, and for one that nothing can prove.
_UNPROVEN = "content is not proven: the ETags cannot be compared, and the copy has no ETag marker"
_UNPROVABLE = "content cannot be proven: the ETags cannot be compared, and the metadata has no room for the ETag marker"


@dataclass(frozen=True, slots=True)
class Difference:
    """The reason why two objects differ.

    With `body` the object must be copied, else only its tags or its lock.
    """

    reason: str
    body: bool = True
    #: True if the target's object has less protection than the source's, or another legal hold.
    lock: bool = False
    #: True if nothing differs as far as a comparison can say, but nothing proves that the bytes are equal.
    unproven: bool = False


def compare(
    source: ObjectState,
    target: ObjectState,
    *,
    md5s: bool = False,
    written_etag: str | None = None,
    trusts_time: bool = False,
) -> Difference | None:
    """Return the first difference between the source and the target of a key, or None if they are equal.

    The order is content, headers and user metadata, tags, lock: a difference that costs more to remove comes first.
    `md5s` means that the target's ETags are known to be MD5s where they look so. `written_etag` is the ETag of the copy
    that this worker has just made of this source object, or None. With `trusts_time`, the size and the time decide
    where nothing proves the content, as in `aws s3 sync`. Without it, such an object is different and `unproven`.
    """
    content = _content(source, target, md5s=md5s, written_etag=written_etag, trusts_time=trusts_time)
    unproven = content in (_UNPROVEN, _UNPROVABLE)
    if content is not None and not unproven:
        return Difference(content)
    reason = _headers(source, target)
    if reason is None and _meanings(source.metadata) != _meanings(target.metadata):
        reason = "metadata"
    if reason is None and (source.hidden_metadata or target.hidden_metadata):
        reason = _HIDDEN
    if reason is not None:
        return Difference(reason)
    if source.tags != target.tags:
        return Difference("tags", body=unproven)
    if object_lock.differs(source.lock, target.lock):
        return Difference(_LOCK, body=unproven, lock=True)
    return None if content is None else Difference(content, unproven=True)


def compare_tags(source: ObjectState, target: ObjectState) -> Difference | None:
    """Return the difference of the tags, or None if they are equal."""
    return Difference("tags", body=False) if source.tags != target.tags else None


def compare_locks(source: ObjectState, target: ObjectState) -> Difference | None:
    """Return the difference of the locks, or None if the target protects its object as the source does."""
    return Difference(_LOCK, body=False, lock=True) if object_lock.differs(source.lock, target.lock) else None


def etags_contradict_marker(source: ObjectState, target: ObjectState) -> bool:
    """Return True if the marker says equal, and both ETags look like MD5s and differ.

    Either another tool changed the bytes and kept the metadata, or the target has ETags that only look like MD5s.
    """
    marked = target.marker is not None and target.marker == source.etag and source.size == target.size
    return marked and source.md5 is not None and target.md5 not in (None, source.md5)


def not_kept(difference: Difference, source: ObjectState, target: ObjectState | None) -> str:
    """Return the finding about a target with this difference after a copy, with both values."""
    what, values = _values(difference.reason, source, target)
    shown = ", ".join(f"the {side} has {value}" for side, value in zip(("source", "target"), values, strict=True))
    if difference.reason == _UNPROVABLE:
        return f"{difference.reason}: {shown}"
    return f"the target does not keep {what}: {shown}"


def _values(reason: str, source: ObjectState, target: ObjectState | None) -> tuple[str, tuple[str, str]]:
    """Return the name of what differs, and its value on each side."""
    if target is None:
        return "the object", (f"{source.size} bytes", _NOTHING)
    kind, _, name = reason.partition(" ")
    if kind == "header":
        return name, (_shown(source.headers.get(name)), _shown(target.headers.get(name)))
    if reason in ("metadata", "tags"):
        items = [dict(_meanings(getattr(side, reason))) for side in (source, target)]
        common = items[0].items() & items[1].items()
        one, other = ({name: value for name, value in side.items() if (name, value) not in common} for side in items)
        return f"the {reason}", (_shown(one), _shown(other))
    if reason == _LOCK:
        return "the Object Lock", (_shown(source.lock.headers), _shown(target.lock.headers))
    if reason == _HIDDEN:
        return "the metadata", (_shown_hidden(source), _shown_hidden(target))
    if reason == "size":
        return "the size", (f"{source.size} bytes", f"{target.size} bytes")
    if reason == _NEWER:
        return "the time", (_shown_time(source), _shown_time(target))
    name = f"the metadata {SOURCE_ETAG_MARKER}" if reason == _UNPROVEN else "the content"
    return name, (f"the ETag {source.etag!r}", f"the ETag {target.etag!r}")


_NOTHING = "nothing"


def _shown(value: object) -> str:
    return repr(value) if value else _NOTHING


def _shown_hidden(state: ObjectState) -> str:
    return f"{state.hidden_metadata} entries that responses do not show (x-amz-missing-meta)"


def _shown_time(state: ObjectState) -> str:
    return _NOTHING if state.last_modified is None else state.last_modified.isoformat()


def _content(
    source: ObjectState, target: ObjectState, *, md5s: bool, written_etag: str | None, trusts_time: bool
) -> str | None:
    if source.size != target.size:
        return "size"
    if source.etag == target.etag:
        return None
    if etags_contradict_marker(source, target):
        return "content" if md5s else None
    if target.marker is not None:
        return None if target.marker == source.etag else "content"
    if source.md5 is not None and target.md5 is not None:
        return "content"
    # The ETags prove nothing, and there is no marker. Without room for one, this may be this project's copy of an older
    # version, written late by a worker that then crashed. Only the worker that has just written it knows better.
    if not source.marker_fits:
        return None if target.etag == written_etag else _UNPROVABLE
    # With room for a marker, another tool wrote this copy, because this project would have added one.
    if trusts_time and None not in (source.last_modified, target.last_modified):
        return None if _are_not_older((target.last_modified,), (source.last_modified,)) else _NEWER
    return _UNPROVEN


def _headers(source: ObjectState, target: ObjectState) -> str | None:
    for name in CONTENT_HEADERS:
        if source.headers.get(name) != target.headers.get(name):
            return f"header {name}"
    return None


def _are_not_older(times: Sequence[datetime | None], others: Sequence[datetime | None]) -> bool:
    """Return True if each time of the target is known, and not before that of the source, in `others`.

    The two places that use this are the only ones where a time decides that objects are equal, and only in a plain
    sweep, as in `aws s3 sync`. docs/checks.md names the limits, because a time proves nothing:

    - The removal of a version brings back an older object with its old time.
    - AWS gives an object that was uploaded in parts the time at which its upload began.
    - The clocks of two clouds differ, and some stores give whole seconds only.
    """
    if None in times or None in others:
        return False
    return all(map(ge, cast("Sequence[datetime]", times), cast("Sequence[datetime]", others)))


def _meanings(metadata: Mapping[str, str]) -> Mapping[str, str]:
    return {name: meaning(value) for name, value in metadata.items()}


class KeyStatus(Enum):
    """The status of a key according to two listings."""

    IN_SYNC = "in sync"
    CHECK = "check"  # only a full comparison can decide
    SOURCE_ONLY = "source only"
    TARGET_ONLY = "target only"


@dataclass(frozen=True, slots=True)
class KeyDiff:
    """One key of two listings side by side; at least one side has it."""

    source: ListEntry | None
    target: ListEntry | None

    @property
    def key(self) -> str:
        listed = self.source or self.target
        assert listed is not None
        return listed.key

    @property
    def status(self) -> KeyStatus:
        source, target = self.source, self.target
        if target is None:
            return KeyStatus.SOURCE_ONLY
        if source is None:
            return KeyStatus.TARGET_ONLY
        in_sync = _in_sync(
            ((source.size,), (target.size,)),
            ((source.etag,), (target.etag,)),
            ((source.last_modified,), (target.last_modified,)),
        )
        return KeyStatus.IN_SYNC if in_sync else KeyStatus.CHECK

    @property
    def has_equal_etags(self) -> bool:
        """Return True if both sides list the key with the same size and the same ETag."""
        source, target = self.source, self.target
        if source is None or target is None or None in (source.size, source.etag):
            return False
        return (source.size, source.etag) == (target.size, target.etag)


def pages_in_sync(source: KeyPage, target: KeyPage) -> bool:
    """Return True if both pages list the same keys, and each of them is IN_SYNC."""
    return source.keys == target.keys and _in_sync(
        (source.sizes, target.sizes), (source.etags, target.etags), (source.times, target.times)
    )


def _in_sync(
    sizes: tuple[Sequence[int | None], Sequence[int | None]],
    etags: tuple[Sequence[str | None], Sequence[str | None]],
    times: tuple[Sequence[datetime | None], Sequence[datetime | None]],
) -> bool:
    """Return True if the listings show each object as equal.

    That takes equal sizes and ETags, and a target that is not older than its source. Equal ETags prove the content. The
    time proves nothing: it finds most changes of metadata alone, which keep the ETag and make the source newer. A full
    sweep checks each key. Each argument is a column of the source and the same column of the target.
    """
    is_content_equal = sizes[0] == sizes[1] and etags[0] == etags[1] and None not in sizes[0] and None not in etags[0]
    return is_content_equal and _are_not_older(times[1], times[0])


def differs_by_listing(source: ListEntry, target: ListEntry | None, *, md5s: bool) -> str | None:
    """Return the reason to copy the object, in the words of `compare`, or None if the listings prove none.

    `md5s` means that the target's ETags are known to be MD5s. If they are not, an equal copy may have any ETag, and a
    marker that only a HEAD shows. No time is compared: an older or newer object with the same ETag needs a HEAD.
    """
    if target is None:
        return ABSENT
    if None not in (source.size, target.size) and source.size != target.size:
        return "size"
    if md5s and source.etag != target.etag and _is_md5(source.etag) and _is_md5(target.etag):
        return "content"
    return None


def _is_md5(etag: str | None) -> bool:
    return etag is not None and MD5.fullmatch(etag) is not None
