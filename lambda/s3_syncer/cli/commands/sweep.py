"""The command `sweep`: let the workers of a module compare a range of keys, and follow them."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console

from ...core.deadline import Deadline, OutOfTime
from ...core.work_items import RangeWork
from ...operations.outputs import Outputs
from ...operations.status import counted
from ..click_extensions import Command, with_options
from ..exit_codes import DIFFERENT, EQUAL
from ..options import operations as groups
from ..options.queues import IDLE_TIMEOUT
from ..output.progress import format_bytes, format_duration, in_lines, on_terminal
from ..output.stats import SweepStats, print_row
from ..signals import handle_signals
from ..sweeps.outage import OUTAGE_TIMEOUT_S
from ..sweeps.queue_migration import WORKERS_CONTINUE, QueueMigrationConfig, QueueMonitor, connect
from ..sweeps.queue_progress import Coverage, QueueProgress
from .on_module import on_module


@click.command(
    cls=Command,
    examples=[
        ("Compare and repair all keys", "s3-syncer --module infra sweep"),
        (
            "Also delete what the source does not have, at most 100 keys",
            "s3-syncer --module infra sweep --delete --max-delete 100",
        ),
        ("Only the keys of one day", "s3-syncer --module infra sweep --after logs/2026-11-28 --until logs/2026-11-29"),
    ],
)
@with_options(groups.RANGE, groups.SWEEP, IDLE_TIMEOUT, groups.JSON)
@on_module
def sweep(
    outputs: Outputs, after: str, until: str | None, detach: bool, idle_timeout: float, as_json: bool, **given: Any
) -> None:
    """Send a range of keys to the workers, which make each key equal, and wait for its end.

    The workers share the range. Ctrl-C ends the command, and not the work. Exit code 0 is a range without a new dead
    letter, 1 one with dead letters. `s3-syncer check` compares both buckets in this process instead.
    """
    if given["max_delete"] is not None and not given["delete"]:
        raise click.UsageError("--max-delete has no effect without --delete: add --delete or omit --max-delete")
    config = QueueMigrationConfig(
        outputs.bulk_queue_url, outputs.dead_letter_queue_url, outputs.log_groups, idle_timeout
    )
    monitor = connect(config)
    letters_before = monitor.dead_letters() or 0
    monitor.send(RangeWork(after, until, given["delete"], given["max_delete"], given["full"]))
    click.echo("The range is on the queue.", err=True)
    if detach:
        return
    stats = SweepStats()
    stopped = _follow(monitor, stats, Coverage(after, until), idle_timeout)
    if stopped is not None:
        click.echo(f"stopped: {WORKERS_CONTINUE}", err=True)
        sys.exit(stopped)
    _end(stats, max(0, (monitor.dead_letters() or 0) - letters_before), as_json=as_json)


def _follow(monitor: QueueMonitor, stats: SweepStats, coverage: Coverage, idle_s: float) -> int | None:
    """Wait until the range is done. Return None, or the exit code of a stop."""
    console, deadline = Console(stderr=True), Deadline()
    progress = QueueProgress(stats, idle_s=idle_s, coverage=coverage)
    display = on_terminal(stats, console, lambda: None, list) if console.is_terminal else in_lines(stats, console, list)
    with handle_signals(deadline) as stop:
        try:
            with display:
                monitor.wait(progress, deadline, outage_timeout_s=OUTAGE_TIMEOUT_S)
        except OutOfTime:
            return stop.exit_code
    return None


def _end(stats: SweepStats, letters: int, *, as_json: bool) -> None:
    deleted = stats.actions["delete"]
    counts = {
        "keys": stats.keys,
        "copied": stats.changed - deleted,
        "deleted": deleted,
        "bytes": stats.bytes,
        "new_dead_letters": letters,
        "duration_s": round(stats.elapsed_s, 1),
    }
    if as_json:
        click.echo(json.dumps(counts, indent=2))
    else:
        for finding in stats.failures:
            print_row("dead-letter", finding.key, finding.reason)
        click.echo(
            f"{counted(stats.keys, 'key')} compared, {counts['copied']:,} copied, {deleted:,} deleted, "
            f"{counted(letters, 'new dead letter')}, {format_bytes(stats.bytes)} sent, "
            f"{format_duration(stats.elapsed_s)}"
        )
    sys.exit(DIFFERENT if letters or stats.failures else EQUAL)
