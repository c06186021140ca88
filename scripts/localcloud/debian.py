"""Install programs that come with no Python package, with the packages of Debian and Ubuntu."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from localcloud.servers import ServerError


def install(name: str, programs: Sequence[str], packages: Sequence[str]) -> None:
    """Install the packages with apt. Raises ServerError where that is impossible."""
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if not shutil.which("apt-get"):
        raise ServerError(f"{name} is not installed, and this system has no apt-get. Needed: {', '.join(programs)}")
    if os.geteuid() != 0:
        raise ServerError(f"{name} is not installed, and only root can install it. As root, run: {' '.join(command)}")
    print(f"Installing {name}, once: {' '.join(command)}", file=sys.stderr, flush=True)
    for step in (["apt-get", "update", "-qq"], command):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(step, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServerError(f"`{' '.join(step)}` exited {done.returncode}: {done.stderr[-1000:]}")
