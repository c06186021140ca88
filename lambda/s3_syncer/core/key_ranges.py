"""Where to cut a range of keys in two, knowing nothing of how the keys are spread. Pure: a probe does the looking.

A range is estimated as a function is integrated numerically: a probe at the beginning of a stretch of the keyspace
tells how densely keys lie there, and the stretch that seems to hold most is halved again and again. The cut is then
made where the estimate reaches one half. Distances are measured in the characters that probes have shown: a stretch
between two ASCII keys is not mostly the unused rest of Unicode.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

#: Halvings that one cut may cost, each two listing requests. With forty, neither side of a cut has less than a tenth
#: of the keys in any of the keyspaces of tests/unit/test_keyspace.py.
HALVINGS = 40

#: Characters behind the common beginning of two keys that still count for the distance between them.
_DIGITS = 8

#: Characters that come behind all others in UTF-16, and before many in UTF-8. In a store that lists in the order of
#: UTF-16, a cut at one of them could hide keys from both of its sides, and with them the disorder.
_LAST_IN_UTF16 = range(0xE000, 0x10000)

_SURROGATES = range(0xD800, 0xE000)  # not characters, so never in a key
_LAST_POINT = 0x10FFFF


@dataclass(frozen=True, slots=True)
class Probe:
    """The keys that one listing request found; `full` says that it came back full, so more may follow."""

    keys: tuple[str, ...]
    full: bool


#: Lists from behind a key up to and including another, at most one request's worth.
Look = Callable[[str, str | None], Probe]


#: Tells of each of several keys the first one behind it, asking for all of them at once.
FirstBehind = Callable[[Sequence[str]], Sequence[str | None]]

#: Parts into which one round of probes cuts the lengths that are still possible.
_STEPS = 8

#: Characters with which parts are tried to begin besides those that keys have shown.
_COMMON = "48CGMSYdhlpty"


@dataclass(frozen=True, slots=True)
class _WeightedRange:
    """Keys behind `after` up to `until`; a weight that is not `sure` is an estimate of their number."""

    after: str
    until: str
    weight: float
    sure: bool
    #: What the keys that its probe showed begin with in common.
    prefix: str = ""


def split(look: Look, after: str, until: str | None, *, halvings: int = HALVINGS) -> str | None:
    """A key that cuts the range behind `after` up to `until` about in half, or None when it is a page at most."""
    first = look(after, until)
    if not first.full:
        return None
    space = _Space()
    space.learn(first.keys)
    low = first.keys[-1]
    high = until if until is not None else _ceiling(look, low, space)
    stretches = [_WeightedRange(after, low, len(first.keys), sure=True), _estimate(look, low, high, space)]
    for _ in range(halvings):
        heaviest = max((stretch for stretch in stretches if not stretch.sure), key=_weight, default=None)
        if heaviest is None:
            break
        stretches.remove(heaviest)
        stretches += _halve(look, heaviest, space)
    return _middle(sorted(stretches, key=lambda stretch: stretch.after))


def borders(first: FirstBehind, after: str, until: str | None) -> list[str]:
    """Keys that cut the range behind `after` up to `until` into parts with a key in each; none when that cannot be.

    Takes a few rounds of probes, those of a round at once, and nothing is known of how much each part holds. What all
    keys begin with in common is found first; the cuts are made at the character in which they differ.
    """

    def found(points: Sequence[str]) -> list[str | None]:
        return [key if key is not None and (until is None or key <= until) else None for key in first(points)]

    low, least, high = after, *_parting(found, after)
    if high is None:  # all keys go on from `after`: from what they have in common, the first of them may part
        low = found([after])[0] or ""
        least, high = _parting(found, low)
    if high is None:
        return []  # no key, or one, or others that go on from it
    seen = {character for character in low[least:] + high[least:] + _COMMON if ord(character) not in _LAST_IN_UTF16}
    tried = {low[: least + 1] + chr(_LAST_POINT), *(low[:least] + character for character in seen)}
    points = [after, *sorted(point for point in tried if after < point and (until is None or point < until))]
    keys = found(points)
    # Each part needs a key: a point counts where the first key behind it is neither that behind the next point, nor the
    # very first, before which there is none.
    following = [*keys[1:], None]
    return [point for point, key, other in zip(points, keys, following, strict=True) if key not in (keys[0], other)]


def _parting(found: FirstBehind, low: str) -> tuple[int, str | None]:
    """How many characters of `low` all keys behind it begin with, and the first key that goes on otherwise.

    The key is None when there is no such key.
    """
    behind: dict[int, str | None] = {}  # by length, the first key behind all that begins like this
    least, most = 0, len(low)
    while least < most:
        lengths = sorted({least + (most - least) * step // _STEPS for step in range(1, _STEPS)} | {most})
        behind |= zip(lengths, found([low[:length] + chr(_LAST_POINT) for length in lengths]), strict=True)
        least = max((length for length in lengths if behind[length] is None), default=least)
        most = min((length for length in lengths if behind[length] is not None), default=most + 1) - 1
    return least, behind.get(least + 1)


def _weight(stretch: _WeightedRange) -> float:
    return stretch.weight


def _estimate(look: Look, after: str, until: str, space: _Space) -> _WeightedRange:
    probe = look(after, until)
    space.learn(probe.keys)
    if not probe.full:
        return _WeightedRange(after, until, len(probe.keys), sure=True)
    seen = max(space.share(after, probe.keys[-1], until), 1e-12)
    prefix = probe.keys[0][: _common(probe.keys[0], probe.keys[-1])]
    return _WeightedRange(after, until, len(probe.keys) / seen, sure=False, prefix=prefix)


def _halve(look: Look, stretch: _WeightedRange, space: _Space) -> list[_WeightedRange]:
    middle = _border(stretch, space)
    if middle is None:
        return [replace(stretch, sure=True)]
    return [_estimate(look, stretch.after, middle, space), _estimate(look, middle, stretch.until, space)]


def _border(stretch: _WeightedRange, space: _Space) -> str | None:
    """Where to halve. A heap of keys under one prefix is first cut off at its end: its density holds inside only."""
    end = stretch.prefix + chr(_LAST_POINT)
    return end if stretch.after < end < stretch.until else space.between(stretch.after, stretch.until)


def _middle(stretches: list[_WeightedRange]) -> str:
    """The border between two stretches that comes closest to half of the weight."""
    half, passed = sum(map(_weight, stretches)) / 2, 0.0
    best, miss = stretches[0].until, float("inf")
    for stretch in stretches[:-1]:
        passed += stretch.weight
        if abs(passed - half) < miss:
            best, miss = stretch.until, abs(passed - half)
    return best


def _ceiling(look: Look, low: str, space: _Space) -> str:
    """A key behind which there are none, close to the last one. `low` is a key that exists.

    Character by character: finds the last one in use at a position, then goes on below it. Stops one position behind
    the first at which keys differ, because what is left above is then a small part.
    """
    prefix, high, differing = "", chr(_LAST_POINT), 0
    while differing < 2 and len(prefix) < len(low):
        position, moved, step = len(prefix), False, 1
        top = _LAST_POINT + 1  # no key has this code point here
        while (used := ord(low[position])) + 1 < top:
            step = min(step, (top - used) // 2)
            point = used + max(step, 1)
            probe = look(prefix + _character(point - 1) + chr(_LAST_POINT), None)
            if probe.keys:
                space.learn(probe.keys)
                low, moved, step = probe.keys[-1], True, step * 2
                if not probe.full:
                    return low
            else:
                top, step = point, 1 if step == 1 else step // 2
        high = prefix + low[position] + chr(_LAST_POINT)
        prefix += low[position]
        differing += 1 if moved or differing else 0
    return high


def _character(point: int) -> str:
    return chr(point if point not in _SURROGATES else _SURROGATES.start - 1)


class _Space:
    """Keys as numbers, in a base of the characters seen so far."""

    def __init__(self) -> None:
        self._characters: list[str] = []

    def learn(self, keys: Iterable[str]) -> None:
        self._characters = sorted(set(self._characters).union(*keys))

    @property
    def _base(self) -> int:
        """Zero for the end of a key, one for each character, one for what is above them all."""
        return len(self._characters) + 2

    def between(self, low: str, high: str) -> str | None:
        """A short key behind `low` and before `high`, about halfway, or None when there is none to be found."""
        start = _common(low, high)
        digits = self._digits((self._number(low, start) + self._number(high, start)) // 2)
        key = low[:start]
        for digit in digits:
            if digit == 0:
                break
            key += (self._characters[digit - 1 :] or [chr(_LAST_POINT)])[0]
            if low < key < high:
                return key
        # Halfway lies before the first character: where `high` only goes on from `low`, follow it.
        return next((high[:end] for end in range(start + 1, len(high)) if low < high[:end]), None)

    def share(self, low: str, key: str, high: str) -> float:
        """How much of the way from `low` to `high` lies before `key`."""
        start = _common(low, high)
        begin, end = self._number(low, start), self._number(high, start)
        return (self._number(key, start) - begin) / (end - begin) if end > begin else 1.0

    def _number(self, key: str, start: int) -> int:
        value = 0
        for index in range(start, start + _DIGITS):
            value *= self._base
            if index < len(key):
                value += bisect_left(self._characters, key[index]) + 1
        return value

    def _digits(self, number: int) -> list[int]:
        digits = []
        for _ in range(_DIGITS):
            number, digit = divmod(number, self._base)
            digits.append(digit)
        return digits[::-1]


def _common(one: str, other: str) -> int:
    """The number of characters that two keys begin with in common."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))
