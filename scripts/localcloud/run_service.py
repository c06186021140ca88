"""The service on the local cloud: `s3-syncer serve` in the function's environment and with its role's permissions.

Not the registered task definition, since the emulated AWS cannot scale a service and so has none. The task definition
has the same environment, and its role the same statements: tests/service.tftest.hcl sees to that.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from localcloud.run_task import role_keys
from localcloud.stack import Stack


def run(made: Stack, arguments: Sequence[str]) -> int:
    """Runs it until it is interrupted, and returns its exit code."""
    with started(made, arguments) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGTERM)
            return process.wait()


@contextmanager
def started(made: Stack, arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """The process, which inherits nothing but the PATH; killed at the end of the block if it is still there."""
    function = made.client("lambda").get_function_configuration(FunctionName=made.function_name)
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "s3-syncer"), "serve", *arguments],
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "AWS_ENDPOINT_URL": made.aws_endpoint,
            "AWS_DEFAULT_REGION": made.region,
            **function["Environment"]["Variables"],
            **role_keys(made, function["Role"]),
        },
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
