"""The options of the commands for an applied module, by group."""

from __future__ import annotations

import click

from .click_extensions import option

_OUTPUT = "Output"

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
