"""`scripts/local`: run the local cloud, for any S3 client, Terraform and s3-syncer."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time

import click

from devtools import signals, terraform
from localcloud import live_during_migration, run_service, run_task, servers, stack
from localcloud.stack import DIRECTORY
from s3_syncer.cli.output.task_log import readable
from s3_syncer.operations import images, tasks

#: The differences from AWS that look like faults of s3-syncer. docs/known-quirks.md has the complete list.
DIFFERENCES = """\
Differences from AWS: rows of Logs Insights have empty fields, and the target accepts a wrong secret access key.
Version 1 of the AWS CLI ignores AWS_ENDPOINT_URL for SQS: use --endpoint-url."""


@click.group()
def main() -> None:
    """Run the local cloud: an emulated AWS, another S3-compatible store, and s3-syncer between them."""
    signals.interrupt_on_termination()


@main.command()
@click.option(
    "--latency",
    "target_round_trip_ms",
    metavar="TARGET_MS",
    type=click.FloatRange(0),
    default=0.0,
    help="Round trip to the target in milliseconds, such as 50, as to another city.",
)
def up(target_round_trip_ms: float) -> None:
    """Start the local cloud, apply the module, and write the addresses to .local/stack.json."""
    # `scripts/local` sets the variable before it prepares the virtual environments.
    began = float(os.environ.get("LOCAL_CLOUD_STARTED_AT", time.time()))
    try:
        cloud = stack.up(DIRECTORY, click.echo, target_round_trip_ms)
    except (stack.StackError, servers.ServerError, terraform.TerraformError) as error:
        sys.exit(f"scripts/local: {error}")
    click.echo(f"The local cloud is running after {time.time() - began:.0f} s:")
    _describe(cloud)
    click.echo("Objects in the source are copied to the target. The credentials of both are in .local/stack.json.")
    click.echo('Run eval "$(scripts/local env)" to use them with Terraform, the AWS CLI and s3-syncer in this shell.')
    click.echo(DIFFERENCES)


@main.command()
def down() -> None:
    """Stop the local cloud and remove everything but the logs."""
    try:
        cloud = stack.current(DIRECTORY)
    except stack.StackError:  # the addresses are unreadable, and the servers can be stopped
        cloud = None
    stopped = stack.down(DIRECTORY)
    click.echo(f"Stopped {', '.join(stopped)}." if stopped else "Nothing was running.")
    if cloud is not None:
        click.echo("A shell that used `scripts/local env` still has the addresses of the stopped servers. Run there:")
        click.echo(f"unset {' '.join(environment(cloud))}")


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def migrate(arguments: tuple[str, ...]) -> None:
    """Run the migration task of the local cloud, and exit with its code.

    ARGUMENTS are further options, like --dry-run, or another command, like check --full.
    """
    cloud = _running()

    def show(line: str) -> None:
        if text := readable(line, verbose=False):
            click.echo(text)

    try:
        sys.exit(run_task.run(cloud, arguments, show, report=lambda text: click.echo(text, err=True)))
    except (images.ImageError, tasks.TaskError) as error:
        sys.exit(f"scripts/local: {error}")


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    """Run the service beside the function, until Ctrl-C.

    ARGUMENTS are options of the service, like --health-port 8080.
    """
    sys.exit(run_service.run(_running(), arguments))


@main.command()
@click.option("--objects", default=20_000, show_default=True, help="Objects of each migration.")
@click.option("--changes", default=200, show_default=True, help="Changes in each phase.")
@click.option("--pace", "pace_s", default=0.5, show_default=True, help="Seconds before each change.")
def live(objects: int, changes: int, pace_s: float) -> None:
    """Measure how long live changes take beside a migration."""
    cloud = _running()
    for line in live_during_migration.table(
        live_during_migration.measure(cloud, objects, changes, pace_s, environment(cloud), click.echo)
    ):
        click.echo(line)


@main.command()
def env() -> None:
    """Print the addresses and credentials as shell commands: eval "$(scripts/local env)"."""
    for name, value in environment(_running()).items():
        click.echo(f"export {name}={shlex.quote(value)}")


def environment(cloud: stack.Stack) -> dict[str, str]:
    """Return the variables of Terraform, the AWS CLI, any AWS SDK, s3-syncer and the documents."""
    credentials = {
        "access_key_id": cloud.target.access_key_id,
        "secret_access_key": cloud.target.secret_access_key,
    }
    return {
        "AWS_ENDPOINT_URL": cloud.aws_endpoint,
        "AWS_DEFAULT_REGION": cloud.region,
        "AWS_ACCESS_KEY_ID": cloud.access_key_id,
        "AWS_SECRET_ACCESS_KEY": cloud.secret_access_key,
        "SOURCE_BUCKET": cloud.source_bucket,
        "TARGET_ENDPOINT": cloud.target.endpoint,
        "TARGET_REGION": cloud.target.region,
        "TARGET_BUCKET": cloud.target.bucket,
        "TARGET_ACCESS_KEY_ID": cloud.target.access_key_id,
        "TARGET_SECRET_ACCESS_KEY": cloud.target.secret_access_key,
        "QUEUE_URL": cloud.queue_url,
        "QUEUE_ARN": cloud.queue_arn,
        "BULK_QUEUE_URL": cloud.bulk_queue_url,
        "DELETIONS_QUEUE_URL": cloud.deletions_queue_url,
        "HELD_DELETIONS_QUEUE_URL": cloud.held_deletions_queue_url,
        "DEAD_LETTER_QUEUE_URL": cloud.dead_letter_queue_url,
        "DEAD_LETTER_QUEUE_ARN": cloud.dead_letter_queue_arn,
        "S3_SYNCER_LOG_GROUP": cloud.log_group,
        "TF_VAR_target_credentials": json.dumps(credentials),
        # Without the registry, `terraform init` of another configuration needs the same mirror of the provider.
        **({"TF_CLI_CONFIG_FILE": cloud.terraform_config} if cloud.terraform_config else {}),
    }


@main.command()
def status() -> None:
    """Show the servers and addresses; exit with 1 if the local cloud is not running."""
    for server in servers.recorded(DIRECTORY):
        state = f"running at {server.endpoint}" if server.is_running() else "died"
        click.echo(f"{server.name}: {state}, process {server.pid}, log {server.log}")
    _describe(_running())


def _running() -> stack.Stack:
    try:
        cloud = stack.current(DIRECTORY)
    except stack.StackError as error:
        sys.exit(f"scripts/local: {error}")
    if cloud is None:
        sys.exit("The local cloud is not running: start it with `scripts/local up`.")
    return cloud


def _describe(cloud: stack.Stack) -> None:
    lines = {
        "source": f"{cloud.aws_endpoint}/{cloud.source_bucket}",
        "target": f"{cloud.target.endpoint}/{cloud.target.bucket}",
        "queue": cloud.queue_url,
        "bulk queue": cloud.bulk_queue_url,
        "dead letters": cloud.dead_letter_queue_url,
        "function": cloud.function_name,
        "log group": cloud.log_group,
    }
    for name, value in lines.items():
        click.echo(f"{name:>14}  {value}")


if __name__ == "__main__":
    main(prog_name="scripts/local")
