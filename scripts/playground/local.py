"""`scripts/local`: the local cloud left running, for any S3 client to try."""

from __future__ import annotations

import sys
import time

import click
from rich.console import Console
from rich.table import Table

from playground import servers, signals, stack, terraform
from playground.bootstrap import ROOT

DIRECTORY = ROOT / ".local"

console = Console(highlight=False)


@click.group()
def main() -> None:
    """The local cloud: an emulated AWS, another S3-compatible store, and the product between them."""
    signals.raise_on_termination()


@main.command()
def up() -> None:
    """Start it, apply the product, and leave it running; .local/stack.json says where everything is."""
    began = time.monotonic()
    try:
        made = stack.up(DIRECTORY, report=console.print)
    except (stack.StackError, servers.ServerError, terraform.TerraformError) as error:
        sys.exit(f"scripts/local: {error}")
    console.print(f"Up after {time.monotonic() - began:.0f} s:")
    console.print(_described(made))
    console.print("The keys of both sides are in .local/stack.json; logs are in .local/logs.")


@main.command()
def down() -> None:
    """End all of it; nothing is kept but the logs."""
    ended = stack.down(DIRECTORY)
    console.print(f"Stopped {', '.join(ended)}." if ended else "Nothing was running.")


@main.command()
def status() -> None:
    """Tell what is running; exits 1 when the local cloud is not up."""
    for server in servers.recorded(DIRECTORY):
        state = f"running at {server.endpoint}" if server.is_running() else "died"
        console.print(f"{server.name}: {state}, process {server.pid}, log {server.log}")
    made = stack.current(DIRECTORY)
    if made is None:
        sys.exit("The local cloud is not up.")
    console.print(_described(made))


def _described(made: stack.Stack) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("source", f"s3://{made.source_bucket}", made.aws_endpoint)
    table.add_row("target", f"s3://{made.target.bucket}", made.target.endpoint)
    table.add_row("queue", made.queue_url)
    table.add_row("dead letters", made.dead_letter_queue_url)
    table.add_row("function", made.function_name)
    return table


if __name__ == "__main__":
    main()
