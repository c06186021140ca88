"""The timetable of the bandwidth: the notation of rclone, and the limit at the edges of its windows."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from s3_syncer.core.bandwidth_timetable import BadTimetable, BandwidthTimetable, parse_rate

MIB = 1024 * 1024

#: A Monday.
MONDAY = "2026-11-30"


def rate(timetable: str, moment: str) -> float | None:
    """Return the limit in MiB per second."""
    found = BandwidthTimetable.parse(timetable).rate_at(datetime.fromisoformat(moment))
    return None if found is None else found / MIB


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10M", 10 * MIB),
        ("1.5G", 1536 * MIB),
        ("512", 512 * 1024),
        ("512K", 512 * 1024),
        ("512KiB", 512 * 1024),
        ("700B", 700),
        ("off", None),
        ("OFF", None),
        ("0", None),
        ("10M:1M", MIB),
        ("1M:10M", MIB),
        ("1M:off", MIB),
        ("off:1M", MIB),
        ("off:off", None),
    ],
)
def test_rate_of_a_copy(text: str, expected: float | None) -> None:
    assert parse_rate(text) == expected
    assert BandwidthTimetable.parse(text).rate_at(datetime(2026, 1, 1, tzinfo=UTC)) == expected


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("07:59", None),
        ("08:00", 10),
        ("18:59", 10),
        ("19:00", None),
        ("23:59", None),
        ("00:00", None),
    ],
)
def test_limit_of_each_day(moment: str, expected: float | None) -> None:
    assert rate("08:00,10M 19:00,off", f"{MONDAY} {moment}") == expected


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (f"{MONDAY} 00:00", 1),
        ("2026-12-04 23:58", 1),  # Friday
        ("2026-12-04 23:59", 10),
        ("2026-12-05 09:59", 10),
        ("2026-12-05 10:00", 2),
        ("2026-12-06 19:59", 2),
        ("2026-12-06 20:00", None),
        ("2026-12-06 23:59", None),
        ("2026-12-07 00:00", 1),  # the next Monday
    ],
)
def test_limit_of_each_weekday(moment: str, expected: float | None) -> None:
    """The example of rclone's documentation, with other rates."""
    assert rate("Mon-00:00,1M Fri-23:59,10M Sat-10:00,2M Sun-20:00,off", moment) == expected


def test_last_limit_of_the_week_lasts_into_the_next_one() -> None:
    for day in (MONDAY, "2026-12-01", "2026-12-02"):
        assert rate("Wed-12:00,1M Sun-20:00,5M", f"{day} 11:59") == 5


def test_order_of_the_entries_does_not_matter() -> None:
    for moment in ("00:30", "07:59", "08:00", "19:00"):
        in_order = rate("08:00,10M 19:00,2M", f"{MONDAY} {moment}")
        assert rate("19:00,2M 08:00,10M", f"{MONDAY} {moment}") == in_order


def test_one_entry_is_the_limit_of_all_times() -> None:
    for moment in (f"{MONDAY} 00:00", f"{MONDAY} 12:00", "2026-12-06 23:59"):
        assert rate("12:00,3M", moment) == rate("Tue-12:00,3M", moment) == 3


def test_second_entry_for_the_same_time_counts() -> None:
    assert rate("08:00,10M Mon-08:00,1M", f"{MONDAY} 09:00") == 1
    assert rate("08:00,10M Mon-08:00,1M", "2026-12-01 09:00") == 10


def test_names_of_days_and_separators() -> None:
    expected = BandwidthTimetable.parse("Mon-08:00,1M Sun-19:00,off")
    for text in ("monday-08:00,1M SUNDAY-19:00,off", " Mon-08:00,1M;Sun-19:00,off ", "mon-08:00,1024;\nsun-19:00,0"):
        assert BandwidthTimetable.parse(text) == expected


BERLIN = ZoneInfo("Europe/Berlin")


def berlin(utc: str) -> datetime:
    return datetime.fromisoformat(utc).replace(tzinfo=UTC).astimezone(BERLIN)


def test_entry_in_a_skipped_hour_counts_from_its_end_on() -> None:
    """On 2026-03-29 the clock goes from 01:59 to 03:00."""
    timetable = BandwidthTimetable.parse("00:00,1M 02:30,5M")
    assert timetable.rate_at(berlin("2026-03-29 00:59")) == MIB
    assert berlin("2026-03-29 01:00").hour == 3
    assert timetable.rate_at(berlin("2026-03-29 01:00")) == 5 * MIB


def test_entry_in_a_repeated_hour_counts_twice() -> None:
    """On 2026-10-25 the clock goes from 02:59 back to 02:00."""
    timetable = BandwidthTimetable.parse("00:00,1M 02:30,5M")
    limits = [timetable.rate_at(berlin(f"2026-10-25 {utc}")) for utc in ("00:29", "00:30", "01:00", "01:30")]
    assert limits == [MIB, 5 * MIB, MIB, 5 * MIB]


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "'' is not an entry of a timetable: write 08:00,10M"),
        ("fast", "'fast' is not a rate: write 500k, 10M or 1.5G"),
        ("10X", "is not a rate"),
        ("-1M", "is not a rate"),
        ("0.0M", "is not a rate"),
        ("1M:", "'1M:' is not a rate"),
        ("1M:2M:3M", "is not a rate"),
        ("08:00,fast", "'fast' is not a rate"),
        ("08:00,", "'' is not a rate"),
        ("24:00,1M", "'24:00,1M' is not an entry of a timetable"),
        ("8:00,1M", "is not an entry"),
        ("08:60,1M", "is not an entry"),
        ("08:00,1M 10M", "'10M' is not an entry of a timetable"),
        ("08:00,1M,2M", "is not a rate"),
        ("Mo-08:00,1M", "'Mo-08:00,1M' names no day of the week: write Mon"),
        ("Mon-Tue-08:00,1M", "is not an entry"),
        ("08:00 10M", "'08:00' is not an entry"),
    ],
)
def test_mistake_is_named_with_advice(text: str, advice: str) -> None:
    with pytest.raises(BadTimetable) as raised:
        BandwidthTimetable.parse(text)
    assert advice in str(raised.value)
