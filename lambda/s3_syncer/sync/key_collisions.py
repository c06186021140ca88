"""Find the keys of the source that a target takes for another one.

Two workers may copy two such keys at the same moment: each of them sees a target without its key. One copy then
replaces the other. The worker of the later copy finds the earlier key here, and names both.

Only a key that the target does not list is checked. That costs a HEAD of the source for each twin, and a GET of the
target for each key that is found. Keys that differ in the case of letters cost listings of the source: two or three as
a rule, and MAX_LISTINGS at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..core.errors import Permanent
from ..core.key_folding import CASES, first_spelling, twins
from ..stores.capabilities import TargetCapabilities
from ..stores.protocols import SourceBucket, TargetBucket
from .key_identity import NOT_LISTED, NOT_LISTED_CODE

#: Listings of the source, each with a HEAD, in the search for the spellings of one key.
MAX_LISTINGS = 20


def colliding_keys(
    source: SourceBucket, target: TargetBucket, capabilities: TargetCapabilities, key: str
) -> Sequence[str]:
    """Return the other keys of the source for which the target may take this key."""
    possible = twins(target.prefix, key, capabilities.apart)
    asked = {twin for fold, twin in possible.items() if twin is not None and fold not in CASES}
    there = {twin: None for twin in sorted(asked) if source.head(twin, tags=False) is not None}
    if possible.keys() & CASES:
        there |= dict.fromkeys(_spellings(source, key))
    return [twin for twin in there if not target.is_missing(twin)]


def _spellings(source: SourceBucket, key: str) -> Iterator[str]:
    """Yield the keys of the source that differ from this key only in the case of letters."""
    spelling = first_spelling(key, "")
    for _ in range(MAX_LISTINGS):
        if spelling is None:
            return
        if spelling != key and source.head(spelling, tags=False) is not None:
            yield spelling
        following = source.first(spelling)
        spelling = None if following is None else first_spelling(key, following)


def collision(key: str, colliding: Sequence[str]) -> Permanent:
    """Return the error for a copied key that is one with these keys in the target."""
    return Permanent(
        f"{_taken(key, colliding)}. Its copy may have replaced another one: compare these keys again", NOT_LISTED_CODE
    )


def occupied(key: str, colliding: Sequence[str]) -> Permanent:
    """Return the error for a key that was not copied, because the target has these keys in its place."""
    return Permanent(f"{NOT_LISTED}: {_taken(key, colliding)}", NOT_LISTED_CODE)


def _taken(key: str, colliding: Sequence[str]) -> str:
    names = ", ".join(map(repr, colliding))
    return f"the target takes {key!r} for {names}: it keeps only one object for all of them"
