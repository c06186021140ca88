"""The rule for a difference that a copy does not remove.

The same difference after two writes is a finding. A third copy would not help: the target does not keep what it is
given. `converge` applies this rule, and so do sweeps, which call it.

Some stores return an older state for a while after a write. So a finding is permanent only if a check saw the object
that was written. Otherwise the key is tried again later. A finding about tags is always tried again: a PUT of another
worker with the same bytes removes them, and leaves the ETag as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.compare import Difference, not_kept
from ..core.errors import Permanent, Retryable
from ..core.model import ObjectState, WrittenObject

#: Seconds between the second check that finds a difference and the check that confirms it. Another worker that writes
#: the same key can make a target look as if it lost something. Its own check repairs that within a few requests.
CONFIRM_AFTER_S = 2.0

#: Deliveries of a message after which a finding is permanent without having seen the written object. The delays between
#: them are 15 to 30 s in all. Each delivery makes two copies.
MAX_UNSEEN_DELIVERIES = 5


class Unseen(Retryable):
    """A finding of checks that may have returned another state of the target than the write made."""


@dataclass(slots=True)
class WriteChecks:
    """The checks that follow the writes of one key."""

    #: The finding of the latest check that found a difference; "" before it.
    finding: str = ""
    #: True if one of the checks saw the object that was written before it.
    saw_write: bool = False
    #: True if the latest difference is one of tags alone.
    _only_tags: bool = False

    def repeats(self, difference: Difference, source: ObjectState, target: ObjectState | None) -> bool:
        """Record the difference that a check found; return True if the check before found the same values."""
        before, self.finding = self.finding, not_kept(difference, source, target)
        self._only_tags = not difference.body
        return self.finding == before

    @property
    def error(self) -> Permanent | Unseen:
        """Return the error of a key with a finding that repeats."""
        if self.saw_write and not self._only_tags:
            return Permanent(self.finding, "StillDifferent")
        return Unseen(self.finding, "StillDifferent")

    def note(self, written: WrittenObject | None, replaced: ObjectState | None, target: ObjectState | None) -> None:
        """Record a check of the target after a write: `written` over `replaced`, or None for tags alone.

        The ETag identifies the written object. If the one before had the same bytes, the time must be later too. Tags
        have neither, so their check counts: see `error`.
        """
        if written is None:
            self.saw_write = True
        elif target is not None and target.etag == written.etag:
            self.saw_write |= replaced is None or replaced.etag != written.etag or _is_later(target, replaced)


def _is_later(state: ObjectState, before: ObjectState) -> bool:
    one, other = before.last_modified, state.last_modified
    return one is not None and other is not None and one < other
