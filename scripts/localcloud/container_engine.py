"""Find a Docker-compatible engine on this machine, for the emulated ECS to run tasks as containers."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TIMEOUT_S = 5.0


class EngineConnection(http.client.HTTPConnection):
    """An HTTP connection over the engine's socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._path))


def find() -> str | None:
    """Return the address of a usable engine in the form of DOCKER_HOST, or None.

    Both stores listen on this machine's loopback. Containers of an engine in a virtual machine, like Docker Desktop's,
    do not share it. Neither do those of an engine outside of the container that this process runs in.
    """
    for path in _sockets():
        if _describe(path).get("Name") == socket.gethostname():
            return f"unix://{path}"
    return None


def program(address: str) -> list[str]:
    """Return the command of the engine's client: Docker's, or Podman's for a socket of Podman.

    Docker's client builds only with the component Buildx, which Podman's service does not have.
    """
    if shutil.which("podman") and ("podman" in address or not shutil.which("docker")):
        return ["podman", "--remote", "--url", address]
    return ["docker", "--host", address]


def has_image(address: str, image: str) -> bool:
    command = [*program(address), "image", "inspect", image]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _sockets() -> Iterator[Path]:
    named = os.environ.get("DOCKER_HOST", "")
    if named:
        # DOCKER_HOST selects an engine, so no other engine is tried.
        if named.startswith("unix://"):
            yield Path(named.removeprefix("unix://"))
        return
    yield Path("/var/run/docker.sock")
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "docker.sock"
        yield Path(runtime) / "podman" / "podman.sock"
    yield Path("/run/podman/podman.sock")


def _describe(path: Path) -> dict[str, Any]:
    if not path.is_socket():
        return {}
    connection = EngineConnection(path)
    try:
        connection.request("GET", "/info")
        description = json.loads(connection.getresponse().read())
        return description if isinstance(description, dict) else {}
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    finally:
        connection.close()
