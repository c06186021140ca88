"""A Docker-compatible engine on this machine, for the emulated ECS to run tasks as containers."""

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
    """HTTP over the engine's socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._path))


def find() -> str | None:
    """The address of an engine that can be used, as DOCKER_HOST has it; None where there is none.

    One in a virtual machine, like Docker Desktop's, or outside of a container that this runs in, is of no use: both
    stores listen on this machine's loopback, which its containers do not share.
    """
    for path in _sockets():
        if _describe(path).get("Name") == socket.gethostname():
            return f"unix://{path}"
    return None


def program(address: str) -> list[str]:
    """How to call the engine: by Docker's client, or else by Podman's."""
    if shutil.which("docker"):
        return ["docker", "--host", address]
    return ["podman", "--remote", "--url", address]


def has_image(address: str, image: str) -> bool:
    command = [*program(address), "image", "inspect", image]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _sockets() -> Iterator[Path]:
    named = os.environ.get("DOCKER_HOST", "")
    if named:
        # Whoever names an engine means no other.
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
        answer = json.loads(connection.getresponse().read())
        return answer if isinstance(answer, dict) else {}
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    finally:
        connection.close()
