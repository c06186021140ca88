"""Test that concurrent commands run to their end, show their output together, and leave no process."""

from __future__ import annotations

import re
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from devtools import side_by_side
from devtools.side_by_side import Command, run


def shell(name: str, script: str, directory: Path, after: tuple[str, ...] = ()) -> Command:
    return Command(name, ["sh", "-c", script], directory, after)


def results(commands: list[Command], directory: Path, at_a_time: int = 2) -> dict[str, bool]:
    return {result.name: result.ok for result in run(commands, directory / "logs", at_a_time=at_a_time)}


def test_failed_command_shows_its_output_and_stops_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [
        shell("wrong", "echo one; echo two >&2; exit 3", tmp_path),
        shell("a/right", "echo three", tmp_path),
    ]
    assert results(commands, tmp_path) == {"wrong": False, "a/right": True}
    output = capsys.readouterr().out
    assert re.search("^=== wrong\none\ntwo\n=== wrong: FAILED in \\d+ s, \\d+ s of CPU$", output, re.MULTILINE)
    assert re.search("^=== a/right\nthree\n=== a/right: ok in \\d+ s, \\d+ s of CPU$", output, re.MULTILINE)


def test_result_has_the_cpu_time_of_its_own_processes(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    commands = [
        shell("busy", f"{sys.executable} -c '{burn}'; {sys.executable} -c '{burn}'", tmp_path),
        shell("idle", "true", tmp_path),
    ]
    cpu_s = {result.name: result.cpu_s for result in run(commands, tmp_path / "logs", at_a_time=1)}
    assert cpu_s["busy"] >= 0.6 > cpu_s["idle"]


def test_two_run_at_the_same_time(tmp_path: Path) -> None:
    meet = "touch {0}; for _ in $(seq 600); do [ -e {1} ] && exit 0; sleep 0.1; done; exit 1"
    commands = [shell("a", meet.format("a", "b"), tmp_path), shell("b", meet.format("b", "a"), tmp_path)]
    assert results(commands, tmp_path) == {"a": True, "b": True}


def test_at_most_at_a_time_commands_run_at_the_same_time(tmp_path: Path) -> None:
    commands = [shell(str(n), "mkdir busy && sleep 0.1 && rmdir busy", tmp_path) for n in range(4)]
    assert results(commands, tmp_path, at_a_time=1) == dict.fromkeys("0123", True)


def test_command_waits_for_its_predecessor_and_delays_no_other(tmp_path: Path) -> None:
    commands = [
        shell("first", "for _ in $(seq 600); do [ -e third ] && touch first && exit 0; sleep 0.1; done", tmp_path),
        shell("second", "[ -e first ]", tmp_path, after=("first",)),
        shell("third", "touch third", tmp_path),
    ]
    assert results(commands, tmp_path) == {"first": True, "second": True, "third": True}


def test_interrupt_reaches_running_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import pathlib, time
try:
    pathlib.Path("begun").touch()
    time.sleep(60)
except KeyboardInterrupt:
    pathlib.Path("cleaned up").touch()
"""
    running = run([Command("slow", [sys.executable, "-c", program], tmp_path)], tmp_path / "logs", at_a_time=1)

    def interrupted_once_begun(seconds: float) -> None:
        if (tmp_path / "begun").exists():
            signal.raise_signal(signal.SIGINT)
        time.sleep(seconds)

    monkeypatch.setattr(side_by_side, "time", SimpleNamespace(monotonic=time.monotonic, sleep=interrupted_once_begun))
    with pytest.raises(KeyboardInterrupt):
        list(running)
    assert (tmp_path / "cleaned up").exists()
