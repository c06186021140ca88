"""The work items and their JSON on the queue. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import Permanent

#: Names this project's own messages, so that they cannot be mistaken for a store's.
ENVELOPE = "s3-syncer"


class Malformed(Permanent):
    """A message that this version does not understand. The dead-letter queue keeps it for a person."""


@dataclass(frozen=True, slots=True)
class KeyWork:
    """These keys may differ. `keys` are whole keys of the source bucket."""

    keys: tuple[str, ...]
    #: When the source said so, in seconds since 1970, for the lag in the log; None when nobody knows.
    since: float | None = None

    def to_json(self) -> str:
        return _envelope("keys", keys=list(self.keys))


@dataclass(frozen=True, slots=True)
class RangeWork:
    """Any key behind `after` up to `until` may differ; keys are relative to the source prefix, None is no end."""

    after: str = ""
    until: str | None = None
    #: Whether keys that only the target has are deleted, and how many of them at most; None is no limit.
    delete: bool = False
    max_delete: int | None = None

    def to_json(self) -> str:
        return _envelope("range", after=self.after, until=self.until, delete=self.delete, max_delete=self.max_delete)


Work = KeyWork | RangeWork


def from_envelope(content: Mapping[str, Any]) -> Work:
    """The work in one of this project's own messages. Raises Malformed."""
    match content.get("work"):
        case "keys":
            return _keys(content)
        case "range":
            return _range(content)
        case other:
            raise Malformed(f'"work" must be "keys" or "range", not {json.dumps(other)}')


def _keys(content: Mapping[str, Any]) -> KeyWork:
    keys = content.get("keys")
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) and key for key in keys):
        raise Malformed('"keys" must be a list of one or more non-empty strings')
    return KeyWork(tuple(keys))


def _range(content: Mapping[str, Any]) -> RangeWork:
    after, until = content.get("after", ""), content.get("until")
    delete, most = content.get("delete", False), content.get("max_delete")
    if not isinstance(after, str) or not (until is None or isinstance(until, str)):
        raise Malformed('"after" must be a key or "", and "until" a key or null')
    if not isinstance(delete, bool):
        raise Malformed('"delete" must be true or false')
    if most is not None and (type(most) is not int or most < 0):
        raise Malformed('"max_delete" must be a whole number or null')
    return RangeWork(after, until, delete, most)


def _envelope(work: str, **content: Any) -> str:
    return json.dumps({ENVELOPE: {"work": work, **content}})
