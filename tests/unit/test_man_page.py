"""The man page has every command, option and exit code, in text that roff prints as it is."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from devtools import cli_docs, man_page
from devtools.bootstrap import ROOT
from s3_syncer.cli.commands import cli
from s3_syncer.cli.exit_codes import EXIT_CODES


def test_page_has_every_command_option_and_exit_code() -> None:
    text = man_page.page().replace("\\-", "-")
    for name, command in cli_docs.leaves("s3-syncer", cli.load_commands()):
        section = text.partition(f'.SS "{name} ')[2].partition("\n.SS ")[0]
        for option in (option for options in command.sections.values() for option in options):
            assert f"\\fB{', '.join((*option.opts, *option.secondary_opts))}\\fP\n" in section
        assert all(man_page.escaped(line).replace("\\-", "-") in section for _, line in command.examples)
    assert all(f"\\fB{codes}\\fP\n" in text for codes in EXIT_CODES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--dry-run", "\\-\\-dry\\-run"),
        ("C:\\new", "C:\\enew"),
        (".TH is text", "\\&.TH is text"),
        ("'quoted'", "\\&'quoted'"),
        ('"$(date)"', "\\(dq$(date)\\(dq"),
    ],
)
def test_text_is_escaped(text: str, expected: str) -> None:
    assert man_page.escaped(text) == expected


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_reads_the_page_without_a_warning() -> None:
    shown = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", str(ROOT / "docs" / "s3-syncer.1")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert not shown.stderr
    assert "--dry-run" in shown.stdout
