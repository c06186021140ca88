"""Runs one sweep from start to exit code: signals, progress, reports."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from rich.console import Console

from ..bucket import Bucket
from ..connect import connect
from ..deadline import Deadline
from ..errors import SyncError
from ..settings import Settings
from ..sweep import Rules, Sweep
from .progress import clock, shown, size
from .report import Report
from .tally import Tally

#: Differences and failures printed in full; a report has them all.
PRINTED = 1000


@dataclass(frozen=True, slots=True)
class Job:
    """What a sweep is asked to do."""

    command: str
    settings: Settings
    rules: Rules
    threads: int
    reports: tuple[Path, ...] = ()


def run(job: Job, console: Console, *, named: bool) -> int:
    """Sweeps, shows progress on `console` and writes the reports; with `named` also prints what differs.

    Returns the exit code. Raises a SyncError for what makes going on pointless.
    """
    started, tally, deadline = datetime.now(UTC), Tally(), Deadline()
    connection = connect(job.settings, threads=job.threads)
    sweep = Sweep(connection.pair, connection.source, connection.target, tally, job.rules, threads=job.threads)
    result = "stopped"
    with _stopped_by_signals(deadline) as signals:
        try:
            with shown(tally, console, Count(connection.source, deadline) if console.is_terminal else None):
                if sweep.run(deadline) is None:
                    result = "different" if tally.drift or tally.failures else "equal"
        finally:
            _write_reports(job, started, result, tally)
    _print_summary(tally, result, console, named=named)
    if signals:
        console.print("Stopped. Run the same command again to go on: what is equal is not copied again.")
        return 128 + signals[0]
    return 0 if result == "equal" else 1


@contextmanager
def _stopped_by_signals(deadline: Deadline) -> Iterator[list[int]]:
    """Lets the first SIGINT or SIGTERM end the deadline, and a second one the process; yields those that came."""
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the interface of a signal handler
        came.append(number)
        deadline.stop()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Count:
    """The number of keys of the source, counted in the background for the time left; None until it is known."""

    def __init__(self, source: Bucket, deadline: Deadline) -> None:
        self._total: int | None = None
        self._source, self._deadline = source, deadline
        threading.Thread(target=self._count, name="count", daemon=True).start()

    def __call__(self) -> int | None:
        return self._total

    def _count(self) -> None:
        count = 0
        with suppress(SyncError):  # the sweep lists the same keys and reports what stops it
            for _ in self._source.listing():
                count += 1
                if self._deadline.passed():
                    return
            self._total = count


def _write_reports(job: Job, started: datetime, result: str, tally: Tally) -> None:
    settings = job.settings
    report = Report(
        job.command,
        f"s3://{settings.source_bucket}/{settings.source_prefix}",
        f"{settings.target_endpoint}/{settings.target_bucket}/{settings.target_prefix}",
        started.isoformat(timespec="seconds"),
        result,
        tally,
    )
    for path in job.reports:
        report.write(path)


def _print_summary(tally: Tally, result: str, console: Console, *, named: bool) -> None:
    if named:
        for title, found in (("differs", tally.drift), ("failed", tally.failures)):
            for key in sorted(found)[:PRINTED]:
                print(f"{title}\t{printable(key)}\t{found[key]}")
            if len(found) > PRINTED:
                print(f"{title}\t... and {len(found) - PRINTED:,} more: --report FILE.json names them all")
    counts = [f"{count:,} {action}" for action, count in sorted(tally.actions.items())]
    done = ", ".join(
        [f"{tally.keys:,} keys looked at", *counts, f"{len(tally.drift):,} differ", f"{len(tally.failures):,} failed"]
    )
    console.print(
        f"{result}: {done}, {size(tally.bytes)} sent in {clock(tally.elapsed_s)}", soft_wrap=True, highlight=False
    )


def printable(key: str) -> str:
    """The key as it is, or, with characters that a terminal would act on, as Python writes it."""
    return key if key.isprintable() else repr(key)
