"""The migration on the local cloud: the task definition that Terraform registered, run with its role's permissions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deployed import image, task
from playground import engine
from playground.stack import Stack

Show = Callable[[str], None]

POLL_INTERVAL_S = 0.3
LOG_DELAY_S = 1.0


def run(made: Stack, arguments: Sequence[str], show: Show, report: Show) -> int:
    """Runs it with further arguments, or another command, and returns its exit code; `show` gets what it says.

    Through ECS where the emulated one has an engine to run containers with. Without one, what would run in the
    container runs as a process: the same command in the same environment, as the same role.
    """
    if made.engine is None:
        report("No container engine on this machine: running the task's command as a process.")
        return run_process(made, arguments, show)
    return run_task(made, made.engine, arguments, show, report)


def run_task(made: Stack, address: str, arguments: Sequence[str], show: Show, report: Show) -> int:
    """As a container that ECS starts; its image is built if this checkout's is not there yet."""
    ecs, logs = made.client("ecs"), made.client("logs")
    if not engine.has_image(address, made.migration.image):
        report(f"Building {made.migration.image} ...")
        definition = task.Definition.registered(ecs, made.migration.task_definition_arn)
        base = os.environ.get("S3_SYNCER_BASE_IMAGE")
        image.build(engine.program(address), made.migration.image, definition.architecture, base)
    started = task.start(ecs, logs, made.migration, arguments, role_environment(made))
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
        env={"PATH": os.environ.get("PATH", os.defpath), **definition.environment, **role_environment(made)},
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


def role_environment(made: Stack) -> Mapping[str, str]:
    """What ECS gives a task on AWS: the keys of its role, and here also where AWS is.

    The emulator hands out keys to containers too, but does not know them again when it enforces IAM.
    """
    definition = task.Definition.registered(made.client("ecs"), made.migration.task_definition_arn)
    session = made.client("sts").assume_role(RoleArn=definition.task_role_arn, RoleSessionName="migration")
    keys = session["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["SessionToken"],
        "AWS_ENDPOINT_URL": made.aws_endpoint,
    }
