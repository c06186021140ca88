"""Create the virtual environments, and again after each change of their requirements.

`scripts/setup` runs this file before anything is installed, so it imports only the standard library.
The emulator pins botocore exactly and therefore has a separate environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Environment:
    """A virtual environment: its path, the arguments of pip, and the files that rebuild it on a change."""

    path: Path
    install: tuple[str, ...]
    inputs: tuple[Path, ...]
    megabytes: int = 0  # disk space after the installation, to announce it

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    @property
    def stamp(self) -> Path:
        return self.path / "installed-from"

    def fingerprint(self) -> str:
        # The Python of the caller is no input: an environment stays usable, whichever Python created it.
        digest = hashlib.sha256(f"{self.path}\0{self.install}".encode())
        for file in self.inputs:
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def is_current(self) -> bool:
        try:
            return self.stamp.read_text() == self.fingerprint() and self.python.exists()
        except FileNotFoundError:
            return False

    def create(self) -> None:
        # The stamp is missing while pip runs, so that an interrupted installation starts again from the beginning.
        fresh = not self.stamp.exists()
        self.stamp.unlink(missing_ok=True)
        venv = [sys.executable, "-m", "venv", *(["--clear"] if fresh else ["--upgrade"]), str(self.path)]
        subprocess.run(venv, check=True)
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
        subprocess.run([*pip, *self.install], check=True, cwd=ROOT)
        self.stamp.write_text(self.fingerprint())


def dependency_group(name: str) -> tuple[str, ...]:
    """Return the requirements of a dependency group of pyproject.toml and of its included groups.

    Pip itself reads dependency groups from version 25.1 on; the pip of Python 3.11 is older.
    """
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    found: list[str] = []
    for entry in groups[name]:
        found += dependency_group(entry["include-group"]) if isinstance(entry, dict) else [entry]
    return tuple(found)


REQUIREMENTS = ROOT / "requirements"


def tools(name: str, megabytes: int) -> Environment:
    """Return the environment of the tools in a requirements file with this name."""
    return Environment(
        path=ROOT / ".local" / name,
        install=("--requirement", f"requirements/{name}.txt"),
        inputs=(REQUIREMENTS / f"{name}.txt",),
        megabytes=megabytes,
    )


DEVELOPMENT = Environment(
    path=ROOT / ".venv",
    install=("--constraint", "requirements/dev.txt", "--editable", ".", *dependency_group("dev")),
    inputs=(REQUIREMENTS / "dev.txt", ROOT / "pyproject.toml"),
    megabytes=530,
)
EMULATOR = tools("emulator", megabytes=100)
#: The other clients that `scripts/bench` measures; only created for it.
BENCH = tools("bench", megabytes=220)
#: The scanner of Terraform and Dockerfile, which pins many of its dependencies; only created for `scripts/test`.
CHECKOV = tools("checkov", megabytes=290)
#: The tools that build and check the wheel; only created for `scripts/package` and tests/package.
PACKAGE = tools("package", megabytes=120)
#: What draws the picture of the dashboard; only created for it.
PLOTS = tools("plots", megabytes=200)
OPTIONS = {"--bench": BENCH, "--checkov": CHECKOV, "--package": PACKAGE, "--plots": PLOTS}

USAGE = """\
Create the virtual environments of the other scripts, or do nothing if they are current. Each option adds one, which few
scripts need."""


def main(arguments: Sequence[str]) -> int:
    if {"--help", "-h"}.intersection(arguments):
        print(f"usage: scripts/setup {' '.join(f'[{option}]' for option in OPTIONS)}\n\n{USAGE}")
        return 0
    if unknown := set(arguments) - set(OPTIONS):
        print(f"scripts/setup: {' '.join(unknown)}: the options are {' and '.join(OPTIONS)}", file=sys.stderr)
        return 2
    environments = [DEVELOPMENT, EMULATOR, *(OPTIONS[argument] for argument in arguments)]
    if all(environment.is_current() for environment in environments):
        return 0
    lock = ROOT / ".local" / "setup.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for environment in environments:
            # Checked again under the lock: another setup may have created it while this one waited.
            if environment.is_current():
                continue
            where, size = environment.path.relative_to(ROOT), environment.megabytes
            print(
                f"Installing {size} MB into {where}, once: this takes a minute or two ...", file=sys.stderr, flush=True
            )
            try:
                environment.create()
            except subprocess.CalledProcessError as error:
                command = " ".join(map(str, error.cmd))
                print(f"scripts/setup: `{command}` exited {error.returncode}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    sys.exit(main(sys.argv[1:]))
