"""`scripts/test`: every check, several side by side, to the end, and then which of them failed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from devtools import side_by_side, signals, terraform
from devtools.bootstrap import CHECKOV, ROOT
from devtools.hcl import DIRECTORY
from devtools.side_by_side import Command

#: What has types that are checked.
PACKAGES = ("s3_syncer", "localcloud", "devtools", "deployed", "benchmark", "scaling")

#: One more than there are processors: the stacks of tests/infra mostly wait for the emulated AWS.
AT_A_TIME = (os.cpu_count() or 1) + 1


def main(arguments: Sequence[str]) -> int:
    if arguments:
        pytest = [sys.executable, "-m", "pytest", *arguments]
        os.execv(pytest[0], pytest)  # noqa: S606 - the terminal is the test runner's from here on
    signals.interrupt_on_termination()
    began = time.monotonic()
    results = list(side_by_side.run(checks(), DIRECTORY / "logs", at_a_time=AT_A_TIME))
    for result in results:
        print(f"{'ok' if result.ok else 'FAILED':6}  {result.seconds:4.0f} s  {result.name}")
    failed = [result.name for result in results if not result.ok]
    print(f"\nFAILED: {', '.join(failed)}" if failed else "\nEverything is in order.", end=" ")
    print(f"{time.monotonic() - began:.0f} s for all of it.")
    return 1 if failed else 0


def checks() -> Iterator[Command]:
    """The quick ones first, which tell most of what goes wrong, and then the longest."""
    python = [".", *_python_without_suffix()]
    yield _module("ruff check", "ruff", "check", *python)
    yield _module("ruff format", "ruff", "format", "--check", *python)
    yield _module("terraform fmt", "devtools.hcl", "fmt")
    yield _module("mypy", "mypy", *(option for name in PACKAGES for option in ("--package", name)))
    yield Command("lint-imports", [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"], ROOT)
    yield _pytest("tests/infra/test_stack.py")
    yield _pytest("tests/infra", "--ignore=tests/infra/test_stack.py")
    # In two halves, with stores of their own: much of it is waiting too.
    yield _pytest("tests/functional", "-n=2", "--dist=loadfile")
    # They share the working directory of the module, so one after the other; and both want all processors.
    previous: list[str] = []
    for binary in dict.fromkeys((terraform.executable(), terraform.library())):
        name = f"terraform test ({terraform.version(binary)})"
        yield _module(name, "devtools.hcl", "test", str(binary), after=previous)
        previous = [name]
    yield _pytest("tests/unit")
    yield _pytest("tests/module")
    # It warns of every function that it cannot evaluate.
    scan = ("env", "LOG_LEVEL=ERROR", str(CHECKOV.path / "bin" / "checkov"), "-d")
    for folder in (ROOT, ROOT / "examples"):
        yield Command(f"checkov {folder.relative_to(ROOT)}", [*scan, "."], folder)


def _python_without_suffix() -> Iterator[str]:
    """The executables that are Python, which ruff does not find by itself."""
    for file in sorted((ROOT / "scripts").iterdir()):
        if file.is_file() and file.read_text().startswith("#!/usr/bin/env python"):
            yield str(file)


def _module(name: str, module: str, *arguments: str, after: Sequence[str] = ()) -> Command:
    return Command(name, [sys.executable, "-m", module, *arguments], ROOT, after)


def _pytest(tests: str, *options: str) -> Command:
    """Some of the tests in a process of their own: nothing that they set or leave behind reaches the others."""
    return _module(" ".join(["pytest", tests, *options]), "pytest", tests, *options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
