"""The summary of a sweep for people: a row for each finding, and the lines behind them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...crt.factory import is_awscrt_installed
from ...operations.status import counted
from ..output.progress import format_bytes, format_duration
from ..output.proof_summary import proof_text, sample_result
from ..output.restore_text import planned_restore, restore_notes
from ..output.stats import ARCHIVED, SweepStats, printable
from .job import SweepJob

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


def finding_rows(job: SweepJob, stats: SweepStats) -> Iterator[tuple[str, str, str]]:
    """Yield the columns of each difference and each failure: its kind, its key, and its reason."""
    for findings in (stats.differences, stats.failures):
        for finding in findings:
            yield _title(job, finding.what), finding.key, finding.text


def summary_lines(job: SweepJob, stats: SweepStats, result: str) -> Iterator[str]:
    """Yield the notes of the sweep, the line with its result, and what the user may do next."""
    yield from (f"note: {printable(notice)}" for notice in stats.notes)
    yield f"{result}: {', '.join(_totals(job, stats))}"
    if stats.reads is not None:
        yield proof_text(stats.proofs)
        if (sample := sample_result(stats.proofs, stats.reads)) is not None:
            yield sample.text(is_equal=result == "equal")
    if stats.target_only and job.restore is None:
        yield f"note: keys that only the target has: {stats.target_only:,}. --delete deletes such keys."
    if job.restore is not None:
        yield from restore_notes(stats, overwrite=job.restore.overwrite)
    if result == "equal" and not job.sweep_options.full:
        compared_by = "size, ETag and time" if job.restore is None else "size and ETag"
        yield f"note: compared by {compared_by}. --full also compares headers, metadata and tags."
    if not is_awscrt_installed():
        yield "note: listings and small objects are faster with awscrt: pip install 's3-syncer[crt]'"
    if result == "stopped":
        yield _how_to_continue(job)


def _totals(job: SweepJob, stats: SweepStats) -> Iterator[str]:
    """Yield the numbers of the line with the result."""
    yield f"{counted(stats.keys, 'key')} compared"
    names = _DONE if job.restore is None else {**_DONE, "copy": "restored", "update": "replaced"}
    yield from (f"{number:,} {names.get(action, action)}" for action, number in sorted(stats.actions.items()))
    yield from (_count(job, stats, what) for what in sorted(stats.differences.counts))
    if job.skips_archived:
        yield from (_count(job, stats, what) for what in ARCHIVED if stats.archived(what).keys)
    yield f"{len(stats.failures):,} failed"
    if stats.reads is not None:
        yield f"{format_bytes(stats.bytes_read())} read"
    yield f"{format_bytes(stats.bytes)} sent" if stats.writes else f"{format_bytes(stats.bytes_to_send)} to send"
    yield format_duration(stats.elapsed_s)


def _how_to_continue(job: SweepJob) -> str:
    if job.resume is not None:
        return f"Run the same command again to continue: {str(job.resume.path)!r} has the progress."
    if job.sweep_options.reads is not None:
        return "The same command begins again. With --resume FILE, a stopped check can be continued."
    return "Run the same command again to continue. It skips keys that are already equal."


def _count(job: SweepJob, stats: SweepStats, what: str) -> str:
    """Return the number of keys of a kind of difference; for unproven and archived keys, also their bytes."""
    if what in ARCHIVED:
        found = stats.archived(what)
        return f"{found.keys:,} {_title(job, what)} ({format_bytes(found.bytes)})"
    number = f"{stats.differences.counts[what]:,} {_title(job, what)}"
    return f"{number} ({format_bytes(stats.differences.sizes[what])})" if what == "unproven" else number


def _title(job: SweepJob, what: str) -> str:
    """Return the word for a kind of difference; a dry run says what would be done."""
    if job.is_dry_run and job.restore is not None:
        return planned_restore(what, overwrite=job.restore.overwrite)
    if job.is_dry_run:
        return "would be deleted" if what == "extra" and job.sweep_options.delete else _PLANNED.get(what, what)
    return "restores requested" if what == "restore" else what
