"""The evidence of one process for a rejection of one object, or of every object of a store.

The code of a rejection does not say that. A policy, a quota or a suspended user refuse every key, and a policy may also
refuse one key. So the requests of each kind are compared: a store over its quota refuses writes and serves reads.

| observation | the rejection concerns |
|---|---|
| the key was refused before, and since then the store served a request of this kind | the key |
| the store served no request of this kind yet, and refused FIRST_RUN keys | the store |
| since the last success the store denied LONG_RUN keys with this code | the store |
| anything else | it is unknown |

A success that began before the rejection proves nothing: a quota may be reached between two requests. The creation of
an upload proves nothing either, because it stores no bytes. HEAD is another kind than GET: that may need a KMS key too.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from ..core.errors import Refused

#: Keys that a store refuses before its first success, after which it counts as refusing all keys. More keys than the
#: two that a bad batch of events may name, and few enough to cost little.
FIRST_RUN = 3

#: Keys in a row that a store denies after it served a key. Objects with the same oddity often follow each other, and
#: they must not stop the work on all other keys.
LONG_RUN = 20

#: Seconds for which the first rejection of a key counts: twice the longest delay of a message that comes back. A later
#: rejection may belong to another time in which the store refuses all keys.
REMEMBER_S = 1800.0

#: Refused keys of one kind that are remembered. Each takes about 200 bytes.
MAX_KEYS = 10_000

#: The kind by operation. Every other operation is a kind by itself.
_KINDS = {
    "put_object": "write",
    "create_multipart_upload": "write",
    "upload_part": "write",
    "complete_multipart_upload": "write",
}

#: Steps of a write after which a later step of the same key may be refused. They do not end the memory of a rejection:
#: a key with one refused part would seem to be refused for the first time at each delivery.
_FIRST_STEPS = frozenset({"create_multipart_upload", "upload_part"})


@dataclass(slots=True)
class _Kind:
    """The requests of one kind."""

    has_served: bool = False
    #: The number of rejections of the store before the latest success began.
    last_success: int = 0
    #: The time since which the store was too busy for each request; None if it served the latest.
    busy_since: float | None = None
    #: The number and the time of its first rejection, by key.
    refused: dict[str, tuple[int, float]] = field(default_factory=dict)
    #: The keys that were refused since the last success, by code.
    run: dict[str, set[str]] = field(default_factory=dict)


class Rejections:
    """The successes and rejections of the requests to one store. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[str, _Kind] = {}
        self._number = 0

    def mark(self) -> int:
        """Return a number to pass to `note_success` for a request that begins now."""
        return self._number

    def note_success(self, operation: str, key: str = "", *, began: int = 0) -> None:
        """Note that the store served a request about the key; "" is any key.

        Without `began`, the request may have begun before any rejection, so it makes none of them the key's own.
        """
        kind = self._kind(operation)
        kind.busy_since = None
        if operation == "create_multipart_upload":
            return
        if kind.has_served and not kind.run and not kind.refused:
            return  # the usual case
        with self._lock:
            kind.has_served, kind.last_success = True, max(kind.last_success, began)
            kind.run.clear()
            if operation not in _FIRST_STEPS:
                kind.refused.pop(key, None)

    def busy_s(self, operation: str, now: float) -> float:
        """Note a request for which the store was too busy; return the seconds since it served one of its kind."""
        kind = self._kind(operation)
        with self._lock:
            kind.busy_since = now if kind.busy_since is None else kind.busy_since
            return now - kind.busy_since

    def judge(self, operation: str, key: str, error: Refused, now: float) -> None:
        """Note a rejection of the key at a time in seconds, and record in the error what it concerns."""
        kind = self._kind(operation)
        with self._lock:
            self._number += 1
            first, since = kind.refused.setdefault(key, (self._number, now))
            if now - since > REMEMBER_S:
                first, _ = kind.refused[key] = self._number, now
            if len(kind.refused) > MAX_KEYS:
                del kind.refused[next(iter(kind.refused))]
            if kind.last_success >= first:
                error.concerns = "key"
                return
            run = kind.run.setdefault(error.code, set())
            if len(run) < LONG_RUN:
                run.add(key)
            if len(run) >= FIRST_RUN and (not kind.has_served or (len(run) >= LONG_RUN and error.is_denial)):
                error.concerns = "store"

    def _kind(self, operation: str) -> _Kind:
        name = _KINDS.get(operation, operation)
        return self._kinds.get(name) or self._kinds.setdefault(name, _Kind())
