"""The options of the commands for an applied module, by group."""

from __future__ import annotations

from pathlib import Path

import click

from ...operations.drain import SETTLED_S
from ..click_extensions import option
from . import sections
from .types import Duration, Number

_SELECTION, _RANGE, _COST = "Selection", "Range", "Cost"

JSON = (option(sections.OUTPUT, "--json", "as_json", is_flag=True, help="Print JSON instead of text."),)

WATCH = (
    option(sections.OUTPUT, "--watch", is_flag=True, help="Show the state again and again, until Ctrl-C."),
    option(
        sections.OUTPUT,
        "--interval",
        type=Number(1, 24 * 3600),
        default=5,
        show_default=True,
        help="Seconds between two readings of --watch.",
    ),
)

SELECTION = (
    option(
        _SELECTION,
        "--reason",
        default="",
        help="Only letters with this text in their reason, in upper or lower case, such as AccessDenied.",
    ),
    option(
        _SELECTION,
        "--key",
        default="",
        help="Only letters about this key of the source, or about keys that match a pattern with * and ?.",
    ),
    option(
        _SELECTION,
        "--since",
        type=Duration(),
        metavar="DURATION",
        help="Only letters that came within this time: 90s, 15m or 24h.",
    ),
)

DISCARD = (
    option(_SELECTION, "--all", "everything", is_flag=True, help="Discard every letter."),
    option(_SELECTION, "--yes", is_flag=True, help="Do not ask before the letters are deleted."),
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

TASK = (option("Task", "--detach", is_flag=True, help="Only start the task, and print its ARN."),)

FOLLOW = (option("Task", "--follow", "-f", is_flag=True, help="Print further lines until the task has ended."),)

SHOW_KEYS = (
    option(sections.OUTPUT, "--show-keys", is_flag=True, help="Print the action of every key, and not only failures."),
)

IMAGE = (
    option("Image", "--engine", help="docker, podman, or a path to one. Default: the first one that responds."),
    option("Image", "--base", envvar="S3_SYNCER_BASE_IMAGE", help="Base image, if not that of the Dockerfile."),
    option("Image", "--again", is_flag=True, help="Pull a newer base image, and replace an existing image."),
    option(
        "Image",
        "--context",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIRECTORY",
        help="Folder of the Dockerfile, if not that of the module below --module: `lambda` in a checkout.",
    ),
)

DRAIN = (
    option(
        sections.QUEUE,
        "--timeout",
        type=Duration(),
        default="1h",
        show_default=True,
        metavar="DURATION",
        help="Time to wait: 90s, 15m or 1h.",
    ),
    option(
        sections.QUEUE,
        "--settled",
        type=Duration(),
        default=f"{SETTLED_S:.0f}s",
        show_default=True,
        metavar="DURATION",
        help="Time for which the queues must stay empty. The message counts of SQS are approximate.",
    ),
)

LOG_SINCE = (
    option(
        sections.OUTPUT,
        "--since",
        type=Duration(),
        default="24h",
        show_default=True,
        metavar="DURATION",
        help="Time of the log to search: 15m, 24h or 168h.",
    ),
)

RANGE = (
    option(
        _RANGE,
        "--after",
        default="",
        help="Only keys behind this one in the order of their UTF-8 bytes, without the source prefix.",
    ),
    option(_RANGE, "--until", help="Only keys up to this one. Default: to the end."),
)

SWEEP = (
    option(
        _RANGE,
        "--delete",
        is_flag=True,
        help="Delete keys from the target that the source does not have. Data that exists only in the target is lost.",
    ),
    option(_RANGE, "--max-delete", type=click.IntRange(0), help="Stop deleting after this number of keys."),
    option(_RANGE, "--full", is_flag=True, help="Compare headers, metadata and tags of every key."),
    option(sections.QUEUE, "--detach", is_flag=True, help="Only send the range, and do not follow it."),
)

COST = (
    option(
        _COST,
        "--inventory",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Read an S3 Inventory file in CSV, also .gz, instead of a listing. Repeatable; in the variable, separated "
        "by colons.",
    ),
    option(
        _COST,
        "--columns",
        default="Bucket,Key,Size",
        show_default=True,
        help="Columns of the inventory: the fileSchema of its manifest.",
    ),
    option(
        _COST,
        "--changes",
        type=click.IntRange(0),
        default=1_000_000,
        show_default=True,
        help="Changed objects in a month.",
    ),
)
