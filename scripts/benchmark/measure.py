"""Measure the time, CPU and memory of a command and its descendants. Linux only: it reads /proc."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from devtools import signals

#: Seconds between two samples of the memory: short enough for peaks that last, long enough to cost almost nothing.
SAMPLE_S = 0.1

PATIENCE_S = 5.0

#: Seconds in which processes that a command leaves behind must end, such as a helper that waits for its parent's end.
LEAVE_S = 1.0

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A command failed. The message ends with the command's output."""


@dataclass(frozen=True)
class Usage:
    """The time, CPU and memory of commands. The sum of two adds the times and takes the larger memory."""

    wall_s: float = 0.0
    #: Of the command and all its descendants, user and system.
    cpu_s: float = 0.0
    #: The largest sum of resident bytes of all its processes in a sample. Shared pages count once for each process.
    peak_bytes: int = 0
    #: CPU seconds of the stores and the relays by role, user and system, during the commands.
    servers: Mapping[str, float] = field(default_factory=dict)

    @property
    def servers_cpu_s(self) -> float:
        """The CPU seconds of all stores and relays."""
        return sum(self.servers.values())

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.wall_s + other.wall_s,
            self.cpu_s + other.cpu_s,
            max(self.peak_bytes, other.peak_bytes),
            {
                role: self.servers.get(role, 0.0) + other.servers.get(role, 0.0)
                for role in {**self.servers, **other.servers}
            },
        )


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    *,
    says: str = "",
    servers: Mapping[int, str] = MappingProxyType({}),
) -> Usage:
    """Run the command to its end, and return its usage.

    `servers` are the roles of the processes that serve the command, by number. Their CPU time is counted apart.

    Raises Failed if the exit code is not 0, if processes stay behind, or if the output does not contain `says`.
    """
    with _adopting(), log.open("wb") as output:
        began, servers_began_s = time.perf_counter(), {server: process_cpu_s(server) for server in servers}
        process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            with _watched(process.pid) as peak:
                _, status, rusage = os.wait4(process.pid, 0)
                wall_s = time.perf_counter() - began
                servers_s = {server: process_cpu_s(server) - began_s for server, began_s in servers_began_s.items()}
        except BaseException:
            with signals.held():
                _end(process)
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        late_s = _orphans(process.pid)
        left = _kill_group(process.pid)
    if process.returncode != 0:
        raise Failed(f"{_words(command)} exited {process.returncode}: {_tail(log)}")
    if left:
        raise Failed(f"{_words(command)} left processes behind, so its CPU time is unknown")
    if says not in log.read_text(errors="replace"):
        raise Failed(f"{_words(command)} did not print {says!r}: {_tail(log)}")
    return Usage(wall_s, rusage.ru_utime + rusage.ru_stime + late_s, peak[0], by_role(servers_s, servers))


def by_role(seconds: Mapping[int, float], roles: Mapping[int, str]) -> dict[str, float]:
    """Return the sums of the seconds of the processes with the same role."""
    sums = dict.fromkeys(roles.values(), 0.0)
    for process, role in roles.items():
        sums[role] += seconds[process]
    return sums


def process_cpu_s(pid: int) -> float:
    """Return the CPU seconds of all threads of a process so far, user and system."""
    return cpu_ticks(Path(f"/proc/{pid}/stat").read_text()) / _TICKS


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Adopt processes that lose their parent in the block.

    The kernel then reports their CPU time to this process.
    """
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _orphans(group: int) -> float:
    """Wait for processes that a command left behind, and return their CPU seconds, user and system.

    Processes that do not end by themselves are not counted.
    """
    cpu_s, end = 0.0, time.monotonic() + LEAVE_S
    with contextlib.suppress(ChildProcessError):  # no child is left
        while time.monotonic() < end:
            process, _, rusage = os.wait4(-group, os.WNOHANG)
            if process:
                cpu_s += rusage.ru_utime + rusage.ru_stime
            else:
                time.sleep(0.005)
    return cpu_s


@contextlib.contextmanager
def _watched(session: int) -> Iterator[list[int]]:
    """Yield a list with one item: the largest sum of resident bytes of the session's processes so far."""
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while True:
            peak[0] = max(peak[0], resident(session))
            if stop.wait(SAMPLE_S):
                return

    thread = threading.Thread(target=watch, name="memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def resident(session: int) -> int:
    """Return the resident bytes of all processes of a session."""
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += session_pages((entry / "stat").read_text(errors="replace"), session) * _PAGE
    return total


def session_pages(stat: str, session: int) -> int:
    """Return the resident pages in a line of /proc/PID/stat, or 0 for another session.

    https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: the name, field 2, may contain spaces and parentheses.
    """
    fields = stat.rpartition(")")[2].split()
    return int(fields[21]) if int(fields[3]) == session else 0


def cpu_ticks(stat: str) -> int:
    """Return the user and system time in a line of /proc/PID/stat, in clock ticks.

    See `session_pages` for the name.
    """
    user, system = stat.rpartition(")")[2].split()[11:13]
    return int(user) + int(system)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
            break
    _kill_group(process.pid)


def _kill_group(group: int) -> bool:
    """Kill the rest of a process group, and return True if there was any."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _words(command: Sequence[str]) -> str:
    return " ".join([Path(command[0]).name, *command[1:]])


def _tail(log: Path, lines: int = 5) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
