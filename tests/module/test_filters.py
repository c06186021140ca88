"""The plan rejects the patterns that the workers reject, so that no worker fails at its start.

A separate configuration evaluates the locals of filters.tf, so no provider is needed.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from devtools import terraform
from devtools.bootstrap import ROOT
from s3_syncer.core.filters import BadFilter, Filters

CONFIGURATION = """
variable "filters" {
  type = object({
    include  = optional(list(string), [])
    exclude  = optional(list(string), [])
    min_size = optional(string)
    max_size = optional(string)
  })
}

output "invalid" {
  value = local.invalid_patterns
}
"""

PIECES = (
    *("a", "B", "1", ".", "/", "*", "**", "***", "?", "ü", ",", "^", "$", "-", "!", "(", ")", "+", "|", "&&", " "),
    *("[ab]", "[^a]", "[b-a]", "[a", "]", "[", "[]", "[^]", "[&&]", r"[\d]", r"[\]", "{", "}", "{a,b}", "{{", "}}"),
    *(r"\d", r"\q", r"\z", r"\Z", r"\1", r"\*", r"\{", "\\\\", "\\", r"\t", r"\n", r"\Q"),
    *("{{a|b}}", "{{[a-z]{2}}}", "{{(}}", "{{*}}", "{{(?i)a}}", "{{(?=a)}}", r"{{\pL}}", r"{{\d+}}", "{{[[:alpha:]]}}"),
)

#: Enough for each pair of pieces.
NUMBER = 3000


def rejected_by_workers(pattern: str) -> bool:
    try:
        Filters.of(exclude=[pattern])
    except BadFilter:
        return True
    return False


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> tuple[terraform.Terraform, Path]:
    directory = tmp_path_factory.mktemp("filters")
    (directory / "filters.tf").write_text((ROOT / "filters.tf").read_text())
    (directory / "main.tf").write_text(CONFIGURATION)
    tool = terraform.prepare(directory / "terraform")
    tool.run("init", "-no-color", cwd=directory)
    return tool, directory


def rejected_by_plan(tool: tuple[terraform.Terraform, Path], patterns: list[str]) -> set[str]:
    terraform_, directory = tool
    (directory / "terraform.tfvars.json").write_text(json.dumps({"filters": {"exclude": patterns}}))
    terraform_.run("apply", "-auto-approve", "-no-color", cwd=directory)
    return set(json.loads(terraform_.run("output", "-json", "invalid", cwd=directory)))


def test_the_plan_and_the_workers_reject_the_same_patterns(tool: tuple[terraform.Terraform, Path]) -> None:
    rand = random.Random(0)
    patterns = ["".join(rand.choices(PIECES, k=rand.randint(0, 4))) for _ in range(NUMBER)]
    expected = {pattern for pattern in patterns if rejected_by_workers(pattern)}
    found = rejected_by_plan(tool, patterns)
    assert sorted(found - expected) == []
    assert sorted(expected - found) == []
    assert NUMBER / 4 < len(expected) < NUMBER * 3 / 4


def test_a_line_break_is_rejected_by_the_plan_only(tool: tuple[terraform.Terraform, Path]) -> None:
    """The command accepts one as an option. The environment of a worker has a pattern on each line."""
    assert rejected_by_plan(tool, ["a\nb", "a\rb", "a?b"]) == {"a\nb", "a\rb"}
