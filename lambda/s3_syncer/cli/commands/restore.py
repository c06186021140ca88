"""The command `restore`: bring objects back from the mirror."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import click
from rich.console import Console

from ...core.errors import SyncError
from ...settings import RestoreSettings, Settings
from ...sync.key_sweep import SweepOptions
from ..click_extensions import Command, option, with_options
from ..options import groups, resources
from ..options.settings import configure_log, fail, option_of, read_settings
from ..options.stores import STORES
from ..options.types import Moment
from ..sweeps.job import SweepJob
from ..sweeps.key_files import batches
from ..sweeps.run import run

_WHAT = "What to restore"

RESTORE = (
    option(
        _WHAT,
        "--to-bucket",
        metavar="NAME",
        help="Bucket to restore to, in place of --source-bucket: an empty one for a rehearsal, or a new one if the old "
        "one is lost. It must exist.",
    ),
    option(
        _WHAT,
        "--prefix",
        default="",
        help="Only keys that begin with this, behind the source prefix. Default: all keys.",
    ),
    option(
        _WHAT,
        "--overwrite",
        is_flag=True,
        help="Also replace the objects of the bucket that differ from the mirror. They are lost, unless the bucket "
        "has versions: use --dry-run first. Without it, each of them is listed and stays.",
    ),
    option(
        _WHAT,
        "--as-of",
        type=Moment(),
        metavar="TIME",
        help="Restore what the mirror had at this time, such as 2026-11-29T08:00:00Z, or 90s, 15m, 12h ago. Needs a "
        "mirror with versions. Times have whole seconds, and no time zone is UTC.",
    ),
    option(
        _WHAT,
        "--storage-class",
        metavar="CLASS",
        help="Storage class of the restored objects, such as STANDARD_IA. Default: that of the bucket, STANDARD.",
    ),
)

OBJECT_LOCK = (
    option(
        _WHAT,
        "--object-lock",
        is_flag=True,
        help="Also restore the retention and the legal hold of each object. A retention of the bucket is only "
        "extended, and no hold is removed. The bucket needs Object Lock. The setting of the module has no effect here: "
        "a rehearsal would lock its objects for as long.",
    ),
)


@click.command(
    cls=Command,
    examples=[
        ("List what would be restored", "s3-syncer --module infra restore --dry-run"),
        ("Bring back every missing object, and write a report", "s3-syncer --module infra restore --report r.html"),
        ("Rehearse with an empty bucket", "s3-syncer --module infra restore --to-bucket rehearsal --prefix photos/"),
        (
            "Go back to the objects of a moment",
            "s3-syncer --module infra restore --as-of 2026-11-29T08:00:00Z --overwrite",
        ),
        ("Bring back what a check has found missing", "s3-syncer --module infra restore --files-from report.json"),
        ("Undo changes below photos/, too", "s3-syncer --module infra restore --prefix photos/ --overwrite"),
    ],
)
@with_options(STORES, RESTORE, groups.DRY_RUN, groups.FILTERS, groups.FILES_FROM)
@with_options(groups.KEYS, groups.TAGS, OBJECT_LOCK)
@with_options(resources.SWEEP_CONCURRENCY, resources.MEMORY, resources.PROCESSES, resources.OUTAGES)
@with_options(groups.REPORTS, groups.LOG)
@with_options(resources.SPAWN, groups.STOP_GRACE)
def restore(**options: Any) -> None:
    """Bring objects back from the mirror, which is the target, to the bucket, which is the source.

    Only keys that the bucket lacks are written. Objects that differ are listed and stay, unless --overwrite is given.
    Nothing is deleted. What another program writes meanwhile is never replaced. You can stop the command and run it
    again: it skips what is there.

    The credentials of the source must be allowed to write to it.
    """
    names = options["files_from"]
    if names is not None and options["prefix"]:
        raise click.UsageError(
            "--prefix does not work with --files-from: its keys are relative to the source prefix. Omit one of them"
        )
    settings = _settings(options)
    configure_log(options["log_format"], verbose=options["verbose"])
    log = options["log_format"] == "json"
    job = SweepJob(
        command="restore",
        settings=settings,
        sweep_options=SweepOptions(
            dry_run=options["dry_run"],
            one_way=options["one_way"],
            full=options["full"],
            ignores_times=True,
        ),
        threads=options["concurrency"],
        restore=RestoreSettings(options["overwrite"], options["as_of"]),
        tolerates_target_only=True,
        processes=options["processes"],
        outage_timeout_s=options["outage_timeout"],
        spawn_after_cpu_s=options["spawn_after_cpu"],
        spawn_after_keys=options["spawn_after_keys"],
        stop_grace_s=options["stop_grace"],
        batches=None if names is None else batches(names.keys(settings)),
        reports=options["reports"],
        log=log,
        list_findings=not log and not options["verbose"],
    )
    try:
        sys.exit(run(job, Console(stderr=True)))
    except (SyncError, OSError) as error:
        fail(error)


def _settings(options: dict[str, Any]) -> Settings:
    """Return the settings, with the bucket, the prefix and the storage class of the restore."""
    bucket, prefix, storage_class = options["to_bucket"], options["prefix"], options["storage_class"]
    own = {"SOURCE_BUCKET": "--to-bucket"} if bucket else {}
    settings = read_settings(
        {**options, "source_bucket": bucket or options["source_bucket"]},
        delete=False,
        label=lambda variable: own.get(variable) or option_of(variable),
    )
    headers = {"x-amz-storage-class": storage_class} if storage_class else {}
    return replace(
        settings,
        source_prefix=settings.source_prefix + prefix,
        target_prefix=settings.target_prefix + prefix,
        filters=settings.filters.below(prefix),
        source_requests=replace(settings.source_requests, object_headers=headers),
    )
