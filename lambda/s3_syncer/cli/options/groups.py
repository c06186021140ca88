"""The options of sweeps, single keys and `doctor`, by group."""

from __future__ import annotations

from pathlib import Path

import click

from ...core.size_order import ORDERS
from ...doctor import PREFIX
from ..click_extensions import option
from ..signals import GRACE_S
from . import sections
from .queues import IDLE_TIMEOUT
from .types import (
    KeyFile,
    ManifestObject,
    Moment,
    Number,
    Pattern,
    ReportDestination,
    Share,
    Size,
)

_ARCHIVES, _PROOF = "Archived objects", "Proof to the byte"

#: Days for which a restored copy stays, if the user names none: a bulk restore from Deep Archive takes up to two days.
RESTORE_DAYS = 7

#: S3_SYNCER_DELETE comes first, so that it wins over an environment made for the Lambda function.
_DELETE_VARIABLES = ("S3_SYNCER_DELETE", "SYNC_DELETE")

TAGS = (
    option(
        sections.COPY,
        "--tags/--no-tags",
        envvar="SYNC_TAGS",
        default=True,
        show_default=True,
        help="Copy and compare object tags. Use --no-tags if the other store has no tags.",
    ),
)

OBJECT_LOCK = (
    option(
        sections.COPY,
        "--object-lock/--no-object-lock",
        envvar="SYNC_OBJECT_LOCK",
        default=False,
        show_default=True,
        help="Copy and compare the retention and the legal hold of each object. The target needs Object Lock. "
        "`migrate` and `check` find a change of them alone with --full only.",
    ),
)

DRY_RUN = (
    option(
        sections.COPY,
        "--dry-run",
        "-n",
        is_flag=True,
        help="List what would be copied and deleted, and change nothing. The exit code is 0 also if there is "
        "something to copy.",
    ),
)

FILTERS = (
    option(
        sections.COPY,
        "--include",
        multiple=True,
        type=Pattern(),
        help="Only keys that match this pattern, relative to the source prefix, with the syntax of rclone. Repeatable; "
        "in the variable, one pattern on each line.",
    ),
    option(
        sections.COPY,
        "--exclude",
        multiple=True,
        type=Pattern(),
        help="No keys that match this pattern: they are neither copied nor deleted. Includes are tried first. "
        "Repeatable; in the variable, one pattern on each line.",
    ),
    option(
        sections.COPY,
        "--min-size",
        type=Size(),
        metavar="SIZE",
        help="Only objects of at least this size, in KiB or with the unit B, K, M, G or T. The object of the source "
        "decides, or that of the target if the source has none.",
    ),
    option(
        sections.COPY,
        "--max-size",
        type=Size(),
        metavar="SIZE",
        help="Only objects of at most this size, as for --min-size. When an object of the source becomes larger, its "
        "earlier copy stays in the target.",
    ),
)

KEYS = (
    option(
        sections.COPY,
        "--full",
        is_flag=True,
        help="Compare headers, metadata and tags of every key. Without it, the listings decide, and only keys that "
        "differ in size, ETag or time are compared in full.",
    ),
    option(
        sections.COPY,
        "--one-way",
        is_flag=True,
        help="Do not count keys that only the target has as differences. `migrate --delete` still deletes them.",
    ),
)

FILES_FROM = (
    option(
        sections.COPY,
        "--files-from",
        type=KeyFile(),
        help="Only the keys in this file: one key on each line, relative to the source prefix, as it is. A JSON report "
        "or a JSON log names its keys as well. - is standard input.",
    ),
)

INVENTORY = (
    option(
        sections.COPY,
        "--inventory",
        type=ManifestObject(),
        help="Take the keys of the source from this S3 Inventory, in CSV or Parquet, instead of a listing. Each "
        "difference is compared again. Keys that only the target has are not found that way.",
    ),
)

SINCE = (
    option(
        sections.COPY,
        "--since",
        type=Moment(),
        metavar="TIME|DURATION",
        help="Only objects of the source that were modified at this time or later, such as 2026-11-28T09:00:00Z, or in "
        "the last 90s, 15m, 36h or 7d. Deletions are not found that way.",
    ),
)

ORDER = (
    option(
        sections.COPY,
        "--order",
        type=click.Choice(ORDERS),
        default="key",
        show_default=True,
        metavar="ORDER",
        help="Order of the copies: key; size, the small objects first; or size-desc, the large ones first. Sizes are "
        "those of four classes, and three more listings of both buckets: below 1 MiB, 64 MiB, 4 GiB, and above.",
    ),
)

SWEEP_DELETES = (
    option(
        sections.DELETES,
        "--delete",
        is_flag=True,
        help="Delete keys from the target that the source does not have. Data that exists only in the target is lost: "
        "use --dry-run first. If the source has no key below --source-prefix, the command stops without "
        "--max-delete.",
    ),
    option(
        sections.DELETES,
        "--max-delete",
        type=click.IntRange(0),
        help="Stop deleting after this number of keys. The remaining keys are listed as differences.",
    ),
)

DOWNLOAD = (
    option(
        _PROOF,
        "--download",
        is_flag=True,
        help="Read both objects of each key and compare their bytes, unless equal ETags or checksums prove that both "
        "stores received the same ones. Both stores may charge for the data: the command first says how much it is.",
    ),
    option(
        _PROOF,
        "--ignore-checksums",
        is_flag=True,
        help="With --download: read also the objects with equal ETags or checksums. That finds bytes that a store has "
        "damaged later.",
    ),
    option(
        _PROOF,
        "--sample",
        type=Share(),
        metavar="PERCENT",
        help="With --download: read only a random part of the objects, such as 1%. The result says what that proves.",
    ),
    option(
        _PROOF,
        "--sample-seed",
        type=click.IntRange(0),
        metavar="N",
        help="With --sample: read the part of an earlier run again. Its result names the number. Default: a new part.",
    ),
    option(
        _PROOF,
        "--resume",
        type=click.Path(dir_okay=False, writable=True, path_type=Path),
        metavar="FILE",
        help="With --download: store the progress in this file. If it exists, continue where a stopped run was. A run "
        "that finishes deletes it.",
    ),
    option(
        _PROOF,
        "--estimate",
        is_flag=True,
        help="With --download: only say how many bytes it would read.",
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
        type=Number(0, 10**9),
        metavar="N",
        help="Request no restore that brings the total of this run above this number of GB (10^9 bytes).",
    ),
)

KEY_DELETES = (
    option(
        sections.DELETES,
        "--delete/--no-delete",
        envvar=_DELETE_VARIABLES,
        default=True,
        show_default=True,
        help="Delete a key from the target if the source does not have it.",
    ),
)

WORKERS = (
    option(
        sections.QUEUE,
        "--workers",
        type=click.Choice(["local", "queue"]),
        default="local",
        show_default=True,
        help="local: copy in this command. queue: send the work to the workers of a queue, wait until they are done, "
        "then compare both buckets.",
    ),
    option(
        sections.QUEUE,
        "--bulk-queue-url",
        envvar="BULK_QUEUE_URL",
        help="URL of the workers' queue for bulk work, for --workers queue.",
    ),
    option(
        sections.QUEUE,
        "--queue-url",
        envvar="QUEUE_URL",
        help="URL of the workers' queue, for --workers queue, if the workers have no --bulk-queue-url.",
    ),
    option(
        sections.QUEUE,
        "--dead-letter-queue-url",
        envvar="DEAD_LETTER_QUEUE_URL",
        help="URL of the dead-letter queue, to count new dead letters.",
    ),
    option(
        sections.QUEUE,
        "--log-group",
        "log_groups",
        multiple=True,
        help="CloudWatch log group of the workers: for progress, and to detect the end while live sync uses the queue. "
        "Repeatable; in the variable, separated by spaces.",
    ),
    *IDLE_TIMEOUT,
)

REPORTS = (
    option(
        sections.OUTPUT,
        "--report",
        "reports",
        multiple=True,
        type=ReportDestination(),
        help="Write a report to this .json or .html file, or to an object of S3 as s3://bucket/key, with the AWS "
        "credential chain. Repeatable; in the variable, separated by colons.",
    ),
)

EVENTS = (
    option(
        sections.OUTPUT,
        "--event-bus-arn",
        help="Send events about this work to this EventBridge bus, with the AWS credential chain.",
    ),
)

LOG = (
    option(
        sections.OUTPUT,
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="json: write one JSON line for each decision to standard output.",
    ),
    option(
        sections.OUTPUT, "-v", "--verbose", is_flag=True, help="Print each key when it is copied, changed or skipped."
    ),
)

DOCTOR = (
    option(
        "Target",
        "--scratch-prefix",
        default=PREFIX,
        show_default=True,
        help="Prefix of the scratch keys, below --target-prefix. The command writes nothing if another key is there.",
    ),
    option(
        sections.QUEUE,
        "--queue-url",
        envvar="QUEUE_URL",
        help="URL of the queue to check. Default: no queue is checked.",
    ),
    option(
        sections.QUEUE,
        "--dead-letter-queue-url",
        envvar="DEAD_LETTER_QUEUE_URL",
        help="URL of the dead-letter queue to check.",
    ),
    option(sections.OUTPUT, "--json", "as_json", is_flag=True, help="Print the report as JSON."),
)

#: Hidden: the tests change this time.
STOP_GRACE = (option(sections.OUTPUT, "--stop-grace", hidden=True, type=float, default=GRACE_S),)
