"""The work items and their JSON on the queue. Pure.

Work that a worker cannot finish, or finds, goes on in new messages. `hops` counts them, from 0 for a message that the
product did not send. A chain of messages may be as long as its work needs. Work that makes no progress has a bound, and
reaching it is a dead letter: see docs/adr/0013-bulk-queue.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from .errors import Permanent
from .filters import NO_FILTERS, BadFilter, Filters
from .upload_history import UploadHistory

#: The key of this project's own messages, so that no decoder mistakes them for an event of a store.
ENVELOPE = "s3-syncer"

#: The fields of `KeyWork` that count.
_KEY_COUNTS = ("full_attempts", "late_checks", "hops")

#: The end of the year 9999, in seconds since 1970.
_LATEST_S = 253402300800


class Malformed(Permanent):
    """A message that this version does not understand. It goes to the dead-letter queue."""


@dataclass(frozen=True, slots=True)
class KeyWork:
    """These keys may differ. `keys` are whole keys of the source bucket."""

    keys: tuple[str, ...]
    #: The time of the source's event in seconds since 1970, for the lag in the log; None if it is unknown.
    since: float | None = None
    #: Seconds before the queue delivers the message, see `sqs.MAX_DELAY_S`; not part of the message.
    delay_s: int = 0
    #: The multipart uploads that this message and its predecessors have made for the key; None for a message that does
    #: not track a distributed copy.
    uploads: UploadHistory | None = None
    #: The number of full attempts that ended without time left, see `queue.batch_items.MAX_FULL_ATTEMPTS`.
    full_attempts: int = 0
    #: The number of late checks in a row that this message ends, see `late_checks.MAX_LATE_CHECKS`.
    late_checks: int = 0
    #: The number of the product's own messages in the chain that ends with this one.
    hops: int = 0
    #: True for work that a released deletion led to: it deletes without another release, see `DeletionWork`.
    released: bool = False
    #: Why the message has records that are no keys of this work, or ""; not part of the message.
    rejection: str = ""

    def to_json(self) -> str:
        tracked: dict[str, Any] = {} if self.since is None else {"since": self.since}
        tracked |= {} if self.uploads is None else {"uploads": self.uploads.to_json()}
        counts = {name: getattr(self, name) for name in _KEY_COUNTS}
        return _envelope("keys", keys=list(self.keys), released=self.released, **tracked, **counts)


@dataclass(frozen=True, slots=True)
class RangeWork:
    """Any key behind `after` up to `until` may differ; keys are relative to the source prefix.

    An `until` of None is the end of the listing.
    """

    after: str = ""
    until: str | None = None
    #: True to delete keys that only the target has, at most `max_delete` of them; None is no limit.
    delete: bool = False
    max_delete: int | None = None
    #: True to compare headers, metadata and tags of every key, also of keys with equal listing entries.
    full: bool = False
    #: The filters of the sender. A worker applies its own filters too.
    filters: Filters = NO_FILTERS
    #: See `KeyWork.hops`.
    hops: int = 0
    #: The number of the last of these hops in which a worker made no progress, see `range_sweep.MAX_STALLED_HOPS`.
    stalled_hops: int = 0

    def to_json(self) -> str:
        content = {each.name: getattr(self, each.name) for each in fields(self)}
        return _envelope("range", **{**content, "filters": self.filters.to_json() if self.filters else None})


@dataclass(frozen=True, slots=True)
class PartsWork:
    """Send the parts `first` to `last` of one multipart upload, except those that it has already.

    The message holds no progress: ListParts of the upload shows which parts have been sent.
    """

    #: A whole key of the source bucket, and the ETag that every read of it is pinned to.
    key: str
    etag: str
    #: The target's upload id.
    upload: str
    #: Bytes of the object and of each part but the last.
    size: int
    part_size: int
    first: int
    last: int
    #: The multipart uploads of the key so far, this one included: see `KeyWork.uploads`.
    uploads: UploadHistory = field(default_factory=UploadHistory)
    #: The time of the event that led to the upload: see `KeyWork.since`.
    since: float | None = None
    #: See `KeyWork.hops`.
    hops: int = 0

    def to_json(self) -> str:
        return _envelope("parts", **{**asdict(self), "uploads": self.uploads.to_json()})


@dataclass(frozen=True, slots=True)
class DeletionWork:
    """Delete these keys from the target if the source still lacks them.

    `keys` are whole keys of the source bucket. The delete guard counts messages, so only a released one has several
    keys: see `queue/deletion_guard.py`.
    """

    keys: tuple[str, ...]
    #: True once a person has released the deletion: it is neither held nor delayed.
    released: bool = False
    #: True for the queue of the held deletions; not part of the message.
    is_held: bool = False
    #: See `KeyWork.hops`.
    hops: int = 0

    def to_json(self) -> str:
        return _envelope("deletion", keys=list(self.keys), released=self.released, hops=self.hops)


Work = KeyWork | RangeWork | PartsWork | DeletionWork


def lag_ms(since: float | None, now: float) -> int | None:
    """Return the lag of an event: 0 if the clock of the source is ahead, None without an event."""
    return None if since is None else max(0, round((now - since) * 1000))


def following(works: Iterable[Work], hops: int) -> tuple[Work, ...]:
    """Return the work that a message with this number of hops leads to, one hop further."""
    return tuple(replace(work, hops=hops + 1) for work in works)


def from_envelope(content: Mapping[str, Any]) -> Work:
    """Return the work in one of this project's own messages. Raises Malformed."""
    match content.get("work"):
        case "keys":
            return _keys(content)
        case "range":
            return _range(content)
        case "parts":
            return _parts(content)
        case "deletion":
            return _deletion(content)
        case other:
            raise Malformed(f'"work" must be "keys", "range", "parts" or "deletion", not {json.dumps(other)}')


def _whole_keys(content: Mapping[str, Any]) -> tuple[str, ...]:
    keys = content.get("keys")
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) and key for key in keys):
        raise Malformed('"keys" must be a list of one or more non-empty strings')
    return tuple(keys)


def _deletion(content: Mapping[str, Any]) -> DeletionWork:
    return DeletionWork(_whole_keys(content), _released(content), hops=_count(content, "hops"))


def _keys(content: Mapping[str, Any]) -> KeyWork:
    keys = _whole_keys(content)
    uploads = None if content.get("uploads") is None else _uploads(content)
    counts: dict[str, Any] = {name: _count(content, name) for name in _KEY_COUNTS}
    return KeyWork(keys, _since(content), uploads=uploads, released=_released(content), **counts)


def _range(content: Mapping[str, Any]) -> RangeWork:
    after, until = content.get("after", ""), content.get("until")
    delete, max_delete, full = content.get("delete", False), content.get("max_delete"), content.get("full", False)
    if not isinstance(after, str) or not (until is None or isinstance(until, str)):
        raise Malformed('"after" must be a key or "", and "until" a key or null')
    if not isinstance(delete, bool):
        raise Malformed('"delete" must be true or false')
    if max_delete is not None and not _is_whole(max_delete):
        raise Malformed('"max_delete" must be a whole number or null')
    if not isinstance(full, bool):
        raise Malformed('"full" must be true or false')
    try:
        filters = Filters.from_json(content["filters"]) if "filters" in content else NO_FILTERS
    except BadFilter as error:
        raise Malformed(f'"filters" is invalid: {error}') from error
    counts = {name: _count(content, name) for name in ("hops", "stalled_hops")}
    return RangeWork(after, until, delete, max_delete, full, filters, **counts)


def _parts(content: Mapping[str, Any]) -> PartsWork:
    texts = {name: content.get(name) for name in ("key", "etag", "upload")}
    if not all(isinstance(text, str) and text for text in texts.values()):
        raise Malformed('"key", "etag" and "upload" must be non-empty strings')
    numbers = {name: content.get(name) for name in ("size", "part_size", "first", "last")}
    if not all(_is_whole(number) and number for number in numbers.values()):
        raise Malformed('"size", "part_size", "first" and "last" must be whole numbers above 0')
    tracked = {"uploads": _uploads(content), "since": _since(content), "hops": _count(content, "hops")}
    work = PartsWork(**texts, **numbers, **tracked)  # type: ignore[arg-type]
    if not work.first <= work.last <= -(-work.size // work.part_size):
        raise Malformed(f"there are no parts {work.first} to {work.last} of an object of {work.size} bytes")
    return work


def _released(content: Mapping[str, Any]) -> bool:
    released = content.get("released", False)
    if not isinstance(released, bool):
        raise Malformed('"released" must be true or false')
    return released


def _since(content: Mapping[str, Any]) -> float | None:
    """Return the time of the event. Raises Malformed, also for NaN and for an infinite number."""
    since = content.get("since")
    if since is None:
        return None
    if type(since) not in (int, float) or not 0 <= since < _LATEST_S:
        raise Malformed('"since" must be a number of seconds since 1970')
    return float(since)


def _count(content: Mapping[str, Any], name: str) -> int:
    count = content.get(name, 0)
    if not _is_whole(count):
        raise Malformed(f'"{name}" must be a whole number')
    return int(count)


def _uploads(content: Mapping[str, Any]) -> UploadHistory:
    found = content.get("uploads", {})
    if not isinstance(found, Mapping):
        raise Malformed('"uploads" must be an object')
    for each in fields(UploadHistory):
        value, is_number = found.get(each.name, each.default), isinstance(each.default, int)
        if not (_is_whole(value) if is_number else isinstance(value, str)):
            raise Malformed(f'"uploads.{each.name}" must be a {"whole number" if is_number else "string"}')
    return UploadHistory(**{each.name: found[each.name] for each in fields(UploadHistory) if each.name in found})


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def _envelope(work: str, **content: Any) -> str:
    """Return the message for these fields, without zeros, a false `released` and empty filters."""
    zeros = {name for name in (*_KEY_COUNTS, "stalled_hops", "released", "filters") if not content.get(name)}
    return json.dumps({ENVELOPE: {"work": work, **{name: content[name] for name in content if name not in zeros}}})
