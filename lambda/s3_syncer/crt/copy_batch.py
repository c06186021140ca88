"""The objects of one call of the small object copier: those that wait, and the results so far. No I/O."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Set
from dataclasses import dataclass, field

from ..core.deadline import Deadline
from ..core.model import ListEntry, ObjectState
from ..stores.capabilities import Property

#: Objects in a row that may be unsupported or fail before the rest of their folder is left. Each was read for nothing.
MAX_UNSUPPORTED = 8

#: Folders in a row that may be left before the rest of a batch is left.
MAX_LEFT_FOLDERS = 1


@dataclass(slots=True)
class CopyBatch:
    """The objects of one call, and the results so far."""

    waiting: deque[ListEntry]
    deadline: Deadline
    on_writing: Callable[[ListEntry, ObjectState], None]
    on_copied: Callable[[ListEntry, ObjectState, str], None]
    #: The keys that the target has.
    replaced: Collection[str]
    #: By key, the listing entry that the source must still show for the copy to be current; None if none can.
    copied: dict[str, ListEntry | None] = field(default_factory=dict)
    #: The properties that the target must keep, by key that was copied.
    properties: dict[str, Set[Property]] = field(default_factory=dict)
    #: The keys of which the tags were not read after the copy, because the target refuses to overwrite an object.
    tags_unread: set[str] = field(default_factory=set)
    #: Since the last object that was copied: the unsupported objects, and the folders that were left for them.
    unsupported: int = 0
    folders_in_a_row: int = 0
    #: The folders of which no further object is copied here.
    left_folders: set[str] = field(default_factory=set)
    #: True if no further object is copied here. A store may get no request for a while, and the sweep waits for it. Or
    #: the objects are unsupported.
    is_left: bool = False
    #: Counts the slots that have no further object of this batch.
    slots_done: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def take(self) -> ListEntry | None:
        """Return the next object, or None if there is none."""
        while self.waiting:
            try:
                entry = self.waiting.popleft()
            except IndexError:  # another thread has taken it
                break
            if not self.left_folders or _folder(entry) not in self.left_folders:
                return entry
        return None

    def note_unsupported(self, entry: ListEntry) -> None:
        """Note an object that was not copied. After several in a row, its folder is left to the sweep.

        An application often writes all objects of a folder in the same way.
        """
        folder = _folder(entry)
        if folder in self.left_folders:
            return
        self.unsupported += 1
        if self.unsupported > MAX_UNSUPPORTED:
            self.left_folders.add(folder)
            self.folders_in_a_row += 1
            self.is_left = self.is_left or self.folders_in_a_row > MAX_LEFT_FOLDERS

    def note_copied(self) -> None:
        """Note that an object was copied."""
        self.unsupported = self.folders_in_a_row = 0


def _folder(entry: ListEntry) -> str:
    """Return the folder of the key, with all folders above it."""
    return entry.key.rpartition("/")[0]
