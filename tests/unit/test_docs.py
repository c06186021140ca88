"""The tables of inputs and outputs: that README.md has those of the code, and how they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from playground import docs
from playground.bootstrap import ROOT

VARIABLES = r"""
variable "source_bucket" {
  description = "Name of the bucket, like \"my-bucket\" | not its ARN."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+$", var.source_bucket))
    error_message = "Write ${var.source_bucket} in letters."
  }
}

variable "sync" {
  # A comment, and a heredoc.
  description = <<-EOT
    What is mirrored:
    - `delete`: "gone" here, gone there
  EOT
  type = object({
    delete = optional(bool, true)
    vpc = optional(object({
      ids = list(string)
    }))
  })
  default  = {}
  nullable = false
}

variable "events" {
  description = "Events."
  type        = list(string)
  default     = ["a", "b"]
}
"""

OUTPUTS = """
output "queue_arn" {
  description = "ARN of the queue."
  value       = aws_sqs_queue.work.arn
  depends_on  = [aws_sqs_queue_policy.all]
}
"""


def anchor(kind: str, name: str) -> str:
    escaped = name.replace("_", r"\_")
    return rf'<a name="{kind}_{name}"></a> [{escaped}](#{kind}\_{escaped})'


SYNC_TYPE = (
    "<pre>object({<br/>"
    "  delete = optional(bool, true)<br/>"
    "  vpc = optional(object({<br/>"
    "    ids = list(string)<br/>"
    "  }))<br/>"
    "})</pre>"
)

TABLES = rf"""### Inputs

| Name | Description | Type | Default | Required |
|------|-------------|------|---------|:--------:|
| {anchor("input", "source_bucket")} | Name of the bucket, like "my-bucket" \| not its ARN. | `string` | n/a | yes |
| {anchor("input", "sync")} | What is mirrored:<br/>- `delete`: "gone" here, gone there | {SYNC_TYPE} | `{{}}` | no |
| {anchor("input", "events")} | Events. | `list(string)` | `["a", "b"]` | no |

### Outputs

| Name | Description |
|------|-------------|
| {anchor("output", "queue_arn")} | ARN of the queue. |"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "variables.tf").write_text(VARIABLES)
    (tmp_path / "outputs.tf").write_text(OUTPUTS)
    return tmp_path


def test_readme_says_what_the_code_says() -> None:
    readme = (ROOT / "README.md").read_text()
    assert docs.between_markers(readme, docs.tables(ROOT)) == readme, "run scripts/docs"


def test_tables_are_in_the_shape_of_terraform_docs(module: Path) -> None:
    assert docs.tables(module) == TABLES


@pytest.mark.parametrize("left_out", ["description", "type"])
def test_every_input_is_described_and_typed(module: Path, left_out: str) -> None:
    lines = VARIABLES.splitlines(keepends=True)
    lines.remove(next(line for line in lines if line.lstrip().startswith(left_out)))
    (module / "variables.tf").write_text("".join(lines))
    with pytest.raises(docs.DocsError, match=f"source_bucket needs a {left_out}"):
        docs.tables(module)


def test_only_what_is_between_the_markers_is_replaced() -> None:
    text = f"above\n{docs.BEGIN}\nold\n{docs.END}\nbelow\n"
    assert docs.between_markers(text, "new") == f"above\n{docs.BEGIN}\nnew\n{docs.END}\nbelow\n"


@pytest.mark.parametrize("text", ["neither", docs.BEGIN, docs.END, f"{docs.END}\n{docs.BEGIN}"])
def test_markers_that_are_missing_are_asked_for(text: str) -> None:
    with pytest.raises(docs.DocsError, match="needs a line"):
        docs.between_markers(text, "new")
