"""`scripts/local`: the local cloud left running, for any S3 client to try."""

from __future__ import annotations

import shlex
import sys
import time

import click

from deployed import image, task
from devtools import signals, terraform
from devtools.bootstrap import ROOT
from localcloud import run_service, run_task, servers, stack

DIRECTORY = ROOT / ".local"


@click.group()
def main() -> None:
    """The local cloud: an emulated AWS, another S3-compatible store, and the product between them."""
    signals.interrupt_on_termination()


@main.command()
def up() -> None:
    """Start it, apply the product, and leave it running; .local/stack.json says where everything is."""
    began = time.monotonic()
    try:
        made = stack.up(DIRECTORY, report=click.echo)
    except (stack.StackError, servers.ServerError, terraform.TerraformError) as error:
        sys.exit(f"scripts/local: {error}")
    click.echo(f"Up after {time.monotonic() - began:.0f} s:")
    _describe(made)
    click.echo("What is put into the source is mirrored to the target; the keys of both are in .local/stack.json,")
    click.echo('and eval "$(scripts/local env)" points Terraform, the AWS CLI and s3-syncer at them.')


@main.command()
def down() -> None:
    """End all of it; nothing is kept but the logs."""
    ended = stack.down(DIRECTORY)
    click.echo(f"Stopped {', '.join(ended)}." if ended else "Nothing was running.")


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def migrate(arguments: tuple[str, ...]) -> None:
    """Run the migration that is part of it, and exit with its code.

    ARGUMENTS are further options for it, like --dry-run, or another command, like check --full.
    """
    made = stack.current(DIRECTORY)
    if made is None:
        sys.exit("The local cloud is not up; `scripts/local up` starts it.")

    def show(line: str) -> None:
        if text := task.readable(line, verbose=False):
            click.echo(text)

    try:
        sys.exit(run_task.run(made, arguments, show, report=lambda text: click.echo(text, err=True)))
    except (image.ImageError, task.TaskError) as error:
        sys.exit(f"scripts/local: {error}")


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    """Run the service beside the function, until Ctrl-C; ARGUMENTS are options of it, like --health-port 8080."""
    made = stack.current(DIRECTORY)
    if made is None:
        sys.exit("The local cloud is not up; `scripts/local up` starts it.")
    sys.exit(run_service.run(made, arguments))


@main.command()
def env() -> None:
    """Print what points other tools at it, for a shell: eval "$(scripts/local env)"."""
    made = stack.current(DIRECTORY)
    if made is None:
        sys.exit("The local cloud is not up; `scripts/local up` starts it.")
    for name, value in environment(made).items():
        click.echo(f"export {name}={shlex.quote(value)}")


def environment(made: stack.Stack) -> dict[str, str]:
    """For Terraform, the AWS CLI and any SDK the one cloud, and for s3-syncer both."""
    return {
        "AWS_ENDPOINT_URL": made.aws_endpoint,
        "AWS_DEFAULT_REGION": made.region,
        "AWS_ACCESS_KEY_ID": made.access_key_id,
        "AWS_SECRET_ACCESS_KEY": made.secret_access_key,
        "SOURCE_BUCKET": made.source_bucket,
        "TARGET_ENDPOINT": made.target.endpoint,
        "TARGET_REGION": made.target.region,
        "TARGET_BUCKET": made.target.bucket,
        "TARGET_ACCESS_KEY_ID": made.target.access_key_id,
        "TARGET_SECRET_ACCESS_KEY": made.target.secret_access_key,
    }


@main.command()
def status() -> None:
    """Tell what is running; exits 1 when the local cloud is not up."""
    for server in servers.recorded(DIRECTORY):
        state = f"running at {server.endpoint}" if server.is_running() else "died"
        click.echo(f"{server.name}: {state}, process {server.pid}, log {server.log}")
    made = stack.current(DIRECTORY)
    if made is None:
        sys.exit("The local cloud is not up.")
    _describe(made)


def _describe(made: stack.Stack) -> None:
    lines = {
        "source": f"{made.aws_endpoint}/{made.source_bucket}",
        "target": f"{made.target.endpoint}/{made.target.bucket}",
        "queue": made.queue_url,
        "dead letters": made.dead_letter_queue_url,
        "function": made.function_name,
    }
    for name, value in lines.items():
        click.echo(f"{name:>14}  {value}")


if __name__ == "__main__":
    main()
