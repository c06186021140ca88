"""The log of a task as text for a person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .progress import format_bytes, format_duration


def readable(line: str, *, verbose: bool) -> str | None:
    """Return a log line as text, or None for lines that only the verbose output shows.

    Lines about single keys are such lines, if nothing is wrong with the key.
    """
    try:
        record = json.loads(line)
        level, message = record["level"], record["message"]
    except (ValueError, TypeError, KeyError):
        return line
    if message == "progress":
        left = f" · {record['backlog']:,} messages left" if "backlog" in record else ""
        return f"{_totals(record)} · {record['keys_per_s']:,} keys/s · {format_bytes(record['bytes_per_s'])}/s{left}"
    if message == "summary":
        return f"{record['result']}: {_totals(record)}, in {format_duration(record['duration_s'])}"
    text = message if message.isprintable() else repr(message)
    if level == "INFO" and "action" not in record:  # a line about the whole run, and not about a key
        return text
    return f"{level}: {text}" if verbose or level not in ("DEBUG", "INFO") else None


def _totals(record: Mapping[str, Any]) -> str:
    numbers = " · ".join(f"{record[name]:,} {name}" for name in ("keys", "changed", "different", "failed"))
    return f"{numbers} · {format_bytes(record['bytes'])} sent"
