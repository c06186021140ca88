"""The events for an EventBridge bus: docs/events.md describes them for a receiver. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .dispositions import DeadLetter

#: The version in each event. A change that a receiver must know raises it; a further field does not.
VERSION = 1

#: Reasons and keys in an event, at most, and characters of a reason. With them an event has less than 200 kB, also if
#: JSON escapes each character, and PutEvents accepts 256 kB: https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
MAX_REASONS, MAX_KEYS, MAX_REASON = 10, 20, 1000


@dataclass(frozen=True, slots=True)
class BusEvent:
    """An event: its detail type, and the fields of its detail that are not the same in all events."""

    detail_type: str
    detail: Mapping[str, object]


#: Sends an event, or does nothing without a bus. It raises no error, and returns within seconds.
Notify = Callable[[BusEvent], None]


def no_bus(event: BusEvent) -> None:
    """Do nothing: there is no bus."""


def dead_letters(letters: Sequence[DeadLetter]) -> BusEvent:
    """Return the event about the dead letters of one batch, with the most frequent reasons first."""
    reasons = Counter(letter.reason for letter in letters).most_common(MAX_REASONS)
    keys = dict.fromkeys(letter.key for letter in letters if letter.key)
    return BusEvent(
        "Dead Letters",
        {
            "count": len(letters),
            "reasons": [{"reason": reason[:MAX_REASON], "count": count} for reason, count in reasons],
            "keys": list(keys)[:MAX_KEYS],
        },
    )


def deletions_held(waiting: int, hold_above: int) -> BusEvent:
    """Return the event about a worker that begins to hold deletions, because it has counted `waiting`."""
    return BusEvent("Deletions Held", {"waiting": waiting, "hold_above": hold_above})


def circuit_opened(reason: str) -> BusEvent:
    """Return the event about a service that pauses, because a store or a queue cannot be used."""
    return BusEvent("Circuit Opened", {"reason": reason[:MAX_REASON]})


def sweep_ended(command: str, result: str, counts: Mapping[str, int], *, error: str = "") -> BusEvent:
    """Return the event about the end of `migrate` or `check`. It failed if it did not compare all keys."""
    failed = result in ("failed", "stopped")
    reason = {"error": error[:MAX_REASON]} if error else {}
    return BusEvent(
        "Sweep Failed" if failed else "Sweep Finished", {"command": command, "result": result, **counts, **reason}
    )
