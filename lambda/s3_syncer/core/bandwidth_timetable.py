"""The bandwidth limit at each time of the week, in the notation of rclone's --bwlimit.

https://rclone.org/docs/#bwlimit-bandwidth-spec
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime

_MINUTES_PER_DAY = 24 * 60

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_RATE = re.compile(r"(\d+\.?\d*|\.\d+)(?:(B)|([KMGT])(?:iB?)?)?", re.IGNORECASE)
_ENTRY = re.compile(r"(?:([a-z]+)-)?([01]\d|2[0-3]):([0-5]\d),(.*)", re.IGNORECASE)


class BadTimetable(ValueError):
    """The text is no timetable. The message says what to write."""


@dataclass(frozen=True, slots=True)
class BandwidthTimetable:
    """The limits in bytes per second, each from a minute of the week on. None is no limit.

    A limit lasts until the next change. The last one of the week lasts into the next week.
    """

    #: Minutes since Monday 00:00 and the limit from then on, in ascending order. Empty for no limit at any time.
    changes: tuple[tuple[int, float | None], ...] = ()

    @classmethod
    def parse(cls, text: str) -> BandwidthTimetable:
        """Return the timetable of a rate like `10M`, or of entries like `08:00,10M Sat-00:00,off`.

        An entry without a day is for every day. Of two entries for the same time, the second one counts. Spaces or
        semicolons separate entries. Raises BadTimetable.
        """
        words = [word for word in re.split(r"[\s;]+", text) if word]
        if len(words) == 1 and "," not in words[0]:
            return cls(((0, parse_rate(words[0])),))
        if not words:
            raise BadTimetable(_advice(text))
        changes = dict(change for word in words for change in _changes(word))
        return cls(tuple(sorted(changes.items(), key=lambda change: change[0])))

    @property
    def limits(self) -> bool:
        """Return True if there is a limit at any time."""
        return any(rate is not None for _, rate in self.changes)

    def rate_at(self, moment: datetime) -> float | None:
        """Return the limit at the moment, read as the time on the clock of its zone; None is no limit.

        An entry in an hour that the clock skips counts from the end of this hour on.
        """
        if not self.changes:
            return None
        minute = (moment.weekday() * 24 + moment.hour) * 60 + moment.minute
        # Before the first change of the week, the index is -1: the last limit of the week before still lasts.
        return self.changes[bisect_right(self.changes, minute, key=lambda change: change[0]) - 1][1]


NO_LIMIT = BandwidthTimetable()


def parse_rate(text: str) -> float | None:
    """Return the bytes per second of a rate such as `10M`, `off` or `10M:500k`; None is no limit.

    The unit is KiB, or B, K, M, G, T in powers of 1024. A rate may be one for uploads and one for downloads. A copy
    uploads each byte that it downloads, so the lower one limits it. Raises BadTimetable.
    """
    upload, colon, download = text.partition(":")
    rates = [_parse_one(each, text) for each in ([upload, download] if colon else [upload])]
    return min((rate for rate in rates if rate is not None), default=None)


def _parse_one(text: str, whole: str) -> float | None:
    if text.lower() in ("off", "0"):
        return None
    rate = _RATE.fullmatch(text)
    if rate is None or float(rate[1]) == 0:
        raise BadTimetable(f"{whole!r} is not a rate: write 500k, 10M or 1.5G for KiB, MiB or GiB per second, or off")
    exponent = 0 if rate[2] else "BKMGT".index((rate[3] or "K").upper())
    factor: int = 1024**exponent
    return float(rate[1]) * factor


def _changes(entry: str) -> list[tuple[int, float | None]]:
    """Return the changes of an entry: one for each day that it names."""
    found = _ENTRY.fullmatch(entry)
    if found is None:
        raise BadTimetable(_advice(entry))
    day, hour, minute, rate = found.groups()
    days = range(7) if day is None else [_day(day, entry)]
    limit = parse_rate(rate)
    return [(each * _MINUTES_PER_DAY + int(hour) * 60 + int(minute), limit) for each in days]


def _day(name: str, entry: str) -> int:
    for number, day in enumerate(_DAYS):
        if name.lower() in (day, day[:3]):
            return number
    raise BadTimetable(f"{entry!r} names no day of the week: write Mon, Tue, Wed, Thu, Fri, Sat or Sun")


def _advice(text: str) -> str:
    return f"{text!r} is not an entry of a timetable: write 08:00,10M for each day, or Mon-08:00,10M for one day"
