"""The commands and their options: from what a person wrote to settings and rules, and errors to exit codes."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from .. import __version__
from ..core.deadline import Deadline, OutOfTime
from ..core.errors import StoreUnusable, SyncError
from ..core.filters import BadPattern, key_filter
from ..core.multipart import GIB, MIB
from ..crt.factory import crt_transports, stream_transports
from ..logs import log_json
from ..service.health import health_endpoint
from ..service.service import RANGE_THREADS, Service, ServiceOptions
from ..settings import LOG_LEVELS, Reader, Settings, SettingsError
from ..stores.credentials import Credentials
from ..sync.converge import Outcome, converge
from ..sync.sweep import SweepOptions
from ..wiring import build_queue_worker, build_sync_context
from .queue_migration import Place, hand_over
from .report import ENDINGS
from .run import DIFFERENT, EQUAL, UNUSABLE, Job, run
from .signals import leave, stoppable
from .stats import printable


class ByteRate(click.ParamType[float | None]):
    """A bandwidth as rclone's --bwlimit takes it: KiB a second, or B, K, M, G in powers of 1024; "off" for none."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        if not isinstance(value, str):
            return float(value)
        if value.lower() in ("off", "0"):
            return None
        rate = re.fullmatch(r"(\d+\.?\d*|\.\d+)(?:(B)|([KMGT])(?:iB?)?)?", value, re.IGNORECASE)
        if rate is None or float(rate[1]) == 0:
            self.fail(
                f"{value!r} is not a rate: write 500k, 10M or 1.5G for so many KiB, MiB or GiB a second", param, ctx
            )
        exponent = 0 if rate[2] else "BKMGT".index((rate[3] or "K").upper())
        factor: int = 1024**exponent
        return float(rate[1]) * factor


class Pattern(click.ParamType[str]):
    """A glob. Several of them in an environment variable are lines, because a glob may hold any other character."""

    name = "pattern"

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return [line for line in rv.splitlines() if line]


def _report_path(ctx: click.Context, param: click.Parameter, value: tuple[Path, ...]) -> tuple[Path, ...]:
    for path in value:
        if path.suffix not in ENDINGS:
            raise click.BadParameter(f"{str(path)!r} must end in {' or '.join(ENDINGS)}", ctx, param)
        folder = path.absolute().parent
        if not folder.is_dir():
            raise click.BadParameter(f"there is no folder {str(folder)!r}", ctx, param)
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise click.BadParameter(f"{str(path)!r} cannot be written", ctx, param)
    return value


def _target_region(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """The container of 2021 had one region for both sides; anywhere else AWS_DEFAULT_REGION is the source's."""
    as_in_2021 = os.environ.get("ENDPOINT") and not os.environ.get("TARGET_ENDPOINT")
    return value or (os.environ.get("AWS_DEFAULT_REGION") if as_in_2021 else None)


#: Variables that set an option before all names of options got their own start, and what sets it now.
_FORMER_VARIABLES = {
    **{
        name: f"S3_SYNCER_{name}"
        for name in (
            *("BWLIMIT", "CONCURRENCY", "DRY_RUN", "EXCLUDE", "FULL", "HEALTH_ADDRESS", "HEALTH_PORT", "INCLUDE"),
            *("LOG_FORMAT", "LOG_GROUP", "MAX_DELETE", "ONE_WAY", "PROCESSES", "REPORT", "VERBOSE", "WORKERS"),
        )
    },
    "GRACE_S": "S3_SYNCER_SHUTDOWN_GRACE",
    "IDLE": "S3_SYNCER_IDLE_TIMEOUT",
    "MEMORY_MB": "S3_SYNCER_MEMORY",
    "MIGRATE_DELETE": "S3_SYNCER_DELETE",
    "PARTS_ABOVE_MB": "DISTRIBUTED_COPY_THRESHOLD_MB",
    "VISIBILITY_S": "S3_SYNCER_VISIBILITY_TIMEOUT",
}


def _variables(command: click.Command) -> set[str]:
    """Return the names of the environment variables that set an option of the command."""
    named = [option.envvar or () for option in command.params]
    return {variable for names in named for variable in ([names] if isinstance(names, str) else names)}


class Command(click.Command):
    """A command that warns of variables that have no effect any more."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        read = _variables(self)
        for former, variable in _FORMER_VARIABLES.items():
            if variable in read and os.environ.get(former):
                click.echo(f"s3-syncer: warning: {former} has no effect: set {variable} instead", err=True)
        return super().parse_args(ctx, args)


def _option(*names: str, envvar: str | Sequence[str] | None = None, **attributes: Any) -> Callable[[Any], Any]:
    """Return an option that a variable can set: S3_SYNCER_ and its long name, unless `envvar` names another."""
    long = next(name for name in names if name.startswith("--")).partition("/")[0]
    own = "S3_SYNCER_" + long.removeprefix("--").replace("-", "_").upper()
    return click.option(*names, envvar=envvar or own, show_envvar=True, **attributes)


#: The name of its own comes first, so that it wins where the environment is that of the function.
_DELETE_VARIABLES = ("S3_SYNCER_DELETE", "SYNC_DELETE")

_STORES = (
    _option("--source-bucket", envvar="SOURCE_BUCKET", help="Bucket on AWS to copy from."),
    _option("--source-prefix", envvar="SOURCE_PREFIX", default="", help="Only keys below this prefix."),
    _option(
        "--target-endpoint",
        envvar=["TARGET_ENDPOINT", "ENDPOINT"],
        help="URL of the other store, such as https://s3.us-east-1.example.lyve.seagate.com.",
    ),
    _option("--target-region", envvar="TARGET_REGION", callback=_target_region, help="Its region."),
    _option("--target-bucket", envvar="TARGET_BUCKET", help="Its bucket to copy to."),
    _option(
        "--target-prefix", envvar="TARGET_PREFIX", default="", help="Put in place of the source prefix in each key."
    ),
    _option(
        "--target-secret-arn",
        envvar="TARGET_SECRET_ARN",
        help="Secret in AWS Secrets Manager with the target's keys; without it TARGET_ACCESS_KEY_ID and "
        "TARGET_SECRET_ACCESS_KEY are read from the environment.",
    ),
    _option(
        "--tags/--no-tags", envvar="SYNC_TAGS", default=True, show_default=True, help="Mirror object tags as well."
    ),
    _option(
        "--concurrency",
        type=click.IntRange(1, 512),
        default=32,
        show_default=True,
        help="Keys that a process works on at a time, and parts besides.",
    ),
    _option(
        "--memory",
        type=click.IntRange(64, 1024 * 1024),
        default=512,
        show_default=True,
        help="MiB that the bytes being copied may fill; streamed parts take few of them.",
    ),
    _option("--bwlimit", type=ByteRate(), help="Most to copy in a second: 500k, 10M, 1.5G."),
)

_LOG = (
    _option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="json: one JSON line per decision on standard output.",
    ),
    _option("-v", "--verbose", is_flag=True, help="Name every key when it is worked on."),
)

_SWEEP = (
    _option(
        "--processes",
        type=click.IntRange(1, 64),
        default=lambda: min(os.cpu_count() or 1, 8),
        show_default="one for each core, 8 at most",
        help="Processes that a large sweep is shared out to; they share --memory as well.",
    ),
    _option(
        "--include",
        multiple=True,
        type=Pattern(),
        help="Only keys below the prefix that match this pattern, as rclone reads it. Repeatable.",
    ),
    _option(
        "--exclude",
        multiple=True,
        type=Pattern(),
        help="No keys that match this one. Repeatable.",
    ),
    _option(
        "--full",
        is_flag=True,
        help="Compare headers, metadata and tags of every key, not only listings.",
    ),
    _option("--one-way", is_flag=True, help="Ignore keys that only the target has."),
    _option(
        "--report",
        "reports",
        multiple=True,
        type=click.Path(path_type=Path, dir_okay=False),
        callback=_report_path,
        help="Write a report to this .json or .html file. Repeatable.",
    ),
)

_FLEET = (
    _option(
        "--workers",
        type=click.Choice(["local", "queue"]),
        default="local",
        show_default=True,
        help="queue: let those copy who work off --queue-url, wait until they are done, and compare both sides.",
    ),
    _option("--queue-url", envvar="QUEUE_URL", help="The queue, with --workers queue."),
    _option("--dead-letter-queue-url", envvar="DEAD_LETTER_QUEUE_URL", help="To count what comes to its dead letters."),
    _option(
        "--log-group",
        "log_groups",
        multiple=True,
        help="Where they log: for progress, and to see the end where live sync keeps the queue busy. Repeatable.",
    ),
    _option(
        "--idle-timeout",
        type=click.FloatRange(1),
        default=60,
        show_default=True,
        help="Seconds for which the queue must be empty to be believed: its counts are approximate.",
    ),
)

#: Options of a sweep that nobody can ask of the fleet, and what to do instead.
_NOT_FOR_FLEET = {
    "dry_run": ("--dry-run", "`s3-syncer check` names what differs and changes nothing"),
    "include": ("--include", "leave --workers queue out to choose keys"),
    "exclude": ("--exclude", "leave --workers queue out to choose keys"),
    "full": ("--full", "run `s3-syncer check --full` when the fleet is done"),
    "bwlimit": ("--bwlimit", "what bounds the fleet is sync.max_concurrency"),
}


def _options(options: tuple[Callable[[Any], Any], ...]) -> Callable[[Any], Any]:
    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="s3-syncer")
def cli() -> None:
    """Makes a bucket on another S3-compatible store equal to one on AWS S3.

    The source is reached by the ordinary AWS credential chain (and AWS_ENDPOINT_URL_S3). Every option can be given by
    the environment variable of its name as well.

    Exit codes: 0 both sides are equal; 1 differences or failed keys, each of them named; 2 wrong usage; 3 a store, the
    queue or the credentials cannot be used; 130 or 143 stopped by a signal, run the same command again to continue.
    """


@cli.command(cls=Command)
@_options(_STORES)
@_options(_LOG)
@_options(_SWEEP)
@_options(_FLEET)
@_option(
    "--dry-run",
    "-n",
    is_flag=True,
    help="Say what would be done and change nothing; exit code 0 if that could be found out.",
)
@_option("--delete", is_flag=True, help="Delete from the target what the source does not have.")
@_option(
    "--max-delete",
    type=click.IntRange(0),
    help="Stop deleting after this many keys; what is left is named.",
)
def migrate(delete: bool, max_delete: int | None, dry_run: bool, **options: Any) -> None:
    """Copies what is there already, and looks again until nothing differs.

    Needs no write freeze and no disk. Can be stopped at any moment and run again: what is equal is not copied again.
    """
    if max_delete is not None and not delete:
        raise click.UsageError("--max-delete does nothing without --delete: add --delete or leave it out")
    place = _place({**options, "dry_run": dry_run}) if options["workers"] == "queue" else None
    rules = SweepOptions(
        dry_run=dry_run,
        delete=delete,
        max_delete=max_delete,
        one_way=options["one_way"],
        full=options["full"],
        key_filter=_wanted(options),
    )
    _sweep("migrate", rules, options, place)


@cli.command(cls=Command)
@_options(_STORES)
@_options(_LOG)
@_options(_SWEEP)
def check(**options: Any) -> None:
    """Compares both sides and names every difference with its reason; changes nothing."""
    rules = SweepOptions(dry_run=True, one_way=options["one_way"], full=options["full"], key_filter=_wanted(options))
    _sweep("check", rules, options)


@cli.command(cls=Command)
@_options(_STORES)
@_options(_LOG)
@_option(
    "--delete/--no-delete",
    default=True,
    show_default=True,
    envvar=_DELETE_VARIABLES,
    help="Delete a key the source lost.",
)
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
def sync(keys: tuple[str, ...], delete: bool, **options: Any) -> None:
    """Makes these keys of the source equal now, and says what was done for each and why."""
    settings = _settings(options, delete=delete)
    outside = [key for key in keys if not key.startswith(settings.source_prefix) or key == settings.source_prefix]
    if outside:
        raise click.UsageError(f"{outside[0]!r} is not below the source prefix {settings.source_prefix!r}")
    try:
        sys.exit(_sync(settings, [key.removeprefix(settings.source_prefix) for key in keys], options["concurrency"]))
    except SyncError as error:
        _fail(error)


@cli.command(cls=Command)
@_options(_STORES)
@_option("--queue-url", envvar="QUEUE_URL", help="The SQS queue to take work from.")
@_option("--dead-letter-queue-url", envvar="DEAD_LETTER_QUEUE_URL", help="The one for what can never be done.")
@_option(
    "--delete/--no-delete",
    default=True,
    show_default=True,
    envvar=_DELETE_VARIABLES,
    help="Delete a key the source lost.",
)
@_option(
    "--distributed-copy-threshold",
    envvar="DISTRIBUTED_COPY_THRESHOLD_MB",
    type=click.IntRange(64, 5242880),
    default=1024,
    show_default=True,
    help="Size in MiB above which several workers copy an object together.",
)
@_option(
    "--visibility-timeout",
    type=click.IntRange(4, 3600),
    default=60,
    show_default=True,
    help="Seconds after which others get the messages of a worker that was killed.",
)
@_option(
    "--shutdown-grace",
    type=click.IntRange(0, 600),
    default=10,
    show_default=True,
    help="Seconds that work in flight gets to end once asked to stop; the rest is handed back, in up to 20 more.",
)
@_option("--health-port", type=click.IntRange(1, 65535), help="Port to answer GET /health at.")
@_option(
    "--health-address",
    default="127.0.0.1",
    show_default=True,
    help="Address to answer at; 0.0.0.0 for all of this machine's.",
)
@_option(
    "--log-level",
    envvar="LOG_LEVEL",
    type=click.Choice(LOG_LEVELS, case_sensitive=False),
    default="INFO",
    show_default=True,
    help="Least severe lines to log.",
)
# Hidden: tests shorten these times.
@_option("--receive-wait", hidden=True, type=int, default=ServiceOptions.receive_wait_s)
@_option("--abort-grace", hidden=True, type=float, default=ServiceOptions.abort_grace_s)
@_option("--pause-first", hidden=True, type=float, default=ServiceOptions.pause_first_s)
@_option("--pause-max", hidden=True, type=float, default=ServiceOptions.pause_max_s)
def serve(**options: Any) -> None:
    """Does what the function does, for as long as it runs: takes work from the queue and settles it.

    Logs a line of JSON for each decision. SIGTERM or Ctrl-C ends it in good order and with exit code 0, a second one at
    once. Starts only when the queue can be used; a store that cannot be is tried again until it can.
    """
    settings = _settings(options, delete=options["delete"], queue=True)
    log_json(options["log_level"].upper())
    try:
        _serve(settings, options)
    except (SyncError, OSError) as error:
        _fail(error)


def _serve(settings: Settings, options: dict[str, Any]) -> None:
    """Returns never. Raises a SyncError or an OSError for what it cannot start without."""
    runtime = build_queue_worker(
        settings,
        threads=options["concurrency"],
        range_threads=RANGE_THREADS,
        transports=partial(crt_transports, concurrency=RANGE_THREADS),
    )
    runtime.queue.check()
    service_options = ServiceOptions(
        concurrency=options["concurrency"],
        visibility_timeout_s=options["visibility_timeout"],
        shutdown_grace_s=options["shutdown_grace"],
        abort_grace_s=options["abort_grace"],
        receive_wait_s=options["receive_wait"],
        pause_first_s=options["pause_first"],
        pause_max_s=options["pause_max"],
    )
    service, stop = Service(runtime.worker, runtime.queue, service_options), Deadline()
    with ExitStack() as stack:
        if options["health_port"]:
            stack.enter_context(health_endpoint(service.health, options["health_address"], options["health_port"]))
        grace_s = service_options.stop_timeout_s
        stack.enter_context(stoppable(stop, service.release_all, grace_s=grace_s, exit_code=EQUAL))
        service.run(stop)
    leave(EQUAL)


def _sync(settings: Settings, keys: Sequence[str], threads: int) -> int:
    """Converges the keys and returns the exit code. Raises a SyncError for what makes going on pointless."""
    code, deadline = EQUAL, Deadline()
    with stoppable(deadline) as stop:
        connection = build_sync_context(settings, threads=threads, resumes=True, transports=stream_transports)
        pair = connection.pair
        for key in keys:
            try:
                deadline.check()
                outcome = converge(pair, key, deadline)
            except OutOfTime:
                return stop.exit_code
            except StoreUnusable:
                raise
            except SyncError as error:
                outcome = Outcome("failed", str(error))
            click.echo(f"{outcome.action}\t{printable(settings.source_prefix + key)}\t{printable(outcome.reason)}")
            if outcome.action in ("failed", "kept"):
                code = DIFFERENT
    return code


def _wanted(options: dict[str, Any]) -> Callable[[str], bool] | None:
    try:
        return key_filter(options["include"], options["exclude"])
    except BadPattern as error:
        raise click.UsageError(f"a pattern cannot be read: {error}") from error


def _settings(options: dict[str, Any], *, delete: bool, queue: bool = False) -> Settings:
    """The options as settings, with the queues if they are needed. Raises UsageError with every mistake in them."""
    environment = {name.upper(): str(value) for name, value in options.items() if value not in (None, "")}
    reader = Reader(environment, label=lambda name: "--" + name.lower().replace("_", "-"))
    settings = Settings(
        source_bucket=reader.required("SOURCE_BUCKET"),
        source_prefix=reader.prefix("SOURCE_PREFIX"),
        target_endpoint=reader.endpoint("TARGET_ENDPOINT"),
        target_region=reader.required("TARGET_REGION"),
        target_bucket=reader.required("TARGET_BUCKET"),
        target_prefix=reader.prefix("TARGET_PREFIX"),
        target_credentials=options["target_secret_arn"] or _target_keys(reader),
        queue_url=reader.required("QUEUE_URL") if queue else "",
        dead_letter_queue_url=reader.required("DEAD_LETTER_QUEUE_URL") if queue else "",
        delete=delete,
        tags=options["tags"],
        copy_memory=options["memory"] * MIB,
        bytes_per_s=options["bwlimit"],
        distributed_copy_threshold=options.get("distributed_copy_threshold", GIB // MIB) * MIB,
    )
    try:
        reader.done()
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    if "log_format" in options:
        _log(options["log_format"], verbose=options["verbose"])
    return settings


def _log(form: str, *, verbose: bool) -> None:
    """Sends the decisions to standard output as JSON, as text when asked to be verbose, or nowhere."""
    if form == "json":
        log_json(logging.INFO)
        return
    logger = logging.getLogger("s3_syncer")
    logger.handlers[:] = [logging.StreamHandler(sys.stdout) if verbose else logging.NullHandler()]
    logger.setLevel(logging.INFO if verbose else logging.CRITICAL + 1)  # what nobody reads costs nothing
    logger.propagate = False


def _target_keys(reader: Reader) -> Credentials:
    keys = {name: os.environ.get(name, "").strip() for name in ("TARGET_ACCESS_KEY_ID", "TARGET_SECRET_ACCESS_KEY")}
    if not all(keys.values()):
        reader.mistake(
            "the target's keys are not known: give --target-secret-arn, or set TARGET_ACCESS_KEY_ID and "
            "TARGET_SECRET_ACCESS_KEY"
        )
    return Credentials(*keys.values())


def _place(options: dict[str, Any]) -> Place:
    """Where the fleet is. Raises UsageError for what cannot be handed to it."""
    for name, (option, instead) in _NOT_FOR_FLEET.items():
        if options[name]:
            raise click.UsageError(f"{option} cannot be handed over with --workers queue: {instead}")
    if not options["queue_url"]:
        raise click.UsageError("--workers queue wants --queue-url: it is the output queue_url of the Terraform module")
    return Place(
        queue_url=options["queue_url"],
        dead_letter_queue_url=options["dead_letter_queue_url"] or "",
        log_groups=options["log_groups"],
        idle_s=options["idle_timeout"],
    )


def _sweep(command: str, rules: SweepOptions, options: dict[str, Any], place: Place | None = None) -> None:
    settings = _settings(options, delete=rules.delete)
    log = options["log_format"] == "json"
    job = Job(
        command=command,
        settings=settings,
        sweep_options=rules,
        threads=options["concurrency"],
        tolerates_target_only=command == "migrate" and not rules.delete,
        processes=options["processes"],
        reports=options["reports"],
        log=log,
        named=not log and not options["verbose"],
    )
    try:
        console = Console(stderr=True)
        sys.exit(run(job, console) if place is None else hand_over(job, place, console))
    except (SyncError, OSError) as error:
        _fail(error)


def _fail(error: Exception) -> None:
    """One clear line for what makes going on pointless."""
    click.echo(f"s3-syncer: {printable(str(error))}", err=True)
    sys.exit(UNUSABLE)
