"""The options of the commands: types, environment variables, and sections of the help."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from ..doctor import PREFIX
from ..service.heartbeat import VISIBILITY_TIMEOUT_S
from ..service.options import ServiceOptions
from ..settings import ACLS, ADDRESSING_STYLES, ENCRYPTIONS, LOG_LEVELS
from .report import SUFFIXES
from .run import SPAWN_AFTER_CPU_S, SPAWN_AFTER_KEYS
from .signals import GRACE_S

#: Exactly the variables that the command read before its own variables started with S3_SYNCER_, and their new names.
#: A general name like VERBOSE may be set for another program. The warning then only says that it has no effect here.
FORMER_VARIABLES = {
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


class Option(click.Option):
    """An option with the section of the help that lists it.

    `needed` marks an option that the command cannot work without. Click does not check it: the reader of the settings
    names all missing options at once.
    """

    def __init__(self, *args: Any, section: str, needed: bool = False, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.section = section
        self.needed = needed

    def get_help_extra(self, ctx: click.Context) -> click.types.OptionHelpExtra:
        """Return the notes behind the help text, with a mark for a needed option."""
        extra = super().get_help_extra(ctx)
        if self.needed:
            extra["required"] = "required"
        return extra

    @property
    def variables(self) -> Sequence[str]:
        """Return the environment variables that set the option; the first one that is set wins."""
        return [self.envvar] if isinstance(self.envvar, str) else list(self.envvar or ())


class Command(click.Command):
    """A command with sections of options and examples in its help. It warns of former variables.

    An example is a description and a command line.
    """

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.examples = examples

    @property
    def sections(self) -> dict[str, list[Option]]:
        """Return the options that are not hidden by section, in the order of their declaration."""
        sections: dict[str, list[Option]] = {}
        for option in self.params:
            if isinstance(option, Option) and not option.hidden:
                sections.setdefault(option.section, []).append(option)
        return sections

    @property
    def variables(self) -> set[str]:
        """Return the environment variables that set an option of the command."""
        return {variable for options in self.sections.values() for option in options for variable in option.variables}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for former, variable in FORMER_VARIABLES.items():
            if variable in self.variables and os.environ.get(former):
                click.echo(f"s3-syncer: warning: {former} has no effect: set {variable} instead", err=True)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, options in self.sections.items():
            with formatter.section(section):
                formatter.write_dl([record for option in options if (record := option.get_help_record(ctx))])
        if self.examples:
            with formatter.section("Examples"):
                for description, line in self.examples:
                    formatter.write_text(f"{description}:")
                    formatter.write(f"{'':>{formatter.current_indent + 2}}{line}\n")


class ByteRate(click.ParamType[float | None]):
    """A bandwidth as in rclone's --bwlimit.

    The unit is KiB per second, or B, K, M, G in powers of 1024; "off" is no limit.
    """

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        if not isinstance(value, str):
            return float(value)
        if value.lower() in ("off", "0"):
            return None
        rate = re.fullmatch(r"(\d+\.?\d*|\.\d+)(?:(B)|([KMGT])(?:iB?)?)?", value, re.IGNORECASE)
        if rate is None or float(rate[1]) == 0:
            self.fail(f"{value!r} is not a rate: write 500k, 10M or 1.5G for KiB, MiB or GiB per second", param, ctx)
        exponent = 0 if rate[2] else "BKMGT".index((rate[3] or "K").upper())
        factor: int = 1024**exponent
        return float(rate[1]) * factor


class Duration(click.ParamType[float]):
    """A duration in seconds; with the unit s, m or h in that unit."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, str):
            return float(value)
        duration = re.fullmatch(r"(\d+\.?\d*|\.\d+)([smh]?)", value, re.IGNORECASE)
        if duration is None:
            self.fail(f"{value!r} is not a duration: write 90, 90s, 15m or 1h; 0 is no time", param, ctx)
        return float(duration[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[duration[2].lower()]


class Certificates(click.ParamType[str]):
    """CA certificates in PEM: the path of their file, or the text itself, as in the environment of a task."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if "-----BEGIN" in text:
            return text
        try:
            return Path(text).read_text()
        except (OSError, UnicodeError) as error:
            self.fail(f"the file {text!r} cannot be read: {error}", param, ctx)


class Pattern(click.ParamType[str]):
    """A glob pattern.

    An environment variable has one pattern on each line, because a glob may contain any other separator.
    """

    name = "pattern"

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return [line for line in rv.splitlines() if line]


def _report_path(ctx: click.Context, param: click.Parameter, value: tuple[Path, ...]) -> tuple[Path, ...]:
    """Check before the sweep that each report can be written."""
    for path in value:
        if path.suffix not in SUFFIXES:
            raise click.BadParameter(f"{str(path)!r} must end in {' or '.join(SUFFIXES)}", ctx, param)
        folder = path.absolute().parent
        if not folder.is_dir():
            raise click.BadParameter(f"the folder {str(folder)!r} does not exist", ctx, param)
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise click.BadParameter(f"{str(path)!r} is not writable", ctx, param)
    return value


def _target_region(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Return the region, or that of both sides if only the variables of the 2021 container are set.

    Otherwise AWS_DEFAULT_REGION is the region of the source.
    """
    as_in_2021 = os.environ.get("ENDPOINT") and not os.environ.get("TARGET_ENDPOINT")
    return value or (os.environ.get("AWS_DEFAULT_REGION") if as_in_2021 else None)


Decorator = Callable[[Any], Any]


def option(section: str, *names: str, envvar: str | Sequence[str] | None = None, **attributes: Any) -> Decorator:
    """Return an option of the section.

    Its variable is S3_SYNCER_ and its long name, unless `envvar` is given.
    """
    long = next(name for name in names if name.startswith("--")).partition("/")[0]
    own = "S3_SYNCER_" + long.removeprefix("--").replace("-", "_").upper()
    return click.option(*names, cls=Option, section=section, envvar=envvar or own, show_envvar=True, **attributes)


def with_options(*groups: Sequence[Decorator]) -> Decorator:
    """Return a decorator that adds the options of the groups to a command, in this order."""

    def add(command: Any) -> Any:
        for decorate in reversed([decorate for group in groups for decorate in group]):
            command = decorate(command)
        return command

    return add


_COPY, _DELETES, _QUEUE, _SPEED, _OUTPUT = "What to copy", "Deletes", "Queue", "Speed and memory", "Output"
_FAILURES, _ARCHIVES = "Failures", "Archived objects"

#: Days for which a restored copy stays, if the user names none: a bulk restore from Deep Archive takes up to two days.
RESTORE_DAYS = 7

#: S3_SYNCER_DELETE comes first, so that it wins over an environment made for the Lambda function.
_DELETE_VARIABLES = ("S3_SYNCER_DELETE", "SYNC_DELETE")

STORES = (
    option("Source", "--source-bucket", envvar="SOURCE_BUCKET", needed=True, help="Bucket on AWS S3 to read."),
    option(
        "Source",
        "--source-prefix",
        envvar="SOURCE_PREFIX",
        default="",
        help="Only keys below this prefix, such as photos/. Default: all keys.",
    ),
    option(
        "Source",
        "--source-requester-pays",
        envvar="SOURCE_REQUESTER_PAYS",
        is_flag=True,
        help="Agree to pay for the requests and the data of a Requester Pays bucket of another account.",
    ),
    option(
        "Target",
        "--target-endpoint",
        envvar=["TARGET_ENDPOINT", "ENDPOINT"],
        needed=True,
        help="URL of the other store, such as https://s3.us-east-1.example.lyve.seagate.com.",
    ),
    option(
        "Target",
        "--target-region",
        envvar="TARGET_REGION",
        callback=_target_region,
        needed=True,
        help="Region of the other store.",
    ),
    option(
        "Target", "--target-bucket", envvar="TARGET_BUCKET", needed=True, help="Bucket on the other store to write."
    ),
    option(
        "Target",
        "--target-prefix",
        envvar="TARGET_PREFIX",
        default="",
        help="Replaces the source prefix in each key. Default: no prefix.",
    ),
    option(
        "Target",
        "--target-addressing-style",
        envvar="TARGET_ADDRESSING_STYLE",
        type=click.Choice(ADDRESSING_STYLES),
        default="path",
        show_default=True,
        help="Place of the bucket in an address. path: https://HOST/BUCKET. virtual: https://BUCKET.HOST, for a store "
        "that refuses the other form.",
    ),
    option(
        "Target",
        "--target-payload-signing",
        envvar="TARGET_PAYLOAD_SIGNING",
        is_flag=True,
        help="Sign the hash of each body too, for a store that refuses UNSIGNED-PAYLOAD. Large objects are then "
        "buffered instead of streamed, and take more CPU time.",
    ),
    option(
        "Target",
        "--target-ca-certificate",
        envvar="TARGET_CA_CERTIFICATE",
        type=Certificates(),
        help="File with the CA certificates of the target in PEM, if a private CA has signed the target's certificate. "
        "They replace AWS_CA_BUNDLE and all other CAs for the target. The variable may also have the text of the file.",
    ),
    option(
        "Target",
        "--target-storage-class",
        envvar="TARGET_STORAGE_CLASS",
        help="Storage class of new objects, such as STANDARD_IA. Default: that of the store. Existing objects keep "
        "theirs.",
    ),
    option(
        "Target",
        "--target-server-side-encryption",
        envvar="TARGET_SERVER_SIDE_ENCRYPTION",
        type=click.Choice(ENCRYPTIONS),
        help="Encryption of new objects by the store. Default: that of the bucket.",
    ),
    option(
        "Target",
        "--target-sse-kms-key-id",
        envvar="TARGET_SSE_KMS_KEY_ID",
        help="KMS key of the store that encrypts new objects, with aws:kms. Default: the key of the bucket.",
    ),
    option(
        "Target",
        "--target-acl",
        envvar="TARGET_ACL",
        type=click.Choice(ACLS),
        help="Canned ACL of new objects. Default: that of the store, mostly private.",
    ),
    option(
        "Target",
        "--target-max-object-mb",
        envvar="TARGET_MAX_OBJECT_MB",
        type=click.IntRange(1),
        help="Largest object of the store in MiB. A larger object fails at once. Default: 5242880, which is 5 TiB.",
    ),
    option(
        "Target",
        "--target-min-part-mb",
        envvar="TARGET_MIN_PART_MB",
        type=click.IntRange(1),
        help="Smallest part of a multipart upload in MiB. Default: 5.",
    ),
    option(
        "Target",
        "--target-max-part-mb",
        envvar="TARGET_MAX_PART_MB",
        type=click.IntRange(2),
        help="Largest part, and largest single upload, in MiB. Default: 4096.",
    ),
    option(
        "Target",
        "--target-max-parts",
        envvar="TARGET_MAX_PARTS",
        type=click.IntRange(1),
        help="Most parts of an object. Default: 10000.",
    ),
    option(
        "Target",
        "--target-secret-arn",
        envvar="TARGET_SECRET_ARN",
        help="ARN or name of the AWS Secrets Manager secret with the target's access key. Without it, "
        "the command reads TARGET_ACCESS_KEY_ID and TARGET_SECRET_ACCESS_KEY from the environment.",
    ),
)

TAGS = (
    option(
        _COPY,
        "--tags/--no-tags",
        envvar="SYNC_TAGS",
        default=True,
        show_default=True,
        help="Copy and compare object tags. Use --no-tags if the other store has no tags.",
    ),
)

DRY_RUN = (
    option(
        _COPY,
        "--dry-run",
        "-n",
        is_flag=True,
        help="List what would be copied and deleted, and change nothing. The exit code is 0 also if there is "
        "something to copy.",
    ),
)

KEYS = (
    option(
        _COPY,
        "--include",
        multiple=True,
        type=Pattern(),
        help="Only keys that match this pattern, relative to the source prefix, with the syntax of rclone. Repeatable; "
        "in the variable, one pattern on each line.",
    ),
    option(
        _COPY,
        "--exclude",
        multiple=True,
        type=Pattern(),
        help="No keys that match this pattern: they are neither copied nor deleted. Includes are tried first. "
        "Repeatable; in the variable, one pattern on each line.",
    ),
    option(
        _COPY,
        "--full",
        is_flag=True,
        help="Compare headers, metadata and tags of every key. Without it, the listings decide, and only keys that "
        "differ in size, ETag or time are compared in full.",
    ),
    option(
        _COPY,
        "--one-way",
        is_flag=True,
        help="Do not count keys that only the target has as differences. `migrate --delete` still deletes them.",
    ),
)

SWEEP_DELETES = (
    option(
        _DELETES,
        "--delete",
        is_flag=True,
        help="Delete keys from the target that the source does not have. Data that exists only in the target is lost: "
        "use --dry-run first.",
    ),
    option(
        _DELETES,
        "--max-delete",
        type=click.IntRange(0),
        help="Stop deleting after this number of keys. The remaining keys are listed as differences.",
    ),
)

SKIP_ARCHIVED = (
    option(
        _ARCHIVES,
        "--skip-archived",
        is_flag=True,
        help="Only count the objects that must be restored first. Without it, each is listed as a difference.",
    ),
)

RESTORES = (
    option(
        _ARCHIVES,
        "--restore",
        type=click.Choice(["bulk", "standard", "expedited"], case_sensitive=False),
        metavar="TIER",
        help="Request the restore of archived objects that differ: bulk, standard or expedited. AWS charges for it. "
        "Run the same command again later: it copies the restored objects.",
    ),
    option(
        _ARCHIVES,
        "--restore-days",
        type=click.IntRange(1),
        metavar="N",
        help=f"Days for which the restored copy stays in the source.  [default: {RESTORE_DAYS}]",
    ),
    option(
        _ARCHIVES,
        "--max-restore-gb",
        type=click.FloatRange(0),
        metavar="N",
        help="Request no restore that brings the total of this run above this number of GB (10^9 bytes).",
    ),
)

KEY_DELETES = (
    option(
        _DELETES,
        "--delete/--no-delete",
        envvar=_DELETE_VARIABLES,
        default=True,
        show_default=True,
        help="Delete a key from the target if the source does not have it.",
    ),
)

WORKERS = (
    option(
        _QUEUE,
        "--workers",
        type=click.Choice(["local", "queue"]),
        default="local",
        show_default=True,
        help="local: copy in this command. queue: send the work to the workers of a queue, wait until they are done, "
        "then compare both buckets.",
    ),
    option(
        _QUEUE,
        "--bulk-queue-url",
        envvar="BULK_QUEUE_URL",
        help="URL of the workers' queue for bulk work, for --workers queue.",
    ),
    option(
        _QUEUE,
        "--queue-url",
        envvar="QUEUE_URL",
        help="URL of the workers' queue, for --workers queue, if the workers have no --bulk-queue-url.",
    ),
    option(
        _QUEUE,
        "--dead-letter-queue-url",
        envvar="DEAD_LETTER_QUEUE_URL",
        help="URL of the dead-letter queue, to count new dead letters.",
    ),
    option(
        _QUEUE,
        "--log-group",
        "log_groups",
        multiple=True,
        help="CloudWatch log group of the workers: for progress, and to detect the end while live sync uses the queue. "
        "Repeatable; in the variable, separated by spaces.",
    ),
    option(
        _QUEUE,
        "--idle-timeout",
        type=click.FloatRange(1),
        default=60,
        show_default=True,
        help="Seconds for which the queue must be empty at the end. The message counts of SQS are approximate.",
    ),
)

SERVICE = (
    option(_QUEUE, "--queue-url", envvar="QUEUE_URL", needed=True, help="URL of the SQS queue with the events."),
    option(
        _QUEUE,
        "--bulk-queue-url",
        envvar="BULK_QUEUE_URL",
        help="URL of the SQS queue for bulk work: ranges, parts, and all other messages that workers send. Without it, "
        "they share --queue-url with the events.",
    ),
    option(
        _QUEUE,
        "--dead-letter-queue-url",
        envvar="DEAD_LETTER_QUEUE_URL",
        needed=True,
        help="URL of the dead-letter queue.",
    ),
    option(
        _QUEUE,
        "--visibility-timeout",
        type=click.IntRange(4, 3600),
        default=VISIBILITY_TIMEOUT_S,
        show_default=True,
        help="Seconds until SQS delivers the messages of a killed process again. While the process runs, it extends "
        "the timeout. With less than the default, a write of the killed process may take effect after other workers "
        "have compared its key for the last time.",
    ),
    option(
        _QUEUE,
        "--shutdown-grace",
        type=click.IntRange(0, 600),
        default=10,
        show_default=True,
        help="Seconds that work in flight has to end after a stop signal. The process then needs up to 20 more to "
        "release the other messages.",
    ),
)


OUTAGES = (
    option(
        _FAILURES,
        "--outage-timeout",
        type=Duration(),
        default="15m",
        show_default=True,
        help="Time to wait for a store that does not respond, or is too busy for any request: 90, 90s, 15m or 1h. The "
        "command then continues where it was. After this time it ends with exit code 3. 0: end at once. A store that "
        "has not responded once in this run is not waited for.",
    ),
)


def _concurrency(text: str) -> Decorator:
    return option(_SPEED, "--concurrency", type=click.IntRange(1, 512), default=32, show_default=True, help=text)


SWEEP_CONCURRENCY = (_concurrency("Keys at a time in each process, and as many parts of large objects in addition."),)

KEY_CONCURRENCY = (_concurrency("Parts of a large object at a time. The keys are processed one after the other."),)

SERVICE_CONCURRENCY = (
    _concurrency("Messages of --queue-url at a time, and as many parts of large objects in addition."),
    option(
        _SPEED,
        "--bulk-concurrency",
        type=click.IntRange(1, 512),
        default=ServiceOptions.bulk_concurrency,
        show_default=True,
        help="The same for --bulk-queue-url, in addition.",
    ),
)

MEMORY = (
    option(
        _SPEED,
        "--memory",
        type=click.IntRange(64, 1024 * 1024),
        default=512,
        show_default=True,
        help="MiB for the buffers of all copies together. Streamed parts use little of it.",
    ),
    option(
        _SPEED,
        "--bwlimit",
        type=ByteRate(),
        help="Maximum bytes to copy per second: 500k, 10M, 1.5G for KiB, MiB, GiB. Default: no limit.",
    ),
)

PROCESSES = (
    option(
        _SPEED,
        "--processes",
        type=click.IntRange(1, 64),
        default=lambda: min(os.cpu_count() or 1, 8),
        show_default="one for each core, at most 8",
        help="Processes of a large sweep. They share --memory. With --bwlimit there is always one.",
    ),
)

DISTRIBUTED_COPY = (
    option(
        _SPEED,
        "--distributed-copy-threshold",
        envvar="DISTRIBUTED_COPY_THRESHOLD_MB",
        type=click.IntRange(64, 10_000 * 5 * 1024),  # the range of the input sync.distributed_copy_threshold_mb
        default=1024,
        show_default=True,
        help="Size in MiB above which several workers copy an object together.",
    ),
)

REPORTS = (
    option(
        _OUTPUT,
        "--report",
        "reports",
        multiple=True,
        type=click.Path(path_type=Path, dir_okay=False),
        callback=_report_path,
        help="Write a report to this .json or .html file. Repeatable; in the variable, separated by colons.",
    ),
)

LOG = (
    option(
        _OUTPUT,
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="json: write one JSON line for each decision to standard output.",
    ),
    option(_OUTPUT, "-v", "--verbose", is_flag=True, help="Print each key when it is copied, changed or skipped."),
)

DOCTOR = (
    option(
        "Target",
        "--scratch-prefix",
        default=PREFIX,
        show_default=True,
        help="Prefix of the scratch keys, below --target-prefix. The command writes nothing if another key is there.",
    ),
    option(_QUEUE, "--queue-url", envvar="QUEUE_URL", help="URL of the queue to check. Default: no queue is checked."),
    option(
        _QUEUE, "--dead-letter-queue-url", envvar="DEAD_LETTER_QUEUE_URL", help="URL of the dead-letter queue to check."
    ),
    option(_OUTPUT, "--json", "as_json", is_flag=True, help="Print the report as JSON."),
)

SERVICE_OUTPUT = (
    option(
        _OUTPUT,
        "--log-level",
        envvar="LOG_LEVEL",
        type=click.Choice(LOG_LEVELS, case_sensitive=False),
        default="INFO",
        show_default=True,
        help="Lowest level to log. Each decision is one JSON line on standard output.",
    ),
    option(
        _OUTPUT,
        "--health-port",
        type=click.IntRange(1, 65535),
        help="Port of the health endpoint, GET /health. Default: no endpoint.",
    ),
    option(
        _OUTPUT,
        "--health-address",
        default="127.0.0.1",
        show_default=True,
        help="Address of the health endpoint; 0.0.0.0 for all addresses of the machine.",
    ),
)

#: Hidden: the tests start the other processes of a sweep at once.
SPAWN = (
    option(_SPEED, "--spawn-after-cpu", hidden=True, type=float, default=SPAWN_AFTER_CPU_S),
    option(_SPEED, "--spawn-after-keys", hidden=True, type=int, default=SPAWN_AFTER_KEYS),
)

#: Hidden: the tests change this time.
STOP_GRACE = (option(_OUTPUT, "--stop-grace", hidden=True, type=float, default=GRACE_S),)

#: Hidden: the tests shorten these times.
SERVICE_TIMES = (
    option(_QUEUE, "--receive-wait", hidden=True, type=int, default=ServiceOptions.receive_wait_s),
    option(_QUEUE, "--abort-grace", hidden=True, type=float, default=ServiceOptions.abort_grace_s),
    option(_QUEUE, "--pause-first", hidden=True, type=float, default=ServiceOptions.pause_first_s),
    option(_QUEUE, "--pause-max", hidden=True, type=float, default=ServiceOptions.pause_max_s),
)
