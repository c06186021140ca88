"""The migration on the local cloud: the task definition that Terraform registered, run with its role's permissions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deployed import image, task
from localcloud import container_engine
from localcloud.stack import Stack

Show = Callable[[str], None]

POLL_INTERVAL_S = 0.3
LOG_DELAY_S = 1.0


def run(made: Stack, arguments: Sequence[str], show: Show, report: Show) -> int:
    """Runs it with further arguments, or another command, and returns its exit code; `show` gets what it says.

    Through ECS where the emulated one has an engine to run containers with. Without one, what would run in the
    container runs as a process: the same command in the same environment, as the same role.
    """
    prepare(made, report)
    if made.engine is None:
        report("No container engine on this machine: running the task's command as a process.")
        return run_process(made, arguments, show)
    return run_task(made, arguments, show, report)


def prepare(made: Stack, report: Show) -> None:
    """Builds the image, where one is needed and it is not there yet."""
    if made.engine is None or container_engine.has_image(made.engine, made.migration.image):
        return
    report(f"Building {made.migration.image} ...")
    definition = task.Definition.registered(made.client("ecs"), made.migration.task_definition_arn)
    base = os.environ.get("S3_SYNCER_BASE_IMAGE")
    image.build(container_engine.program(made.engine), made.migration.image, definition.architecture, base)


def run_task(made: Stack, arguments: Sequence[str], show: Show, report: Show) -> int:
    """As a container that ECS starts."""
    started = task.start(made.client("ecs"), made.client("logs"), made.migration, arguments)
    started.poll_interval_s, started.log_delay_s = POLL_INTERVAL_S, LOG_DELAY_S
    report(f"ECS runs task {started.id} in a container.")
    try:
        return started.follow(show)
    except BaseException:
        started.stop()
        raise


def run_process(made: Stack, arguments: Sequence[str], show: Show) -> int:
    """As a process of this machine, which inherits nothing but the PATH."""
    definition = task.Definition.registered(made.client("ecs"), made.migration.task_definition_arn)
    process = subprocess.Popen(
        # The image's entry point, and what the definition has it do.
        [str(Path(sys.executable).parent / "s3-syncer"), *definition.command(arguments)],
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "AWS_ENDPOINT_URL": made.aws_endpoint,
            **definition.environment,
            **role_keys(made, definition.task_role_arn),
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
            # It ends what is under way, says how to go on, and exits with a code that tells of it.
            process.send_signal(signal.SIGINT)
            for line in process.stdout:
                show(line.rstrip("\n"))
        return process.wait()
    finally:
        process.kill()


def role_keys(made: Stack, role: str) -> Mapping[str, str]:
    """What ECS gives a task: keys that may do what its role may, and no more."""
    keys = made.client("sts").assume_role(RoleArn=role, RoleSessionName="migration")["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["SessionToken"],
    }
