"""Runs one sweep from start to exit code: signals, progress, reports."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from ..core.deadline import Deadline
from ..core.errors import SyncError
from ..core.listing_diff import Unordered
from ..settings import SMALLEST_BUDGET, Settings
from ..stores.bucket import Bucket
from ..sync.sweep import SweepOptions
from .local_sweep import RANGES, Here, Share
from .process_sweep import Elsewhere, SharedDeleteLimit
from .progress import clock, in_lines, in_log, on_terminal, size, totals
from .report import Report
from .signals import stoppable
from .stats import Tally, printable
from .work_stealing import Range, Spread, Sweeper, at_once

logger = logging.getLogger(__name__)

#: Exit codes. 2 is wrong usage, which click knows, and 128 and a signal's number a stop by that signal. DIFFERENT means
#: that the work was done and every difference and failed key was named; UNUSABLE that it could not be done to its end.
EQUAL, DIFFERENT, UNUSABLE = 0, 1, 3

#: Seconds of a core and keys that a sweep has taken before other processes are started to help: to start one takes
#: about a second of a core, and what waits for stores more than for a core has no use for another.
HELP_S, HELP_KEYS = 10.0, 10_000

#: Requests at a time that find out where to cut a range: all of a round, so that a round takes as long as one of them.
PROBES = 32


@dataclass(frozen=True, slots=True)
class Job:
    """What a sweep is asked to do, and how to speak of it."""

    command: str
    settings: Settings
    sweep_options: SweepOptions
    threads: int
    #: Keys that only the target has are a note, not a difference.
    tolerates_target_only: bool = False
    processes: int = 1
    reports: tuple[Path, ...] = ()
    #: Says everything in log records: see `logs.py`.
    log: bool = False
    #: Prints the keys that differ or failed once it is over; otherwise a log has named them already.
    named: bool = True

    @property
    def plans(self) -> bool:
        """Return True if the job only lists what another run would do: differences are then no failure."""
        return self.command == "migrate" and self.sweep_options.dry_run


def run(job: Job, console: Console) -> int:
    """Sweeps, shows progress on `console` and writes the reports.

    Returns the exit code. Raises a SyncError for what makes going on pointless, and OSError for a report that cannot
    be written.
    """
    started, deadline = datetime.now(UTC), Deadline()
    tally = Tally(tolerates_target_only=job.tolerates_target_only)

    def conclude(result: str, error: str = "") -> None:
        if not error:
            _summarize(job, tally, result, console)
        report = Report(job.command, *_route(job.settings), started.isoformat(timespec="seconds"), result, tally, error)
        for path in job.reports:
            report.write(path)

    try:
        with stoppable(deadline, give_up=lambda: conclude("stopped")) as stop:
            here, others = _sweepers(job, tally)
            with shown(job, tally, console, here.connection.source, deadline):
                unfinished = _sweep(here, others, deadline)
    except SyncError as error:
        conclude("failed", str(error))
        raise
    if unfinished is not None:
        conclude("stopped")
        return stop.exit_code
    same = not tally.differences and not tally.failures
    conclude("equal" if same else "different")
    return EQUAL if same or (job.plans and not tally.failures) else DIFFERENT


def _sweep(here: Here, others: Sequence[Elsewhere], deadline: Deadline) -> str | None:
    """Sweeps all keys, several ranges of them at a time; returns what `Sweep.run` returns, and raises the same."""
    every: list[Sweeper] = [here, *others]
    sweepers = [sweeper for sweeper in every for _ in range(RANGES)]
    try:
        return Spread(sweepers, at_once(here.connection.source.first, PROBES)).run(Range(), deadline)
    except Unordered as error:
        return here.whole.key_by_key(error, deadline)
    finally:
        for other in others:
            other.close()
        here.whole.close()


def _sweepers(job: Job, tally: Tally) -> tuple[Here, Sequence[Elsewhere]]:
    """This process and those that are to help it. Raises StoreUnusable."""
    # A limit of bandwidth is kept by one, which can do as much as it allows.
    most = job.settings.copy_memory // (2 * SMALLEST_BUDGET)
    processes = 1 if job.settings.bytes_per_s is not None else max(1, min(job.processes, most))
    settings = replace(job.settings, copy_memory=job.settings.copy_memory // processes)
    share, delete_limit = Share(settings, job.sweep_options, job.threads), None
    if job.sweep_options.max_delete is not None and processes > 1:
        delete_limit = SharedDeleteLimit(job.sweep_options.max_delete)

    def enough() -> bool:
        return time.process_time() >= HELP_S and tally.keys >= HELP_KEYS

    return Here(share, tally, delete_limit), [
        Elsewhere(share, tally, delete_limit, enough) for _ in range(processes - 1)
    ]


def _route(settings: Settings) -> tuple[str, str]:
    return (
        f"s3://{settings.source_bucket}/{settings.source_prefix}",
        f"{settings.target_endpoint}/{settings.target_bucket}/{settings.target_prefix}",
    )


def shown(job: Job, tally: Tally, console: Console, source: Bucket, deadline: Deadline) -> AbstractContextManager[None]:
    """Shows the tally for the block, in the way the job wants it."""
    if job.log:
        return in_log(tally)
    if console.is_terminal:
        return on_terminal(tally, console, count(source, deadline), stopping=lambda: deadline.is_stopped)
    return in_lines(tally, console)


def count(source: Bucket, deadline: Deadline) -> Callable[[], int | None]:
    """The number of keys in the source, counted in the background for the time left; None until it is known."""
    total: list[int] = []

    def work() -> None:
        keys = 0
        with suppress(SyncError):  # the sweep lists the same keys and reports what stops it
            for stretch in source.listing():
                keys += len(stretch)
                if deadline.passed():
                    return
            total.append(keys)

    threading.Thread(target=work, name="count", daemon=True).start()
    return lambda: total[0] if total else None


def _summarize(job: Job, tally: Tally, result: str, console: Console) -> None:
    if job.log:
        extra = {
            "result": result,
            **totals(tally),
            **({"target_only": tally.target_only} if job.tolerates_target_only else {}),
            "duration_s": round(tally.elapsed_s, 3),
        }
        logger.info("summary", extra=extra)
        return
    if job.named:
        for findings in (tally.differences, tally.failures):
            for finding in findings:
                what = _title(job, finding.what)
                sys.stdout.write(f"{what}\t{printable(finding.key)}\t{printable(finding.reason)}\n")
        sys.stdout.flush()
    lines = [f"notice: {printable(notice)}" for notice in tally.notices]
    done = [f"{tally.keys:,} keys looked at"]
    done += [f"{number:,} {_DONE.get(action, action)}" for action, number in sorted(tally.actions.items())]
    done += [f"{number:,} {_title(job, what)}" for what, number in sorted(tally.differences.counts.items())]
    done += [f"{len(tally.failures):,} failed"]
    bytes_ = f"{size(tally.bytes)} sent" if not job.sweep_options.dry_run else f"{size(tally.differences.size)} to send"
    lines.append(f"{result}: {', '.join(done)}, {bytes_}, {clock(tally.elapsed_s)}")
    if tally.target_only:
        lines.append(f"note: {tally.target_only:,} keys are only in the target; --delete deletes such keys")
    if result == "stopped":
        lines.append("Run the same command again to go on: what is equal is not copied again.")
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


_DONE = {"copy": "copied", "update": "updated", "tags": "tagged", "delete": "deleted"}
_PLANNED = {"missing": "would be copied", "differs": "would be updated"}


def _title(job: Job, what: str) -> str:
    """A kind of difference in the words of the command: a dry run tells what would be done."""
    if job.plans:
        return "would be deleted" if what == "extra" and job.sweep_options.delete else _PLANNED.get(what, what)
    return what
