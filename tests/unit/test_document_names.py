"""The documents name only modules, files, inputs, options and scripts that exist."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import click
import pytest

from s3_syncer.cli.commands import cli
from s3_syncer.cli.options import store_config

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lambda" / "s3_syncer"

#: Without CHANGELOG.md and the decision records, which also name what no longer exists.
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted(ROOT.glob("docs/*.md")),
]

FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
SCRIPT = re.compile(r"(?<![\w/])scripts/[\w/.-]+")

#: A span that starts with one of these is a command of another program; tests/module checks those in `sh` blocks.
OTHER_PROGRAMS = ("aws ", "docker ", "git ", "pip ", "pre-commit ", "pytest ", "rclone ", "terraform ", "kubectl ")

#: Options that a document names alone, and the program that has them.
OPTIONS_OF_OTHER_PROGRAMS = {
    "--metadata": "rclone",
    "--endpoint-url": "aws",
    "--destination-arn": "aws",
    "--hypothesis-profile": "pytest",
    "--checksum": "rclone",
    "--checkers": "rclone",
    "--fast-list": "rclone",
    "--multi-thread-streams": "rclone",
    "--s3-upload-concurrency": "rclone",
    "--transfers": "rclone",
}

#: Files that a document names although the repository does not have them.
NOT_IN_THE_REPOSITORY = {
    "config.toml",
    ".local/outputs.json",
    ".local/stack.json",
    ".local/checks/logs",
    "manifest.json",
    "keys.json",
    "backup.py",
    "restore.py",
}


def spans(text: str) -> list[str]:
    """Return the inline code of a document, each on one line."""
    return [" ".join(span.split()) for span in SPAN.findall(FENCED.sub("", text))]


def unknown_names(text: str) -> Iterator[str]:
    """Yield each name in the inline code that does not exist, with the kind of name."""
    for span in spans(text):
        for kind, check in CHECKS.items():
            for name in check(span):
                yield f"{kind} {name} (in `{span}`)"


# Modules and files


@cache
def files() -> frozenset[str]:
    """Return the paths of the repository's files and folders, relative to its root."""
    skipped = {".git", ".venv", ".local", "__pycache__", "node_modules", ".terraform"}
    found = set[str]()
    folders = [ROOT]
    while folders:
        for path in folders.pop().iterdir():
            if path.name in skipped or path.name.endswith(("_cache", ".egg-info")):
                continue
            found.add(path.relative_to(ROOT).as_posix())
            if path.is_dir():
                folders.append(path)
    return frozenset(found)


@cache
def file_names() -> frozenset[str]:
    return frozenset(file.rsplit("/", 1)[-1] for file in files())


def missing_files(span: str) -> Iterator[str]:
    """Yield each path or file name in the span that is not in the repository.

    A path may start at the root, at `scripts/` or at the Python package, as the documents write it.
    """
    for name in re.findall(r"[\w./-]+", span):
        path = name.strip(".").rstrip("/") if not name.startswith(".") else name.rstrip("/")
        if path in NOT_IN_THE_REPOSITORY or not re.fullmatch(
            r"[\w./-]*\.(?:py|tf|toml|cfg|yml|yaml|hcl|json|zip)", path
        ):
            continue
        if "/" in path:
            if not {path, f"scripts/{path}", f"lambda/s3_syncer/{path}"} & files():
                yield path
        elif path not in file_names() and path.startswith(tuple("abcdefghijklmnopqrstuvwxyz_")):
            yield path


def missing_folders(span: str) -> Iterator[str]:
    """Yield each module or folder below a package or a top folder, such as `core/compare` or `tests/unit`."""
    if re.fullmatch(r"(?:core|stores|sync|queue|service|crt|cli)(?:/\w+)?/?", span) and "/" in span:
        path = PACKAGE / span
        if not path.exists() and not path.with_suffix(".py").exists():
            yield span
    elif (
        re.fullmatch(r"(?:tests|docs|examples|lambda|requirements)/[\w/-]+/?", span) and span.rstrip("/") not in files()
    ):
        yield span


def missing_modules(span: str) -> Iterator[str]:
    """Yield each dotted name below `s3_syncer` that neither is a module nor an attribute of one."""
    for name in re.findall(r"(?<![\w/.-])s3_syncer(?:\.[A-Za-z_]\w*)+", span):
        if name.endswith((".zip", ".py")):
            continue
        if not resolves(name):
            yield name


def resolves(name: str) -> bool:
    """Return True if the dotted name is a module, or an attribute of the module that it starts with."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            if not hasattr(value, attribute):
                return False
            value = getattr(value, attribute)
        return True
    return False


# Names of the Python package


@cache
def definitions() -> frozenset[str]:
    """Return every name that the package defines: classes, functions, constants, members."""
    names = set[str]()
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        names |= set(re.findall(r"^\s*(?:class|def|async def)\s+(\w+)", text, re.MULTILINE))
        names |= set(re.findall(r"^\s*(?:self\.)?(\w+)\s*(?::[^=\n]+)?=", text, re.MULTILINE))
        names |= set(re.findall(r"^\s*(\w+): ", text, re.MULTILINE))
    return frozenset(names)


@cache
def modules() -> frozenset[str]:
    return frozenset(file.stem for file in PACKAGE.rglob("*.py"))


def missing_attributes(span: str) -> Iterator[str]:
    """Yield `module.name` or `Class.name` if the package has the first, and nothing called the second."""
    match = re.fullmatch(r"(\w+)\.([A-Za-z_]\w*)(?:\(.*\))?", span)
    if match is None or match[1] in inputs() or match[2] in ("py", "tf", "md", "zip", "json", "toml"):
        return
    owner, name = match[1], match[2]
    if (owner in modules() or (owner in definitions() and owner[:1].isupper())) and name not in definitions():
        yield span


# Inputs of the Terraform module


@cache
def inputs() -> dict[str, str]:
    """Return the source of each input by its name."""
    text = (ROOT / "variables.tf").read_text()
    _, *parts = re.split(r'^variable "(\w+)" ', text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def missing_inputs(span: str) -> Iterator[str]:
    """Yield `input.attribute` if the module has the input, and the input no such attribute."""
    for name, attribute in re.findall(r"(?<![\w./-])([a-z_]+)\.([a-z_]+)(?![\w(.-])", span):
        if name in inputs() and attribute not in ("py", "tf", "md") and (name, attribute) not in outputs():
            if (PACKAGE / name / f"{attribute}.py").exists():  # a module of the package with the name of an input
                continue
            if not re.search(rf"^\s*{attribute}\s*=", inputs()[name], re.MULTILINE):
                yield f"{name}.{attribute}"


@cache
def outputs() -> frozenset[tuple[str, str]]:
    """Return the attributes of the outputs that are objects, as (output, attribute)."""
    text = (ROOT / "outputs.tf").read_text()
    found = set[tuple[str, str]]()
    for block in re.split(r'^output "', text, flags=re.MULTILINE)[1:]:
        name = block.partition('"')[0]
        found |= {(name, attribute) for attribute in re.findall(r"^ {4,}(\w+)\s*=", block, re.MULTILINE)}
    return frozenset(found)


# Scripts and options


def missing_scripts(span: str) -> Iterator[str]:
    for script in SCRIPT.findall(span):
        if script.rstrip("./") not in files():
            yield script


@cache
def options() -> frozenset[str]:
    """Return every option of `s3-syncer` and of the scripts."""
    known = {"--help", *options_of(cli)}
    for script in (ROOT / "scripts").iterdir():
        if script.is_file():
            known |= options_of_script(script)
    return frozenset(known)


@cache
def variables() -> frozenset[str]:
    """Return every environment variable that `s3-syncer` reads."""
    return frozenset(variables_of(cli)) | {store_config.VARIABLE}


def variables_of(command: click.Command) -> set[str]:
    known = set[str]()
    for parameter in command.params:
        names = parameter.envvar or ()
        known |= {names} if isinstance(names, str) else set(names)
    if isinstance(command, click.Group):
        for child in children(command):
            known |= variables_of(child)
    return known


def children(group: click.Group) -> Iterator[click.Command]:
    """Yield the commands of a group, which may import them only now."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        child = group.get_command(ctx, name)
        assert child is not None
        yield child


def missing_variables(span: str) -> Iterator[str]:
    yield from (name for name in re.findall(r"\bS3_SYNCER_[A-Z_]*[A-Z]\b", span) if name not in variables())


def options_of(command: click.Command) -> set[str]:
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    if isinstance(command, click.Group):
        for child in children(command):
            known |= options_of(child)
    return known


def options_of_script(script: Path) -> set[str]:
    """Return the options of a script: from its click command, or else from the text of what it runs."""
    text = script.read_text()
    if text.startswith("#!/usr/bin/env python3"):
        if "import click" in text:
            return options_of(load(script).main)
        return set(OPTION.findall(text))
    if module := re.search(r"-m ([a-z]\w+(?:\.\w+)*)", text):
        found = importlib.import_module(module[1])
        if isinstance(main := getattr(found, "main", None), click.Command):
            return options_of(main)
    if program := re.search(r"scripts/\S+\.py", text):
        text += (ROOT / program[0]).read_text()
    return set(OPTION.findall(text))


def load(script: Path) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(f"script_{script.name}", str(script))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def missing_options(span: str) -> Iterator[str]:
    if not span.startswith(OTHER_PROGRAMS):
        yield from (name for name in OPTION.findall(span) if name not in options() | OPTIONS_OF_OTHER_PROGRAMS.keys())


#: Names of CloudWatch metrics, which are strings in the code.
METRICS = {"DriftFailed", "DriftRepaired", "KeysCompared"}

CHECKS: dict[str, Callable[[str], Iterator[str]]] = {
    "file": missing_files,
    "folder": missing_folders,
    "module": missing_modules,
    "name": missing_attributes,
    "input": missing_inputs,
    "script": missing_scripts,
    "option": missing_options,
    "variable": missing_variables,
}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_document_names_only_what_exists(document: Path) -> None:
    assert not (unknown := list(unknown_names(document.read_text()))), "\n".join(unknown)


def test_the_glossary_names_only_identifiers_that_exist() -> None:
    named = {
        span for span in spans((ROOT / "docs" / "glossary.md").read_text()) if re.fullmatch(r"[A-Z]\w*[a-z]\w*", span)
    }
    assert len(named) > 10
    assert named - definitions() - METRICS == set()


def test_the_glossary_names_only_log_actions_that_exist() -> None:
    table = (ROOT / "docs" / "glossary.md").read_text().partition("## Log actions")[2].partition("\n## ")[0]
    actions = {name for row in re.findall(r"^\|(.*?)\|", table, re.MULTILINE) for name in SPAN.findall(row)}
    code = "\n".join(file.read_text() for file in PACKAGE.rglob("*.py"))
    assert len(actions) > 10
    assert {action for action in actions if f'"{action}"' not in code} == set()


def test_the_architecture_lists_each_module_and_no_other() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text().partition("## Modules")[2].partition("\n## ")[0]
    listed, package = list[str](), ""
    for row in re.findall(r"^\|(.*?)\|(.*?)\|", table, re.MULTILINE):
        first, names = row[0].strip(), SPAN.findall(row[1])
        if first:
            package = first.strip("`/") if first.startswith("`") else ""
        listed += [f"{package}/{name}".strip("/").removesuffix(".py") for name in names]
    modules = [file.relative_to(PACKAGE).with_suffix("").as_posix() for file in PACKAGE.rglob("*.py")]
    assert sorted(listed) == sorted(module for module in modules if not module.endswith("__init__"))


def test_the_layers_in_contributing_are_those_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == ["s3_syncer"])
    listed = "".join(f"    {layer.replace(' | ', ', ')}\n" for layer in layers)
    assert f"\n\n{listed}\n" in (ROOT / "CONTRIBUTING.md").read_text()


def test_each_exception_is_used() -> None:
    text = "\n".join(document.read_text() for document in DOCUMENTS)
    assert {name for name in (*OPTIONS_OF_OTHER_PROGRAMS, *NOT_IN_THE_REPOSITORY) if name not in text} == set()


@pytest.mark.parametrize(
    "wrong",
    [
        "core/compares.py",
        "lambda/s3_syncer/core/compares.py",
        "core/compares",
        "compares.py",
        "s3_syncer.core.compares",
        "s3_syncer.core.compare.no_such_name",
        "compare.no_such_name",
        "notification.tf",
        "sync.no_such_input",
        "--max-deletes",
        "S3_SYNCER_NO_SUCH_OPTION",
        "scripts/local up --max-deletes",
        "scripts/lokal",
        "tests/units",
    ],
)
def test_a_wrong_name_is_found(wrong: str) -> None:
    assert list(unknown_names(f"Use `{wrong}` for that."))


@pytest.mark.parametrize(
    "right",
    [
        "core/compare.py",
        "core/compare",
        "s3_syncer.core.compare",
        "compare.py",
        "notifications.tf",
        "--max-delete",
        "scripts/local up",
        "aws s3 ls --no-such-option",
        "tests/unit",
    ],
)
def test_a_right_name_is_accepted(right: str) -> None:
    assert list(unknown_names(f"Use `{right}` for that.")) == []
