"""The reference of the command, docs/cli.md, is that of the present options."""

from __future__ import annotations

import os
import re

import pytest
from click.testing import CliRunner

from devtools import cli_docs
from devtools.bootstrap import ROOT
from devtools.docs import PARTS
from s3_syncer.cli.commands import cli


def test_document_matches_the_help_of_the_command() -> None:
    (part,) = (part for part in PARTS if part.document == ROOT / "docs" / "cli.md")
    text = part.document.read_text(encoding="utf-8")
    assert part.into(text) == text, "docs/cli.md is out of date: run scripts/docs"


def test_reference_has_every_command_option_and_variable() -> None:
    text = cli_docs.reference()
    for name, command in cli_docs.leaves("s3-syncer", cli.load_commands()):
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert command.help
        assert all(line in section for _, line in command.examples)
        for option in (option for options in command.sections.values() for option in options):
            assert all(f"`{word}`" in section for word in (*option.opts, *option.variables)), option.name
    assert "receive-wait" not in text, "a hidden option"


def test_reference_names_required_options_ranges_and_choices() -> None:
    text = cli_docs.reference()
    assert "| `--source-bucket` | `SOURCE_BUCKET` | required |" in text
    assert "| `--concurrency` | `S3_SYNCER_CONCURRENCY` | `auto` |" in text
    assert "| `--max-delete` | `S3_SYNCER_MAX_DELETE` |  | 0 or more |" in text
    assert "| `--workers` | `S3_SYNCER_WORKERS` | `local` | `local`, `queue` |" in text


def test_options_marked_as_required_are_those_that_the_command_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"TARGET_SECRET_ARN": "secret"})
    for line, command in cli_docs.leaves("s3-syncer", cli.load_commands()):
        if line.startswith("s3-syncer config "):  # they need no store
            continue
        needed = {
            name for options in command.sections.values() for each in options if each.needed for name in each.opts
        }
        ended = CliRunner().invoke(command, ["key"] if command.name in ("sync", "explain") else [])
        if "this command needs a module" in ended.output:  # which gives the options
            continue
        assert ended.exit_code == 2
        assert set(re.findall(r"(--[a-z-]+) is not set", ended.output)) == needed
