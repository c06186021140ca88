"""Unit tests of scripts/docs: the documents repeat the code, and the format of the generated parts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devtools import docs, module_docs
from devtools.bootstrap import ROOT

VARIABLES = r"""
variable "source_bucket" {
  description = "Name of the bucket, like \"my-bucket\" | not its ARN: see `a.b`. It exists."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+$", var.source_bucket))
    error_message = "Write ${var.source_bucket} in letters."
  }
}

variable "sync" {
  # A comment, and a heredoc.
  description = <<-EOT
    Scope of sync. See [limits](docs/limits.md):
    - `delete`: "gone" here (or there), gone there
    - `size_mb` (1 to 5): size in MB. Null for any
    - `vpc`: network
    - `vpc.ids` (at least one): ids of subnets
  EOT
  type = object({
    delete  = optional(bool, true)
    size_mb = optional(number)
    vpc = optional(object({
      ids = list(string)
    }))
  })
  default  = {}
  nullable = false
}

variable "mode" {
  description = <<-EOT
    Path of the events:
    - `"sqs"`: the queue
    - `"none"`: nothing
  EOT
  type        = string
  default     = "sqs"
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

output "service" {
  description = <<-EOT
    ECS service. Null if off:
    - `name`: name of the service
  EOT
  value = null
}
"""

VERSIONS = """
terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}

data "aws_partition" "current" {}

resource "aws_sqs_queue" "work" {}

resource "aws_iam_role" "function" {}
"""

SUMMARY = r"""### Inputs

| Name | Description | Type | Default |
|------|-------------|------|---------|
| [source_bucket](docs/inputs.md#input-source_bucket) | Name of the bucket, like "my-bucket" \| not its ARN: see `a.b`. | string | required |
| [sync](docs/inputs.md#input-sync) | Scope of sync. | object | `{}` |
| [mode](docs/inputs.md#input-mode) | Path of the events. | string | `"sqs"` |
| [events](docs/inputs.md#input-events) | Events. | list | `["a", "b"]` |

### Outputs

| Name | Description |
|------|-------------|
| [queue_arn](docs/inputs.md#output-queue_arn) | ARN of the queue. |
| [service](docs/inputs.md#output-service) | ECS service. |"""  # noqa: E501

SECTIONS = r"""## Inputs

### Input `source_bucket`

Name of the bucket, like "my-bucket" | not its ARN: see `a.b`. It exists.

Type: `string`. Required.

### Input `sync`

Scope of sync. See [limits](limits.md).

Type: `object`. Default: `{}`.

| Attribute | Type | Default | Allowed values | Description |
|-----------|------|---------|----------------|-------------|
| `delete` | `bool` | `true` | `true`, `false` | "gone" here (or there), gone there. |
| `size_mb` | `number` | `null` | 1 to 5 | Size in MB. Null for any. |
| `vpc` | `object` | `null` |  | Network. |
| `vpc.ids` | `list(string)` | required | at least one | Ids of subnets. |

### Input `mode`

Path of the events:
- `"sqs"`: the queue
- `"none"`: nothing

Type: `string`. Default: `"sqs"`.

### Input `events`

Events.

Type: `list(string)`. Default: `["a", "b"]`.

## Outputs

### Output `queue_arn`

ARN of the queue.

### Output `service`

ECS service. Null if off.

| Attribute | Description |
|-----------|-------------|
| `name` | Name of the service. |"""

REQUIREMENTS = r"""### Requirements

| Name | Version |
|------|---------|
| <a name="requirement_terraform"></a> [terraform](#requirement\_terraform) | >= 1.11 |
| <a name="requirement_aws"></a> [aws](#requirement\_aws) | >= 5.100, < 7 |

### Providers

| Name | Version |
|------|---------|
| <a name="provider_aws"></a> [aws](#provider\_aws) | >= 5.100, < 7 |

### Resources

| Name | Type |
|------|------|
| [aws_iam_role.function](https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/iam_role) | resource |
| [aws_sqs_queue.work](https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/sqs_queue) | resource |
| [aws_partition.current](https://registry.terraform.io/providers/hashicorp/aws/latest/docs/data-sources/partition) | data source |"""  # noqa: E501


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "variables.tf").write_text(VARIABLES)
    (tmp_path / "outputs.tf").write_text(OUTPUTS)
    (tmp_path / "versions.tf").write_text(VERSIONS)
    return tmp_path


@pytest.mark.parametrize("part", docs.PARTS, ids=lambda part: f"{part.document.relative_to(ROOT)}{part.begin}")
def test_documents_repeat_the_code(part: docs.Part) -> None:
    text = part.document.read_text()
    assert part.into(text) == text, "run scripts/docs"


def test_readme_has_one_line_per_input_and_output(module: Path) -> None:
    assert module_docs.summary(module) == SUMMARY


def test_reference_has_one_section_per_input_and_output(module: Path) -> None:
    assert module_docs.sections(module) == SECTIONS


def test_requirements_have_the_format_of_terraform_docs(module: Path) -> None:
    assert module_docs.requirements(module) == REQUIREMENTS


def test_terraform_docs_is_configured_for_the_same_sections() -> None:
    settings = (ROOT / ".terraform-docs.yml").read_text()
    shown = re.findall(r"^    - (\w+)$", settings, re.MULTILINE)
    assert shown == [heading.lower() for heading in re.findall(r"^### (\w+)$", REQUIREMENTS, re.MULTILINE)]
    (part,) = (part for part in docs.PARTS if "TF_DOCS" in part.begin)
    assert all(marker in settings for marker in (part.begin, part.end, f"file: {part.document.relative_to(ROOT)}"))
    assert "indent: 3" in settings, "the sections have headings of level 3"


@pytest.mark.parametrize("left_out", ["description", "type"])
def test_every_input_needs_description_and_type(module: Path, left_out: str) -> None:
    lines = VARIABLES.splitlines(keepends=True)
    lines.remove(next(line for line in lines if line.lstrip().startswith(left_out)))
    (module / "variables.tf").write_text("".join(lines))
    with pytest.raises(module_docs.DocsError, match=f"source_bucket needs a {left_out}"):
        module_docs.sections(module)


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("    - `size_mb` (1 to 5): size in MB. Null for any\n", ""),
        ("    - `vpc`: network\n", "    - `vpc`: network\n    - `other`: no attribute\n"),
        ("    - `vpc.ids` (at least one): ids of subnets\n", "    - `ids` (at least one): ids of subnets\n"),
    ],
    ids=["missing", "unknown", "without its object"],
)
def test_every_attribute_needs_its_line(module: Path, line: str, instead: str) -> None:
    assert line in VARIABLES
    (module / "variables.tf").write_text(VARIABLES.replace(line, instead))
    with pytest.raises(module_docs.DocsError, match=r"sync needs one line .* delete, size_mb, vpc, vpc\.ids"):
        module_docs.sections(module)


PART = docs.Part(ROOT / "README.md", "<begin>", "<end>", lambda: "new")


def test_only_text_between_the_markers_is_replaced() -> None:
    assert PART.into("above\n<begin>\nold\n<end>\nbelow\n") == "above\n<begin>\nnew\n<end>\nbelow\n"


@pytest.mark.parametrize("text", ["neither", "<begin>", "<end>", "<end>\n<begin>"])
def test_missing_markers_are_an_error(text: str) -> None:
    with pytest.raises(docs.DocsError, match="needs a line"):
        PART.into(text)


def test_conditions_share_one_cell() -> None:
    tests = {"StringEquals": {"aws:SourceAccount": "1"}, "ArnLike": {"aws:SourceArn": ["a", "b"]}}
    assert docs.conditions(tests) == "`aws:SourceAccount` StringEquals `1`<br/>`aws:SourceArn` ArnLike `a` or `b`"
