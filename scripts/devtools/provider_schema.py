"""Read the attributes of version 6 of the AWS provider from `pulumi-aws`.

That package is generated from the schema of the provider. The tests cannot run version 6, because only version 5 is
available offline. To make the list again, run this with a wheel of `pulumi-aws`:

    pip download --no-deps pulumi-aws
    PYTHONPATH=scripts python -m devtools.provider_schema pulumi_aws-*.whl > tests/module/provider_6.json
"""

from __future__ import annotations

import ast
import json
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hcl2.query.body import DocumentView

from devtools.bootstrap import ROOT

#: The name of an attribute, with the names of its blocks, and the text of its deprecation or None.
Attributes = dict[str, str | None]

#: Where the name of a type in Pulumi does not follow from its name in Terraform.
MODULES = {
    "data aws_cloudcontrolapi_resource": "cloudcontrol/get_resource",
    "data aws_vpc": "ec2/get_vpc",
    "resource aws_lambda_": "lambda_/",
    "resource aws_sqs_queue_redrive_allow_policy": "sqs/redrive_allow_policy",
    "resource aws_security_group": "ec2/security_group",
    "resource aws_vpc_endpoint": "ec2/vpc_endpoint",
}

#: Attributes that Pulumi has under another name, by type and name.
RENAMED = {
    ("resource aws_cloudwatch_metric_alarm", "alarm_name"): "name",
    ("resource aws_lambda_function", "filename"): "code",
    ("resource aws_lambda_function", "function_name"): "name",
    ("resource aws_sns_topic_subscription", "topic_arn"): "topic",
}

#: Blocks of Terraform itself, which every type has.
META = ("lifecycle", "provisioner", "connection", "timeouts")


#: The files with the attributes to compare.
CONFIGURATIONS = [file for pattern in ("*.tf", "examples/*/*.tf") for file in sorted(ROOT.glob(pattern))]


def used() -> dict[str, set[str]]:
    """Return the types of the module and the examples, with the attributes that the configurations name."""
    found: dict[str, set[str]] = {}
    texts = [file.read_text() for file in CONFIGURATIONS]
    for text in texts:
        document: Any = DocumentView.parse(text)
        for kind in ("resource", "data"):
            for block in document.blocks(kind):
                name = f"{kind} {block.name_labels[0]}"
                found.setdefault(name, set()).update(_attributes(block, ""))
    for text in texts:
        for data, kind, attribute in re.findall(r"\b(data\.)?(aws_\w+)\.\w+(?:\[[^]]*\])?\.(\w+)", text):
            found[f"{'data' if data else 'resource'} {kind}"].add(attribute)
    return found


def _attributes(block: Any, prefix: str) -> Iterator[str]:
    meta = ("count", "for_each", "depends_on", "provider")
    yield from (prefix + each.name for each in block.body.attributes() if each.name not in meta)
    for each in block.body.blocks():
        if each.block_type == "dynamic":
            (content,) = each.body.blocks("content")
            yield from _attributes(content, f"{prefix}{each.name_labels[0]}.")
        elif each.block_type not in META:
            yield from _attributes(each, f"{prefix}{each.block_type}.")


def module_of(name: str, modules: Mapping[str, str]) -> str:
    """Return the path of the module of Pulumi that has the type, without `.py`."""
    for start, module in MODULES.items():
        if start.endswith("_") and name.startswith(start):
            return module + name.removeprefix(start)
        if name == start:
            return module
    kind, _, terraform = name.partition(" ")
    words = terraform.removeprefix("aws_")
    candidates = [words] + [f"{words[:n]}/{words[n + 1 :]}" for n in range(len(words)) if words[n] == "_"]
    for candidate in candidates:
        directory, _, file = candidate.rpartition("/")
        path = "/".join(filter(None, (directory, ("get_" if kind == "data" else "") + file)))
        if path in modules:
            return path
    raise SystemExit(f"no module of pulumi_aws for {name}")


def attributes(classes: Mapping[str, ast.ClassDef], names: tuple[str, ...], prefix: str = "") -> Attributes:
    """Return the attributes of the classes with these names, and of the classes of their blocks."""
    found: Attributes = {}
    for each in (node for name in names if name in classes for node in classes[name].body):
        if isinstance(each, ast.FunctionDef) and "pulumi.getter" in (text := _decorators(each)):
            deprecated = re.search(r'deprecated\((["\']+)(.*?)\1', text, re.DOTALL)
            found[prefix + each.name] = deprecated[2] if deprecated else None
            block = re.search(r"(?:'|\.)(\w+(?:Args|Result))\b", ast.unparse(each.returns) if each.returns else "")
            if block and block[1] in classes and prefix.count(".") < 3:
                found |= attributes(classes, (block[1],), f"{prefix}{each.name}.")
    return found


def _decorators(function: ast.FunctionDef) -> str:
    return "\n".join(ast.unparse(each) for each in function.decorator_list)


def _classes(text: str) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}


def read(wheel: Path) -> dict[str, Attributes]:
    """Return the attributes of each used type."""
    found: dict[str, Attributes] = {}
    with zipfile.ZipFile(wheel) as archive:
        modules = {
            name.removeprefix("pulumi_aws/").removesuffix(".py"): name
            for name in archive.namelist()
            if name.endswith(".py")
        }
        for name in sorted(used()):
            module = module_of(name, modules)
            directory = module.rpartition("/")[0]
            paths = [f"pulumi_aws/{directory}/{file}.py".replace("//", "/") for file in ("_inputs", "outputs")]
            blocks = [_classes(archive.read(path).decode()) for path in paths if path in modules.values()]
            own = _classes(archive.read(modules[module]).decode())
            top = tuple(each for each in own if each.endswith(("State", "Args", "Result")) and "Awaitable" not in each)
            found[name] = attributes({name: node for each in (*blocks, own) for name, node in each.items()}, top)
    return found


def problems(schema: Mapping[str, Attributes], used: Mapping[str, set[str]]) -> Iterator[str]:
    """Return a line for each attribute that version 6 does not have, or that it deprecates."""
    for kind, names in sorted(used.items()):
        for name in sorted(names):
            known = next((each for each in _spellings(kind, name) if each in schema[kind]), None)
            if known is None and name != "id":
                yield f"{kind} has no {name}"
            elif known is not None and (deprecated := schema[kind][known]):
                yield f"{kind}.{name}: {deprecated}"


def _spellings(kind: str, name: str) -> Iterator[str]:
    """Yield the names that Pulumi may use: it has a plural for a block that can be repeated."""
    *blocks, last = RENAMED.get((kind, name), name).split(".")
    starts = [""]
    for block in blocks:
        starts = [f"{start}{plural}." for start in starts for plural in _plurals(block)]
    yield from (start + plural for start in starts for plural in _plurals(last))


def _plurals(word: str) -> tuple[str, ...]:
    return (word, f"{word}s", f"{word}es", f"{word.removesuffix('y')}ies")


def main(wheel: str) -> None:
    """Print the attributes as JSON, with one line for each type."""
    lines = [f"  {json.dumps(name)}: {json.dumps(each, sort_keys=True)}" for name, each in read(Path(wheel)).items()]
    joined = ",\n".join(lines)
    print(f'{{\n "from": {json.dumps(Path(wheel).name)},\n "types": {{\n{joined}\n }}\n}}')


if __name__ == "__main__":
    main(*sys.argv[1:])
