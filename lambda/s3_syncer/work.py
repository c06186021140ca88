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
        return json.dumps({ENVELOPE: {"work": "keys", "keys": list(self.keys)}})


def from_envelope(content: Mapping[str, Any]) -> KeyWork:
    """The work in one of this project's own messages. Raises Malformed."""
    work, keys = content.get("work"), content.get("keys")
    if work != "keys":
        raise Malformed(f'"work" must be "keys", not {json.dumps(work)}')
    if not isinstance(keys, list) or not keys or not all(isinstance(k, str) and k for k in keys):
        raise Malformed('"keys" must be a list of one or more non-empty strings')
    return KeyWork(tuple(keys))
