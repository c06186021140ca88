"""The source of chance of a run. All choices follow from one seed, but the times do not."""

from __future__ import annotations

from random import Random


def seeded(seed: object) -> Random:
    """Return a source of chance that depends only on the text of the seed."""
    return Random(str(seed))  # noqa: S311 - a test, no secret
