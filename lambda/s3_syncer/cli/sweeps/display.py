"""Show the progress of a sweep, and lines above it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from rich.console import Console

from ...core.deadline import Deadline
from ...core.errors import SyncError
from ...stores.bucket import Bucket
from ..output.progress import in_lines, in_log, on_terminal
from ..output.stats import SweepStats, printable
from .job import SweepJob


def show_progress(
    job: SweepJob, stats: SweepStats, console: Console, source: Bucket, deadline: Deadline, waiting: object = ""
) -> AbstractContextManager[None]:
    """Return a context in which the stats are shown: in the log, as one line on a terminal, or as lines.

    The text of `waiting` says which store the command waits for; it is empty most of the time.
    """
    if job.log:
        return in_log(stats)

    def state() -> list[str]:
        stopping = ["stopping, press Ctrl-C again to stop at once"] if deadline.is_stopped else []
        return stopping + ([str(waiting)] if str(waiting) else [])

    if console.is_terminal:
        total = count_keys(source, deadline) if job.batches is None else lambda: None
        return on_terminal(stats, console, total, state)
    return in_lines(stats, console, state)


def print_line(console: Console, text: str) -> None:
    """Print one line of text, unchanged, above the progress line of a terminal."""
    console.print(printable(text), soft_wrap=True, highlight=False, markup=False)


def count_keys(source: Bucket, deadline: Deadline) -> Callable[[], int | None]:
    """Count the keys of the source in the background.

    The returned function returns their number, and None until it is known.
    """
    total: list[int] = []

    def work() -> None:
        keys = 0
        with suppress(SyncError):  # the sweep lists the same keys, and reports the error
            for page in source.listing():
                keys += len(page)
                if deadline.passed():
                    return
            total.append(keys)

    threading.Thread(target=work, name="count", daemon=True).start()
    return lambda: total[0] if total else None
