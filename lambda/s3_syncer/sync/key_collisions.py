"""Find the keys of the source that a target has taken for the key that was just copied.

Two workers may copy two such keys at the same moment: each of them sees a target without its key. One copy then
replaces the other. The worker of the later copy finds the earlier key here, and names both.

That is checked only for a copied key that the target does not list, and costs a HEAD of the source for each twin: see
`core/key_folding.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import Permanent
from ..core.key_folding import twins
from ..stores.capabilities import TargetCapabilities
from ..stores.protocols import SourceBucket, TargetBucket
from .key_identity import NOT_LISTED_CODE


def colliding_keys(
    source: SourceBucket, target: TargetBucket, capabilities: TargetCapabilities, key: str
) -> Sequence[str]:
    """Return the twins of a copied key that the source has and to which the target responds."""
    possible = twins(target.prefix, key, capabilities.apart).values()
    there = [twin for twin in dict.fromkeys(possible) if twin is not None and source.head(twin, tags=False) is not None]
    return [twin for twin in there if not target.is_missing(twin)]


def collision(key: str, colliding: Sequence[str]) -> Permanent:
    """Return the error for a copied key that is one with these keys in the target."""
    names = ", ".join(map(repr, colliding))
    reason = f"the target takes {key!r} for {names}: it keeps only one object for all of them"
    return Permanent(f"{reason}. Its copy may have replaced another one: compare these keys again", NOT_LISTED_CODE)
