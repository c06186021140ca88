"""Commands side by side: all of them to the end, what each said in one piece, and none left behind."""

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


def test_a_failure_is_named_shows_what_it_said_and_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [
        shell("wrong", "echo one; echo two >&2; exit 3", tmp_path),
        shell("a/right", "echo three", tmp_path),
    ]
    assert results(commands, tmp_path) == {"wrong": False, "a/right": True}
    said = capsys.readouterr().out
    assert re.search("^=== wrong\none\ntwo\n=== wrong: FAILED in \\d+ s$", said, re.MULTILINE)
    assert re.search("^=== a/right\nthree\n=== a/right: ok in \\d+ s$", said, re.MULTILINE)


def test_two_run_at_the_same_time(tmp_path: Path) -> None:
    meet = "touch {0}; for _ in $(seq 600); do [ -e {1} ] && exit 0; sleep 0.1; done; exit 1"
    commands = [shell("a", meet.format("a", "b"), tmp_path), shell("b", meet.format("b", "a"), tmp_path)]
    assert results(commands, tmp_path) == {"a": True, "b": True}


def test_no_more_than_so_many_run_at_the_same_time(tmp_path: Path) -> None:
    commands = [shell(str(n), "mkdir busy && sleep 0.1 && rmdir busy", tmp_path) for n in range(4)]
    assert results(commands, tmp_path, at_a_time=1) == dict.fromkeys("0123", True)


def test_one_that_comes_after_another_waits_for_it_and_holds_up_nobody(tmp_path: Path) -> None:
    commands = [
        shell("first", "for _ in $(seq 600); do [ -e third ] && touch first && exit 0; sleep 0.1; done", tmp_path),
        shell("second", "[ -e first ]", tmp_path, after=("first",)),
        shell("third", "touch third", tmp_path),
    ]
    assert results(commands, tmp_path) == {"first": True, "second": True, "third": True}


def test_an_interrupt_reaches_those_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
