"""`scripts/docs`: what the documents repeat of the code, so that it is what the code says.

The tables of inputs and outputs in README.md, from variables.tf and outputs.tf, in the shape, and between the markers,
of terraform-docs, so that either can write them; terraform-docs itself is a program in Go that no Python package brings
along. And who may do what in docs/security.md, from a plan.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from hcl2 import SerializationOptions
from hcl2.query import NodeView
from hcl2.query.blocks import BlockView
from hcl2.query.body import DocumentView

from playground import permissions
from playground.bootstrap import ROOT

# Heredocs as quoted strings, and quotes kept: what is a string then reads as JSON, escapes and all.
AS_QUOTED = SerializationOptions(with_comments=False, preserve_heredocs=False, explicit_blocks=False)


class DocsError(Exception):
    """The tables cannot be written; the message says what to change."""


@dataclass(frozen=True)
class Part:
    """A part of a document that is written here, between two lines."""

    document: Path
    begin: str
    end: str
    content: Callable[[], str]

    def into(self, text: str) -> str:
        """The text with the content in place of whatever is between the lines."""
        before, begin, rest = text.partition(self.begin)
        _, end, after = rest.partition(self.end)
        if not begin or not end:
            name = self.document.relative_to(ROOT)
            raise DocsError(f"{name} needs a line {self.begin} and, below it, a line {self.end}")
        return f"{before}{self.begin}\n{self.content()}\n{self.end}{after}"


PARTS = (
    Part(ROOT / "README.md", "<!-- BEGIN_TF_DOCS -->", "<!-- END_TF_DOCS -->", lambda: tables(ROOT)),
    Part(
        ROOT / "docs" / "security.md",
        "<!-- BEGIN_PERMISSIONS -->",
        "<!-- END_PERMISSIONS -->",
        lambda: permission_tables(permissions.plan()),
    ),
)


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; show what would change, and exit 1 if anything would.")
def main(check: bool) -> None:
    """Write into the documents what they repeat of the code."""
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
        sys.exit("scripts/docs: the documents are not what the code says: run scripts/docs and commit them")


def tables(module: Path) -> str:
    """Inputs and outputs of the module in that directory, in the order of its code: what is required comes first."""
    inputs = [
        (
            anchored("input", name(block)),
            cell(described(block)),
            code(source(block, "type")),
            code(source(block, "default")) if has(block, "default") else "n/a",
            "no" if has(block, "default") else "yes",
        )
        for block in blocks(module / "variables.tf", "variable")
    ]
    outputs = [
        (anchored("output", name(block)), cell(described(block))) for block in blocks(module / "outputs.tf", "output")
    ]
    return "\n".join(
        [
            "### Inputs\n",
            *table(("Name", "Description", "Type", "Default", "Required"), inputs, centred="Required"),
            "\n### Outputs\n",
            *table(("Name", "Description"), outputs),
        ]
    )


def permission_tables(plan: permissions.Plan) -> str:
    """Who may do what, and on whose behalf, as the plan has it."""
    roles = [
        (code(role), code(statement["Principal"]["Service"]), conditions(statement.get("Condition", {})))
        for role, trust in plan.trusts().items()
        for statement in trust
    ]
    allowed = [
        (
            code(s.role),
            code(s.sid) + (" denies" if s.effect == "Deny" else ""),
            "<br/>".join(map(code, s.actions)),
            "<br/>".join(map(code, s.resources)),
            conditions(s.conditions),
        )
        for s in plan.statements()
    ]
    queues = [
        (
            code(queue),
            code(statement["Sid"]) + (" denies" if statement["Effect"] == "Deny" else ""),
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
            "### Roles, and who may take them\n",
            *table(("Role", "Taken by", "Only if"), roles),
            "\n### What the roles may do\n",
            *table(("Role", "Statement", "Actions", "On", "Only if"), allowed),
            "\n### What the queues let others do\n",
            *table(("Queue", "Statement", "Who", "Action", "Only if"), queues),
            "\n### What the key has to let AWS do\n",
            f"```json\n{key}\n```",
        ]
    )


def conditions(tests: Mapping[str, Mapping[str, Any]]) -> str:
    """IAM's conditions in a cell: all of them have to hold, each with any of its values."""
    return "<br/>".join(
        f"{code(key)} {operator} " + " or ".join(map(code, [values] if isinstance(values, str) else values))
        for operator, keys in tests.items()
        for key, values in keys.items()
    )


def blocks(file: Path, kind: str) -> list[BlockView]:
    return [
        block
        for block in DocumentView.parse(file.read_text()).blocks(kind)
        if isinstance(block, BlockView)  # which it always is; the library's signature says less
    ]


def name(block: BlockView) -> str:
    (label,) = block.name_labels
    return label


def has(block: BlockView, attribute: str) -> bool:
    return block.attribute(attribute) is not None


def described(block: BlockView) -> str:
    attribute = given(block, "description")
    return str(json.loads(attribute.to_dict(options=AS_QUOTED)["description"])).strip()


def source(block: BlockView, attribute: str) -> str:
    """An attribute's value as it is written, with its further lines at the margin that its first line has."""
    _, _, value = given(block, attribute).to_hcl().partition("=")
    first, *further = value.strip().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in further if line.strip()), default=0)
    return "\n".join([first, *(line[margin:] for line in further)])


def given(block: BlockView, attribute: str) -> NodeView:
    found = block.attribute(attribute)
    if found is None:
        raise DocsError(f"{name(block)} needs a {attribute}")
    return found


def anchored(kind: str, name: str) -> str:
    escaped = name.replace("_", "\\_")
    return f'<a name="{kind}_{name}"></a> [{escaped}](#{kind}\\_{escaped})'


def code(text: str) -> str:
    """Code in a cell, which cannot hold a block of several lines."""
    return f"<pre>{cell(text)}</pre>" if "\n" in text else f"`{cell(text)}`"


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br/>")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], centred: str = "") -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join(rule(title, title == centred) for title in head)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def rule(title: str, centred: bool) -> str:
    return f":{'-' * len(title)}:" if centred else "-" * (len(title) + 2)


if __name__ == "__main__":
    main()
