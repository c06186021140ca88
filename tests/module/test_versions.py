"""Test that no configuration uses a deprecated attribute, and that all require the same versions."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hcl2.query.body import DocumentView

from devtools import terraform
from devtools.bootstrap import ROOT

CONFIGURATIONS = [ROOT, *sorted(file.parent for file in ROOT.glob("examples/*/main.tf"))]
CODE = [file for configuration in CONFIGURATIONS for file in sorted(configuration.glob("*.tf"))]

# Names that version 6 of the provider removes or deprecates, or that version 5 deprecated before.
# https://registry.terraform.io/providers/hashicorp/aws/latest/docs/guides/version-6-upgrade
GONE_WITH_6 = (
    r"aws_region\.\w+\.(name|region)\b",  # name is deprecated in 6, region is not in 5; id is in both
    r"aws_s3_bucket\.\w+(\[\w+\])?\.region",
    r"inference_accelerator",
    r"s3_us_east_1_regional_endpoint",
    r"\b(opsworks|simpledb|sdb|worklink)\b",  # endpoints
    r"managed_policy_arns|inline_policy",
)


@pytest.mark.parametrize("version", [terraform.executable, terraform.library], ids=["installed", "newest"])
def test_nothing_is_deprecated(tmp_path: Path, version: Callable[[], Path]) -> None:
    """`validate` warns of deprecated attributes. One configuration calls all examples, for speed."""
    for file in ROOT.glob("*.tf"):
        shutil.copy(file, tmp_path)
    for folder in ("lambda", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns(".terraform*"))
    calls = []
    for example in CONFIGURATIONS[1:]:
        texts = [file.read_text() for file in example.glob("*.tf")]
        variables = [each for text in texts for each in DocumentView.parse(text).blocks("variable")]
        required = [each.name_labels[0] for each in variables if not each.attribute("default")]
        arguments = "".join(f"  {name} = null\n" for name in required)
        calls.append(f'module "{example.name}" {{\n  source = "../examples/{example.name}"\n{arguments}}}\n')
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "main.tf").write_text("\n".join(calls))
    tool = terraform.prepare(tmp_path / "work")
    tool = terraform.Terraform(version(), tool.environment, tool.log)
    tool.run("init", "-backend=false", "-no-color", cwd=tmp_path / "all")
    assert json.loads(tool.run("validate", "-json", cwd=tmp_path / "all"))["diagnostics"] == []


@pytest.mark.parametrize("gone", GONE_WITH_6)
def test_nothing_goes_away_with_the_next_provider(gone: str) -> None:
    assert [str(file) for file in CODE if re.search(gone, file.read_text())] == []


def test_all_ask_for_the_same_versions() -> None:
    asked = set()
    for configuration in CONFIGURATIONS:
        text = "".join(file.read_text() for file in configuration.glob("*.tf"))
        asked.add((re.search(r'required_version = "(.*)"', text)[1], re.search(r'version = "(>= 5.*)"', text)[1]))
    assert asked == {(">= 1.11", ">= 5.100, < 7")}
