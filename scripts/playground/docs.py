"""`scripts/docs`: the tables of inputs and outputs in README.md, from variables.tf and outputs.tf.

In the shape, and between the markers, of terraform-docs, so that either can write them; terraform-docs itself is a
program in Go that no Python package brings along.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click
from hcl2 import SerializationOptions
from hcl2.query import NodeView
from hcl2.query.blocks import BlockView
from hcl2.query.body import DocumentView

from playground.bootstrap import ROOT

BEGIN = "<!-- BEGIN_TF_DOCS -->"
END = "<!-- END_TF_DOCS -->"

# Heredocs as quoted strings, and quotes kept: what is a string then reads as JSON, escapes and all.
AS_QUOTED = SerializationOptions(with_comments=False, preserve_heredocs=False, explicit_blocks=False)


class DocsError(Exception):
    """The tables cannot be written; the message says what to change."""


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; show what would change, and exit 1 if anything would.")
def main(check: bool) -> None:
    """Write the tables of inputs and outputs into README.md."""
    readme = ROOT / "README.md"
    old = readme.read_text()
    try:
        new = between_markers(old, tables(ROOT))
    except DocsError as error:
        sys.exit(f"scripts/docs: {error}")
    if not check:
        readme.write_text(new)
    elif old != new:
        sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "README.md", "the code"))
        sys.exit("scripts/docs: README.md is not what the code says: run scripts/docs and commit it")


def between_markers(text: str, tables: str) -> str:
    """The text with the tables in place of whatever is between its markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DocsError(f"README.md needs a line {BEGIN} and, below it, a line {END}")
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


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
