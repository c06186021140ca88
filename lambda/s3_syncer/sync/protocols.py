"""The interfaces that a sweep uses: a faster copier, and the receiver of its events."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from ..core.compare import KeyDiff
from ..core.deadline import Deadline
from ..core.errors import SyncError
from ..core.model import ListEntry, ObjectState
from .outcome import Outcome


class SmallObjectCopier(Protocol):
    """Copies small objects fast: see `crt/small_object_copy.py`. The sweep converges the other keys."""

    def takes(self, diff: KeyDiff) -> str | None:
        """Return the reason to copy the object if the listings prove one and show a small object; else None."""

    def copy(
        self,
        entries: Iterable[ListEntry],
        deadline: Deadline,
        writing: Callable[[ListEntry, ObjectState], None],
        copied: Callable[[ListEntry, ObjectState, str], None],
        replaced: Collection[str] = (),
    ) -> Mapping[str, ListEntry | None]:
        """Copy the objects it can, and raise nothing. `replaced` are the keys that the target has.

        Calls `writing` before each object is written, with its state. Calls `copied` when it is, also with its ETag in
        the target.
        Returns by key the entry that the source's listing must still show to prove the copy current. The entry is None
        if no listing can prove it.
        """


class SweepListener(Protocol):
    """Receives the events of a sweep, from several threads."""

    def on_compared(self, keys: int) -> None:
        """Count keys that were compared for the first time, and made equal as far as the options allow."""

    def on_changed(self, key: str, outcome: Outcome) -> None:
        """Note a key that the sweep wrote to the target or deleted from it."""

    def on_skipped(self, key: str, outcome: Outcome) -> None:
        """Note a key that differs and that the options leave as it is."""

    def on_failed(self, key: str, error: SyncError) -> None:
        """Note a key that the sweep could not make equal."""

    def on_uncertain(self, key: str) -> None:
        """Note a key with a write that has no response, so that it may still take effect: see `core/fence.py`."""

    def on_restart(self, why: str) -> None:
        """Forget the compared, skipped and failed keys: they will be reported again. Changes stay made."""
