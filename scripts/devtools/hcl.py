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
    """Run the test files in as many processes as there are processors, and return True if all pass.

    Each process runs several files, because it takes a second to begin. All of them use one process of the provider, of
    which they only need the schema. Without it, each `run` starts the provider again, which takes most of the time.
    """
    directory = DIRECTORY / f"tests-{terraform.version(binary)}"
    tool = replace(terraform.prepare(directory), binary=binary)
    tool.run("init", "-backend=false", "-no-color", cwd=ROOT)

    def run(files: Sequence[Path]) -> tuple[bool, str]:
        filters = [f"-filter={file.relative_to(ROOT)}" for file in files]
        try:
            return True, attached.run("test", "-no-color", *filters, cwd=ROOT)
        except terraform.TerraformError as error:
            return False, error.output

    groups = _even_groups(sorted(ROOT.glob("tests/*.tftest.hcl")), os.cpu_count() or 1)
    with terraform.with_running_provider(tool) as attached, ThreadPoolExecutor(len(groups)) as pool:
        results = list(pool.map(run, groups))
    for _, output in results:
        print(output, end="")
    return all(passed for passed, _ in results)


def _even_groups(files: Sequence[Path], count: int) -> list[list[Path]]:
    """Return at most `count` groups of the files, each with about the same number of `run` blocks."""
    runs = {file: file.read_text().count("\nrun ") for file in files}
    groups: list[list[Path]] = [[] for _ in range(count)]
    for file in sorted(files, key=lambda file: runs[file], reverse=True):
        min(groups, key=lambda group: sum(runs[each] for each in group)).append(file)
    return [group for group in groups if group]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
