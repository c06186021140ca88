"""Starts and stops the three stores of the local cloud: MiniStack (AWS), moto and rclone (the other cloud).

Each server is a process group of its own on a free port of 127.0.0.1, with a log and a record on disk. The
record carries the start time of the process, because a pid alone may by now belong to a stranger.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from devtools.bootstrap import EMULATOR

HOST = "127.0.0.1"
OTHER_CLOUD = Path(__file__).with_name("moto_server.py")
READY_TIMEOUT_S = 180
STOP_TIMEOUT_S = 10

#: Ports that no system gives to whoever asks for any: on a busy machine each of those is soon somebody's.
PORTS = range(10_000, 32_000)

# A free port can be taken by somebody else before the server binds it; then the next one is tried.
ATTEMPTS = 3


class ServerError(Exception):
    """A server did not come up; the message ends with what it had logged."""


class ServerExitedError(ServerError):
    """It ended by itself, which may be because its port was taken just before."""


@dataclass(frozen=True)
class Program:
    """How to run one kind of server: its command for a port, and the path that answers when it is ready."""

    name: str
    command: Callable[[int], list[str]]
    ready: str
    environment: Callable[[int], Mapping[str, str]] = field(default=lambda _port: {})
    authority: Path | None = None
    """Whoever vouches for it, a file, where it speaks HTTPS."""


@dataclass(frozen=True)
class Identity:
    """What a server that speaks HTTPS shows: its certificate and key, in one file, and whoever vouches for them."""

    certificate: Path
    authority: Path


@dataclass(frozen=True)
class Server:
    """A server that was started: `down` may read this back from disk, in another process."""

    name: str
    port: int
    pid: int
    started: str
    log: str
    authority: str = ""

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.authority else 'http'}://{HOST}:{self.port}"

    def is_running(self) -> bool:
        return _start_time(self.pid) == self.started

    def stop(self) -> None:
        """Ends the whole process group: the emulator's Lambda workers are in it."""
        if not self.is_running():
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            if _wait_until(lambda: not self.is_running(), STOP_TIMEOUT_S):
                break
        # Workers may outlive their parent; the group keeps its number for as long as one of them is there.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def ministack(*, region: str, engine: str | None = None) -> Program:
    """The emulated AWS with IAM enforced: its root keys are `test` and `test`.

    Its ECS starts containers in `engine`, the address of one as DOCKER_HOST has it; without one it starts none.
    """
    return Program(
        name="ministack",
        command=lambda _port: [str(EMULATOR.python), str(Path(__file__).with_name("ministack_server.py"))],
        ready="/_ministack/ready",
        environment=lambda port: {
            "AUTH": "true",
            "BIND_HOST": HOST,
            "DOCKER_HOST": engine or "unix:///dev/null",  # or it would take any that it finds
            "GATEWAY_PORT": str(port),
            "IOT_MTLS_ENABLED": "0",
            "LAMBDA_EXECUTOR": "local",
            "MINISTACK_REGION": region,
            "SFTP_ENABLED": "0",
        },
    )


def moto() -> Program:
    """The stand-in for the other cloud: multipart ETags and PartsCount as AWS computes them, any key."""
    return Program(
        name="moto",
        command=lambda port: [sys.executable, "-P", str(OTHER_CLOUD), "-H", HOST, "-p", str(port)],
        ready="/moto-api/",
    )


def rclone(access_key_id: str, secret_access_key: str, identity: Identity | None = None) -> Program:
    """A deliberately poorer store; its keys have ten characters and more."""
    secured = ("--cert", str(identity.certificate), "--key", str(identity.certificate)) if identity else ()
    return Program(
        name="rclone",
        command=lambda port: [
            *(str(_beside_python("rclone")), "serve", "s3", ":memory:", "--config", ""),
            *("--addr", f"{HOST}:{port}", "--auth-key", f"{access_key_id},{secret_access_key}", *secured),
        ],
        ready="/",
        authority=identity.authority if identity else None,
    )


def start(program: Program, directory: Path) -> Server:
    """Starts the program, waits until it answers, and records it under `directory`/run."""
    for folder in ("logs", "run", "tmp"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(ServerExitedError):
            return _start_once(program, free_port(), directory)
    return _start_once(program, free_port(), directory)


def recorded(directory: Path) -> list[Server]:
    """The servers that were started under this directory and not stopped since; some may have died."""
    return [Server(**json.loads(file.read_text())) for file in sorted(directory.glob("run/*.json"))]


def stop(server: Server, directory: Path) -> None:
    server.stop()
    _record(server.name, directory).unlink(missing_ok=True)


@contextlib.contextmanager
def running(program: Program, directory: Path) -> Iterator[Server]:
    """A server for as long as the block lasts, as the tests want it."""
    server = start(program, directory)
    try:
        yield server
    finally:
        stop(server, directory)


def free_port() -> int:
    """A port that nobody has now, nor gets by chance before it is bound."""
    for _ in PORTS:
        port = secrets.choice(PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            return port
    raise ServerError(f"no port of {HOST} can be bound")


def _start_once(program: Program, port: int, directory: Path) -> Server:
    log = directory / "logs" / f"{program.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            program.command(port),
            env=_environment(directory) | dict(program.environment(port)),
            cwd=directory / "tmp",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    authority = str(program.authority or "")
    server = Server(program.name, port, process.pid, _start_time(process.pid), str(log), authority)
    _record(server.name, directory).write_text(json.dumps(asdict(server), indent=2))
    if _wait_until(lambda: process.poll() is not None or _answers(server, program.ready), READY_TIMEOUT_S):
        if process.returncode is None:
            return server
        stop(server, directory)
        raise ServerExitedError(f"{program.name} exited {process.returncode}; the end of {log}:\n{_tail(log)}")
    stop(server, directory)
    raise ServerError(f"{program.name} did not answer in {READY_TIMEOUT_S} s; the end of {log}:\n{_tail(log)}")


def _environment(directory: Path) -> dict[str, str]:
    """Little is inherited: no AWS_* or proxy setting of the caller may reach a server or what it runs."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
    return kept | {"TMPDIR": str(directory / "tmp"), "PYTHONUNBUFFERED": "1"}


def _record(name: str, directory: Path) -> Path:
    return directory / "run" / f"{name}.json"


def _beside_python(name: str) -> Path:
    return Path(sys.executable).parent / name


def _answers(server: Server, path: str) -> bool:
    if server.authority:
        trust = ssl.create_default_context(cafile=server.authority)
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            HOST, server.port, timeout=5, context=trust
        )
    else:
        connection = http.client.HTTPConnection(HOST, server.port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < http.HTTPStatus.INTERNAL_SERVER_ERROR
    except OSError:
        return False
    finally:
        connection.close()


def _wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _start_time(pid: int) -> str:
    """When this process started, in whatever unit; empty when there is none, or only its corpse."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except FileNotFoundError:
            return ""
        # The second field, the name in parentheses, may hold spaces: count from behind it.
        fields = stat.rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    ps = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return ps.stdout.strip()


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
