"""The lines of the workers' log. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log, with its time in seconds since 1970. A line without JSON has no fields."""

    at: float
    group: str
    fields: Mapping[str, Any]
    text: str

    @classmethod
    def of(cls, group: str, event: Mapping[str, Any]) -> LogLine:
        """Return the line in an event of CloudWatch Logs."""
        text = event["message"].rstrip("\n")
        try:
            fields = json.loads(text)
        except ValueError:
            fields = {}
        return cls(event["timestamp"] / 1000, group, fields if isinstance(fields, dict) else {}, text)

    @property
    def action(self) -> str:
        """Return the field `action`, or ""."""
        return str(self.fields.get("action") or "")

    @property
    def key(self) -> str:
        """Return the field `key`, or ""."""
        return str(self.fields.get("key") or "")

    @property
    def reason(self) -> str:
        """Return the field `reason`, or ""."""
        return str(self.fields.get("reason") or "")
