"""Run several commands at the same time, and show the output of each in one piece when it has ended."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devtools import signals

#: Seconds in which an interrupted command stops the processes that it started.
PATIENCE_S = 60

#: Seconds between two checks for commands that have ended.
TICK_S = 0.1


@dataclass(frozen=True)
class Command:
    """A command with a name; `after` has the names of commands that must end before it begins."""

    name: str
    words: Sequence[str | Path]
    cwd: Path
    after: Sequence[str] = ()


@dataclass(frozen=True)
class Result:
    """The end of a command, with the CPU time of its processes, as far as they were waited for."""

    name: str
    ok: bool
    seconds: float
    cpu_s: float


class _Run:
    """A running command, with its output in a file."""

    def __init__(self, command: Command, log: Path) -> None:
        self.command, self._log, self._began = command, log, time.monotonic()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                list(map(str, command.words)),
                cwd=command.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def result(self) -> Result | None:
        """Return the result if the command has ended, otherwise None."""
        before = _cpu_of_ended_processes_s()
        status = self.process.poll()
        if status is None:
            return None
        seconds, cpu_s = time.monotonic() - self._began, _cpu_of_ended_processes_s() - before
        return Result(self.command.name, status == 0, seconds, cpu_s)

    def output(self) -> str:
        return self._log.read_text(errors="replace")


def run(commands: Iterable[Command], directory: Path, *, at_a_time: int) -> Iterator[Result]:
    """Run all commands to their end, `at_a_time` at the same time, and yield each result.

    They begin in their order. While a command runs, its output is in a file of `directory`. An interrupt also
    interrupts the running commands.
    """
    directory.mkdir(parents=True, exist_ok=True)
    waiting, running = list(commands), list[_Run]()
    try:
        while waiting or running:
            unfinished = {command.name for command in waiting} | {run.command.name for run in running}
            ready = [command for command in waiting if not unfinished.intersection(command.after)]
            for command in ready[: at_a_time - len(running)]:
                waiting.remove(command)
                running.append(_Run(command, directory / f"{command.name.replace('/', ' ')}.log"))
                print(f"... {command.name}", flush=True)
            time.sleep(TICK_S)
            for run in list(running):
                result = run.result()
                if result is None:
                    continue
                running.remove(run)
                how = "ok" if result.ok else "FAILED"
                summary = f"=== {result.name}: {how} in {result.seconds:.0f} s, {result.cpu_s:.0f} s of CPU"
                print(f"\n=== {result.name}\n{run.output()}{summary}\n", flush=True)
                yield result
    finally:
        _interrupt(running)


def _cpu_of_ended_processes_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _interrupt(runs: Sequence[_Run]) -> None:
    """Interrupt all commands twice, and then kill them: a killed command leaves its processes running."""
    if not runs:
        return
    with signals.held():
        for _ in range(2):
            for run in runs:
                run.process.send_signal(signals.TERMINATIONS[0])
            end = time.monotonic() + PATIENCE_S
            for run in runs:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    run.process.wait(max(0.0, end - time.monotonic()))
        for run in runs:
            run.process.kill()
            sys.stdout.write(f"\n=== {run.command.name}: interrupted\n{run.output()}")
