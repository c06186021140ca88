"""The messages between a sweep and its processes, and the pipe that carries them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from ...core.errors import SyncError
from ...sync.outcome import Outcome
from ...sync.protocols import SweepListener
from ..concurrency import Concurrency
from .outage import Outage, OutageListener
from .work_stealing import Range

# -- messages of the parent --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SweepRange:
    """Sweep the range; `number` identifies it in all further messages."""

    number: int
    range: Range


@dataclass(frozen=True, slots=True)
class ReleaseRest:
    """Release the rest of the range."""

    number: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Begin nothing more in any range."""


@dataclass(frozen=True, slots=True)
class Exit:
    """Exit: no range is left."""


# -- messages of the child ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeysCompared:
    keys: int

    def report(self, listener: SweepListener) -> None:
        listener.on_compared(self.keys)


@dataclass(frozen=True, slots=True)
class KeyChanged:
    key: str
    outcome: Outcome

    def report(self, listener: SweepListener) -> None:
        listener.on_changed(self.key, self.outcome)


@dataclass(frozen=True, slots=True)
class KeySkipped:
    key: str
    outcome: Outcome

    def report(self, listener: SweepListener) -> None:
        listener.on_skipped(self.key, self.outcome)


@dataclass(frozen=True, slots=True)
class KeyFailed:
    key: str
    error: SyncError

    def report(self, listener: SweepListener) -> None:
        listener.on_failed(self.key, self.error)


@dataclass(frozen=True, slots=True)
class KeyUncertain:
    key: str

    def report(self, listener: SweepListener) -> None:
        listener.on_uncertain(self.key)


@dataclass(frozen=True, slots=True)
class Restarted:
    why: str

    def report(self, listener: SweepListener) -> None:
        listener.on_restart(self.why)


Event = KeysCompared | KeyChanged | KeySkipped | KeyFailed | KeyUncertain | Restarted
"""A call of the parent's listener."""


@dataclass(frozen=True, slots=True)
class Events:
    """Events of all ranges since the last message, and the capacity and the concurrency of the child."""

    events: Sequence[Event]
    has_spare_capacity: bool
    concurrency: Concurrency


@dataclass(frozen=True, slots=True)
class RestReleased:
    """The rest of the range, after the key `after`, is released."""

    number: int
    after: str


@dataclass(frozen=True, slots=True)
class RangeEnded:
    """The range has ended; `unfinished` is the key after which it is unfinished, or None."""

    number: int
    unfinished: str | None


@dataclass(frozen=True, slots=True)
class RangeFailed:
    """The range has failed."""

    number: int
    error: BaseException


@dataclass(frozen=True, slots=True)
class OutageNoticed:
    outage: Outage

    def report(self, listener: OutageListener) -> None:
        listener.on_outage(self.outage)


@dataclass(frozen=True, slots=True)
class RecoveryNoticed:
    outage: Outage

    def report(self, listener: OutageListener) -> None:
        listener.on_recovery(self.outage)


# -- the pipe ----------------------------------------------------------------------------------------------------------


class Channel:
    """One end of the pipe between parent and child. Any thread may send; one thread receives."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def send(self, message: object) -> None:
        """Send the message. Raises OSError if the other process is gone."""
        with self._lock:
            self._connection.send(message)

    def messages(self) -> Iterator[Any]:
        """Yield messages until the other process is gone."""
        with suppress(EOFError, OSError):
            while True:
                yield self._connection.recv()
