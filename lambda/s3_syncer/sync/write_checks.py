"""The rule for a difference that a copy does not remove.

The same difference after two writes is a finding. A third copy would not help: the target does not keep what it is
given. `converge` applies this rule, and so do sweeps, which call it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.compare import Difference, not_kept
from ..core.model import ObjectState

#: Seconds between the second check that finds a difference and the check that confirms it. Another worker that writes
#: the same key can make a target look as if it lost something. Its own check repairs that within a few requests.
CONFIRM_AFTER_S = 2.0


@dataclass(slots=True)
class WriteChecks:
    """The checks that follow the writes of one key."""

    #: The finding of the latest check that found a difference; "" before it.
    finding: str = ""

    def repeats(self, difference: Difference, source: ObjectState, target: ObjectState | None) -> bool:
        """Record the difference that a check found; return True if the check before found the same values."""
        before, self.finding = self.finding, not_kept(difference, source, target)
        return self.finding == before
