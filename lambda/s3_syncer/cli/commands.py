"""The commands: turn options into settings, run the work, and turn errors into exit codes."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import click
from rich.console import Console

from .. import __version__
from ..core.deadline import Deadline, OutOfTime
from ..core.errors import StoreUnusable, SyncError, unexpected_failure
from ..core.fence import Fence, fenced
from ..core.filters import BadPattern, key_filter
from ..core.units import GB, GIB, MIB
from ..crt.factory import crt_transports, stream_transports
from ..logs import log_json
from ..service.health import health_endpoint
from ..service.options import ServiceOptions
from ..service.service import RANGE_THREADS, Service
from ..settings import Credentials, Reader, Settings, SettingsError, read_stores
from ..sync.archived_objects import RestoreOptions
from ..sync.converge import Outcome, converge
from ..sync.key_sweep import SweepOptions
from ..sync.own_copies import OwnCopies
from ..versions import log_versions
from ..wiring import build_doctor, build_queue_worker, build_sync_context
from . import options as groups
from .click_extensions import Command, with_options
from .outage import OutageDisplay, WaitEnd, outage_gates
from .queue_migration import QueueMigrationConfig, migrate_by_queue
from .run import DIFFERENT, EQUAL, UNUSABLE, SweepJob, run
from .signals import exit_now, handle_signals
from .stats import print_row, printable, uncertain_note
from .store_options import STORES

logger = logging.getLogger(__name__)

#: Options of `migrate` that do not work with --workers queue, and what to do instead.
_NOT_FOR_QUEUE = {
    "dry_run": ("--dry-run", "`s3-syncer check` lists the differences and changes nothing"),
    "include": ("--include", "run `migrate` without --workers queue to choose keys"),
    "exclude": ("--exclude", "run `migrate` without --workers queue to choose keys"),
    "restore": ("--restore", "run `migrate` without --workers queue to restore objects"),
    "skip_archived": ("--skip-archived", "run `s3-syncer check --skip-archived` when the workers are done"),
    "bwlimit": ("--bwlimit", "the input bulk.max_concurrency of the Terraform module limits the workers"),
}


EXIT_CODES = {
    f"{EQUAL}": "The command finished without a difference or a failed key. Also: a --dry-run that compared every key, "
    "and a stopped `serve`.",
    f"{DIFFERENT}": "The command finished and lists at least one difference, unproven key or failed key.",
    "2": "Wrong usage.",  # click's own
    f"{UNUSABLE}": "The command could not finish: a store, the queue, the credentials or a report file cannot be used, "
    "or an unexpected error.",
    "130, 143": "Stopped by Ctrl-C or SIGTERM. Run the same command again to continue. `serve` exits with 0 instead.",
}


class Group(click.Group):
    """A group of commands that lists the exit codes in its help."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as in click
        with formatter.section("Exit codes"):
            formatter.write_dl(list(EXIT_CODES.items()))


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="s3-syncer")
def cli() -> None:
    """Keep a bucket on another S3-compatible store equal to a bucket on AWS S3.

    The source uses the AWS credential chain, and AWS_ENDPOINT_URL_S3 if it is set. An option that is not given is read
    from the environment variable that its help names. Credentials are never options.

    """


@cli.command(
    cls=Command,
    short_help="Copy the existing objects to the target.",
    examples=[
        ("List what would be copied", "s3-syncer migrate --dry-run"),
        (
            "Copy everything below photos/, and write a report",
            "s3-syncer migrate --source-prefix photos/ --report r.html",
        ),
        ("Make the target equal, with at most 1,000 deletions", "s3-syncer migrate --delete --max-delete 1000"),
        (
            "Restore up to 500 GB from archives, and copy what is restored",
            "s3-syncer migrate --restore bulk --max-restore-gb 500 --skip-archived",
        ),
        ("Let the workers of the queue copy", "s3-syncer migrate --workers queue --queue-url URL"),
    ],
)
@with_options(STORES, groups.DRY_RUN, groups.KEYS, groups.TAGS, groups.SWEEP_DELETES)
@with_options(groups.SKIP_ARCHIVED, groups.RESTORES)
@with_options(groups.WORKERS, groups.SWEEP_CONCURRENCY, groups.MEMORY, groups.PROCESSES, groups.OUTAGES)
@with_options(groups.REPORTS, groups.LOG)
@with_options(groups.SPAWN, groups.STOP_GRACE)
def migrate(delete: bool, max_delete: int | None, dry_run: bool, **options: Any) -> None:
    """Copy the existing objects to the target, and compare again until both buckets are equal.

    Applications can write to the source meanwhile. You can stop the command and run it again: it skips keys that are
    equal. Nothing is deleted without --delete. Keys that only the target has are then a note, not a difference.
    """
    if max_delete is not None and not delete:
        raise click.UsageError("--max-delete has no effect without --delete: add --delete or omit --max-delete")
    config = _queue_config({**options, "dry_run": dry_run}) if options["workers"] == "queue" else None
    sweep_options = SweepOptions(
        dry_run=dry_run,
        delete=delete,
        max_delete=max_delete,
        one_way=options["one_way"],
        full=options["full"],
        key_filter=_key_filter(options),
        restore=_restore_options(options),
    )
    _sweep("migrate", sweep_options, options, config)


@cli.command(
    cls=Command,
    short_help="Compare both buckets and list the differences.",
    examples=[
        ("Compare all properties that can be read without a download", "s3-syncer check --full"),
        ("Ignore keys that only the target has", "s3-syncer check --one-way"),
    ],
)
@with_options(STORES, groups.KEYS, groups.TAGS, groups.SKIP_ARCHIVED)
@with_options(groups.SWEEP_CONCURRENCY, groups.MEMORY, groups.PROCESSES, groups.OUTAGES)
@with_options(groups.REPORTS, groups.LOG)
@with_options(groups.SPAWN, groups.STOP_GRACE)
def check(**options: Any) -> None:
    """Compare both buckets, and list each difference with its reason. Nothing is changed.

    Keys that only the target has are differences, unless --one-way is given. Objects are not downloaded: sizes, ETags,
    times, headers, metadata and tags decide.
    """
    sweep_options = SweepOptions(
        dry_run=True, one_way=options["one_way"], full=options["full"], key_filter=_key_filter(options)
    )
    _sweep("check", sweep_options, options)


@cli.command(
    cls=Command,
    short_help="Make single keys equal now.",
    examples=[("Copy or delete two keys, whatever the source has", "s3-syncer sync photos/1.jpg photos/2.jpg")],
)
@with_options(STORES, groups.TAGS, groups.KEY_DELETES, groups.KEY_CONCURRENCY, groups.MEMORY)
@with_options(groups.OUTAGES, groups.LOG, groups.STOP_GRACE)
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
def sync(keys: tuple[str, ...], delete: bool, **options: Any) -> None:
    """Make each KEY of the source equal in the target now, and print what was done and why.

    A KEY includes the source prefix. A key that the source does not have is deleted from the target, unless --no-delete
    is given.
    """
    settings = _settings(options, delete=delete)
    _configure_log(options["log_format"], verbose=options["verbose"])
    outside = [key for key in keys if not key.startswith(settings.source_prefix) or key == settings.source_prefix]
    if outside:
        raise click.UsageError(f"{outside[0]!r} is not below the source prefix {settings.source_prefix!r}")
    try:
        sys.exit(_sync(settings, [key.removeprefix(settings.source_prefix) for key in keys], options))
    except SyncError as error:
        _fail(error)


@cli.command(
    cls=Command,
    short_help="Work off the queue until stopped.",
    examples=[("Do the work of the Lambda function, with a health endpoint", "s3-syncer serve --health-port 8080")],
)
@with_options(STORES, groups.TAGS, groups.KEY_DELETES, groups.SERVICE)
@with_options(groups.SERVICE_CONCURRENCY, groups.MEMORY, groups.DISTRIBUTED_COPY)
@with_options(groups.SERVICE_OUTPUT, groups.SERVICE_TIMES)
def serve(**options: Any) -> None:
    """Receive messages from the queues and do their work, as the Lambda function does, until stopped.

    SIGTERM or Ctrl-C shuts the process down gracefully, with exit code 0. A second signal ends it at once. The command
    fails at its start if a queue cannot be used. It retries a store that cannot be used.
    """
    settings = _settings(options, delete=options["delete"], queue=True)
    log_json(options["log_level"].upper())
    log_versions()
    try:
        _serve(settings, options)
    except (SyncError, OSError) as error:
        _fail(error)


@cli.command(
    cls=Command,
    short_help="Check if both stores can be used, and what the target can.",
    examples=[
        ("Check everything, and print a table", "s3-syncer doctor"),
        ("Check the queue and the notifications, too", "s3-syncer doctor --queue-url URL --json"),
    ],
)
@with_options(STORES, groups.TAGS, groups.DOCTOR)
def doctor(scratch_prefix: str, as_json: bool, **options: Any) -> None:
    """Check the connections, clocks, credentials and permissions of both stores, and what the target can.

    The command writes about 70 objects below --scratch-prefix, below the target prefix, and removes them. It writes
    nowhere else. Exit code 0 is without a problem, 1 with one, 3 if a store could not be used.
    """
    settings = _settings(options, delete=False)
    try:
        report = build_doctor(settings, prefix=scratch_prefix).run(Deadline())
    except SyncError as error:
        _fail(error)
    click.echo(
        json.dumps(report.as_json(), indent=2) if as_json else "\n".join(map(printable, report.as_table().split("\n")))
    )
    sys.exit(report.exit_code)


def _serve(settings: Settings, options: dict[str, Any]) -> None:
    """Serve until a signal, then exit the process. Raise a SyncError or an OSError if the start fails."""
    queue_context = build_queue_worker(
        settings,
        threads=options["concurrency"] + (options["bulk_concurrency"] if settings.bulk_queue_url else 0),
        range_threads=RANGE_THREADS,
        transports=partial(crt_transports, concurrency=RANGE_THREADS),
    )
    live, bulk = queue_context.live, queue_context.bulk
    for each in filter(None, (live, bulk)):
        each.queue.check()
    service_options = ServiceOptions(
        concurrency=options["concurrency"],
        bulk_concurrency=options["bulk_concurrency"],
        visibility_timeout_s=options["visibility_timeout"],
        shutdown_grace_s=options["shutdown_grace"],
        abort_grace_s=options["abort_grace"],
        receive_wait_s=options["receive_wait"],
        pause_first_s=options["pause_first"],
        pause_max_s=options["pause_max"],
    )
    bulk_work = None if bulk is None else (bulk.worker, bulk.queue)
    service = Service(live.worker, live.queue, service_options, bulk=bulk_work)
    stop = Deadline()
    with ExitStack() as stack:
        if options["health_port"]:
            stack.enter_context(health_endpoint(service.health, options["health_address"], options["health_port"]))
        grace_s = service_options.stop_timeout_s
        stack.enter_context(handle_signals(stop, service.release_all, grace_s=grace_s, exit_code=EQUAL))
        service.run(stop)
    exit_now(EQUAL)


def _sync(settings: Settings, keys: Sequence[str], options: dict[str, Any]) -> int:
    """Converge the keys and return the exit code. Raise StoreUnusable: every other key would fail too."""
    code, deadline, fence = EQUAL, Deadline(), Fence()
    outages = OutageDisplay(lambda line: click.echo(printable(line), err=True))
    with handle_signals(deadline, grace_s=options["stop_grace"]) as stop:
        context = build_sync_context(
            settings,
            threads=options["concurrency"],
            resumes=True,
            transports=stream_transports,
            gates=outage_gates(outages, WaitEnd(deadline), options["outage_timeout"]),
        )
        for key in keys:
            try:
                deadline.check()
                with fenced(fence):
                    outcome = converge(context.pair, key, deadline, own_copies=OwnCopies())
            except OutOfTime:
                return stop.exit_code
            except StoreUnusable:
                raise
            except SyncError as error:
                outcome = Outcome("failed", str(error))
            except Exception as error:  # a bug, or a malformed response: only this key fails
                logger.exception("unexpected failure", extra={"key": key})
                outcome = Outcome("failed", str(unexpected_failure(error)))
            print_row(outcome.action, settings.source_prefix + key, outcome.reason)
            if outcome.action in ("failed", "kept"):
                code = DIFFERENT
    if fence.uncertain:
        click.echo(f"note: {uncertain_note(len(fence.uncertain))}", err=True)
    return code


def _sweep(
    command: str, sweep_options: SweepOptions, options: dict[str, Any], config: QueueMigrationConfig | None = None
) -> None:
    """Run the sweep and exit. With a `config`, the workers of a queue do it."""
    settings = _settings(options, delete=sweep_options.delete)
    _configure_log(options["log_format"], verbose=options["verbose"])
    log = options["log_format"] == "json"
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
        reports=options["reports"],
        log=log,
        list_findings=not log and not options["verbose"],
    )
    try:
        console = Console(stderr=True)
        sys.exit(run(job, console) if config is None else migrate_by_queue(job, config, console))
    except (SyncError, OSError) as error:
        _fail(error)


def _fail(error: Exception) -> None:
    """Print the error as one line, and exit."""
    click.echo(f"s3-syncer: {printable(str(error))}", err=True)
    sys.exit(UNUSABLE)


def _restore_options(options: dict[str, Any]) -> RestoreOptions | None:
    """Return the restores to request. Raise UsageError for a limit without a restore."""
    tier, days, most_gb = options["restore"], options["restore_days"], options["max_restore_gb"]
    if tier is None:
        for option, value in (("--restore-days", days), ("--max-restore-gb", most_gb)):
            if value is not None:
                raise click.UsageError(f"{option} has no effect without --restore: add --restore or omit {option}")
        return None
    max_bytes = None if most_gb is None else round(most_gb * GB)
    return RestoreOptions(tier.capitalize(), days or groups.RESTORE_DAYS, max_bytes)


def _key_filter(options: dict[str, Any]) -> Callable[[str], bool] | None:
    try:
        return key_filter(options["include"], options["exclude"])
    except BadPattern as error:
        raise click.UsageError(f"invalid pattern: {error}") from error


def _queue_config(options: dict[str, Any]) -> QueueMigrationConfig:
    """Return the queues and log groups. Raise UsageError for options that the workers cannot obey."""
    for name, (option, instead) in _NOT_FOR_QUEUE.items():
        if options[name]:
            raise click.UsageError(f"{option} does not work with --workers queue: {instead}")
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


def _settings(options: dict[str, Any], *, delete: bool, queue: bool = False) -> Settings:
    """Return the options as settings. Raise UsageError with all mistakes.

    The queue URLs are required if `queue` is true.
    """
    environment = {name.upper(): str(value) for name, value in options.items() if value not in (None, "")}
    reader = Reader(environment, label=lambda name: "--" + name.lower().replace("_", "-"))
    settings = replace(
        read_stores(reader),
        target_credentials=options["target_secret_arn"] or _target_keys(reader),
        queue_url=reader.required("QUEUE_URL") if queue else reader.text("QUEUE_URL"),
        bulk_queue_url=reader.text("BULK_QUEUE_URL"),
        dead_letter_queue_url=(reader.required if queue else reader.text)("DEAD_LETTER_QUEUE_URL"),
        delete=delete,
        tags=options["tags"],
        copy_memory=options.get("memory", 0) * MIB,
        bytes_per_s=options.get("bwlimit"),
        distributed_copy_threshold=options.get("distributed_copy_threshold", GIB // MIB) * MIB,
    )
    try:
        reader.done()
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    return settings


def _configure_log(log_format: str, *, verbose: bool) -> None:
    """Write the decisions to standard output as JSON, as text if `verbose` is true, or not at all."""
    if log_format == "json":
        log_json(logging.INFO)
        log_versions()
        return
    logger = logging.getLogger("s3_syncer")
    logger.handlers[:] = [logging.StreamHandler(sys.stdout) if verbose else logging.NullHandler()]
    logger.setLevel(logging.INFO if verbose else logging.CRITICAL + 1)  # without a reader, no record is formatted
    logger.propagate = False


def _target_keys(reader: Reader) -> Credentials:
    keys = {name: os.environ.get(name, "").strip() for name in ("TARGET_ACCESS_KEY_ID", "TARGET_SECRET_ACCESS_KEY")}
    if not all(keys.values()):
        reader.mistake(
            "the access key of the target is missing: give --target-secret-arn, or set TARGET_ACCESS_KEY_ID and "
            "TARGET_SECRET_ACCESS_KEY"
        )
    return Credentials(*keys.values())
