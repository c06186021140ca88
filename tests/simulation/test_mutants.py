"""The simulation finds the product with any of its rules switched off."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.simulation.mutants import MUTANTS

from devtools.bootstrap import ROOT


def test_each_mutant_is_found_within_its_number_of_seeds() -> None:
    # In a process with fixed hashes: the order of a set of keys decides which seed finds a mutant.
    result = subprocess.run(
        [sys.executable, "-m", "tests.simulation.main", "--mutants", "--processes", "2"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ".", "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    print(result.stdout, result.stderr)
    assert result.returncode == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == [*MUTANTS]
    assert len(MUTANTS) >= 12
