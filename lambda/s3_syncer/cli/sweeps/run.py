"""Run one sweep from start to exit code: signals, progress display, summary and reports."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from ...core.deadline import Deadline
from ...core.errors import Permanent, SyncError
from ...core.listing_diff import DiffPage, Unordered
from ...core.proof import Proof
from ...core.size_order import Order, first_passes
from ...crt.factory import is_awscrt_installed
from ...operations.status import counted
from ...queue.bus_events import BusEvent, sweep_ended
from ...settings import SMALLEST_BUDGET, RestoreSettings, Settings
from ...stores.bucket import Bucket
from ...stores.object_locks import NOT_MIRRORED
from ...sync.content_check import PageListener
from ...sync.key_sweep import SweepOptions
from ...sync.named_keys import NamedBatch, NamedKeys
from ...wiring import build_notify
from ..concurrency import Concurrency
from ..exit_codes import DIFFERENT, EQUAL
from ..output.progress import format_bytes, format_duration, in_lines, in_log, on_terminal, totals
from ..output.proof_summary import proof_text, sample_result
from ..output.report import Report
from ..output.report_upload import NotUploadedError, ReportObject, upload
from ..output.restore_text import in_restore, planned_restore, restore_notes
from ..output.stats import ARCHIVED, SweepStats, print_row, printable
from ..signals import GRACE_S, handle_signals
from .local_sweep import RANGES, LocalSweeper, SweeperConfig
from .outage import OUTAGE_TIMEOUT_S, OutageDisplay, OutageListener
from .process_sweep import ProcessSweeper, SharedDeleteLimit
from .read_estimate import ReadEstimator, estimate_reads
from .resume_file import ResumeFile
from .work_stealing import Range, Sweeper, WorkStealingScheduler, probe_concurrently

logger = logging.getLogger(__name__)

#: CPU seconds and keys of a sweep after which more processes start. A start takes about one CPU second and 70 MiB, and
#: a short sweep does not regain them. A sweep that waits for stores uses little CPU, and needs no other process.
SPAWN_AFTER_CPU_S, SPAWN_AFTER_KEYS = 20.0, 10_000

#: Concurrent requests that find the cuts of a range. All requests of a round run at once.
PROBES = 32


#: The reason of the failure of a sweep over named keys of which none exists: the file is probably a wrong one.
_NO_NAMED_KEY = "neither bucket has any of the named keys: each must be relative to the source prefix"


@dataclass(frozen=True, slots=True)
class SweepJob:
    """A sweep, and how to report it."""

    command: str
    settings: Settings
    sweep_options: SweepOptions
    threads: int
    #: The restore to make, in place of a copy to the target.
    restore: RestoreSettings | None = None
    #: Report keys that only the target has as a note, not as differences.
    tolerates_target_only: bool = False
    #: Report keys in an archive as a count, not as differences.
    skips_archived: bool = False
    processes: int = 1
    #: Seconds for which the sweep waits for a store that does not respond; 0 is not at all.
    outage_timeout_s: float = OUTAGE_TIMEOUT_S
    #: True if the stores have responded in this command, so that an outage is no wrong endpoint.
    have_responded: bool = False
    #: When more processes start, see SPAWN_AFTER_CPU_S.
    spawn_after_cpu_s: float = SPAWN_AFTER_CPU_S
    spawn_after_keys: int = SPAWN_AFTER_KEYS
    stop_grace_s: float = GRACE_S
    #: The progress of a check that reads objects; None stores none.
    resume: ResumeFile | None = None
    #: The order in which objects are copied.
    order: Order = "key"
    #: The only keys of the sweep; None sweeps all keys.
    batches: Iterator[NamedBatch] | None = None
    #: Say what the check would read, and read nothing.
    only_estimates: bool = False
    reports: tuple[Path | ReportObject, ...] = ()
    #: Write everything as log records: see `logs.py`.
    log: bool = False
    #: List the keys that differ or failed at the end. Otherwise the log has already named them.
    list_findings: bool = True

    @property
    def is_dry_run(self) -> bool:
        """Return True if the job lists what `migrate` or `restore` would do.

        Its differences do not change the exit code.
        """
        return self.command in ("migrate", "restore") and self.sweep_options.dry_run


def run(job: SweepJob, console: Console) -> int:
    """Sweep, show progress on the console, write the reports, and return the exit code.

    Raise a SyncError if the sweep cannot finish, and OSError if a report cannot be written.
    """
    started, deadline = datetime.now(UTC), Deadline()
    notify = build_notify(job.settings)
    sweepers: list[LocalSweeper | ProcessSweeper] = []
    resume = job.resume
    stats = SweepStats(
        concurrency=lambda: sum((each.concurrency for each in sweepers), Concurrency()),
        writes=not job.sweep_options.dry_run,
        tolerates_target_only=job.tolerates_target_only,
        skips_archived=job.skips_archived,
        described=str if job.restore is None else in_restore,
        reads=job.sweep_options.reads,
        on_finding=(lambda _: None) if resume is None else resume.add_finding,
        bytes_read=lambda: sum(each.bytes_read for each in sweepers if isinstance(each, LocalSweeper)),
    )

    if resume is not None:
        stats.add_earlier(resume.findings, sum(each.keys for each in resume.done))
        for each in resume.done:
            stats.add_proofs(each.proofs)

    def on_page(page: DiffPage, proofs: Mapping[Proof, int]) -> None:
        stats.add_proofs(proofs)
        if resume is not None:
            resume.add_page(page, proofs)

    def conclude(result: str, error: str = "") -> None:
        # The reports come first: printing may fail, if standard error is a closed pipe.
        report = Report(
            job.command,
            *_route(job),
            started.isoformat(timespec="seconds"),
            result,
            stats,
            error,
            full=job.sweep_options.full,
        )
        for place in job.reports:
            _write_report(report, place, job, console)
        notify(ended(job, stats, result, error))
        if not error:
            _summarize(job, stats, result, console)

    try:
        with handle_signals(deadline, lambda: conclude("stopped"), grace_s=job.stop_grace_s) as stop:
            outages = OutageDisplay((lambda _: None) if job.log else partial(print_line, console))
            local, others = _sweepers(job, stats, outages, deadline, on_page)
            sweepers += [local, *others]
            if local.context.locks is not None and not local.context.locks.are_mirrored():
                stats.notices.append(stats.described(NOT_MIRRORED))
            if job.sweep_options.reads is not None and job.batches is None:
                _announce_reads(job, local, console, deadline)
            if job.only_estimates:
                return stop.exit_code if deadline.is_stopped else EQUAL
            with show_progress(job, stats, console, local.context.source, deadline, outages):
                unfinished = _sweep(job, stats, local, others, deadline)
            if local.named is not None and local.named.absent:
                stats.notices.append(_absent_note(local.named))
                if not local.named.found and unfinished is None:
                    stats.on_failed(local.named.absent_key, Permanent(_NO_NAMED_KEY))
    except SyncError as error:
        conclude("failed", str(error))
        raise
    if unfinished is not None:
        conclude("stopped")
        return stop.exit_code
    result = stats.result
    conclude(result)
    if resume is not None:
        resume.delete()
    return EQUAL if result == "equal" or (job.is_dry_run and not stats.failures) else DIFFERENT


def ended(job: SweepJob, stats: SweepStats, result: str, error: str = "") -> BusEvent:
    """Return the event about the end of the sweep."""
    counts = {
        "dry_run": job.sweep_options.dry_run,
        "keys": stats.keys,
        "changed": stats.changed,
        "deleted": stats.actions["delete"],
        "different": len(stats.differences),
        "failed": len(stats.failures),
        "bytes": stats.bytes,
        "duration_s": round(stats.elapsed_s),
    }
    return sweep_ended(job.command, result, counts, error=error)


def _write_report(report: Report, place: Path | ReportObject, job: SweepJob, console: Console) -> None:
    """Write the report. A failed upload is one line, and changes neither the work nor the exit code.

    Raise OSError if a file cannot be written.
    """
    if isinstance(place, Path):
        report.write(place)
        return
    try:
        upload(report, place)
    except NotUploadedError as error:
        if job.log:
            logger.error("%s", error)  # noqa: TRY400 - one line, without a traceback
        else:
            print_line(console, f"s3-syncer: {error}")


def _sweep(
    job: SweepJob, stats: SweepStats, local: LocalSweeper, others: Sequence[ProcessSweeper], deadline: Deadline
) -> str | None:
    """Sweep all keys that no earlier run has done, several ranges at a time.

    Return and raise what `Sweep.run` does.
    """
    if local.named is not None:
        try:
            return local.sweep_named(deadline)
        finally:
            local.close()
    sweepers: list[Sweeper] = [local, *others]
    slots = [sweeper for sweeper in sweepers for _ in range(RANGES)]
    try:
        first_behind = probe_concurrently(local.context.source.first, PROBES)
        passes = () if job.sweep_options.dry_run else first_passes(job.order)
        for sizes in passes:
            stats.begin_pass(str(sizes))
            unfinished = WorkStealingScheduler(slots, first_behind).run([Range(sizes=sizes)], deadline)
            if unfinished is not None:
                return unfinished
        if passes:
            stats.begin_pass("")
        return WorkStealingScheduler(slots, first_behind).run(_ranges(job.resume), deadline)
    except Unordered as error:
        if job.resume is not None:
            job.resume.delete()  # the pages are no ranges from here on
        return local.sweep_key_by_key(error, deadline)
    finally:
        for other in others:
            other.close()
        local.close()


def _absent_note(named: NamedKeys) -> str:
    return f"named keys that neither bucket has: {named.absent:,}, such as {named.absent_key!r}"


def _ranges(resume: ResumeFile | None) -> Sequence[Range]:
    return [Range()] if resume is None else resume.rest()


def _announce_reads(job: SweepJob, local: LocalSweeper, console: Console, deadline: Deadline) -> None:
    """Say how many bytes the check will read, because both stores may charge for them.

    That costs a listing of each side.
    """
    context = local.context
    estimator = ReadEstimator(context.source, context.target, job.sweep_options, job.settings.filters)
    estimate = estimate_reads(estimator, _ranges(job.resume), context.source.first, deadline)
    text = "the bytes to read are not known: a listing is not in order" if estimate is None else estimate.text
    if deadline.is_stopped:
        return
    if job.log:
        logger.info("estimate", extra={} if estimate is None else asdict(estimate))
    else:
        print_line(console, text)


def _sweepers(
    job: SweepJob, stats: SweepStats, outages: OutageListener, deadline: Deadline, on_page: PageListener
) -> tuple[LocalSweeper, Sequence[ProcessSweeper]]:
    """Return the sweeper of this process and those of the other processes. Raise StoreUnusable."""
    # One process keeps to a bandwidth limit, and is fast enough for any limit.
    # It also keeps to the limit of the bytes to restore, and alone knows the progress of a check that reads objects.
    most = job.settings.copy_memory // (2 * SMALLEST_BUDGET)
    options = job.sweep_options
    is_limited = job.settings.bandwidth.limits or options.restore is not None or options.reads is not None
    is_limited = is_limited or job.batches is not None
    processes = 1 if is_limited else max(1, min(job.processes, most))
    settings = replace(
        job.settings, copy_memory=job.settings.copy_memory // processes, reads_checksums=options.reads is not None
    )
    config = SweeperConfig(
        settings, job.sweep_options, job.threads, job.outage_timeout_s, job.have_responded, job.restore
    )
    delete_limit = None
    if job.sweep_options.max_delete is not None and processes > 1:
        delete_limit = SharedDeleteLimit(job.sweep_options.max_delete)

    def enough_work() -> bool:
        return time.process_time() >= job.spawn_after_cpu_s and stats.keys >= job.spawn_after_keys

    # The other processes start once this one has compared keys.
    of_others = replace(config, have_responded=True)
    return LocalSweeper(config, stats, outages, delete_limit, deadline, on_page, job.batches), [
        ProcessSweeper(of_others, stats, outages, delete_limit, enough_work) for _ in range(processes - 1)
    ]


def _route(job: SweepJob) -> tuple[str, str]:
    """Return the URLs of what is read and of what is written, for the report."""
    settings = job.settings
    source = f"s3://{settings.source_bucket}/{settings.source_prefix}"
    target = f"{settings.target_endpoint}/{settings.target_bucket}/{settings.target_prefix}"
    return (source, target) if job.restore is None else (target, source)


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


def _summarize(job: SweepJob, stats: SweepStats, result: str, console: Console) -> None:
    if job.log:
        extra = {
            "result": result,
            "full": job.sweep_options.full,
            **totals(stats),
            "duration_s": round(stats.elapsed_s, 3),
        }
        logger.info("summary", extra=extra)
        return
    if job.list_findings:
        for findings in (stats.differences, stats.failures):
            for finding in findings:
                print_row(_title(job, finding.what), finding.key, finding.text)
    lines = [f"note: {printable(notice)}" for notice in stats.notes]
    done = [f"{counted(stats.keys, 'key')} compared"]
    names = _DONE if job.restore is None else {**_DONE, "copy": "restored", "update": "replaced"}
    done += [f"{number:,} {names.get(action, action)}" for action, number in sorted(stats.actions.items())]
    done += [_count(job, stats, what) for what in sorted(stats.differences.counts)]
    if job.skips_archived:
        done += [_count(job, stats, what) for what in ARCHIVED if stats.archived(what).keys]
    done += [f"{len(stats.failures):,} failed"]
    if stats.reads is not None:
        done.append(f"{format_bytes(stats.bytes_read())} read")
    bytes_ = f"{format_bytes(stats.bytes)} sent" if stats.writes else f"{format_bytes(stats.bytes_to_send)} to send"
    lines.append(f"{result}: {', '.join(done)}, {bytes_}, {format_duration(stats.elapsed_s)}")
    if stats.reads is not None:
        lines.append(proof_text(stats.proofs))
        if (sample := sample_result(stats.proofs, stats.reads)) is not None:
            lines.append(sample.text(is_equal=result == "equal"))
    if stats.target_only and job.restore is None:
        lines.append(f"note: keys that only the target has: {stats.target_only:,}. --delete deletes such keys.")
    if job.restore is not None:
        lines += restore_notes(stats, overwrite=job.restore.overwrite)
    if result == "equal" and not job.sweep_options.full:
        compared_by = "size, ETag and time" if job.restore is None else "size and ETag"
        lines.append(f"note: compared by {compared_by}. --full also compares headers, metadata and tags.")
    if not is_awscrt_installed():
        lines.append("note: listings and small objects are faster with awscrt: pip install 's3-syncer[crt]'")
    if result == "stopped":
        lines.append(_how_to_continue(job))
    for line in lines:
        print_line(console, line)


def _how_to_continue(job: SweepJob) -> str:
    if job.resume is not None:
        return f"Run the same command again to continue: {str(job.resume.path)!r} has the progress."
    if job.sweep_options.reads is not None:
        return "The same command begins again. With --resume FILE, a stopped check can be continued."
    return "Run the same command again to continue. It skips keys that are already equal."


_DONE = {
    "copy": "copied",
    "update": "updated",
    "tags": "tagged",
    "lock": "locked",
    "delete": "deleted",
    "undo": "removed again",
}
_PLANNED = {
    "missing": "would be copied",
    "differs": "would be updated",
    "unproven": "would be copied to prove the content",
    "restore": "would be restored",
}


def _count(job: SweepJob, stats: SweepStats, what: str) -> str:
    """Return the number of keys of a kind of difference; for unproven and archived keys, also their bytes."""
    if what in ARCHIVED:
        found = stats.archived(what)
        return f"{found.keys:,} {_title(job, what)} ({format_bytes(found.bytes)})"
    counted = f"{stats.differences.counts[what]:,} {_title(job, what)}"
    return f"{counted} ({format_bytes(stats.differences.sizes[what])})" if what == "unproven" else counted


def _title(job: SweepJob, what: str) -> str:
    """Return the word for a kind of difference; a dry run says what would be done."""
    if job.is_dry_run and job.restore is not None:
        return planned_restore(what, overwrite=job.restore.overwrite)
    if job.is_dry_run:
        return "would be deleted" if what == "extra" and job.sweep_options.delete else _PLANNED.get(what, what)
    return "restores requested" if what == "restore" else what
