"""The words of a restore: what the other code calls source and target are the mirror and the bucket."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .stats import UNPROVEN_COPY, SweepStats


def in_restore(reason: str) -> str:
    """Return a reason, or the text about concurrency, with the names of the stores in a restore."""
    named = reason.replace("the target", "the bucket").replace("the source", "the mirror")
    return re.sub(r"(?<=\d) source and ([\d,]+) target requests", r" mirror and \1 bucket requests", named)


def planned_restore(what: str, *, overwrite: bool) -> str:
    """Return the word for a kind of difference in a dry run."""
    if what == "missing":
        return "would be restored"
    return "would be replaced" if overwrite and what in ("differs", "unproven") else what


def restore_notes(stats: SweepStats, *, overwrite: bool) -> Iterator[str]:
    """Yield the notes behind the summary."""
    if stats.target_only:
        yield f"note: keys that only the bucket has: {stats.target_only:,}. They stay."
    if not overwrite and _has_different_objects(stats):
        yield "note: objects that differ stay. --overwrite replaces them with those of the mirror."
    if stats.other_etags:
        yield (
            f"note: restored objects with another ETag than before: {stats.other_etags:,}. Live sync copies each of "
            "them to the mirror once."
        )


def _has_different_objects(stats: SweepStats) -> bool:
    """Return True if the bucket has objects that the restore leaves as they are although they differ."""
    counts = stats.differences.counts
    return counts["differs"] + counts["unproven"] > stats.differences.reasons[UNPROVEN_COPY]
