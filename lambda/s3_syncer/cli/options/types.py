"""Types of options: text that click turns into a value, or refuses with advice."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from ...core.bandwidth_timetable import BadTimetable, BandwidthTimetable
from ...core.units import parse_size
from ...settings_reader import split_lines
from ..concurrency import ENOUGH_FILES, most_at_a_time, request_open_files
from ..output.report import CONTENT_TYPES
from ..output.report_upload import ReportObject
from ..sweeps.key_files import KeyFileLocation, S3Object

#: The highest ceiling of `--concurrency`. Each key and part in progress may need a thread.
MOST = 512


class Bandwidth(click.ParamType[BandwidthTimetable | None]):
    """A limit of the bandwidth, or a timetable of limits, as in rclone's --bwlimit.

    None is no limit at any time.
    """

    name = "rate or timetable"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> BandwidthTimetable | None:
        try:
            timetable = BandwidthTimetable.parse(str(value))
        except BadTimetable as error:
            self.fail(str(error), param, ctx)
        return timetable if timetable.limits else None


class Size(click.ParamType[int | None]):
    """A size in bytes as in rclone: the unit is KiB, or B, K, M, G in powers of 1024; "off" is no limit."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if not isinstance(value, str):
            return int(value)
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


#: The units of a time ago.
_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


class Ceiling(click.ParamType[int]):
    """The most that may be in progress at a time, or "auto" for the ceiling `auto`.

    Each of them takes connections, and so the system limits both: see `concurrency.request_open_files`.
    """

    name = "number"

    def __init__(self, auto: int) -> None:
        self._auto = auto

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text, files = str(value).strip().lower(), request_open_files()
        most = most_at_a_time(files)
        if text == "auto":
            return min(self._auto, most)
        if not text.isdecimal() or not 1 <= int(text) <= MOST:
            self.fail(f"{value!r} is not a ceiling: write auto, or a whole number from 1 to {MOST}", param, ctx)
        if int(text) > most:
            reason = f"a process may open {files} files here, which is enough for {most} at a time"
            self.fail(f"{reason}: write auto, or run `ulimit -Hn {ENOUGH_FILES}` as root before", param, ctx)
        return int(text)


class Number(click.FloatRange):
    """A number between two limits, both included. "nan" and "inf" are none."""

    def __init__(self, smallest: float, largest: float) -> None:
        super().__init__(smallest, largest)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


#: The longest duration in seconds: a year. Python cannot wait for every number of seconds.
LONGEST_S = 365 * 24 * 3600.0


class Duration(click.ParamType[float]):
    """A duration in seconds; with the unit s, m or h in that unit."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, str):
            return float(value)
        duration = re.fullmatch(r"(\d+\.?\d*|\.\d+)([smh]?)", value, re.IGNORECASE)
        if duration is None:
            self.fail(f"{value!r} is not a duration: write 90, 90s, 15m or 1h; 0 is no time", param, ctx)
        seconds = float(duration[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[duration[2].lower()]
        if seconds > LONGEST_S:
            self.fail(f"{value!r} is too long: write at most {LONGEST_S / 3600:.0f}h", param, ctx)
        return seconds


class KeyFile(click.ParamType[KeyFileLocation]):
    """A file with keys: a path, an object as s3://bucket/key, or - for standard input."""

    name = "file, s3://bucket/key or -"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> KeyFileLocation:
        if isinstance(value, KeyFileLocation):
            return value
        location = KeyFileLocation.parse(str(value))
        if location is None:
            self.fail(f"{value!r} is no object: write s3://bucket/key", param, ctx)
        if location.path is not None and location.path.is_dir():
            self.fail(f"{value!r} is a folder: write the name of a file", param, ctx)
        if location.path is not None and not location.path.is_file() and not location.path.is_fifo():
            self.fail(f"the file {value!r} does not exist", param, ctx)
        return location


class ManifestObject(click.ParamType[S3Object]):
    """The manifest of an S3 Inventory, as s3://bucket/.../manifest.json."""

    name = "s3://bucket/.../manifest.json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> S3Object:
        if isinstance(value, S3Object):
            return value
        location = KeyFileLocation.parse(str(value))
        found = None if location is None else location.s3_object
        if found is None or not found.key.endswith("manifest.json"):
            self.fail(f"{value!r} is no manifest: write s3://bucket/.../manifest.json", param, ctx)
        return found


class Share(click.ParamType[float]):
    """A part of a whole in percent, as a number greater than 0 and at most 1."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, str):
            return float(value)
        percent = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*%", value.strip())
        if percent is None or not 0 < float(percent[1]) <= 100:
            self.fail(f"{value!r} is not a percentage: write 1%, 0.1% or 100%", param, ctx)
        return float(percent[1]) / 100


class Moment(click.ParamType[datetime]):
    """A moment in the past: a time as in ISO 8601, in UTC by default, or a duration before now."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        now, text = datetime.now(UTC), str(value).strip()
        try:
            if ago := re.fullmatch(r"(\d+\.?\d*|\.\d+)([smhd])", text, re.IGNORECASE):
                return now - float(ago[1]) * _UNITS[ago[2].lower()]
            found = datetime.fromisoformat(text)
        except (ValueError, OverflowError):  # the latter: longer ago than the year 1
            self.fail(
                f"{value!r} is not a time: write 2026-11-29T08:00:00Z, or 90s, 15m, 12h, 7d for a time ago", param, ctx
            )
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        if found > now:
            self.fail(f"{value!r} is in the future", param, ctx)
        return found


class Certificates(click.ParamType[str]):
    """CA certificates in PEM: the path of their file, or the text itself, as in the environment of a task."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if "-----BEGIN" in text:
            return text
        try:
            return Path(text).read_text(encoding="utf-8-sig")  # without the byte order mark of a file from Windows
        except (OSError, UnicodeError) as error:
            self.fail(f"the file {text!r} cannot be read: {error}", param, ctx)


class ReportDestination(click.ParamType[Path | ReportObject]):
    """The place of a report: a file, or an object as s3://bucket/key.

    An environment variable has several of them with colons in between, like PATH.
    """

    name = "file or s3://bucket/key"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | ReportObject:
        if not isinstance(value, str):
            place: Path | ReportObject = value
            return place
        if not value.startswith("s3://"):
            return self._file(value, param, ctx)
        place_in_s3 = ReportObject.parse(value)
        if place_in_s3 is None:
            self.fail(f"{value!r} is no object: write s3://bucket/key", param, ctx)
        self._check_suffix(value, place_in_s3.suffix, param, ctx)
        return place_in_s3

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return [value for value in re.split(r":(?!//)", rv) if value]

    def _file(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, after a check that a file can be written there."""
        path = Path(value)
        self._check_suffix(value, path.suffix, param, ctx)
        folder = path.absolute().parent
        if not folder.is_dir():
            self.fail(f"the folder {str(folder)!r} does not exist", param, ctx)
        if path.is_dir():
            self.fail(f"{value!r} is a folder", param, ctx)
        if not os.access(path if path.exists() else folder, os.W_OK):
            self.fail(f"{value!r} is not writable", param, ctx)
        return path

    def _check_suffix(self, value: str, suffix: str, param: click.Parameter | None, ctx: click.Context | None) -> None:
        if suffix not in CONTENT_TYPES:
            self.fail(f"{value!r} must end in {' or '.join(CONTENT_TYPES)}", param, ctx)


class Pattern(click.ParamType[str]):
    """A glob pattern.

    An environment variable has one pattern on each line, because a glob may contain any other separator.
    """

    name = "pattern"

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return split_lines(rv)
