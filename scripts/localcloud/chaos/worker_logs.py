"""Read what the workers decided from their logs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Decisions:
    """The decisions of all workers: how often each action was logged, and the largest lag of an event."""

    actions: Counter[str] = field(default_factory=Counter)
    #: Seconds from an event to the decision that settled it.
    largest_lag_s: float = 0.0
    lag_key: str = ""


#: Actions before the work on an event ends. Their lag is not the last one of the event.
UNSETTLED = frozenset({"retry", "waiting"})


def read(logs: Iterable[Path]) -> Decisions:
    """Return the decisions in these logs.

    A line that is no JSON is left out: a killed worker may have cut its last line.
    """
    decisions = Decisions()
    for log in logs:
        with log.open(errors="replace") as lines:
            for text in lines:
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                if not isinstance(line, dict) or "action" not in line:
                    continue
                decisions.actions[line["action"]] += 1
                lag_s = (line.get("lag_ms") or 0) / 1000
                if line["action"] not in UNSETTLED and lag_s > decisions.largest_lag_s:
                    decisions.largest_lag_s, decisions.lag_key = lag_s, line.get("key", "")
    return decisions
