"""The progress and the result of a command that takes messages from a queue."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import NoReturn

import click

from ...operations.queue_reader import HIDDEN_S, Result
from ...queue.message_counts import QueueCounts
from ..exit_codes import DIFFERENT, EQUAL
from .stats import printable


def progress_of(what: str, *, as_json: bool) -> Callable[[int], None]:
    """Return a function that shows the number of messages so far, on a terminal and without --json only."""

    def show_number(done: int) -> None:
        if not as_json and sys.stderr.isatty():
            click.echo(f"\r{done:,} {what}", nl=False, err=True)

    return show_number


def note_hidden(counts: QueueCounts) -> None:
    """Say that the command does not see all messages, if some are hidden from it when it begins."""
    if counts.in_flight:
        click.echo(
            f"note: about {counts.in_flight:,} messages are hidden from this command. Another command reads them, or "
            f"was killed: then they return within {HIDDEN_S // 60} minutes. Run this command again after that",
            err=True,
        )


def end(result: Result, text: str, *, as_json: bool, note: str = "") -> NoReturn:
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
