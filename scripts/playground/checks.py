"""`scripts/test`: every check, one after the other, to the end, and then which of them failed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from playground import signals, terraform
from playground.bootstrap import CHECKOV, ROOT

DIRECTORY = ROOT / ".local" / "checks"

# How long the tests get to take down what they have started when they are interrupted.
PATIENCE_S = 60

#: What has types that are checked.
PACKAGES = ("s3_syncer", "playground", "deployed", "benchmark", "scaling")

Check = Callable[[], bool]


def main(arguments: Sequence[str]) -> int:
    if arguments:
        pytest = [sys.executable, "-m", "pytest", *arguments]
        os.execv(pytest[0], pytest)  # noqa: S606 - the terminal is the test runner's from here on
    signals.interrupt_on_termination()
    failed = []
    for name, check in checks():
        print(f"\n=== {name}", flush=True)
        began = time.monotonic()
        if not check():
            failed.append(name)
        print(f"=== {name}: {'FAILED' if name in failed else 'ok'} in {time.monotonic() - began:.0f} s", flush=True)
    print(f"\nFAILED: {', '.join(failed)}" if failed else "\nEverything is in order.")
    return 1 if failed else 0


def checks() -> Iterator[tuple[str, Check]]:
    python = [".", *_python_without_suffix()]
    yield "ruff check", _command("ruff", "check", *python)
    yield "ruff format", _command("ruff", "format", "--check", *python)
    packages = [option for name in PACKAGES for option in ("--package", name)]
    yield "mypy", _command("mypy", *packages)
    yield "terraform fmt", _terraform_format
    for binary in dict.fromkeys((terraform.executable(), terraform.library())):
        yield f"terraform test ({terraform.version(binary)})", partial(_terraform_tests, binary)
    # It warns of every function that it cannot evaluate.
    scan = ("env", "LOG_LEVEL=ERROR", str(CHECKOV.path / "bin" / "checkov"), "-d", ".")
    for folder in (ROOT, ROOT / "examples"):
        yield f"checkov {folder.relative_to(ROOT)}", _command(*scan, cwd=folder)
    yield "pytest", _command("pytest")


def _python_without_suffix() -> Iterator[str]:
    """The executables that are Python, which ruff does not find by itself."""
    for file in sorted((ROOT / "scripts").iterdir()):
        if file.is_file() and file.read_text().startswith("#!/usr/bin/env python"):
            yield str(file)


def _command(tool: str, *arguments: str, cwd: Path = ROOT) -> Check:
    beside_python = Path(sys.executable).parent / tool
    command = [str(beside_python if beside_python.exists() else tool), *arguments]

    def check() -> bool:
        process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, start_new_session=True)
        signals.communicate(process, PATIENCE_S)
        return process.returncode == 0

    return check


def _terraform_tests(binary: Path) -> bool:
    """Each file in a process of its own, as many at a time as there are processors: most of it is the provider's start.

    The provider does not live long enough for its garbage to be worth collecting often.
    """
    tool = terraform.prepare(DIRECTORY / "tests")
    tool = replace(tool, binary=binary, environment={**tool.environment, "GOGC": "400"})

    def run(file: Path) -> tuple[bool, str]:
        try:
            return True, tool.run("test", "-no-color", f"-filter={file.relative_to(ROOT)}", cwd=ROOT)
        except terraform.TerraformError as error:
            return False, error.output

    tool.run("init", "-backend=false", "-no-color", cwd=ROOT)
    # The longest first, or the last process would run alone.
    files = sorted(ROOT.glob("tests/*.tftest.hcl"), key=lambda file: file.stat().st_size, reverse=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(run, files))
    for _, said in results:
        print(said, end="")
    return all(passed for passed, _ in results)


def _terraform_format() -> bool:
    try:
        terraform.prepare(DIRECTORY).run("fmt", "-no-color", "-check", "-diff", "-recursive", cwd=ROOT)
    except terraform.TerraformError as error:
        print(error.output)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
