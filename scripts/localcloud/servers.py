"""Start and stop the stores of the local cloud: MiniStack is AWS, moto or rclone is the other store.

Each server is a separate process group on a free port of 127.0.0.1, with a log and a record on disk. The record
includes the start time of the process, because another process may have its number by then.
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

from devtools.bootstrap import EMULATOR, ROOT

HOST = "127.0.0.1"
MOTO_SERVER = Path(__file__).with_name("moto_patches.py")

#: The environment of a program that imports the packages of `scripts/`.
OF_SCRIPTS = {"PYTHONPATH": str(ROOT / "scripts")}

READY_TIMEOUT_S = 180
STOP_TIMEOUT_S = 10

#: Ports below the ephemeral ranges of Linux and macOS: on a busy machine a connection soon takes an ephemeral port.
PORTS = range(10_000, 32_000)

# Another process can take a free port before the server binds it. The server is then started with another port.
START_ATTEMPTS = 3


class ServerError(Exception):
    """A server did not start. The message ends with the end of its log."""


class ServerExitedError(ServerError):
    """The server ended by itself, perhaps because another process took its port."""


@dataclass(frozen=True)
class Program:
    """One kind of server: its command for a port, and the path that responds when it is ready."""

    name: str
    command: Callable[[int], list[str]]
    ready: str
    environment: Callable[[int], Mapping[str, str]] = field(default=lambda _port: {})
    authority: Path | None = None
    """File with the CA certificate of the server, if it uses HTTPS."""


@dataclass(frozen=True)
class Identity:
    """The certificate of an HTTPS server, in one file with its key, and the CA certificate."""

    certificate: Path
    authority: Path


@dataclass(frozen=True)
class Server:
    """A started server. `down` reads it from disk, in another process."""

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
        """End the whole process group, which includes the emulator's Lambda workers."""
        if not self.is_running():
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            if _wait_until(lambda: not self.is_running(), STOP_TIMEOUT_S):
                break
        # Workers may outlive their parent. The group keeps its number until the last of them ends.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def ministack(*, region: str, engine: str | None = None) -> Program:
    """Return the emulated AWS, which enforces IAM and has the root credentials `test` and `test`.

    Its ECS starts containers in `engine`, an address in the form of DOCKER_HOST. Without one it starts no containers.
    """
    return Program(
        name="ministack",
        command=lambda _port: [str(EMULATOR.python), str(Path(__file__).with_name("ministack_patches.py"))],
        ready="/_ministack/ready",
        environment=lambda port: {
            "AUTH": "true",
            "BIND_HOST": HOST,
            "DOCKER_HOST": engine or "unix:///dev/null",  # otherwise it uses any engine that it finds
            "GATEWAY_PORT": str(port),
            "IOT_MTLS_ENABLED": "0",
            "LAMBDA_EXECUTOR": "local",
            "MINISTACK_REGION": region,
            "SFTP_ENABLED": "0",
            **OF_SCRIPTS,
        },
    )


def moto() -> Program:
    """Return a store with multipart ETags and PartsCount like AWS, which accepts any key."""
    return Program(
        name="moto",
        command=lambda port: [sys.executable, "-P", str(MOTO_SERVER), "-H", HOST, "-p", str(port)],
        ready="/moto-api/",
        environment=lambda _port: OF_SCRIPTS,
    )


def rclone(access_key_id: str, secret_access_key: str, identity: Identity | None = None) -> Program:
    """Return a store with fewer features. Its access keys have at least ten characters."""
    tls = ("--cert", str(identity.certificate), "--key", str(identity.certificate)) if identity else ()
    return Program(
        name="rclone",
        command=lambda port: [
            *(str(_executable("rclone")), "serve", "s3", ":memory:", "--config", ""),
            *("--addr", f"{HOST}:{port}", "--auth-key", f"{access_key_id},{secret_access_key}", *tls),
        ],
        ready="/",
        authority=identity.authority if identity else None,
    )


def relay(server: Server, round_trip_ms: float) -> Program:
    """Return a relay that makes the server as far away as this round trip: see `relay.py`."""
    return Program(
        name="relay",
        command=lambda port: [
            *(sys.executable, "-m", "localcloud.relay"),
            *(str(port), str(server.port), str(round_trip_ms)),
        ],
        ready="/",
        environment=lambda _port: OF_SCRIPTS,
        authority=Path(server.authority) if server.authority else None,
    )


def start(program: Program, directory: Path) -> Server:
    """Start the program, wait until it responds, and record it under `directory`/run."""
    for folder in ("logs", "run", "tmp"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    for _ in range(START_ATTEMPTS - 1):
        with contextlib.suppress(ServerExitedError):
            return _start_once(program, free_port(), directory)
    return _start_once(program, free_port(), directory)


def recorded(directory: Path) -> list[Server]:
    """Return the servers that were started under this directory and not stopped. Some may have died."""
    return [Server(**json.loads(file.read_text())) for file in sorted(directory.glob("run/*.json"))]


def stop(server: Server, directory: Path) -> None:
    server.stop()
    _record(server.name, directory).unlink(missing_ok=True)


@contextlib.contextmanager
def running(program: Program, directory: Path) -> Iterator[Server]:
    """Run a server for the duration of the block. It also ends if this process is killed."""
    server = start(program, directory)
    with _ended_with_this_process(server):
        try:
            yield server
        finally:
            stop(server, directory)


def free_port() -> int:
    """Return a port that is free now, and that the system does not assign to a connection."""
    for _ in PORTS:
        port = secrets.choice(PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            return port
    raise ServerError(f"no port of {HOST} between {PORTS.start} and {PORTS.stop} is free")


@contextlib.contextmanager
def _ended_with_this_process(server: Server) -> Iterator[None]:
    """End the server if this process ends within the block, for example because it is killed.

    A shell reads from a pipe that only this process writes to. The read returns when this process has ended.
    """
    script = f"read -r _; kill -s TERM -- -{server.pid}; sleep {STOP_TIMEOUT_S}; kill -s KILL -- -{server.pid}"
    with subprocess.Popen(
        ["sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as watcher:
        try:
            yield
        finally:
            watcher.kill()


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
    if _wait_until(lambda: process.poll() is not None or _is_ready(server, program.ready), READY_TIMEOUT_S):
        if process.returncode is None:
            return server
        stop(server, directory)
        raise ServerExitedError(f"{program.name} exited {process.returncode}; the end of {log}:\n{_tail(log)}")
    stop(server, directory)
    raise ServerError(f"{program.name} did not respond in {READY_TIMEOUT_S} s; the end of {log}:\n{_tail(log)}")


def _environment(directory: Path) -> dict[str, str]:
    """Return the environment of a server, without the AWS_* and proxy settings of the caller."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
    return kept | {"TMPDIR": str(directory / "tmp"), "PYTHONUNBUFFERED": "1"}


def _record(name: str, directory: Path) -> Path:
    return directory / "run" / f"{name}.json"


def _executable(name: str) -> Path:
    return Path(sys.executable).parent / name


def _is_ready(server: Server, path: str) -> bool:
    if server.authority:
        tls = ssl.create_default_context(cafile=server.authority)
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(HOST, server.port, timeout=5, context=tls)
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
    """Return the start time of a process as text, or an empty string for none or a zombie."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except FileNotFoundError:
            return ""
        # The second field, the name in parentheses, may contain spaces, so fields are counted after it.
        fields = stat.rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    ps = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return ps.stdout.strip()


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
