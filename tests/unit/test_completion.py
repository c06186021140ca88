"""The completion of commands and options by a shell, as the shell asks the program for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner
from tests.unit.test_imports import EXPENSIVE, PROGRAM

from s3_syncer.cli.commands import COMMANDS, cli
from s3_syncer.cli.commands.completion import SHELLS


def ask(line: str) -> subprocess.CompletedProcess[str]:
    """Ask the program to complete the last word of the line, as bash does.

    The imported modules end its output.
    """
    words = line.split(" ")
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    env |= {"_S3_SYNCER_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    # A variable with a former name must not print its warning between the completions.
    env |= {"REPORT": "r.html", "S3_SYNCER_MODULE": "/nowhere"}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], check=False, capture_output=True, text=True, timeout=60, env=env
    )


def completions(line: str) -> list[str]:
    ended = ask(line)
    assert not ended.stderr
    assert ended.returncode == 0
    return [row.partition(",")[2] for row in ended.stdout.rpartition("modules ")[0].splitlines() if row]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("s3-syncer che", ["check"]),
        ("s3-syncer --modu", ["--module", "--module-name"]),
        ("s3-syncer --module infra che", ["check"]),
        ("s3-syncer check --repo", ["--report"]),
        ("s3-syncer migrate --workers ", ["local", "queue"]),
        ("s3-syncer deletions rel", ["release"]),
        ("s3-syncer completion z", ["zsh"]),
        ("s3-syncer chekc --rep", []),
        ("s3-syncer ", sorted(command.name for command in COMMANDS)),
    ],
)
def test_words_are_completed(line: str, expected: list[str]) -> None:
    assert completions(line) == expected


def test_names_of_commands_are_completed_without_an_import() -> None:
    modules = set(ask("s3-syncer ").stdout.rpartition("modules ")[2].split())
    assert "click.shell_completion" in modules
    assert not EXPENSIVE & {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("shell", SHELLS)
def test_script_asks_the_program(shell: str) -> None:
    ended = CliRunner().invoke(cli, ["completion", shell])
    assert ended.exit_code == 0
    assert f"_S3_SYNCER_COMPLETE={shell}_complete" in ended.stdout
    assert "s3-syncer" in ended.stdout


def test_unknown_shell_is_named_with_those_that_exist() -> None:
    ended = CliRunner().invoke(cli, ["completion", "tcsh"])
    assert ended.exit_code == 2
    assert "bash" in ended.output


def test_bash_completes_with_the_script(tmp_path: object) -> None:
    """bash calls the function of the script, which starts the program by its name."""
    bash = shutil.which("bash")
    assert bash
    script = CliRunner().invoke(cli, ["completion", "bash"]).stdout
    asks = f"{script}\nCOMP_WORDS=(s3-syncer check --repo); COMP_CWORD=2; _s3_syncer_completion s3-syncer\n"
    scripts = os.path.dirname(sys.executable)  # noqa: PTH120 - a part of PATH
    path = os.pathsep.join([scripts, os.environ["PATH"]])
    program = asks + 'echo "${COMPREPLY[@]}"'
    ended = subprocess.run(
        [bash, "--norc", "-c", program], check=True, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert ended.stdout.strip() == "--report"
