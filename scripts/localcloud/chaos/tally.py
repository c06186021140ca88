"""Count what a run does and survives, from several threads."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict


class Tally:
    """Counters and durations by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._durations: defaultdict[str, list[float]] = defaultdict(list)

    def count(self, name: str, number: int = 1) -> None:
        with self._lock:
            self._counts[name] += number

    def add_duration(self, name: str, seconds: float) -> None:
        with self._lock:
            self._durations[name].append(seconds)

    def __getitem__(self, name: str) -> int:
        with self._lock:
            return self._counts[name]

    def durations(self, name: str) -> list[float]:
        with self._lock:
            return list(self._durations[name])

    def all_durations(self, prefix: str) -> list[tuple[str, list[float]]]:
        """Return the durations with names that start with the prefix, by the rest of the name."""
        with self._lock:
            found = sorted(self._durations.items())
        return [(name.removeprefix(prefix), list(spans)) for name, spans in found if name.startswith(prefix)]

    def below(self, prefix: str) -> dict[str, int]:
        """Return the counters with names that start with the prefix, by the rest of the name."""
        with self._lock:
            return {
                name.removeprefix(prefix): number
                for name, number in sorted(self._counts.items())
                if name.startswith(prefix)
            }
