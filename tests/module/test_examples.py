"""Every example has the same files and the same sections in its README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hcl2.query.body import DocumentView

from devtools.bootstrap import ROOT

EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())
FILES = {"README.md", "main.tf", "outputs.tf", "variables.tf", "versions.tf"}
SECTIONS = ["Apply", "Check that it works", "Destroy"]

example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 7


@example
def test_example_has_five_files(example: Path) -> None:
    # What Terraform writes when a user applies the example is ignored by Git.
    written_by_terraform = re.compile(r"\.terraform.*|.*\.tfstate.*|.*\.tfvars|tf_resources\.json")
    assert {file.name for file in example.iterdir() if not written_by_terraform.fullmatch(file.name)} == FILES


@example
def test_readme_says_how_to_apply_check_and_destroy(example: Path) -> None:
    text = (example / "README.md").read_text()
    assert text.startswith(f"# Example: {example.name}\n\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    for section in text.split("\n## ")[1:]:
        assert "```sh\n" in section, f"{section.partition(chr(10))[0]} has no command"


# scripts/local passes the variables of `local`.
@pytest.mark.parametrize("example", [path for path in EXAMPLES if path.name != "local"], ids=lambda path: path.name)
def test_readme_names_every_required_variable(example: Path) -> None:
    text = (example / "README.md").read_text()
    variables = DocumentView.parse((example / "variables.tf").read_text()).blocks("variable")
    required = {each.name_labels[0] for each in variables if each.attribute("default") is None}
    assert {name for name in required if not re.search(rf"(?:^|TF_VAR_){name}\b", text, re.MULTILINE)} == set()


@example
def test_blocks_are_in_the_file_of_their_kind(example: Path) -> None:
    kinds = {"variables.tf": "variable", "outputs.tf": "output", "versions.tf": "terraform"}
    for file in FILES - {"README.md"}:
        document = DocumentView.parse((example / file).read_text())
        for home, kind in kinds.items():
            assert bool(document.blocks(kind)) == (file == home), f"{example.name}/{file}: {kind}"
