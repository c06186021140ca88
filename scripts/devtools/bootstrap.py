"""Makes the virtual environments, once for each change of what goes into them.

Run as a file by `scripts/setup` before anything is installed, so it imports nothing but the standard library.
The emulator pins botocore exactly and therefore lives in an environment of its own.
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
    """One virtual environment: where it is, what pip is asked for, and the files whose change rebuilds it."""

    path: Path
    install: tuple[str, ...]
    inputs: tuple[Path, ...]

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    @property
    def stamp(self) -> Path:
        return self.path / "installed-from"

    def fingerprint(self) -> str:
        # Not of the Python that asks: whichever made the environment, it stays good for all that find it later.
        digest = hashlib.sha256(f"{self.path}\0{self.install}".encode())
        for file in self.inputs:
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def is_current(self) -> bool:
        try:
            return self.stamp.read_text() == self.fingerprint() and self.python.exists()
        except FileNotFoundError:
            return False

    def make(self) -> None:
        # The stamp is gone while pip works, so that an interrupted installation is started over.
        fresh = not self.stamp.exists()
        self.stamp.unlink(missing_ok=True)
        venv = [sys.executable, "-m", "venv", *(["--clear"] if fresh else ["--upgrade"]), str(self.path)]
        subprocess.run(venv, check=True)
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
        subprocess.run([*pip, *self.install], check=True, cwd=ROOT)
        self.stamp.write_text(self.fingerprint())


def dependency_group(name: str) -> tuple[str, ...]:
    """Return the requirements of a dependency group of pyproject.toml, with those of the groups that it includes.

    Pip itself reads dependency groups from version 25.1 on; the pip of Python 3.11 is older.
    """
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    found: list[str] = []
    for entry in groups[name]:
        found += dependency_group(entry["include-group"]) if isinstance(entry, dict) else [entry]
    return tuple(found)


REQUIREMENTS = ROOT / "requirements"

DEVELOPMENT = Environment(
    path=ROOT / ".venv",
    install=("--constraint", "requirements/dev.txt", "--editable", ".", *dependency_group("dev")),
    inputs=(REQUIREMENTS / "dev.txt", ROOT / "pyproject.toml"),
)
EMULATOR = Environment(
    path=ROOT / ".local" / "emulator",
    install=("--requirement", "requirements/emulator.txt"),
    inputs=(REQUIREMENTS / "emulator.txt",),
)
#: The peers that `scripts/bench` measures; made only when they are asked for.
BENCH = Environment(
    path=ROOT / ".local" / "bench",
    install=("--requirement", "requirements/bench.txt"),
    inputs=(REQUIREMENTS / "bench.txt",),
)
#: The scanner of Terraform and Dockerfile, which pins half of what it needs; made only when it is asked for.
CHECKOV = Environment(
    path=ROOT / ".local" / "checkov",
    install=("--requirement", "requirements/checkov.txt"),
    inputs=(REQUIREMENTS / "checkov.txt",),
)
OPTIONS = {"--bench": BENCH, "--checkov": CHECKOV}


def main(arguments: Sequence[str]) -> int:
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
            # Asked again under the lock: another setup may have made it while this one waited.
            if environment.is_current():
                continue
            print(f"Installing into {environment.path.relative_to(ROOT)} ...", file=sys.stderr, flush=True)
            try:
                environment.make()
            except subprocess.CalledProcessError as error:
                command = " ".join(map(str, error.cmd))
                print(f"scripts/setup: `{command}` exited {error.returncode}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    sys.exit(main(sys.argv[1:]))
