"""Run `s3-syncer serve` on the local cloud, with the function's environment and role.

It does not run the registered task definition. The emulated AWS cannot scale a service, so the local cloud has none.
The task definition has the same environment, and its role has the same statements: tests/service.tftest.hcl checks it.
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


def run(cloud: Stack, arguments: Sequence[str]) -> int:
    """Run the service until it is interrupted, and return its exit code."""
    with started(cloud, arguments) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGTERM)
            return process.wait()


@contextmanager
def started(cloud: Stack, arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Yield the process, which inherits only PATH, and kill it at the end of the block."""
    function = cloud.client("lambda").get_function_configuration(FunctionName=cloud.function_name)
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "s3-syncer"), "serve", *arguments],
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "AWS_ENDPOINT_URL": cloud.aws_endpoint,
            "AWS_DEFAULT_REGION": cloud.region,
            **function["Environment"]["Variables"],
            **role_keys(cloud, function["Role"]),
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
