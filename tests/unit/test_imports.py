"""The command and the function import little until they know their work, so that they start fast.

The tests name modules and measure no time, which depends on the machine.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from s3_syncer.cli.commands import cli

#: It prints the imported modules behind the output of the command.
PROGRAM = """
import sys
from s3_syncer.cli import main
try:
    main()
finally:
    print("modules", *sys.modules)
"""

#: Modules of this project that the group of commands needs.
NEEDED = {
    "s3_syncer",
    "s3_syncer.cli",
    "s3_syncer.cli.click_extensions",
    "s3_syncer.cli.commands",
    "s3_syncer.cli.exit_codes",
    "s3_syncer.cli.options",
    "s3_syncer.cli.options.module",
    "s3_syncer.cli.standard_streams",
    "s3_syncer.core",
    "s3_syncer.core.units",
    "s3_syncer.process_tuning",
}

#: Libraries that take long, each used by some command.
EXPENSIVE = {"awscrt", "boto3", "botocore", "concurrent", "http", "multiprocessing", "rich", "s3transfer", "urllib3"}


def imported(*arguments: str) -> set[str]:
    """Return the modules that the command has imported at its end."""
    # The measurement of the coverage imports other modules.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], check=False, capture_output=True, text=True, timeout=60, env=env
    )
    assert "Traceback" not in ended.stderr
    return set(ended.stdout.rpartition("modules ")[2].split())


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["migrat"], []], ids=str)
def test_group_of_commands_imports_only_itself(arguments: list[str]) -> None:
    modules = imported(*arguments)
    assert {name for name in modules if name.partition(".")[0] == "s3_syncer"} == NEEDED
    assert not EXPENSIVE & {name.partition(".")[0] for name in modules}


def test_command_imports_what_it_needs() -> None:
    """Show that the test above sees an import."""
    modules = imported("check", "--help")
    assert {"boto3", "s3_syncer.cli.commands.migrate_and_check"} <= modules
    assert "s3_syncer.cli.commands.serve" not in modules


def test_garbage_collection_is_relaxed_only_in_the_process_of_the_command() -> None:
    """The frozen objects of another process, such as that of the tests, would never be collected."""
    before = gc.get_freeze_count()
    assert CliRunner().invoke(cli, ["check", "--help"]).exit_code == 0
    assert CliRunner().invoke(cli, ["check"]).exit_code == 2
    assert gc.get_freeze_count() == before
    relaxed: list[str] = []
    CliRunner().invoke(cli.calling(lambda: relaxed.extend(sys.modules)), ["check"])
    assert "s3_syncer.cli.commands.migrate_and_check" in relaxed


#: Modules for work that most invocations of the function do not get: ranges, S3 Batch Operations and the doctor.
RARE = {"doctor.doctor", "queue.s3_batch", "sync.archived_objects", "sync.key_sweep", "sync.page_state", "sync.sweep"}


def test_function_imports_no_module_of_rare_work() -> None:
    program = "import sys, s3_syncer.lambda_handler; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    modules = set(ended.stdout.split())
    assert "s3_syncer.sync.converge" in modules
    assert not {f"s3_syncer.{name}" for name in RARE} & modules
