"""Runs commands side by side and shows what each of them said in one piece, as soon as it has ended."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devtools import signals

#: Seconds that a command gets to take down what it has started when it is interrupted.
PATIENCE_S = 60

#: Seconds within which an end is noticed.
TICK_S = 0.1


@dataclass(frozen=True)
class Command:
    """A command with a name; `after` names others that have to have ended before it begins."""

    name: str
    words: Sequence[str | Path]
    cwd: Path
    after: Sequence[str] = ()


@dataclass(frozen=True)
class Result:
    name: str
    ok: bool
    seconds: float


class _Run:
    """A command under way. What it says goes into a file."""

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

    def result(self) -> Result:
        return Result(self.command.name, self.process.returncode == 0, time.monotonic() - self._began)

    def said(self) -> str:
        return self._log.read_text(errors="replace")


def run(commands: Iterable[Command], directory: Path, *, at_a_time: int) -> Iterator[Result]:
    """All of them to the end, begun in their order, so many at a time; results as they come.

    The output is in a file of `directory` for each of them meanwhile. Interrupted, it interrupts those under way.
    """
    directory.mkdir(parents=True, exist_ok=True)
    waiting, under_way = list(commands), list[_Run]()
    try:
        while waiting or under_way:
            unfinished = {command.name for command in waiting} | {run.command.name for run in under_way}
            ready = [command for command in waiting if not unfinished.intersection(command.after)]
            for command in ready[: at_a_time - len(under_way)]:
                waiting.remove(command)
                under_way.append(_Run(command, directory / f"{command.name.replace('/', ' ')}.log"))
                print(f"... {command.name}", flush=True)
            time.sleep(TICK_S)
            for run in [run for run in under_way if run.process.poll() is not None]:
                under_way.remove(run)
                result = run.result()
                how = "ok" if result.ok else "FAILED"
                print(
                    f"\n=== {result.name}\n{run.said()}=== {result.name}: {how} in {result.seconds:.0f} s\n", flush=True
                )
                yield result
    finally:
        _interrupt(under_way)


def _interrupt(runs: Sequence[_Run]) -> None:
    """All at once, and again those that do not heed it; killed, they would leave what they started behind."""
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
            sys.stdout.write(f"\n=== {run.command.name}: interrupted\n{run.said()}")
