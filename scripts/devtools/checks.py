"""`scripts/test`: run every check to its end, several at the same time, and list the failed ones."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from devtools import side_by_side, signals, terraform
from devtools.bootstrap import CHECKOV, ROOT
from devtools.hcl import DIRECTORY
from devtools.side_by_side import Command
from localcloud import ceph, podman
from localcloud.servers import ServerError
from s3_syncer.versions import MINIMUM

#: Packages that mypy checks.
PACKAGES = ("s3_syncer", "localcloud", "devtools", "benchmark", "tests.simulation")

#: Histories of `scripts/simulate`. They are the same each time, and none has a time limit.
SEEDS = 3000

#: Data of the test coverage: one file for each process.
COVERAGE = ROOT / ".local" / "coverage"

#: Models with millions of states. Other tests run the same lines of the product.
INTERLEAVINGS = ("tests/unit/test_interleavings.py", "tests/unit/test_distributed_copy_interleavings.py")

UNIT_OPTIONS = tuple(f"--ignore={file}" for file in INTERLEAVINGS)

#: In two processes, each with its stores, because these tests also wait much of the time. A process that has no more
#: tests takes some of the other's, so that no long file keeps one of them busy at the end.
FUNCTIONAL_OPTIONS = ("-n=2", "--dist=worksteal")

#: One more than the processors, because tests/infra mostly waits for the emulated AWS.
AT_A_TIME = (os.cpu_count() or 1) + 1

#: The tests that also run against a real store, with their pytest option.
REAL_STORE = ("--real-store", "tests/functional", "tests/real_store")

#: The tests that run containers, with their pytest option.
IMAGE = ("--image", "tests/image")

#: Measure the coverage, and run no other checks. Coverage takes a third of the time of the functional tests.
MEASURE = "--coverage"


def main(arguments: Sequence[str]) -> int:
    for needed, (option, *tests) in ((ceph, REAL_STORE), (podman, IMAGE)):
        if option in arguments and not needed.is_installed():
            try:
                needed.install()
            except ServerError as error:
                print(f"scripts/test: skipped the tests of {option}: {error}", file=sys.stderr)
                return 0
        if option in arguments and not any(argument.startswith("tests") for argument in arguments):
            arguments = (*arguments, *tests)
    if list(arguments) == [MEASURE]:
        return run(measured_tests())
    if arguments:
        pytest = [sys.executable, "-m", "pytest", *arguments]
        os.execv(pytest[0], pytest)  # noqa: S606 - pytest takes over the terminal
    return run(checks())


def run(commands: Iterable[Command]) -> int:
    """Run the commands, list their results, and return the exit code."""
    signals.interrupt_on_termination()
    # Without stored bytecode, each process that a test starts compiles the whole package again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.monotonic()
    results = list(side_by_side.run(commands, DIRECTORY / "logs", at_a_time=AT_A_TIME))
    for result in results:
        print(f"{'ok' if result.ok else 'FAILED':6}  {result.seconds:4.0f} s  {result.cpu_s:4.0f} s CPU  {result.name}")
    failed = [result.name for result in results if not result.ok]
    print(f"FAILED: {', '.join(failed)}" if failed else "All checks passed", end=" ")
    print(f"in {time.monotonic() - began:.0f} s.")
    return 1 if failed else 0


def checks() -> Iterator[Command]:
    """Return the checks: first the quick ones, which find most mistakes, then the longest."""
    python = [".", *_python_without_suffix()]
    yield _module("ruff check", "ruff", "check", *python)
    yield _module("ruff format", "ruff", "format", "--check", *python)
    yield _module("terraform fmt", "devtools.hcl", "fmt")
    yield _module("mypy", "mypy", *(option for name in PACKAGES for option in ("--package", name)))
    yield Command("lint-imports", [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"], ROOT)
    yield _pytest("tests/infra/test_stack.py")
    yield _pytest("tests/functional", *FUNCTIONAL_OPTIONS)
    yield _pytest("tests/infra", "--ignore=tests/infra/test_stack.py")
    # One after the other: they share the working directory of the module, and each uses all processors.
    previous: list[str] = []
    for binary in dict.fromkeys((terraform.executable(), terraform.library())):
        name = f"terraform test ({terraform.version(binary)})"
        yield _module(name, "devtools.hcl", "test", str(binary), after=previous)
        previous = [name]
    yield _pytest("tests/unit", *UNIT_OPTIONS)
    yield _pytest(*INTERLEAVINGS)
    yield Command("simulate", [str(ROOT / "scripts" / "simulate"), "--seeds", str(SEEDS)], ROOT)
    # The oldest boto3 that works, with the tests that depend most on it: they take less than a minute.
    faults = "test_short_faults_are_retried_within_the_invocation"
    creation = "test_an_upload_with_an_unreadable_response_is_found_and_not_created_again"
    oldest = (
        "tests/functional/test_handler.py",
        "tests/unit/test_fence.py",
        f"tests/functional/test_faults.py::{faults}",
        f"tests/functional/test_odd_listings.py::{creation}",
    )
    yield Command(f"boto3 {MINIMUM}", [str(ROOT / "scripts" / "test"), "--boto3", MINIMUM, *oldest], ROOT)
    yield _pytest("tests/simulation")
    yield _pytest("tests/module")
    yield _pytest("tests/package")
    # checkov warns of every function that it cannot evaluate.
    scan = ("env", "LOG_LEVEL=ERROR", str(CHECKOV.path / "bin" / "checkov"), "-d")
    for folder in (ROOT, ROOT / "examples"):
        yield Command(f"checkov {folder.relative_to(ROOT)}", [*scan, "."], folder)


def measured_tests() -> Iterator[Command]:
    """Return the tests that measure the coverage, and the report of it."""
    shutil.rmtree(COVERAGE, ignore_errors=True)
    COVERAGE.mkdir(parents=True)
    tests = (_measured("tests/functional", *FUNCTIONAL_OPTIONS), _measured("tests/unit", *UNIT_OPTIONS))
    yield from tests
    report = f"{shlex.join(_coverage('combine', '--quiet'))} && {shlex.join(_coverage('report'))}"
    yield Command("coverage", ["sh", "-c", report], ROOT, [test.name for test in tests])


def _python_without_suffix() -> Iterator[str]:
    """Return the Python scripts without a suffix, which ruff does not find by itself."""
    for file in sorted((ROOT / "scripts").iterdir()):
        if file.is_file() and file.read_text().startswith("#!/usr/bin/env python"):
            yield str(file)


def _module(name: str, module: str, *arguments: str, after: Sequence[str] = ()) -> Command:
    return Command(name, [sys.executable, "-m", module, *arguments], ROOT, after)


def _pytest(tests: str, *options: str) -> Command:
    """Return a run of some tests in a separate process, so that it cannot affect other tests."""
    return _module(" ".join(["pytest", tests, *options]), "pytest", tests, *options)


def _measured(tests: str, *options: str) -> Command:
    return Command(" ".join(["pytest", tests, *options]), _coverage("run", "-m", "pytest", tests, *options), ROOT)


def _coverage(*arguments: str) -> Sequence[str]:
    # The core of Python 3.12 and later costs less time.
    core = ["COVERAGE_CORE=sysmon"] if sys.version_info >= (3, 12) else []
    return ["env", f"COVERAGE_FILE={COVERAGE / 'data'}", *core, sys.executable, "-m", "coverage", *arguments]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
