"""The commands `dead-letters`: list, show, send back and discard what could not be mirrored."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, NoReturn

import click

from ...operations.dead_letters import DeadLetterQueue, Selection, grouped
from ...operations.outputs import Outputs
from ...operations.queue_reader import Result
from ...operations.status import counted, format_span
from ...stores.clients import queue_client
from ..click_extensions import Command, with_options
from ..exit_codes import DIFFERENT, EQUAL
from ..options import operations as groups
from ..output.queue_results import end, note_hidden, progress_of
from ..output.stats import printable
from .on_module import on_module

#: Subjects that `dead-letters list` names for each reason.
_EXAMPLES = 3


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show, send back or discard the changes that could not be mirrored.

    A message that is read is hidden from other readers until the command ends, also by Ctrl-C or SIGTERM. If the
    command is killed with SIGKILL, the message returns after 5 minutes.
    """


@dead_letters.command(
    "list",
    cls=Command,
    examples=[
        ("Count the dead letters by reason", "s3-syncer --module infra dead-letters list"),
        ("Only those of the last day", "s3-syncer --module infra dead-letters list --since 24h"),
    ],
)
@with_options(groups.SELECTION, groups.JSON)
@on_module
def list_(outputs: Outputs, as_json: bool, **options: Any) -> None:
    """Count the dead letters by reason, with examples.

    Exit code 1 if there are any.
    """
    letters = _queue(outputs).read(_selection(options))
    if as_json:
        _print_json([asdict(group) for group in grouped(letters)])
    for group in () if as_json else grouped(letters):
        same = [letter for letter in letters if letter.reason == group.reason]
        click.echo(f"{group.letters:,}\t{printable(group.reason)}")
        for letter in same[:_EXAMPLES]:
            click.echo(f"\t{printable(letter.subject)}, {format_span(time.time() - letter.sent_at)} ago")
        if len(same) > _EXAMPLES:
            click.echo(f"\tand {len(same) - _EXAMPLES:,} more")
    click.echo(counted(len(letters), "dead letter"), err=True)
    sys.exit(DIFFERENT if letters else EQUAL)


@dead_letters.command(
    cls=Command,
    examples=[
        ("Show everything about one key", "s3-syncer --module infra dead-letters show --key photos/1.jpg"),
        ("Save all dead letters", "s3-syncer --module infra dead-letters show --json > letters.json"),
    ],
)
@with_options(groups.SELECTION, groups.JSON)
@on_module
def show(outputs: Outputs, as_json: bool, **options: Any) -> None:
    """Show each dead letter with its error, its keys and its body. They stay on the queue.

    Exit code 1 if there are any.
    """
    letters = _queue(outputs).read(_selection(options))
    if as_json:
        _print_json([asdict(letter) for letter in letters])
    for letter in () if as_json else letters:
        click.echo(f"{printable(letter.subject)}\n  {printable(letter.error or letter.reason)}")
        click.echo(f"  sent {format_span(time.time() - letter.sent_at)} ago, message {letter.id}")
        click.echo(f"  {printable(letter.body)}")
    sys.exit(DIFFERENT if letters else EQUAL)


@dead_letters.command(
    cls=Command,
    examples=[
        ("Send everything back, after the repair", "s3-syncer --module infra dead-letters redrive"),
        (
            "Only the letters with one reason",
            "s3-syncer --module infra dead-letters redrive --reason AccessDenied --since 2h",
        ),
    ],
)
@with_options(groups.SELECTION, groups.JSON)
@on_module
def redrive(outputs: Outputs, as_json: bool, **options: Any) -> None:
    """Send dead letters back to the queue of the events, where the workers try them again.

    Nothing is lost if the command is killed: a letter is deleted after SQS has accepted its copy. A letter on both
    queues is harmless, because a worker finds its key equal the second time. Run the command again to continue.
    """
    _end(
        _queue(outputs).redrive(_selection(options), progress_of("letters", as_json=as_json)),
        "sent back",
        as_json=as_json,
    )


@dead_letters.command(
    cls=Command,
    examples=[
        ("Discard the letters of one key", "s3-syncer --module infra dead-letters discard --key photos/1.jpg"),
        ("Discard everything, without a question", "s3-syncer --module infra dead-letters discard --all --yes"),
    ],
)
@with_options(groups.SELECTION, groups.DISCARD, groups.JSON)
@on_module
def discard(outputs: Outputs, everything: bool, yes: bool, as_json: bool, **options: Any) -> None:
    """Delete dead letters. Their changes are not mirrored, unless a sweep or a later event finds the keys.

    The command asks before it deletes, unless --yes is given.
    """
    selection = _selection(options)
    if selection.is_everything and not everything:
        raise click.UsageError("name the letters with --reason, --key or --since, or give --all")
    queue = _queue(outputs)
    if not yes:
        selection = replace(selection, until=time.time())  # the question is not about letters that come after it
        letters = queue.read(selection)
        for group in grouped(letters):
            click.echo(f"{group.letters:,}\t{printable(group.reason)}", err=True)
        click.confirm(f"Discard {counted(len(letters), 'dead letter')}?", abort=True, err=True)
    _end(queue.discard(selection, progress_of("letters", as_json=as_json)), "discarded", as_json=as_json)


def _queue(outputs: Outputs) -> DeadLetterQueue:
    """Return the dead letters. Say how many of them are hidden from the command."""
    queue = DeadLetterQueue(
        queue_client(1),
        outputs.dead_letter_queue_url,
        destination_url=outputs.queue_url,
        bucket=outputs.source_bucket,
    )
    note_hidden(queue.counts())
    return queue


def _selection(options: dict[str, Any]) -> Selection:
    since_s = options["since"]
    return Selection(options["reason"], options["key"], since=0.0 if since_s is None else time.time() - since_s)


def _end(result: Result, what: str, *, as_json: bool) -> NoReturn:
    end(result, f"{counted(result.done, 'dead letter')} {what}, {result.kept:,} left on the queue", as_json=as_json)


def _print_json(value: dict[str, Any] | Sequence[dict[str, Any]]) -> None:
    click.echo(json.dumps(value, indent=2))
