"""Render the interface of the Terraform module as Markdown, from its code.

README.md gets one line per input and output, and the tables of requirements, providers and resources that
terraform-docs prints. docs/inputs.md gets one section per input and output, with a table of an object's attributes.

A description has the form that these tables need: a first sentence, further sentences, and for an object one line
``- `attribute` (allowed values): text`` per attribute. An attribute of a nested object has a dotted name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hcl2 import SerializationOptions
from hcl2.query import NodeView
from hcl2.query.blocks import BlockView
from hcl2.query.body import DocumentView

# Heredocs become quoted strings, and quotes are kept, so that a string can be read as JSON with its escapes.
AS_QUOTED = SerializationOptions(with_comments=False, preserve_heredocs=False, explicit_blocks=False)

REGISTRY = "https://registry.terraform.io/providers/hashicorp/aws/latest/docs"

ITEM = re.compile(r"^- `(?P<name>[\w.]+)`(?: \((?P<allowed>.*?)\))?: (?P<text>.+)$")
SENTENCE = re.compile(r"(?:`[^`]*`|[^`])*?(?:\.(?=\s|$)|:$)")
BOOL = "`true`, `false`"


class DocsError(Exception):
    """The documents cannot be written; the message says what to change."""


@dataclass(frozen=True)
class Attribute:
    """An attribute of an object, under its dotted name."""

    name: str
    type: str
    default: str  # as code; empty for a required attribute


@dataclass(frozen=True)
class Item:
    """The line of a description about one attribute."""

    name: str
    allowed: str
    text: str


@dataclass(frozen=True)
class Description:
    """A description, split at its items."""

    text: str  # the sentences before the items
    items: tuple[Item, ...]
    summary: str  # the first sentence

    @classmethod
    def parse(cls, text: str) -> Description:
        """Split a description; lines that start with another kind of item stay in its text."""
        lines = text.strip().split("\n")
        found = [(line, ITEM.match(line)) for line in lines]
        items = tuple(Item(m["name"], m["allowed"] or "", m["text"]) for _, m in found if m)
        rest = "\n".join(line for line, m in found if not m)
        first = SENTENCE.match(lines[0])
        return cls(
            rest if "\n" in rest else with_full_stop(rest), items, with_full_stop(first[0] if first else lines[0])
        )


def with_full_stop(text: str) -> str:
    """Return the text with a full stop instead of a colon at its end."""
    return text if text.endswith(".") else text.rstrip(":") + "."


# What README.md gets


def requirements(module: Path) -> str:
    """Return the sections of terraform-docs: requirements, providers and resources of the module."""
    versions = (module / "versions.tf").read_text()
    needed = found(r'required_version = "(.+)"', versions, "versions.tf")
    provider = found(r'version = "(.+)"', versions.partition("required_providers")[2], "versions.tf")
    made = sorted(resources(module))
    return "\n".join(
        [
            "### Requirements\n",
            *table(
                ("Name", "Version"),
                [(anchored("requirement", "terraform"), needed), (anchored("requirement", "aws"), provider)],
            ),
            "\n### Providers\n",
            *table(("Name", "Version"), [(anchored("provider", "aws"), provider)]),
            "\n### Resources\n",
            *table(("Name", "Type"), [(f"[{address}]({REGISTRY}/{page})", kind) for _, address, page, kind in made]),
        ]
    )


def found(pattern: str, text: str, where: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise DocsError(f"{where} needs {pattern}")
    return match[1]


def resources(module: Path) -> Iterator[tuple[int, str, str, str]]:
    """Yield sort key, address, page in the registry, and kind of each resource and data source."""
    for file in module.glob("*.tf"):
        for order, (block_type, folder, kind) in enumerate(
            [("resource", "resources", "resource"), ("data", "data-sources", "data source")]
        ):
            for block in blocks(file, block_type):
                type_, label = block.name_labels
                yield order, f"{type_}.{label}", f"{folder}/{type_.removeprefix('aws_')}", kind


def summary(module: Path) -> str:
    """Return the tables of README.md: one line per input and output, linked to docs/inputs.md."""
    inputs = [
        (
            f"[{name(block)}](docs/inputs.md#input-{name(block)})",
            cell(described(block).summary),
            kind(source(block, "type")),
            code(source(block, "default")) if has(block, "default") else "required",
        )
        for block in blocks(module / "variables.tf", "variable")
    ]
    outputs = [
        (f"[{name(block)}](docs/inputs.md#output-{name(block)})", cell(described(block).summary))
        for block in blocks(module / "outputs.tf", "output")
    ]
    return "\n".join(
        [
            "### Inputs\n",
            *table(("Name", "Description", "Type", "Default"), inputs),
            "\n### Outputs\n",
            *table(("Name", "Description"), outputs),
        ]
    )


def kind(type_: str) -> str:
    """Return the first word of a type."""
    return type_.partition("(")[0]


# What docs/inputs.md gets


def sections(module: Path) -> str:
    """Return one section per input and output of the module, in the order of its code."""
    parts = ["## Inputs"]
    parts += [input_section(block) for block in blocks(module / "variables.tf", "variable")]
    parts.append("## Outputs")
    parts += [output_section(block) for block in blocks(module / "outputs.tf", "output")]
    # A link of a description is relative to the directory of the module.
    return "\n\n".join(parts).replace("](docs/", "](")


def input_section(block: BlockView) -> str:
    description, type_ = described(block), source(block, "type")
    attributes = list(parsed(type_))
    if [each.name for each in attributes] != [item.name for item in description.items]:
        raise DocsError(
            f"{name(block)} needs one line of its description for each attribute, in the order of the type: "
            + ", ".join(each.name for each in attributes)
        )
    default = code(source(block, "default")) if has(block, "default") else ""
    facts = f"Type: `{kind(type_) if attributes else type_}`. " + (f"Default: {default}." if default else "Required.")
    parts = [f"### Input `{name(block)}`", description.text, facts]
    if attributes:
        head = ("Attribute", "Type", "Default", "Allowed values", "Description")
        rows = [row(attribute, item) for attribute, item in zip(attributes, description.items, strict=True)]
        parts.append("\n".join(table(head, rows)))
    return "\n\n".join(parts)


def row(attribute: Attribute, item: Item) -> tuple[str, ...]:
    allowed = item.allowed or (BOOL if attribute.type == "bool" else "")
    default = code(attribute.default) if attribute.default else "required"
    return code(attribute.name), code(attribute.type), default, cell(allowed), cell(sentence(item.text))


def sentence(text: str) -> str:
    """Return the text of an item as a sentence: it starts with a capital letter and ends with a full stop."""
    return with_full_stop(text[0].upper() + text[1:])


def output_section(block: BlockView) -> str:
    description = described(block)
    parts = [f"### Output `{name(block)}`", description.text]
    if description.items:
        rows = [(code(item.name), cell(sentence(item.text))) for item in description.items]
        parts.append("\n".join(table(("Attribute", "Description"), rows)))
    return "\n\n".join(parts)


# Types, as they are written in the code


def parsed(type_: str, prefix: str = "") -> Iterator[Attribute]:
    """Yield the attributes of an object type, each followed by those of a nested object."""
    if not type_.startswith("object("):
        return
    for entry in split(inner(inner(type_)), "\n,"):
        label, _, written = (part.strip() for part in entry.partition("="))
        default = ""
        if written.startswith("optional("):
            written, *rest = split(inner(written), ",")
            default = rest[0] if rest else "null"
        yield Attribute(prefix + label, kind(written) if written.startswith("object(") else written, default)
        yield from parsed(written, f"{prefix}{label}.")


def inner(text: str) -> str:
    """Return the text between the first bracket and the last."""
    start = min(text.find(bracket) for bracket in "([{" if bracket in text)
    return text[start + 1 : max(text.rfind(bracket) for bracket in ")]}")]


def split(text: str, separators: str) -> list[str]:
    """Split the text at separators that are in no brackets and no quotes."""
    parts, depth, quoted = [""], 0, False
    for character in text:
        quoted ^= character == '"'
        depth += (character in "([{") - (character in ")]}")
        if character in separators and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


# Blocks of the code


def blocks(file: Path, kind: str) -> list[BlockView]:
    """Return the blocks of that kind in the file."""
    return [
        block
        for block in DocumentView.parse(file.read_text()).blocks(kind)
        if isinstance(block, BlockView)  # always true; the signature of the library is wider
    ]


def name(block: BlockView) -> str:
    (label,) = block.name_labels
    return label


def has(block: BlockView, attribute: str) -> bool:
    return block.attribute(attribute) is not None


def described(block: BlockView) -> Description:
    attribute = given(block, "description")
    return Description.parse(str(json.loads(attribute.to_dict(options=AS_QUOTED)["description"])))


def source(block: BlockView, attribute: str) -> str:
    """Return the value of an attribute as it is written, its further lines aligned with the first one."""
    _, _, value = given(block, attribute).to_hcl().partition("=")
    first, *further = value.strip().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in further if line.strip()), default=0)
    return "\n".join([first, *(line[margin:] for line in further)])


def given(block: BlockView, attribute: str) -> NodeView:
    value = block.attribute(attribute)
    if value is None:
        raise DocsError(f"{name(block)} needs a {attribute}")
    return value


# Markdown


def anchored(kind: str, name: str) -> str:
    """Return a name with its own anchor, as terraform-docs writes it."""
    escaped = name.replace("_", "\\_")
    return f'<a name="{kind}_{name}"></a> [{escaped}](#{kind}\\_{escaped})'


def code(text: str) -> str:
    """Return code for a table cell, which cannot contain a block of several lines."""
    return f"<pre>{cell(text)}</pre>" if "\n" in text else f"`{cell(text)}`"


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br/>")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, in the format of terraform-docs."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join('-' * (len(title) + 2) for title in head)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
