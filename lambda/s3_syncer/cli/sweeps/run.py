"""Run one sweep from start to exit code: signals, progress display, summary and reports."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from ...core.deadline import Deadline
from ...core.errors import Permanent, SyncError
from ...core.listing_diff import DiffPage, Unordered
from ...core.proof import Proof
from ...core.size_order import first_passes
from ...queue.bus_events import BusEvent, Notify, sweep_ended
from ...settings import SMALLEST_BUDGET
from ...stores.bucket import Bucket
from ...stores.object_locks import NOT_MIRRORED
from ...sync.content_check import PageListener
from ...sync.named_keys import NamedKeys
from ...wiring import build_notify
from ..concurrency import Concurrency
from ..exit_codes import DIFFERENT, EQUAL
from ..output.progress import totals
from ..output.report import Report
from ..output.report_upload import NotUploadedError, ReportObject, upload
from ..output.restore_text import in_restore
from ..output.stats import SweepStats, print_row
from ..signals import handle_signals
from .display import print_line, show_progress
from .job import SweepJob
from .local_sweep import RANGES, LocalSweeper, SweeperConfig
from .outage import OutageDisplay, OutageListener
from .process_sweep import ProcessSweeper, SharedDeleteLimit
from .read_estimate import ReadEstimator, estimate_reads
from .resume_file import ResumeFile
from .summary import finding_rows, summary_lines
from .work_stealing import Range, Sweeper, WorkStealingScheduler, probe_concurrently

logger = logging.getLogger(__name__)

#: Concurrent requests that find the cuts of a range. All requests of a round run at once.
PROBES = 32

#: The reason of the failure of a sweep over named keys of which none exists: the file is probably a wrong one.
_NO_NAMED_KEY = "neither bucket has any of the named keys: each must be relative to the source prefix"


def run(job: SweepJob, console: Console) -> int:
    """Sweep, show progress on the console, write the reports, and return the exit code.

    Raises a SyncError if the sweep cannot finish, and OSError if a report cannot be written.
    """
    deadline, resume = Deadline(), job.resume
    sweepers: list[LocalSweeper | ProcessSweeper] = []
    stats = _new_stats(job, sweepers)
    ending = _Ending(job, stats, console, datetime.now(UTC), build_notify(job.settings))

    def on_page(page: DiffPage, proofs: Mapping[Proof, int]) -> None:
        stats.add_proofs(proofs)
        if resume is not None:
            resume.add_page(page, proofs)

    try:
        with handle_signals(deadline, lambda: ending.report("stopped"), grace_s=job.stop_grace_s) as stop:
            outages = OutageDisplay((lambda _: None) if job.log else partial(print_line, console))
            local, others = _sweepers(job, stats, outages, deadline, on_page)
            sweepers += [local, *others]
            if local.context.locks is not None and not local.context.locks.are_mirrored():
                stats.notices.append(stats.described(NOT_MIRRORED))
            if job.sweep_options.reads is not None and job.batches is None:
                _announce_reads(job, local, console, deadline)
            if job.only_estimates:
                return stop.exit_code if deadline.is_stopped else EQUAL
            check_source_prefix(job, local.context.source, local.context.target)
            with show_progress(job, stats, console, local.context.source, deadline, outages):
                unfinished = _sweep(job, stats, local, others, deadline)
            if local.named is not None:
                _report_absent_keys(local.named, stats, is_complete=unfinished is None)
    except SyncError as error:
        ending.report("failed", str(error))
        raise
    if unfinished is not None:
        ending.report("stopped")
        return stop.exit_code
    result = stats.result
    ending.report(result)
    if resume is not None:
        resume.delete()
    return EQUAL if result == "equal" or (job.is_dry_run and not stats.failures) else DIFFERENT


def check_source_prefix(job: SweepJob, source: Bucket, target: Bucket) -> None:
    """Raise Permanent if --delete would empty the target, because the source has no key below its prefix.

    The prefix is probably misspelt. With --max-delete, the number shows that the deletions are meant.
    """
    options, prefix = job.sweep_options, job.settings.source_prefix
    if not options.delete or options.dry_run or options.max_delete is not None or not prefix or job.batches is not None:
        return
    if source.first("") is None and target.first("") is not None:
        raise Permanent(
            f"no key of the source begins with {prefix!r}, so --delete would delete every key of the target: "
            "correct --source-prefix, or add --max-delete with the number of keys to delete"
        )


def _new_stats(job: SweepJob, sweepers: Sequence[LocalSweeper | ProcessSweeper]) -> SweepStats:
    """Return the stats of the sweep, with what earlier runs of the same check have found and done.

    `sweepers` may be filled later.
    """
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
    return stats


@dataclass(frozen=True, slots=True)
class _Ending:
    """Reports the end of a sweep: in files, as an event, and on the console."""

    job: SweepJob
    stats: SweepStats
    console: Console
    started: datetime
    notify: Notify

    def report(self, result: str, error: str = "") -> None:
        """Report the result. The caller shows an `error` on the console.

        Raises OSError if a file cannot be written.
        """
        report = Report(
            self.job.command,
            *self.job.route,
            self.started.isoformat(timespec="seconds"),
            result,
            self.stats,
            error,
            full=self.job.sweep_options.full,
        )
        # The reports come first: printing may fail, if standard error is a closed pipe. And a report that cannot be
        # written must not take the findings and the summary along.
        try:
            for place in self.job.reports:
                _write_report(report, place, self.job, self.console)
        finally:
            self.notify(ended(self.job, self.stats, result, error))
            if not error:
                _summarize(self.job, self.stats, result, self.console)


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

    Raises OSError if a file cannot be written.
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


def _report_absent_keys(named: NamedKeys, stats: SweepStats, *, is_complete: bool) -> None:
    """Note the named keys that neither bucket has. It is a failure if a complete sweep found no other key."""
    if not named.absent:
        return
    stats.notices.append(f"named keys that neither bucket has: {named.absent:,}, such as {named.absent_key!r}")
    if is_complete and not named.found:
        stats.on_failed(named.absent_key, Permanent(_NO_NAMED_KEY))


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
    """Return the sweeper of this process and those of the other processes. Raises StoreUnusable."""
    # One process keeps to a bandwidth limit, and is fast enough for any limit.
    # It also keeps to the limit of the bytes to restore, and alone knows the progress of a check that reads objects.
    most = job.settings.copy_memory // (2 * SMALLEST_BUDGET)
    options, reads = job.sweep_options, job.sweep_options.reads is not None
    is_limited = job.settings.bandwidth.limits or options.restore is not None or reads or job.batches is not None
    processes = 1 if is_limited else max(1, min(job.processes, most))
    settings = replace(job.settings, copy_memory=job.settings.copy_memory // processes, reads_checksums=reads)
    config = SweeperConfig(settings, options, job.threads, job.outage_timeout_s, job.have_responded, job.restore)
    delete_limit = None
    if options.max_delete is not None and processes > 1:
        delete_limit = SharedDeleteLimit(options.max_delete)

    def enough_work() -> bool:
        return time.process_time() >= job.spawn_after_cpu_s and stats.keys >= job.spawn_after_keys

    # The other processes start once this one has compared keys.
    of_others = replace(config, have_responded=True)
    return LocalSweeper(config, stats, outages, delete_limit, deadline, on_page, job.batches), [
        ProcessSweeper(of_others, stats, outages, delete_limit, enough_work) for _ in range(processes - 1)
    ]


def _summarize(job: SweepJob, stats: SweepStats, result: str, console: Console) -> None:
    """Log the totals, or print the findings and the summary."""
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
        for row in finding_rows(job, stats):
            print_row(*row)
    for line in summary_lines(job, stats, result):
        print_line(console, line)
