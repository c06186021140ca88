"""The options of the commands by group: see `stores.py` for those of the stores."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ...core.size_order import ORDERS
from ...doctor import PREFIX
from ...service.heartbeat import VISIBILITY_TIMEOUT_S
from ...service.options import ServiceOptions
from ...settings import LOG_LEVELS
from ..click_extensions import Decorator, option
from ..concurrency import AUTO, AUTO_MESSAGES
from ..signals import GRACE_S
from ..sweeps.job import SPAWN_AFTER_CPU_S, SPAWN_AFTER_KEYS
from .queues import IDLE_TIMEOUT
from .types import (
    MOST,
    Bandwidth,
    Ceiling,
    Duration,
    KeyFile,
    ManifestObject,
    Moment,
    Pattern,
    ReportDestination,
    Share,
    Size,
)

_COPY, _DELETES, _QUEUE, _SPEED, _OUTPUT = "What to copy", "Deletes", "Queue", "Speed and memory", "Output"
_FAILURES, _ARCHIVES, _PROOF = "Failures", "Archived objects", "Proof to the byte"

#: Days for which a restored copy stays, if the user names none: a bulk restore from Deep Archive takes up to two days.
RESTORE_DAYS = 7

#: S3_SYNCER_DELETE comes first, so that it wins over an environment made for the Lambda function.
_DELETE_VARIABLES = ("S3_SYNCER_DELETE", "SYNC_DELETE")

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

OBJECT_LOCK = (
    option(
        _COPY,
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
        _COPY,
        "--dry-run",
        "-n",
        is_flag=True,
        help="List what would be copied and deleted, and change nothing. The exit code is 0 also if there is "
        "something to copy.",
    ),
)

FILTERS = (
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
        "--min-size",
        type=Size(),
        metavar="SIZE",
        help="Only objects of at least this size, in KiB or with the unit B, K, M, G or T. The object of the source "
        "decides, or that of the target if the source has none.",
    ),
    option(
        _COPY,
        "--max-size",
        type=Size(),
        metavar="SIZE",
        help="Only objects of at most this size, as for --min-size. When an object of the source becomes larger, its "
        "earlier copy stays in the target.",
    ),
)

KEYS = (
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

FILES_FROM = (
    option(
        _COPY,
        "--files-from",
        type=KeyFile(),
        help="Only the keys in this file: one key on each line, relative to the source prefix, as it is. A JSON report "
        "or a JSON log names its keys as well. - is standard input.",
    ),
)

INVENTORY = (
    option(
        _COPY,
        "--inventory",
        type=ManifestObject(),
        help="Take the keys of the source from this S3 Inventory, in CSV or Parquet, instead of a listing. Each "
        "difference is compared again. Keys that only the target has are not found that way.",
    ),
)

SINCE = (
    option(
        _COPY,
        "--since",
        type=Moment(),
        metavar="TIME|DURATION",
        help="Only objects of the source that were modified at this time or later, such as 2026-11-28T09:00:00Z, or in "
        "the last 90s, 15m, 36h or 7d. Deletions are not found that way.",
    ),
)

ORDER = (
    option(
        _COPY,
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
    *IDLE_TIMEOUT,
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
        "--deletions-queue-url",
        envvar="DELETIONS_QUEUE_URL",
        help="URL of the SQS queue through which the deletions go. Without it, a worker deletes at once.",
    ),
    option(
        _QUEUE,
        "--held-deletions-queue-url",
        envvar="HELD_DELETIONS_QUEUE_URL",
        help="URL of the SQS queue for held deletions. Needed with --deletions-queue-url.",
    ),
    option(
        _QUEUE,
        "--hold-deletions-above",
        envvar="HOLD_DELETIONS_ABOVE",
        type=click.IntRange(1),
        help="Hold each deletion while more than this number of them wait or are held. Without it, none is held.",
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
        "command then continues where it was. After this time it ends with exit code 3. 0: end at once if it "
        "does not respond; a single request that it is too busy for is repeated all the same. A store that has not "
        "responded once in this run is not waited for.",
    ),
)


def _ceiling(name: str, text: str, auto: int = AUTO) -> Decorator:
    help_text = f"{text} auto is at most {auto}; a number is 1 to {MOST}."
    return option(_SPEED, name, type=Ceiling(auto), default="auto", show_default=True, metavar="N", help=help_text)


#: The number of requests in flight adapts to each store below the ceiling: see `core/concurrency_limit.py`.
_ADAPTS = "Most requests at a time to each store. The number adapts to what the store can serve."

SWEEP_CONCURRENCY = (
    _ceiling(
        "--concurrency",
        f"{_ADAPTS} It holds for each process, and limits the keys and the parts in progress in the same way.",
    ),
)

KEY_CONCURRENCY = (_ceiling("--concurrency", f"{_ADAPTS} The keys are processed one after the other."),)

SERVICE_CONCURRENCY = (
    _ceiling(
        "--concurrency",
        "Most messages of --queue-url at a time, and most parts of large objects in addition. Together with "
        "--bulk-concurrency, it is also the most requests at a time to each store, which adapt to the store.",
        AUTO_MESSAGES,
    ),
    _ceiling("--bulk-concurrency", "The same for --bulk-queue-url, in addition.", AUTO_MESSAGES),
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
        type=Bandwidth(),
        help="Maximum bytes to copy per second: 500k, 10M, 1.5G for KiB, MiB, GiB. Or a timetable in the local time of "
        "the process, like '08:00,10M 19:00,off' or 'Mon-08:00,10M Sat-00:00,off'. Default: no limit.",
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
        type=ReportDestination(),
        help="Write a report to this .json or .html file, or to an object of S3 as s3://bucket/key, with the AWS "
        "credential chain. Repeatable; in the variable, separated by colons.",
    ),
)

EVENTS = (
    option(
        _OUTPUT,
        "--event-bus-arn",
        help="Send events about this work to this EventBridge bus, with the AWS credential chain.",
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
        help="Port of the health endpoint, GET /health, and of the metrics for Prometheus, GET /metrics. Default: no "
        "endpoint.",
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
