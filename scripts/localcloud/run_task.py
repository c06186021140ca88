"""Run the migration on the local cloud, by its task definition and with its role's permissions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from devtools.bootstrap import ROOT
from localcloud import container_engine
from localcloud.stack import Stack
from s3_syncer.operations import images, tasks

Show = Callable[[str], None]

#: The folder of the Dockerfile.
CONTEXT = ROOT / "lambda"

POLL_INTERVAL_S = 0.3
LOG_DELAY_S = 1.0


def run(cloud: Stack, arguments: Sequence[str], show: Show, report: Show) -> int:
    """Run the task with further arguments or another command, and return its exit code.

    `show` receives its output. With a container engine, the emulated ECS runs the task. Without one, the command of the
    container runs as a process, with the same environment and role.
    """
    prepare(cloud, report)
    if cloud.engine is None:
        report("No container engine on this machine: running the task's command as a process.")
        return run_process(cloud, arguments, show)
    return run_task(cloud, arguments, show, report)


def prepare(cloud: Stack, report: Show) -> None:
    """Build the image if the task needs one and it does not exist."""
    if cloud.engine is None or container_engine.has_image(cloud.engine, cloud.migration.image):
        return
    report(f"Building {cloud.migration.image} ...")
    definition = tasks.Definition.registered(cloud.client("ecs"), cloud.migration.task_definition_arn)
    base = os.environ.get("S3_SYNCER_BASE_IMAGE")
    engine = images.Engine.described(container_engine.program(cloud.engine))
    images.build(engine, CONTEXT, cloud.migration.image, definition.architecture, base)


def run_task(cloud: Stack, arguments: Sequence[str], show: Show, report: Show) -> int:
    """Run the task in a container that ECS starts."""
    started = tasks.start(cloud.client("ecs"), cloud.client("logs"), cloud.migration, arguments)
    started.poll_interval_s, started.log_delay_s = POLL_INTERVAL_S, LOG_DELAY_S
    report(f"ECS runs task {started.id} in a container.")
    try:
        return started.follow(show)
    except BaseException:
        started.stop()
        raise


def run_process(cloud: Stack, arguments: Sequence[str], show: Show) -> int:
    """Run the command of the task as a process, which inherits only PATH."""
    definition = tasks.Definition.registered(cloud.client("ecs"), cloud.migration.task_definition_arn)
    process = subprocess.Popen(
        # The image's entry point, and the command of the task definition.
        [str(Path(sys.executable).parent / "s3-syncer"), *definition.command(arguments)],
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "AWS_ENDPOINT_URL": cloud.aws_endpoint,
            **definition.environment,
            **role_keys(cloud, definition.task_role_arn),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        try:
            for line in process.stdout:
                show(line.rstrip("\n"))
        except KeyboardInterrupt:
            # The command finishes the requests in flight, prints the command to continue, and exits with a code for it.
            process.send_signal(signal.SIGINT)
            for line in process.stdout:
                show(line.rstrip("\n"))
        return process.wait()
    finally:
        process.kill()


def role_keys(cloud: Stack, role: str) -> Mapping[str, str]:
    """Return temporary credentials of the role in environment variables, as ECS gives them to a task."""
    keys = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="migration")["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["SessionToken"],
    }
