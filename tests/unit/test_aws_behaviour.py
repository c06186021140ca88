"""Test the list of what the module expects of AWS, and the checklist that is made from it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from devtools import aws_behaviour
from devtools.aws_behaviour import CHECKED, Behaviour
from devtools.bootstrap import ROOT

BEHAVIOURS = aws_behaviour.read()


def run(*arguments: str) -> str:
    command = [sys.executable, ROOT / "scripts" / "first-apply", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_least_certain_comes_first() -> None:
    assert list(dict.fromkeys(each.checked for each in BEHAVIOURS)) == list(CHECKED)


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda each: each.title)
def test_behaviour_says_how_it_was_checked(behaviour: Behaviour) -> None:
    assert behaviour.commands
    files = re.findall(r"\b(?:tests|scripts|docs)/[\w./-]+\w", behaviour.by)
    assert all((ROOT / file).exists() for file in files)
    if behaviour.checked == "emulator":
        assert files or "IAM" in behaviour.by, "name the test"


def test_the_page_and_the_checklist_have_every_behaviour() -> None:
    page, checklist = (ROOT / "docs" / "aws-behaviour.md").read_text(), run()
    for behaviour in BEHAVIOURS:
        for text in (behaviour.title, behaviour.why, *behaviour.commands):
            assert text in page
        assert behaviour.title in checklist
    assert checklist.count("[ ] ") == len(BEHAVIOURS)


def test_commands_of_the_checklist_have_the_names_of_the_user() -> None:
    said = run("--name", "mirror", "--source-bucket", "reports", "--directory", "infra")
    assert "aws lambda get-function-recursion-config --function-name mirror\n" in said
    assert "--type-name AWS::S3::Bucket --identifier reports\n" in said
    assert "s3-syncer --module infra task run --dry-run\n" in said
    assert not re.search(r"\$NAME|\$BUCKET|DIRECTORY", said)
