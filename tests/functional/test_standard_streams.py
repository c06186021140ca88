"""Standard output that is full, or a pipe without a reader: no traceback, and a note about lost lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.functional.harness import Rig

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")

FULL = "s3-syncer: standard output is incomplete: [Errno 28] No space left on device"


def run_with(stdout: int, *arguments: str, before: str = "") -> tuple[int, str]:
    """Run the command with this standard output; return its exit code and standard error."""
    code = f"{before}\nfrom s3_syncer.cli import main\nmain()"
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
    )
    return ended.returncode, ended.stderr


def run_full(*arguments: str) -> tuple[int, str]:
    with Path("/dev/full").open("w") as full:
        return run_with(full.fileno(), *arguments)


def run_without_reader(*arguments: str) -> tuple[int, str]:
    """Run the command with a pipe without a reader, as after the end of `| head -1`."""
    read, write = os.pipe()
    os.close(read)
    try:
        return run_with(write, *arguments)
    finally:
        os.close(write)


@pytest.mark.parametrize("options", [(), ("--verbose",), ("--log-format", "json")], ids=" ".join)
def test_a_check_says_that_its_findings_are_incomplete(rig: Rig, options: tuple[str, ...]) -> None:
    for key in ("a", "b"):
        rig.put(key)
    code, error = run_full("check", *options)
    assert (code, error.splitlines()[0], "Traceback" in error) == (3, FULL, False)


@pytest.mark.parametrize("arguments", ["--version", "--help", "config path", "completion bash"])
def test_a_command_that_only_prints_ends_with_one_line(arguments: str) -> None:
    assert run_full(*arguments.split()) == (3, f"{FULL}\n")


@pytest.mark.parametrize("options", [(), ("--verbose",), ("--log-format", "json")], ids=" ".join)
def test_a_migration_without_a_reader_goes_on_without_tracebacks(rig: Rig, options: tuple[str, ...]) -> None:
    for key in ("a", "b"):
        rig.put(key)
    code, error = run_without_reader("migrate", *options)
    assert (code, rig.target_keys()) == (0, ["a", "b"])
    assert "Traceback" not in error
    assert "Logging error" not in error


def test_ctrl_c_during_the_imports_prints_no_traceback() -> None:
    interrupt = """
import sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == "s3_syncer.cli.commands":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
"""
    assert run_with(subprocess.DEVNULL, "check", before=interrupt) == (130, "")
