"""The command `s3-syncer` as a test runs it: in this process, or, where it is to be killed, in one of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
from click.testing import CliRunner
from tests.support.patience import PATIENCE_S

from s3_syncer.cli.commands import cli


@dataclass(frozen=True)
class Ended:
    """A run of the command that is over."""

    code: int
    out: str
    err: str

    @property
    def named(self) -> dict[str, str]:
        """What was said of each key: the first word of its line, and the reason."""
        rows = (line.split("\t") for line in self.out.splitlines())
        return {key: f"{what}: {reason}" for what, key, reason in rows}


def run(*arguments: str, **environment: str | None) -> Ended:
    """In this process, with its environment and these changes to it; None takes a variable away."""
    boto3.DEFAULT_SESSION = None  # as in a new process: it keeps the credentials that it once found
    result = CliRunner().invoke(cli, arguments, env=environment, catch_exceptions=False)
    return Ended(result.exit_code, result.stdout, result.stderr)


#: What makes the process note, in a file, each time that its work is told to stop, and lets it take its time for that.
_NOTING = """
from s3_syncer.cli import signals as _stopping
from s3_syncer.core.deadline import Deadline as _Deadline
_stopping.GRACE_S = {patience}
_stop = _Deadline.stop
def _noting(self):
    _stop(self)
    if self._outer is None:  # no share of it, which others may ask for
        with open({file!r}, "a") as file:
            file.write(".")
_Deadline.stop = _noting
"""


class Started:
    """A run of the command in a process of its own. `stops` is a file with a character for each time it was stopped."""

    def __init__(self, process: subprocess.Popen[str], stops: Path) -> None:
        self._process, self._stops = process, stops

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def id(self) -> int:
        return self._process.pid

    def stop(self, number: signal.Signals, times: int = 1) -> None:
        """Sends the signal, and waits until the work is told to stop, for so many times: a grace may come before."""
        self.send(number)
        self.wait_until(lambda: self._stops.stat().st_size >= times)

    def wait_until(self, condition: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self._process.poll() is None, self._process.communicate()
            assert time.monotonic() < end, f"it took too long; what its threads were at: {self._threads()}"
            time.sleep(0.01)

    def _threads(self) -> str:
        """Where each thread of the process is; it ends by that."""
        self.send(signal.SIGABRT)
        return self.ended().err

    def insist(self, number: signal.Signals) -> Ended:
        """Sends the signal anew until the process has ended: it may not have done yet with the first."""
        while self.running:
            self.send(number)
            time.sleep(0.05)
        return self.ended()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def ended(self, seconds: float = PATIENCE_S) -> Ended:
        try:
            out, err = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGABRT)
            raise AssertionError(f"it does not end; what its threads are at: {self._process.communicate()}") from None
        return Ended(self._process.returncode, out, err)


@contextlib.contextmanager
def started(*arguments: str, before: str = "", **environment: str) -> Iterator[Started]:
    """The command in a process of its own, killed at the end of the block if it is still there.

    `before` is Python that the process runs first.
    """
    with tempfile.NamedTemporaryFile() as stops:
        noting = _NOTING.format(file=stops.name, patience=PATIENCE_S / 2)
        code = f"{noting}\n{before}\nfrom s3_syncer.cli import main\nmain()"
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, "PYTHONFAULTHANDLER": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield Started(process, Path(stops.name))
        finally:
            process.kill()
            process.communicate()
