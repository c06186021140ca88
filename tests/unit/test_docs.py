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


@pytest.mark.parametrize("part", docs.PARTS, ids=lambda part: str(part.document.relative_to(ROOT)))
def test_the_documents_say_what_the_code_says(part: docs.Part) -> None:
    text = part.document.read_text()
    assert part.into(text) == text, "run scripts/docs"


def test_tables_are_in_the_shape_of_terraform_docs(module: Path) -> None:
    assert docs.tables(module) == TABLES


@pytest.mark.parametrize("left_out", ["description", "type"])
def test_every_input_is_described_and_typed(module: Path, left_out: str) -> None:
    lines = VARIABLES.splitlines(keepends=True)
    lines.remove(next(line for line in lines if line.lstrip().startswith(left_out)))
    (module / "variables.tf").write_text("".join(lines))
    with pytest.raises(docs.DocsError, match=f"source_bucket needs a {left_out}"):
        docs.tables(module)


PART = docs.Part(ROOT / "README.md", "<begin>", "<end>", lambda: "new")


def test_only_what_is_between_the_markers_is_replaced() -> None:
    assert PART.into("above\n<begin>\nold\n<end>\nbelow\n") == "above\n<begin>\nnew\n<end>\nbelow\n"


@pytest.mark.parametrize("text", ["neither", "<begin>", "<end>", "<end>\n<begin>"])
def test_markers_that_are_missing_are_asked_for(text: str) -> None:
    with pytest.raises(docs.DocsError, match="needs a line"):
        PART.into(text)


def test_conditions_are_told_in_one_cell() -> None:
    tests = {"StringEquals": {"aws:SourceAccount": "1"}, "ArnLike": {"aws:SourceArn": ["a", "b"]}}
    assert docs.conditions(tests) == "`aws:SourceAccount` StringEquals `1`<br/>`aws:SourceArn` ArnLike `a` or `b`"
