"""Test that no configuration uses a deprecated attribute, and that all require the same versions."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hcl2.query.body import DocumentView

from devtools import provider_schema, terraform
from devtools.bootstrap import ROOT

CONFIGURATIONS = [ROOT, *sorted(file.parent for file in ROOT.glob("examples/*/main.tf"))]

# The attributes of version 6 of the provider: see devtools/provider_schema.py.
VERSION_6 = json.loads(Path(__file__).with_name("provider_6.json").read_text())


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


def test_version_6_of_the_provider_has_every_attribute_and_deprecates_none() -> None:
    """Only version 5 can be run offline. If an attribute is new here, make provider_6.json again."""
    assert list(provider_schema.problems(VERSION_6["types"], provider_schema.used())) == []


@pytest.mark.parametrize(
    ("attribute", "problem"),
    [
        (("data aws_partition", "id"), "data aws_partition.id: Use 'partition' instead."),
        (("resource aws_secretsmanager_secret_version", "arn"), "arn is deprecated. Use secret_arn instead."),
        (("resource aws_ecs_task_definition", "inference_accelerator.device_name"), "has no inference_accelerator"),
        (("resource aws_lambda_function", "vpc_config.subnet"), "has no vpc_config.subnet"),
    ],
)
def test_deprecated_and_missing_attributes_are_found(attribute: tuple[str, str], problem: str) -> None:
    kind, name = attribute
    (found,) = provider_schema.problems(VERSION_6["types"], {kind: {name}})
    assert problem in found


def test_all_ask_for_the_same_versions() -> None:
    asked = set()
    for configuration in CONFIGURATIONS:
        text = "".join(file.read_text() for file in configuration.glob("*.tf"))
        asked.add((re.search(r'required_version = "(.*)"', text)[1], re.search(r'version = "(>= 5.*)"', text)[1]))
    assert asked == {(">= 1.11", ">= 5.100, < 7")}
