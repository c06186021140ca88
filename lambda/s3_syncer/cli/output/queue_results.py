"""The progress and the result of a command that takes messages from a queue."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import NoReturn

import click

from ...operations import dead_letters, held_deletions
from ..exit_codes import DIFFERENT, EQUAL
from .stats import printable


def progress_of(what: str, *, as_json: bool) -> Callable[[int], None]:
    """Return a function that shows the number of messages so far, on a terminal and without --json only."""

    def show_number(done: int) -> None:
        if not as_json and sys.stderr.isatty():
            click.echo(f"\r{done:,} {what}", nl=False, err=True)

    return show_number


def end(result: dead_letters.Result | held_deletions.Result, text: str, *, as_json: bool, note: str = "") -> NoReturn:
    """Print the result, and exit with a code that says if SQS refused a part of it."""
    for error in sorted(set(result.errors)):
        click.echo(f"s3-syncer: {printable(error)}", err=True)
    if as_json:
        click.echo(json.dumps(asdict(result), indent=2))
    else:
        click.echo(text)
        if note:
            click.echo(f"note: {note}", err=True)
    sys.exit(DIFFERENT if result.errors else EQUAL)
