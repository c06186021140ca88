"""The command `s3-syncer` as a test runs it: in this process, or, where it is to be killed, in one of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import boto3
from click.testing import CliRunner

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


class Started:
    """A run of the command in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def id(self) -> int:
        return self._process.pid

    def wait_until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self._process.poll() is None, self._process.communicate()
            assert time.monotonic() < end, "it took too long"
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def ended(self, seconds: float = 30) -> Ended:
        out, err = self._process.communicate(timeout=seconds)
        return Ended(self._process.returncode, out, err)


@contextlib.contextmanager
def started(*arguments: str, before: str = "", **environment: str) -> Iterator[Started]:
    """The command in a process of its own, killed at the end of the block if it is still there.

    `before` is Python that the process runs first.
    """
    code = f"{before}\nfrom s3_syncer.cli import main\nmain()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Started(process)
    finally:
        process.kill()
        process.communicate()
