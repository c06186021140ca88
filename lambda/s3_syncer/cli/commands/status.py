"""The command `status`: the state of an applied module, once or again and again."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import click
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ...core.errors import SyncError
from ...operations.outputs import Outputs
from ...operations.status import HEALTHY, Status
from ...operations.status_reader import Clients, StatusReader
from ...stores.clients import aws_client, queue_client
from ..click_extensions import Command, with_options
from ..options import operations as groups
from ..options.module import module_of
from ..output.stats import printable
from ..output.status_view import status_view
from .on_module import on_module

#: Columns of the text if standard output is no terminal.
_TEXT_WIDTH = 160


@click.command(
    cls=Command,
    examples=[
        ("Show the state once", "s3-syncer --module infra status"),
        ("Show it every 5 seconds, until Ctrl-C", "s3-syncer --module infra status --watch"),
        ("Let a monitor read it", "s3-syncer --outputs outputs.json status --json"),
    ],
)
@with_options(groups.WATCH, groups.JSON)
@on_module
def status(outputs: Outputs, watch: bool, interval: float, as_json: bool) -> None:
    """Show the lag, backlog, failures, dead letters and workers of a module, and its problems.

    Exit code 0 is healthy, 1 is late, failing or paused, and 3 is a state that cannot be read. With --watch, it is
    the code of the last state. A reading takes about 10 requests, which cost less than 0.00001 USD. The log is read for
    the last 20 minutes, and for the last sweep of the last 26 hours.
    """
    clients = Clients(
        queue_client(1), aws_client("logs"), aws_client("cloudwatch"), aws_client("lambda"), aws_client("ecs")
    )
    reader = StatusReader(outputs, clients, time.time)
    program = module_of(click.get_current_context()).command
    if not watch:
        found = reader.read()
        _show(found, program, as_json=as_json)
        sys.exit(found.exit_code)
    sys.exit(watch_status(reader.read, program, interval, as_json=as_json))


def _show(found: Status, program: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        _print(status_view(found, program), text_console())


def _print(view: RenderableType, console: Console) -> None:
    """Print the view; as text, without the blanks with which rich fills the columns of a table."""
    if console.is_terminal:
        console.print(view)
        return
    with console.capture() as capture:
        console.print(view)
    for line in capture.get().splitlines():
        click.echo(line.rstrip())


def text_console() -> Console:
    """Return a console for standard output."""
    return Console(width=None if sys.stdout.isatty() else _TEXT_WIDTH, highlight=False)


def watch_status(read: Callable[[], Status], program: str, interval_s: float, *, as_json: bool) -> int:
    """Show the status until Ctrl-C, and return the exit code of the last one.

    A status that cannot be read is shown as such, and read again: an outage of the network must not end the display.
    """
    last: Status | None = None
    stopped = threading.Event()
    console = Console(highlight=False)
    live = Live(console=console, screen=True, auto_refresh=False) if console.is_terminal and not as_json else None
    screen: AbstractContextManager[object] = live or nullcontext()
    try:
        with screen:
            while True:
                error = ""
                try:
                    last = read()
                except (SyncError, ClientError, BotoCoreError) as failure:
                    if last is None:
                        raise
                    error = f"the state cannot be read: {failure}"
                _refresh(last, error, program, live, as_json=as_json)
                stopped.wait(interval_s)
    except KeyboardInterrupt:
        if live is not None and last is not None:  # the screen is gone, so the last state stays above the prompt
            _show(last, program, as_json=False)
    return last.exit_code if last is not None else HEALTHY


def _refresh(last: Status, error: str, program: str, live: Live | None, *, as_json: bool) -> None:
    if live is not None:
        warning = [Text(printable(error), style="bold red")] if error else []
        live.update(
            Group(status_view(last, program), *warning, Text("Ctrl-C ends this display", style="dim")), refresh=True
        )
    elif error:
        click.echo(f"s3-syncer: {printable(error)}", err=True)
    elif as_json:
        click.echo(json.dumps(last.as_json()))
    else:
        _show(last, program, as_json=False)
