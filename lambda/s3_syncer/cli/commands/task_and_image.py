"""The commands `task` and `image`: the migration as an ECS task, and the image that it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from ...operations import images, tasks
from ...operations.outputs import Migration, Outputs, OutputsError
from ...stores.clients import aws_client
from ..click_extensions import Command, with_options
from ..options import operations as groups
from ..options.module import module_of
from ..options.settings import fail
from ..output.task_log import readable
from .on_module import on_module


@click.group()
def task() -> None:
    """Run the migration as an ECS task of the module, and read its log."""


@task.command(
    cls=Command,
    context_settings={"ignore_unknown_options": True},
    examples=[
        ("List what would be copied", "s3-syncer --module infra task run --dry-run"),
        ("Run the registered command", "s3-syncer --module infra task run"),
        ("Run another command", "s3-syncer --module infra task run check --full"),
    ],
)
@with_options(groups.TASK, groups.SHOW_KEYS)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@on_module
def run(outputs: Outputs, arguments: tuple[str, ...], detach: bool, show_keys: bool) -> None:
    """Start the task, follow its log, and exit with its exit code.

    ARGUMENTS are further options for the registered command, like --dry-run, or another command, like check --full.
    Ctrl-C or SIGTERM asks the task to stop and waits for its end; run the command again to continue the migration. Exit
    code 125 is a task that did not run.
    """
    try:
        started = tasks.start(aws_client("ecs"), aws_client("logs"), _migration(outputs), arguments)
        click.echo(f"Started {started.arn}", err=True)
        sys.exit(0 if detach else _follow(started, _show(show_keys)))
    except tasks.TaskError as error:
        click.echo(f"s3-syncer: {error}", err=True)
        sys.exit(tasks.NOT_RUN)


@task.command(
    cls=Command,
    examples=[
        ("Print the log of the newest task", "s3-syncer --module infra task logs"),
        ("Follow it to its end", "s3-syncer --module infra task logs --follow"),
    ],
)
@with_options(groups.FOLLOW, groups.SHOW_KEYS)
@click.argument("task_id", required=False, metavar="[TASK]")
@on_module
def logs(outputs: Outputs, task_id: str | None, follow: bool, show_keys: bool) -> None:
    """Print the log of a TASK, by its ID or ARN; without one, of the task with the newest line.

    Ctrl-C or SIGTERM ends the command, and not the task.
    """
    migration, log = _migration(outputs), aws_client("logs")
    try:
        known = tasks.known_task(aws_client("ecs"), log, migration, task_id or tasks.newest_task_id(log, migration))
        show = _show(show_keys)
        if follow:
            sys.exit(known.follow(show))
        is_empty = True
        for line in known.logged():
            show(line)
            is_empty = False
        if is_empty:
            fail(tasks.TaskError(f"the log has no line of the task {known.id}: it has not begun, or has another ID"))
    except tasks.TaskError as error:
        fail(error)


@click.group()
def image() -> None:
    """Build and push the image of the migration and the service."""


@image.command(
    cls=Command,
    examples=[
        ("Push the image, once for each version", "s3-syncer --module infra image push"),
        ("Build it again with a newer base image", "s3-syncer --module infra image push --again"),
    ],
)
@with_options(groups.IMAGE)
@on_module
def push(outputs: Outputs, engine: str | None, base: str | None, again: bool, context: Path | None) -> None:
    """Build the image, push it to the repository of the module, and deploy the service again.

    Docker or Podman builds it, from the files of the module that Terraform has downloaded. No checkout is needed.
    """
    wanted = images.Image.of(outputs)
    ecr, ecs = aws_client("ecr"), aws_client("ecs")
    try:
        exists = images.is_pushed(ecr, wanted.address)
        if exists and not again:
            click.echo(f"{wanted.address} exists already; --again builds and pushes it again.")
            return
        folder = context or (module_of(click.get_current_context()).directory or Path()) / outputs.build_context
        images.check_context(folder, wanted.address)
        program = images.Engine.described([engine]) if engine else images.find_engine()
        architecture = tasks.Definition.registered(ecs, wanted.task_definition_arn).architecture
        images.build(program, folder, wanted.address, architecture, base, newest=again)
        images.log_in(program, ecr, wanted.address)
        if exists:
            images.remove(ecr, wanted.address)
        images.push(program, wanted.address)
        click.echo(f"Pushed {wanted.address}.")
        if wanted.service:
            images.deploy(ecs, wanted.service)
            click.echo(f"Started a deployment of the service {wanted.service.name}.")
    except images.ImageError as error:
        fail(error)


def _migration(outputs: Outputs) -> Migration:
    if outputs.migration is None:
        raise OutputsError("the migration is not enabled: write migration = { enabled = true } and apply")
    return outputs.migration


def _show(show_keys: bool) -> Callable[[str], None]:
    def show(line: str) -> None:
        text = readable(line, verbose=show_keys)
        if text is not None:
            click.echo(text)

    return show


def _follow(started: tasks.Task, show: Callable[[str], None]) -> int:
    """Follow the task to its end. Ctrl-C or SIGTERM asks the task to stop."""
    try:
        return started.follow(show)
    except (KeyboardInterrupt, SystemExit):  # SIGTERM raises SystemExit: see `on_module`
        click.echo("Asking the task to stop ...", err=True)
        started.stop()
        return started.follow(show)
