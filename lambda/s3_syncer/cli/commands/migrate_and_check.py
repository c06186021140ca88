"""The commands that sweep both buckets: `migrate` and `check`."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import click
from rich.console import Console

from ...core.errors import SyncError
from ...core.units import GB
from ...sync.archived_objects import RestoreOptions
from ...sync.key_sweep import SweepOptions
from ..click_extensions import Command, with_options
from ..options import groups, resources
from ..options.downloads import open_resume_file, read_options
from ..options.key_selection import check_selection, selected_batches
from ..options.settings import configure_log, fail, read_filters, read_settings
from ..options.store_locations import LOCATIONS
from ..options.stores import STORES
from ..sweeps.display import print_line
from ..sweeps.job import SweepJob
from ..sweeps.queue_migration import QueueMigrationConfig, migrate_by_queue
from ..sweeps.run import run

#: Characters of the filters that a message can carry. SQS allows 256 KiB for the ten messages of a request.
MAX_FILTERS = 16 * 1024

#: Options of `migrate` that do not work with --workers queue, and what to do instead.
_NOT_FOR_QUEUE = {
    "dry_run": ("--dry-run", "`s3-syncer check` lists the differences and changes nothing"),
    "files_from": ("--files-from", "run `migrate` without --workers queue to choose keys"),
    "inventory": ("--inventory", "run `migrate` without --workers queue to choose keys"),
    "since": ("--since", "run `migrate` without --workers queue to choose keys"),
    "restore": ("--restore", "run `migrate` without --workers queue to restore objects"),
    "skip_archived": ("--skip-archived", "run `s3-syncer check --skip-archived` when the workers are done"),
    "bwlimit": ("--bwlimit", "the input bulk.max_concurrency of the Terraform module limits the workers"),
}

#: Options that do not work with an order by size, and why.
_NOT_BY_SIZE = {
    "files_from": "the file has no sizes, and its keys are copied in its order",
    "inventory": "its keys are copied in the order of its files",
}


@click.command(
    cls=Command,
    examples=[
        ("List what would be copied", "s3-syncer migrate --dry-run"),
        (
            "Copy a bucket of AWS S3 to a store of `s3-syncer config`",
            "s3-syncer migrate s3://my-bucket/photos lyve:my-mirror",
        ),
        (
            "Copy everything below photos/, and write a report",
            "s3-syncer migrate --source-prefix photos/ --report r.html",
        ),
        ("Make the target equal, with at most 1,000 deletions", "s3-syncer migrate --delete --max-delete 1000"),
        (
            "Restore up to 500 GB from archives, and copy what is restored",
            "s3-syncer migrate --restore bulk --max-restore-gb 500 --skip-archived",
        ),
        ("Let the workers of the queue copy", "s3-syncer --module infra migrate --workers queue"),
    ],
)
@with_options(LOCATIONS, STORES, groups.DRY_RUN, groups.FILTERS, groups.FILES_FROM, groups.INVENTORY, groups.SINCE)
@with_options(groups.KEYS, groups.TAGS, groups.OBJECT_LOCK, groups.ORDER, groups.SWEEP_DELETES)
@with_options(groups.SKIP_ARCHIVED, groups.RESTORES)
@with_options(groups.WORKERS, resources.SWEEP_CONCURRENCY, resources.MEMORY, resources.PROCESSES, resources.OUTAGES)
@with_options(groups.REPORTS, groups.EVENTS, groups.LOG)
@with_options(resources.SPAWN, groups.STOP_GRACE)
def migrate(delete: bool, max_delete: int | None, dry_run: bool, **options: Any) -> None:
    """Copy the existing objects to the target, and compare again until both buckets are equal.

    Applications can write to the source meanwhile. You can stop the command and run it again: it skips keys that are
    equal. Nothing is deleted without --delete. Keys that only the target has are then a note, not a difference.
    """
    if max_delete is not None and not delete:
        raise click.UsageError("--max-delete has no effect without --delete: add --delete or omit --max-delete")
    check_selection(options, delete=delete)
    _check_order(options)
    config = _queue_config({**options, "dry_run": dry_run}) if options["workers"] == "queue" else None
    sweep_options = SweepOptions(
        dry_run=dry_run,
        delete=delete,
        max_delete=max_delete,
        one_way=options["one_way"],
        full=options["full"],
        restore=_restore_options(options),
        since=options["since"],
    )
    _sweep("migrate", sweep_options, options, config)


@click.command(
    cls=Command,
    examples=[
        ("Compare all properties that can be read without a download", "s3-syncer check --full"),
        ("Ignore keys that only the target has", "s3-syncer check --one-way"),
        ("Prove every byte, and continue after a stop", "s3-syncer check --download --resume progress.jsonl"),
        ("Read a random part of the objects", "s3-syncer check --download --sample 1%"),
    ],
)
@with_options(LOCATIONS, STORES, groups.FILTERS, groups.FILES_FROM, groups.INVENTORY, groups.SINCE)
@with_options(groups.KEYS, groups.TAGS, groups.OBJECT_LOCK, groups.DOWNLOAD, groups.SKIP_ARCHIVED)
@with_options(resources.SWEEP_CONCURRENCY, resources.MEMORY, resources.PROCESSES, resources.OUTAGES)
@with_options(groups.REPORTS, groups.EVENTS, groups.LOG)
@with_options(resources.SPAWN, groups.STOP_GRACE)
def check(**options: Any) -> None:
    """Compare both buckets, and list each difference with its reason. Nothing is changed.

    Keys that only the target has are differences, unless --one-way is given. Sizes, ETags, times, headers, metadata and
    tags decide. With --download, the bytes do as well.
    """
    check_selection(options, delete=False)
    sweep_options = SweepOptions(
        dry_run=True,
        one_way=options["one_way"],
        full=options["full"],
        reads=read_options(options),
        since=options["since"],
    )
    _sweep("check", sweep_options, options)


def _sweep(
    command: str, sweep_options: SweepOptions, options: dict[str, Any], config: QueueMigrationConfig | None = None
) -> None:
    """Run the sweep and exit. With a `config`, the workers of a queue do it."""
    settings = read_settings(options, delete=sweep_options.delete)
    configure_log(options["log_format"], verbose=options["verbose"])
    log = options["log_format"] == "json"
    console = Console(stderr=True)
    try:
        resume = open_resume_file(options, settings, sweep_options)
        named = selected_batches(options, settings, partial(print_line, console))
    except (SyncError, OSError) as error:
        fail(error)
    job = SweepJob(
        command=command,
        settings=settings,
        sweep_options=sweep_options,
        threads=options["concurrency"],
        tolerates_target_only=command == "migrate" and not sweep_options.delete,
        skips_archived=options["skip_archived"],
        processes=options["processes"],
        outage_timeout_s=options["outage_timeout"],
        spawn_after_cpu_s=options["spawn_after_cpu"],
        spawn_after_keys=options["spawn_after_keys"],
        stop_grace_s=options["stop_grace"],
        resume=resume,
        order=options.get("order", "key"),
        batches=named,
        only_estimates=options.get("estimate", False),
        reports=options["reports"],
        log=log,
        list_findings=not log and not options["verbose"],
    )
    try:
        sys.exit(run(job, console) if config is None else migrate_by_queue(job, config, console))
    except (SyncError, OSError) as error:
        fail(error)


def _check_order(options: dict[str, Any]) -> None:
    """Raise UsageError for options that do not work with an order by size."""
    order = options["order"]
    if order == "key":
        return
    if options["workers"] == "queue":
        raise click.UsageError(f"--order {order} does not work with --workers queue: the workers copy in any order")
    for name, reason in _NOT_BY_SIZE.items():
        if options[name] is not None:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(f"--order {order} does not work with {option}: {reason}. Omit one of them")


def _restore_options(options: dict[str, Any]) -> RestoreOptions | None:
    """Return the restores to request. Raises UsageError for a limit without a restore."""
    tier, days, most_gb = options["restore"], options["restore_days"], options["max_restore_gb"]
    if tier is None:
        for option, value in (("--restore-days", days), ("--max-restore-gb", most_gb)):
            if value is not None:
                raise click.UsageError(f"{option} has no effect without --restore: add --restore or omit {option}")
        return None
    max_bytes = None if most_gb is None else round(most_gb * GB)
    return RestoreOptions(tier.capitalize(), days or groups.RESTORE_DAYS, max_bytes)


def _queue_config(options: dict[str, Any]) -> QueueMigrationConfig:
    """Return the queues and log groups. Raises UsageError for options that the workers cannot obey."""
    for name, (option, instead) in _NOT_FOR_QUEUE.items():
        if options[name]:
            raise click.UsageError(f"{option} does not work with --workers queue: {instead}")
    if len(json.dumps(read_filters(options).to_json())) > MAX_FILTERS:
        raise click.UsageError(
            f"the filters for --workers queue have at most {MAX_FILTERS:,} characters: join patterns as {{a,b}}"
        )
    queue_url = options["bulk_queue_url"] or options["queue_url"]
    if not queue_url:
        raise click.UsageError(
            "--workers queue needs --bulk-queue-url, or --queue-url for workers with a single queue: use the output "
            "bulk_queue_url of the Terraform module"
        )
    return QueueMigrationConfig(
        queue_url=queue_url,
        dead_letter_queue_url=options["dead_letter_queue_url"] or "",
        log_groups=options["log_groups"],
        idle_timeout_s=options["idle_timeout"],
    )
