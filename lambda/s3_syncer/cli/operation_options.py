"""The options of the commands for an applied module, by group."""

from __future__ import annotations

import click

from .click_extensions import option
from .option_types import Duration

_OUTPUT, _SELECTION = "Output", "Selection"

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
