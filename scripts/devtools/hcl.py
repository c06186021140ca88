"""Run `terraform fmt -check` and `terraform test` with the Terraform of this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from devtools import signals, terraform
from devtools.bootstrap import ROOT

DIRECTORY = ROOT / ".local" / "checks"


def main(arguments: Sequence[str]) -> int:
    signals.interrupt_on_termination()
    match arguments:
        case ["fmt"]:
            return 0 if formatted() else 1
        case ["test", binary]:
            return 0 if tests_pass(Path(binary)) else 1
        case _:
            raise SystemExit("usage: devtools.hcl fmt | test EXECUTABLE")


def formatted() -> bool:
    try:
        terraform.prepare(DIRECTORY).run("fmt", "-no-color", "-check", "-diff", "-recursive", cwd=ROOT)
    except terraform.TerraformError as error:
        print(error.output)
        return False
    return True


def tests_pass(binary: Path) -> bool:
    """Run each test file in a separate process, one for each processor, and return True if all pass.

    All of them use one process of the provider, of which they only need the schema. Without it, each `run` starts the
    provider again, which takes most of the time. Garbage is collected seldom, because the processes end soon.
    """
    directory = DIRECTORY / f"tests-{terraform.version(binary)}"
    tool = terraform.prepare(directory)
    tool = replace(tool, binary=binary, environment={**tool.environment, "GOGC": "400"})
    tool.run("init", "-backend=false", "-no-color", cwd=ROOT)

    def run(file: Path) -> tuple[bool, str]:
        try:
            return True, attached.run("test", "-no-color", f"-filter={file.relative_to(ROOT)}", cwd=ROOT)
        except terraform.TerraformError as error:
            return False, error.output

    # The longest file first, so that it does not run alone at the end.
    files = sorted(ROOT.glob("tests/*.tftest.hcl"), key=lambda file: file.stat().st_size, reverse=True)
    with terraform.with_running_provider(tool) as attached, ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(run, files))
    for _, output in results:
        print(output, end="")
    return all(passed for passed, _ in results)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
