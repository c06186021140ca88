"""The command `s3-syncer` with its commands, of which only the one that is used is imported.

So `--version`, `--help` and a mistake in the name of a command need neither boto3 nor any module of the work.
"""

from __future__ import annotations

from pathlib import Path

import click

from ..click_extensions import LazyCommand, LazyGroup, with_options
from ..exit_codes import EXIT_CODES
from ..options.module import MODULE, Module, one_place

#: The commands in the order of the reference.
COMMANDS = (
    LazyCommand("migrate", f"{__package__}.migrate_and_check", "Copy the existing objects to the target."),
    LazyCommand("check", f"{__package__}.migrate_and_check", "Compare both buckets and list the differences."),
    LazyCommand("sync", f"{__package__}.sync", "Make single keys equal now."),
    LazyCommand("restore", f"{__package__}.restore", "Bring objects back from the mirror."),
    LazyCommand("serve", f"{__package__}.serve", "Work off the queue until stopped."),
    LazyCommand("doctor", f"{__package__}.doctor", "Check if both stores can be used, and what the target can."),
    LazyCommand("status", f"{__package__}.status", "Show the state of an applied module."),
    LazyCommand("dead-letters", f"{__package__}.dead_letters", "List, send back or discard what failed."),
    LazyCommand("explain", f"{__package__}.explain", "Show what is known about a key, and what would happen."),
    LazyCommand("sweep", f"{__package__}.sweep", "Let the workers compare a range of keys."),
    LazyCommand("cost", f"{__package__}.cost", "Estimate the price for a bucket."),
    LazyCommand("deletions", f"{__package__}.deletions", "List, release or discard held deletions."),
    LazyCommand("config", f"{__package__}.config", "Give names to stores."),
    LazyCommand("drain", f"{__package__}.drain", "Wait until the queues can be destroyed."),
    LazyCommand("task", f"{__package__}.task_and_image", "Run the migration as an ECS task."),
    LazyCommand("image", f"{__package__}.task_and_image", "Push the image of the ECS tasks."),
    LazyCommand("completion", f"{__package__}.completion", "Print the completion script for a shell."),
)


class Group(LazyGroup):
    """A group of commands that lists the exit codes in its help."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as in click
        with formatter.section("Exit codes"):
            formatter.write_dl(list(EXIT_CODES.items()))


def _print_versions(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from ..output.installed_versions import version_lines  # only --version needs it

    click.echo("\n".join(version_lines()))
    ctx.exit()


@click.group(
    cls=Group,
    lazy_commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_versions,
    help="Show the versions of the program and its libraries and exit.",
)
@with_options(MODULE)
@click.pass_context
def cli(ctx: click.Context, module: Path | None, outputs: Path | None, module_name: str | None, terraform: str) -> None:
    """Keep a bucket on another S3-compatible store equal to a bucket on AWS S3.

    With --module or --outputs, every command works on the buckets and queues of an applied Terraform module, and needs
    no other option. An option on the command line wins over the module, and the module over the environment.

    The source uses the AWS credential chain, and AWS_ENDPOINT_URL_S3 if it is set. The options of the source name
    another store, profile or role. An option that is not given is read from the environment variable that its help
    names. Credentials are never options.

    """
    directory, file = one_place(ctx, module, outputs)
    ctx.obj = Module(ctx, directory, file, module_name, terraform)
