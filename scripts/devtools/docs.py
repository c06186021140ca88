"""`scripts/docs`: write the parts of the documents that repeat the code.

README.md gets the tables of inputs, outputs, requirements, providers and resources. docs/inputs.md gets the reference
of inputs and outputs, docs/cli.md the commands, and docs/s3-syncer.1 the same as a man page. docs/aws-behaviour.md gets
the list of `scripts/first-apply`, and docs/security.md the permissions, from a plan. The part of README.md between the
markers of terraform-docs is what terraform-docs writes with .terraform-docs.yml. terraform-docs is a Go program without
a Python package, so it is not used here.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from devtools import aws_behaviour, cli_docs, man_page, module_docs, permissions
from devtools.bootstrap import ROOT
from devtools.module_docs import DocsError, code, table


@dataclass(frozen=True)
class Part:
    """A part of a document, between two marker lines."""

    document: Path
    begin: str
    end: str
    content: Callable[[], str]

    def into(self, text: str) -> str:
        """Return the text with the content between the marker lines replaced."""
        before, begin, rest = text.partition(self.begin)
        _, end, after = rest.partition(self.end)
        if not begin or not end:
            name = self.document.relative_to(ROOT)
            raise DocsError(f"{name} needs a line {self.begin} and, below it, a line {self.end}")
        return f"{before}{self.begin}\n{self.content()}\n{self.end}{after}"


PARTS = (
    Part(ROOT / "README.md", "<!-- BEGIN_INPUTS -->", "<!-- END_INPUTS -->", lambda: module_docs.summary(ROOT)),
    Part(ROOT / "README.md", "<!-- BEGIN_TF_DOCS -->", "<!-- END_TF_DOCS -->", lambda: module_docs.requirements(ROOT)),
    Part(
        ROOT / "docs" / "inputs.md", "<!-- BEGIN_INPUTS -->", "<!-- END_INPUTS -->", lambda: module_docs.sections(ROOT)
    ),
    Part(ROOT / "docs" / "cli.md", "<!-- BEGIN_CLI -->", "<!-- END_CLI -->", cli_docs.reference),
    Part(ROOT / "docs" / "s3-syncer.1", '.\\" BEGIN_PAGE', '.\\" END_PAGE', man_page.page),
    Part(
        ROOT / "docs" / "aws-behaviour.md",
        "<!-- BEGIN_BEHAVIOUR -->",
        "<!-- END_BEHAVIOUR -->",
        lambda: aws_behaviour.markdown(aws_behaviour.read()),
    ),
    Part(
        ROOT / "docs" / "security.md",
        "<!-- BEGIN_PERMISSIONS -->",
        "<!-- END_PERMISSIONS -->",
        lambda: permission_tables(permissions.plan()),
    ),
)


@click.command()
@click.option("--check", is_flag=True, help="Write nothing. Print the differences, and exit 1 if there are any.")
def main(check: bool) -> None:
    """Write the parts of the documents that repeat the code."""
    stale = False
    for part in PARTS:
        name, old = str(part.document.relative_to(ROOT)), part.document.read_text()
        try:
            new = part.into(old)
        except DocsError as error:
            sys.exit(f"scripts/docs: {error}")
        if not check:
            part.document.write_text(new)
        elif old != new:
            sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), name, "the code"))
            stale = True
    if stale:
        sys.exit("scripts/docs: the documents are out of date: run scripts/docs and commit the result")


def permission_tables(plan: permissions.Plan) -> str:
    """Return the tables of roles, permissions and policies of a plan."""
    roles = [
        (code(role), code(statement["Principal"]["Service"]), conditions(statement.get("Condition", {})))
        for role, trust in plan.trusts().items()
        for statement in trust
    ]
    allowed = [
        (
            code(s.role),
            code(s.sid) + (" (Deny)" if s.effect == "Deny" else ""),
            "<br/>".join(map(code, s.actions)),
            "<br/>".join(map(code, s.resources)),
            conditions(s.conditions),
        )
        for s in plan.statements()
    ]
    queues = [
        (
            code(queue),
            code(statement["Sid"]) + (" (Deny)" if statement["Effect"] == "Deny" else ""),
            code(statement["Principal"] if statement["Principal"] == "*" else statement["Principal"]["Service"]),
            code(statement["Action"]),
            conditions(statement.get("Condition", {})),
        )
        for queue, policy in plan.queue_policies().items()
        for statement in policy
    ]
    key = json.dumps(plan.output("kms_key_policy_statements"), indent=2)
    return "\n".join(
        [
            "### Roles\n",
            *table(("Role", "Trusted service", "Conditions"), roles),
            "\n### Permissions of the roles\n",
            *table(("Role", "Statement", "Actions", "Resources", "Conditions"), allowed),
            "\n### Queue policies\n",
            *table(("Queue", "Statement", "Principal", "Action", "Conditions"), queues),
            "\n### Statements for the key policy\n",
            f"```json\n{key}\n```",
        ]
    )


def conditions(tests: Mapping[str, Mapping[str, Any]]) -> str:
    """Return IAM conditions for a table cell. All conditions must hold, each with one of its values."""
    return "<br/>".join(
        f"{code(key)} {operator} " + " or ".join(map(code, [values] if isinstance(values, str) else values))
        for operator, keys in tests.items()
        for key, values in keys.items()
    )


if __name__ == "__main__":
    main(prog_name="scripts/docs")
