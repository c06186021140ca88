"""The options for the queues of the workers that several commands share, by group."""

from __future__ import annotations

from ..click_extensions import option
from . import sections
from .types import Number

IDLE_TIMEOUT = (
    option(
        sections.QUEUE,
        "--idle-timeout",
        type=Number(1, 24 * 3600),
        default=60,
        show_default=True,
        help="Seconds for which the queue must be empty at the end. The message counts of SQS are approximate.",
    ),
)

HELD_DELETIONS = (
    option(
        sections.QUEUE,
        "--held-deletions-queue-url",
        envvar="HELD_DELETIONS_QUEUE_URL",
        help="URL of the queue of the held deletions.",
    ),
    option(
        sections.QUEUE,
        "--bulk-queue-url",
        envvar="BULK_QUEUE_URL",
        help="URL of the workers' queue for bulk work, which gets released deletions.",
    ),
)

DELETIONS = (
    option(
        sections.QUEUE,
        "--deletions-queue-url",
        envvar="DELETIONS_QUEUE_URL",
        help="URL of the queue that delays deletions, to count them.",
    ),
)
