"""The options of the commands for an applied module, by group."""

from __future__ import annotations

from pathlib import Path

import click

from ..operations.drain import SETTLED_S
from .click_extensions import option
from .option_types import Duration

_OUTPUT, _QUEUE, _SELECTION = "Output", "Queue", "Selection"

JSON = (option(_OUTPUT, "--json", "as_json", is_flag=True, help="Print JSON instead of text."),)

WATCH = (
    option(_OUTPUT, "--watch", is_flag=True, help="Show the state again and again, until Ctrl-C."),
    option(
        _OUTPUT,
        "--interval",
        type=click.FloatRange(1),
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

TASK = (option("Task", "--detach", is_flag=True, help="Only start the task, and print its ARN."),)

FOLLOW = (option("Task", "--follow", "-f", is_flag=True, help="Print further lines until the task has ended."),)

SHOW_KEYS = (
    option(_OUTPUT, "--show-keys", is_flag=True, help="Print the action of every key, and not only failures."),
)

IMAGE = (
    option("Image", "--engine", help="docker, podman, or a path to one. Default: the first one on the PATH."),
    option("Image", "--base", envvar="S3_SYNCER_BASE_IMAGE", help="Base image, if not that of the Dockerfile."),
    option("Image", "--again", is_flag=True, help="Replace an existing image, for a newer base image."),
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
        _QUEUE,
        "--timeout",
        type=Duration(),
        default="1h",
        show_default=True,
        metavar="DURATION",
        help="Time to wait: 90s, 15m or 1h.",
    ),
    option(
        _QUEUE,
        "--settled",
        type=Duration(),
        default=f"{SETTLED_S:.0f}s",
        show_default=True,
        metavar="DURATION",
        help="Time for which the queues must stay empty. The message counts of SQS are approximate.",
    ),
)
