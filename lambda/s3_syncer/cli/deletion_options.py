"""The options of the commands `deletions`, by group."""

from __future__ import annotations

import click

from .click_extensions import option

_QUEUE, _SELECTION = "Queue", "Selection"

HELD_DELETIONS = (
    option(
        _QUEUE,
        "--held-deletions-queue-url",
        envvar="HELD_DELETIONS_QUEUE_URL",
        help="URL of the queue of the held deletions.",
    ),
    option(
        _QUEUE,
        "--bulk-queue-url",
        envvar="BULK_QUEUE_URL",
        help="URL of the workers' queue for bulk work, which gets released deletions.",
    ),
)

DELETIONS = (
    option(
        _QUEUE,
        "--deletions-queue-url",
        envvar="DELETIONS_QUEUE_URL",
        help="URL of the queue that delays deletions, to count them.",
    ),
)

LIST_LIMIT = (
    option(
        _SELECTION,
        "--limit",
        type=click.IntRange(1),
        default=100,
        show_default=True,
        help="Deletions to list at most. Each ten of them cost two requests to SQS.",
    ),
)

TAKE_LIMIT = (
    option(
        _SELECTION,
        "--limit",
        type=click.IntRange(1),
        help="Stop after about this number of deletions. Without it, all of them.",
    ),
)

YES = (option(_SELECTION, "--yes", is_flag=True, help="Do not ask before the deletions are taken from the queue."),)
