"""The programs in `scripts/`, as a user calls them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MODULE = re.compile(r"python -m ((?:localcloud|devtools|tests|benchmark)\S+)")

SCRIPTS = sorted(file.name for file in (ROOT / "scripts").iterdir() if file.is_file())

#: By script: the module that it runs.
MODULES = {script: found[1] for script in SCRIPTS if (found := MODULE.search((ROOT / "scripts" / script).read_text()))}


def source(module: str) -> str:
    path = Path(*module.split(".")).with_suffix(".py")
    (file,) = [each for each in (ROOT / "scripts" / path, ROOT / path) if each.exists()]
    return file.read_text()


@pytest.mark.parametrize("script", [name for name, module in MODULES.items() if "import click" in source(module)])
def test_the_help_of_a_script_has_its_name(script: str) -> None:
    assert f'main(prog_name="scripts/{script}")' in source(MODULES[script])


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_prints_its_help(script: str) -> None:
    process = subprocess.run([ROOT / "scripts" / script, "--help"], capture_output=True, text=True, check=True)
    assert f"usage: scripts/{script}" in process.stdout.replace("Usage:", "usage:")


def test_the_first_apply_needs_the_standard_library_alone() -> None:
    command = [sys.executable, "-S", ROOT / "scripts" / "first-apply", "--help"]
    process = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "scripts/first-apply" in process.stdout
