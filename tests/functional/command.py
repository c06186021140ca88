"""Run the command `s3-syncer` in this process, or as a child process that the test can signal."""

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
    """The result of a run of the command."""

    code: int
    out: str
    err: str

    @property
    def named(self) -> dict[str, str]:
        """Return the kind and the reason of the output line of each key."""
        rows = (line.split("\t") for line in self.out.splitlines())
        return {key: f"{what}: {reason}" for what, key, reason in rows}


def run(*arguments: str, **environment: str | None) -> Ended:
    """Run the command in this process. `environment` changes variables; None removes one."""
    boto3.DEFAULT_SESSION = None  # it keeps the credentials of an earlier run
    result = CliRunner().invoke(cli, arguments, env=environment, catch_exceptions=False)
    return Ended(result.exit_code, result.stdout, result.stderr)


#: Source of the child process: it appends a character to a file for each stop.
_RECORD_STOPS = """
from s3_syncer.core.deadline import Deadline as _Deadline
_stop = _Deadline.stop
def _recorded(self):
    _stop(self)
    if self._outer is None:  # not a release request for one range
        with open({file!r}, "a") as file:
            file.write(".")
_Deadline.stop = _recorded
"""


class Started:
    """A child process that runs the command. The file `stops` gets a character for each stop of the work."""

    def __init__(self, process: subprocess.Popen[str], stops: Path) -> None:
        self._process, self._stops = process, stops

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def id(self) -> int:
        return self._process.pid

    def stop(self, number: signal.Signals, times: int = 1) -> None:
        """Send the signal, and wait until the work was stopped that many times: a grace period may come first."""
        self.send(number)
        self.wait_until(lambda: self._stops.stat().st_size >= times)

    def wait_until(self, condition: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self._process.poll() is None, self._process.communicate()
            assert time.monotonic() < end, f"the condition did not become true; threads: {self._threads()}"
            time.sleep(0.01)

    def _threads(self) -> str:
        """Return the stack of each thread of the process, which this ends."""
        self.send(signal.SIGABRT)
        return self.ended().err

    def insist(self, number: signal.Signals) -> Ended:
        """Send the signal repeatedly until the process has ended: it may still handle the first one."""
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
            raise AssertionError(f"the process does not end. Its threads: {self._process.communicate()}") from None
        return Ended(self._process.returncode, out, err)


@contextlib.contextmanager
def started(*arguments: str, before: str = "", **environment: str) -> Iterator[Started]:
    """Run the command as a child process, and kill it at the end of the block if it still runs.

    After a stop it has a long grace period, unless the test sets another one.

    `before` is Python source that the process runs first.
    """
    with tempfile.NamedTemporaryFile() as stops:
        record_stops = _RECORD_STOPS.format(file=stops.name)
        code = f"{record_stops}\n{before}\nfrom s3_syncer.cli import main\nmain()"
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, "PYTHONFAULTHANDLER": "1", "S3_SYNCER_STOP_GRACE": str(PATIENCE_S / 2), **environment},
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
