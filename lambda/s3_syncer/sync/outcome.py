"""The action for a key, and its reason: the result of `converge`, and of each key of a sweep. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..core.proof import Proof
from ..core.work_items import Work

#: An action in an outcome and in the log. The first six write to the target: `undo` removes a copy that the same sweep
#: brought. `excluded` is a key that the filters leave as it is. `multipart` means that other workers send the parts.
#: `deferred` is a deletion that became a message. A sweep reports missing, differs, unproven, extra, stale, large,
#: archived and restore: see `key_sweep.py`. `part` and `range` are work from a queue, and `failed` is a key of
#: `s3-syncer sync` that could not be made equal.
Action = Literal[
    "copy",
    "update",
    "tags",
    "lock",
    "delete",
    "undo",
    "unchanged",
    "kept",
    "excluded",
    "multipart",
    "deferred",
    "missing",
    "differs",
    "unproven",
    "extra",
    "stale",
    "large",
    "archived",
    "restore",
    "part",
    "range",
    "failed",
]

#: The actions that write to the target.
CHANGES: frozenset[Action] = frozenset({"copy", "update", "tags", "lock", "delete", "undo"})

#: The log lines that say when the target got a change. `complete` is the line of a copy by several workers.
MIRRORED: frozenset[str] = CHANGES | {"complete"}

#: The outcomes with a lag: the target has changed, or will by a message for a deletion. A key that was equal already
#: was made equal earlier, by another event of the key or by a sweep.
WITH_LAG: frozenset[Action] = CHANGES | {"deferred"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The action for a key, and its reason."""

    action: Action
    reason: str
    size: int = 0  # bytes sent
    #: The work that must be done before the key can be equal.
    more: tuple[Work, ...] = ()
    #: True if the last comparison found no such key in the source.
    is_gone: bool = False
    #: True for a restored object without the ETag that it had before.
    has_other_etag: bool = False
    #: True if a restored object got the MD5 as its ETag that it had before; False if the mirror names another one in
    #: the marker. None if the ETags say nothing of it.
    has_earlier_md5: bool | None = None
    #: What shows that the bytes are equal, if a check asked for it.
    proof: Proof | None = None
