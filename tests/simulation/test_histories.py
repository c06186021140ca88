"""Histories are complete, keep their promises, and are the same for the same seed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.simulation.history import product_in_simulation, run_history
from tests.simulation.main import product

from devtools.bootstrap import ROOT


def text_of(seed: int) -> str:
    return "\n".join(map(str, run_history(seed).history))


def test_a_seed_gives_the_same_history_after_other_histories() -> None:
    with product():
        first = [text_of(seed) for seed in range(10)]
        again = [text_of(seed) for seed in reversed(range(10))]
    assert first == again[::-1]


def test_a_seed_gives_the_same_history_in_another_process() -> None:
    def replay() -> str:
        command = [sys.executable, "-m", "tests.simulation.main", "--seed", "4"]
        environment = {**os.environ, "PYTHONPATH": ".", "PYTHONHASHSEED": "0"}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False).stdout

    first = replay()
    assert "invokes lambda" in first
    assert replay() == first


def test_a_task_that_never_yields_ends_its_history(monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(_: object) -> None:
        while True:
            pass

    monkeypatch.setattr("tests.simulation.history.STUCK_S", 0.05)
    monkeypatch.setattr("tests.simulation.history.History.change_source", compute)
    with product_in_simulation():
        assert "never yields" in str(run_history(1).error)


@pytest.mark.parametrize(
    "word",
    [
        "crashes",
        "is killed",
        "suspends",
        "stops",
        "range",
        "starts sweep",
        "rolls back",
        "Batch task",
        "over HTTP",
        "starts restore",
    ],
)
def test_some_of_the_first_seeds_have_each_kind_of_event(word: str) -> None:
    with product_in_simulation():
        assert any(word in text_of(seed) for seed in range(100))
