"""The commands `deletions`: show, list, release and discard the deletions that the delete guard holds."""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

import click
from botocore.exceptions import BotoCoreError, ClientError

from ...core.errors import SyncError
from ...operations.held_deletions import HeldDeletions
from ...operations.queue_reader import Result
from ...operations.status import counted
from ...queue.message_counts import queue_counts
from ...stores.clients import queue_client
from ..click_extensions import Command, with_options
from ..exit_codes import DIFFERENT, EQUAL
from ..options import operations as groups
from ..options.queues import DELETIONS, HELD_DELETIONS
from ..options.settings import fail
from ..output.queue_results import end, note_hidden, progress_of
from ..output.stats import printable
from ..signals import ending_on_sigterm

#: Portions that a command releases or discards at a time.
_THREADS = 8

_LATE_HOLDS = "a worker may hold further deletions for up to two minutes: see `s3-syncer deletions status`"


@click.group("deletions")
def deletions() -> None:
    """Show, release or discard the deletions that the delete guard holds.

    A message that is read is hidden from other readers until the command ends, also by Ctrl-C or SIGTERM. If the
    command is killed with SIGKILL, the message returns after 5 minutes.
    """
    click.get_current_context().with_resource(ending_on_sigterm())


def _with_queues(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return the command with the held deletions as its first argument.

    An error of AWS ends the command with one line.
    """

    @functools.wraps(command)
    def run(held_deletions_queue_url: str | None, bulk_queue_url: str | None, **options: Any) -> Any:
        if not held_deletions_queue_url or not bulk_queue_url:
            raise click.UsageError(
                "the queues are missing: give --module DIRECTORY before the command, or --held-deletions-queue-url and "
                "--bulk-queue-url"
            )
        if held_deletions_queue_url == bulk_queue_url:
            raise click.UsageError("--bulk-queue-url must differ from --held-deletions-queue-url")
        try:
            held = HeldDeletions(
                queue_client(_THREADS), held_deletions_queue_url, bulk_url=bulk_queue_url, threads=_THREADS
            )
            return command(held, **options)
        except (SyncError, ClientError, BotoCoreError) as error:
            fail(error)

    decorated: Callable[..., Any] = with_options(HELD_DELETIONS)(run)
    return decorated


@deletions.command(
    cls=Command,
    examples=[("See if anything is held", "s3-syncer --module infra deletions status")],
)
@_with_queues
@with_options(DELETIONS, groups.JSON)
def status(held: HeldDeletions, deletions_queue_url: str | None, as_json: bool) -> None:
    """Count the deletions that wait for their delay, and those that are held. Exit code 1 if any are held.

    The numbers of SQS are approximate.
    """
    counts = {"held": held.counts().total}
    if deletions_queue_url:
        counts["waiting"] = queue_counts(queue_client(1), deletions_queue_url).total
    if as_json:
        click.echo(json.dumps(counts, indent=2))
    else:
        for name, number in counts.items():
            click.echo(f"{number:,}\t{name}")
    sys.exit(DIFFERENT if counts["held"] else EQUAL)


@deletions.command(
    "list",
    cls=Command,
    examples=[
        ("List up to 100 held deletions", "s3-syncer --module infra deletions list"),
        ("Save all keys", "s3-syncer --module infra deletions list --limit 1000000 --json > held.json"),
    ],
)
@_with_queues
@with_options(groups.LIST_LIMIT, groups.JSON)
def list_(held: HeldDeletions, limit: int, as_json: bool) -> None:
    """List the keys of held deletions, and since when they are held. Exit code 1 if there are any."""
    number = _count(held)
    found = held.read(limit)
    if as_json:
        click.echo(json.dumps([{"keys": list(each.keys), "held_at": each.held_at} for each in found], indent=2))
    for each in () if as_json else found:
        age_s = max(0, round(time.time() - each.held_at))
        keys = " ".join(map(printable, each.keys)) or "a message that the workers do not know"
        click.echo(f"{age_s:,} s\t{keys}")
    if not as_json:
        click.echo(f"{len(found):,} listed, about {number:,} held", err=True)
    sys.exit(DIFFERENT if found else EQUAL)


@deletions.command(
    cls=Command,
    examples=[
        ("Delete the objects after all", "s3-syncer --module infra deletions release"),
        ("About 1,000 of them, without a question", "s3-syncer --module infra deletions release --limit 1000 --yes"),
    ],
)
@_with_queues
@with_options(groups.TAKE_LIMIT, groups.YES, groups.JSON)
def release(held: HeldDeletions, limit: int | None, yes: bool, as_json: bool) -> None:
    """Let the workers do the held deletions once, above the limit `deletes.hold_above`.

    The limit does not change. A worker compares each key again before it deletes. Nothing is lost if the command is
    killed: run it again to continue.
    """
    _confirm(f"Delete the objects of about {_count(held):,} held deletions from the target?", yes=yes)
    _end(held.release(progress_of("deletions", as_json=as_json), limit), "released", as_json=as_json)


@deletions.command(
    cls=Command,
    examples=[("Keep the objects in the target", "s3-syncer --module infra deletions discard")],
)
@_with_queues
@with_options(groups.TAKE_LIMIT, groups.YES, groups.JSON)
def discard(held: HeldDeletions, limit: int | None, yes: bool, as_json: bool) -> None:
    """Drop the held deletions: the objects stay in the target, and `s3-syncer check` lists them as extra."""
    _confirm(f"Drop about {_count(held):,} held deletions, and keep the objects in the target?", yes=yes)
    _end(held.discard(progress_of("deletions", as_json=as_json), limit), "discarded", as_json=as_json)


def _count(held: HeldDeletions) -> int:
    """Return the approximate number of held deletions. Say how many of them are hidden from the command."""
    counts = held.counts()
    note_hidden(counts)
    return counts.total


def _confirm(question: str, *, yes: bool) -> None:
    if not yes:
        click.confirm(question, abort=True, err=True)


def _end(result: Result, what: str, *, as_json: bool) -> NoReturn:
    text = f"{counted(result.done, 'deletion')} {what}"
    if result.kept:
        text += f", {counted(result.kept, 'message')} left on the queue: see `s3-syncer deletions list`"
    end(result, text, as_json=as_json, note=_LATE_HOLDS)
