"""The options of `serve` alone."""

from __future__ import annotations

import click

from ...service.heartbeat import VISIBILITY_TIMEOUT_S
from ...service.options import ServiceOptions
from ...settings import LOG_LEVELS
from ..click_extensions import option
from ..concurrency import AUTO_MESSAGES
from . import sections
from .resources import ceiling

SERVICE = (
    option(
        sections.QUEUE, "--queue-url", envvar="QUEUE_URL", needed=True, help="URL of the SQS queue with the events."
    ),
    option(
        sections.QUEUE,
        "--bulk-queue-url",
        envvar="BULK_QUEUE_URL",
        help="URL of the SQS queue for bulk work: ranges, parts, and all other messages that workers send. Without it, "
        "they share --queue-url with the events.",
    ),
    option(
        sections.QUEUE,
        "--dead-letter-queue-url",
        envvar="DEAD_LETTER_QUEUE_URL",
        needed=True,
        help="URL of the dead-letter queue.",
    ),
    option(
        sections.QUEUE,
        "--deletions-queue-url",
        envvar="DELETIONS_QUEUE_URL",
        help="URL of the SQS queue through which the deletions go. Without it, a worker deletes at once.",
    ),
    option(
        sections.QUEUE,
        "--held-deletions-queue-url",
        envvar="HELD_DELETIONS_QUEUE_URL",
        help="URL of the SQS queue for held deletions. Needed with --deletions-queue-url.",
    ),
    option(
        sections.QUEUE,
        "--hold-deletions-above",
        envvar="HOLD_DELETIONS_ABOVE",
        type=click.IntRange(1),
        help="Hold each deletion while more than this number of them wait or are held. Without it, none is held.",
    ),
    option(
        sections.QUEUE,
        "--visibility-timeout",
        type=click.IntRange(4, 3600),
        default=VISIBILITY_TIMEOUT_S,
        show_default=True,
        help="Seconds until SQS delivers the messages of a killed process again. While the process runs, it extends "
        "the timeout. With less than the default, a write of the killed process may take effect after other workers "
        "have compared its key for the last time.",
    ),
    option(
        sections.QUEUE,
        "--shutdown-grace",
        type=click.IntRange(0, 600),
        default=10,
        show_default=True,
        help="Seconds that work in flight has to end after a stop signal. The process then needs up to 20 more to "
        "release the other messages.",
    ),
)

SERVICE_CONCURRENCY = (
    ceiling(
        "--concurrency",
        "Most messages of --queue-url at a time, and most parts of large objects in addition. Together with "
        "--bulk-concurrency, it is also the most requests at a time to each store, which adapt to the store.",
        AUTO_MESSAGES,
    ),
    ceiling("--bulk-concurrency", "The same for --bulk-queue-url, in addition.", AUTO_MESSAGES),
)

DISTRIBUTED_COPY = (
    option(
        sections.SPEED,
        "--distributed-copy-threshold",
        envvar="DISTRIBUTED_COPY_THRESHOLD_MB",
        type=click.IntRange(64, 10_000 * 5 * 1024),  # the range of the input sync.distributed_copy_threshold_mb
        default=1024,
        show_default=True,
        help="Size in MiB above which several workers copy an object together.",
    ),
)

SERVICE_OUTPUT = (
    option(
        sections.OUTPUT,
        "--log-level",
        envvar="LOG_LEVEL",
        type=click.Choice(LOG_LEVELS, case_sensitive=False),
        default="INFO",
        show_default=True,
        help="Lowest level to log. Each decision is one JSON line on standard output.",
    ),
    option(
        sections.OUTPUT,
        "--health-port",
        type=click.IntRange(1, 65535),
        help="Port of the health endpoint, GET /health, and of the metrics for Prometheus, GET /metrics. Default: no "
        "endpoint.",
    ),
    option(
        sections.OUTPUT,
        "--health-address",
        default="127.0.0.1",
        show_default=True,
        help="Address of the health endpoint; 0.0.0.0 for all addresses of the machine.",
    ),
)

#: Hidden: the tests shorten these times.
SERVICE_TIMES = (
    option(sections.QUEUE, "--receive-wait", hidden=True, type=int, default=ServiceOptions.receive_wait_s),
    option(sections.QUEUE, "--abort-grace", hidden=True, type=float, default=ServiceOptions.abort_grace_s),
    option(sections.QUEUE, "--pause-first", hidden=True, type=float, default=ServiceOptions.pause_first_s),
    option(sections.QUEUE, "--pause-max", hidden=True, type=float, default=ServiceOptions.pause_max_s),
)
