"""Cuts of a range of keys into parts, without knowledge of how the keys are distributed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .deadline import Deadline
from .errors import SyncError

#: Returns for each of several keys the first key behind it, or None; it may request all of them at once.
FirstBehind = Callable[[Sequence[str]], Sequence[str | None]]

#: Parts into which one round of probes divides the prefix lengths that are still possible.
_STEPS = 8

#: Characters that are tried as the beginning of a part, in addition to those that keys have shown.
_COMMON = "48CGMSYdhlpty"

#: Characters that come last in the order of UTF-16, and before many characters in the order of UTF-8. In a store that
#: lists in the order of UTF-16, a cut at one of them could hide keys from both parts, and hide the wrong order as well.
#: The range starts with the surrogates, which are no characters, so no key has them.
_UNUSABLE = range(0xD800, 0x10000)

_LAST_POINT = 0x10FFFF


def cut_range(first: FirstBehind, after: str, until: str | None, deadline: Deadline) -> list[tuple[str, str | None]]:
    """Return the parts of the range behind `after` up to `until`, in order, each as such a pair of keys.

    The only part is the whole range if it cannot be cut, if the deadline has passed, or if a request fails. The next
    sweep of the range then reports the error, or finds it solved.
    """
    try:
        cuts = [] if deadline.passed() else borders(first, after, until)
    except SyncError:
        cuts = []
    return list(zip([after, *cuts], [*cuts, until], strict=True))


def borders(first: FirstBehind, after: str, until: str | None) -> list[str]:
    """Return keys that cut the range behind `after` up to `until` into parts with at least one key each.

    Returns no keys if the range cannot be cut. Takes a few rounds of probes; the probes of a round are independent. The
    result says nothing about the number of keys in each part. The first rounds find the prefix that all keys share. The
    cuts are then made at the character behind it.
    """

    def found(points: Sequence[str]) -> list[str | None]:
        return [key if key is not None and (until is None or key <= until) else None for key in first(points)]

    low, shared, high = after, *_parting(found, after)
    if high is None:  # all keys start with `after`: search from the first key for the prefix that they share
        low = found([after])[0] or ""
        shared, high = _parting(found, low)
    if high is None:
        return []  # no key, or one key, or keys that all start with the first key
    seen = {*low[shared:], *high[shared:], *_COMMON}
    if len(high) > shared:  # always, unless the store lists keys in another order: its listing shows that later
        seen |= _behind(high[shared])
    tried = {low[:shared] + character for character in seen if ord(character) not in _UNUSABLE}
    tried.add(low[: shared + 1] + chr(_LAST_POINT))
    points = [after, *sorted(point for point in tried if after < point and (until is None or point < until))]
    keys = found(points)
    # Each part needs a key. So a point counts only if the first key behind it is not the first key behind the next
    # point. It does not count either if that key is the first key of the range, which has no key before it.
    following = [*keys[1:], None]
    return [point for point, key, other in zip(points, keys, following, strict=True) if key not in (keys[0], other)]


def _behind(character: str) -> set[str]:
    """Return close and distant characters behind a character: the extent of its script is unknown.

    In a script of many characters, such as Chinese, the characters of two keys alone would cut off small parts only.
    """
    used, last = ord(character), 0x7F if character.isascii() else _LAST_POINT
    distances = (4**exponent for exponent in range(_LAST_POINT.bit_length() // 2))
    return {chr(used + distance) for distance in distances if used + distance < last}


def _parting(found: FirstBehind, low: str) -> tuple[int, str | None]:
    """Return the length of the prefix of `low` that all keys behind it share, and the next key.

    The next key is the first one with another character behind that prefix. It is None if there is no such key.
    """
    behind: dict[int, str | None] = {}  # by length, the first key behind every key with that prefix of `low`
    least, most = 0, len(low)
    while least < most:
        lengths = sorted({least + (most - least) * step // _STEPS for step in range(1, _STEPS)} | {most})
        behind |= zip(lengths, found([low[:length] + chr(_LAST_POINT) for length in lengths]), strict=True)
        least = max((length for length in lengths if behind[length] is None), default=least)
        most = min((length for length in lengths if behind[length] is not None), default=most + 1) - 1
    return least, behind.get(least + 1)
