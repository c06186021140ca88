"""Types of options: text that click turns into a value, or refuses with advice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click


class ByteRate(click.ParamType[float | None]):
    """A bandwidth as in rclone's --bwlimit.

    The unit is KiB per second, or B, K, M, G in powers of 1024; "off" is no limit.
    """

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        if not isinstance(value, str):
            return float(value)
        if value.lower() in ("off", "0"):
            return None
        rate = re.fullmatch(r"(\d+\.?\d*|\.\d+)(?:(B)|([KMGT])(?:iB?)?)?", value, re.IGNORECASE)
        if rate is None or float(rate[1]) == 0:
            self.fail(f"{value!r} is not a rate: write 500k, 10M or 1.5G for KiB, MiB or GiB per second", param, ctx)
        exponent = 0 if rate[2] else "BKMGT".index((rate[3] or "K").upper())
        factor: int = 1024**exponent
        return float(rate[1]) * factor


class Duration(click.ParamType[float]):
    """A duration in seconds; with the unit s, m or h in that unit."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, str):
            return float(value)
        duration = re.fullmatch(r"(\d+\.?\d*|\.\d+)([smh]?)", value, re.IGNORECASE)
        if duration is None:
            self.fail(f"{value!r} is not a duration: write 90, 90s, 15m or 1h; 0 is no time", param, ctx)
        return float(duration[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[duration[2].lower()]


class Certificates(click.ParamType[str]):
    """CA certificates in PEM: the path of their file, or the text itself, as in the environment of a task."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if "-----BEGIN" in text:
            return text
        try:
            return Path(text).read_text()
        except (OSError, UnicodeError) as error:
            self.fail(f"the file {text!r} cannot be read: {error}", param, ctx)


class Pattern(click.ParamType[str]):
    """A glob pattern.

    An environment variable has one pattern on each line, because a glob may contain any other separator.
    """

    name = "pattern"

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return [line for line in rv.splitlines() if line]
