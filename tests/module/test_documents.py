"""Test the configurations and the commands in the documents: they are valid, and their options exist."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import botocore.session
import click
import pytest
from botocore import xform_name
from hcl2.query.body import DocumentView

from devtools import terraform
from devtools.bootstrap import ROOT
from localcloud import main
from s3_syncer.cli.commands import cli

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/README.md")])
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WHERE_IT_IS_KEPT = re.compile(r'"git::https://git\.example\.com/s3-syncer\.git"')


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    document: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(language: str) -> list[Block]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text()
        for match in FENCED.finditer(text):
            if match[1] == language:
                name = document.relative_to(ROOT).as_posix()
                found.append(Block(name, text.count("\n", 0, match.start()) + 1, match[2]))
    return found


# Configurations


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the module in a subdirectory, for configurations beside it."""
    directory = tmp_path_factory.mktemp("documents")
    shutil.copytree(ROOT / "lambda", directory / "s3-syncer" / "lambda")
    for file in ROOT.glob("*.tf"):
        shutil.copy(file, directory / "s3-syncer")
    return directory


def write(block: Block, directory: Path) -> str:
    """Write the configuration beside the module; return its text."""
    text, replaced = WHERE_IT_IS_KEPT.subn('"../s3-syncer"', block.text)
    assert replaced == block.text.count("git::"), f"{block} names another place for the module"
    directory.mkdir()
    (directory / "main.tf").write_text(text)
    return text


def complaints(directory: Path) -> list[object]:
    """Return all diagnostics of `terraform validate`, including warnings."""
    tool = terraform.prepare(directory / "work")
    tool.run("init", "-backend=false", "-no-color", cwd=directory)
    said: list[object] = json.loads(tool.run("validate", "-json", cwd=directory))["diagnostics"]
    return said


MODULES = blocks("hcl")


def test_every_configuration_is_valid_against_the_provider(checkout: Path) -> None:
    """One configuration calls each block as a module, so that the provider starts once."""
    calls = []
    for number, block in enumerate(block for block in MODULES if "import {" not in block.text):
        text = write(block, checkout / f"block-{number}")
        required = [v.name_labels[0] for v in DocumentView.parse(text).blocks("variable") if not v.attribute("default")]
        arguments = "".join(f"  {name} = null\n" for name in required)
        calls.append(f'# {block}\nmodule "block-{number}" {{\n  source = "../block-{number}"\n{arguments}}}\n')
    assert len(calls) >= 5
    (checkout / "all").mkdir()
    (checkout / "all" / "main.tf").write_text("\n".join(calls))
    assert complaints(checkout / "all") == [], calls


@pytest.mark.parametrize("block", [block for block in MODULES if "import {" in block.text], ids=str)
def test_every_import_is_valid_where_imports_may_be(checkout: Path, block: Block) -> None:
    """Only the root module of a configuration may have import blocks."""
    write(block, checkout / "imports")
    assert complaints(checkout / "imports") == []


# Commands


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command, without assignments and shell operators."""
    for line in whole_lines(block.text):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";&|"):
                if words:
                    yield words
                words = []
            elif words or not re.fullmatch(r"\w+=.*", word, re.DOTALL):  # an assignment may come before a command
                words.append(word)


def whole_lines(text: str) -> Iterator[str]:
    """Yield the lines, joined where a backslash or an open quotation continues them."""
    so_far = ""
    for line in text.replace("\\\n", " ").splitlines():
        so_far += line
        try:
            shlex.split(so_far, comments=True)
        except ValueError:
            so_far += "\n"
            continue
        yield so_far
        so_far = ""
    assert not so_far, "a quotation is not closed"


SHELL = blocks("sh")


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_command_can_be_parsed(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_command_exists_with_its_options(block: Block) -> None:
    for command, *arguments in commands(block):
        if command == "aws":
            check_aws(arguments)
        elif command == "s3-syncer":
            check_click(cli, arguments)
        elif command == "scripts/local":
            check_click(main.main, arguments)
        elif command.startswith("scripts/"):
            check_script(ROOT / command, arguments)
        elif command == "terraform":
            check_terraform(arguments)
        else:
            assert command in EVERYWHERE, f"{block}: {command} is nothing that is known"


EVERYWHERE = ("$EDITOR", ".", "cd", "docker", "echo", "eval", "export", "git", "grep", "pip", "python", "python3")


def options(arguments: list[str]) -> set[str]:
    return {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}


def check_click(command: click.Command, arguments: list[str]) -> None:
    """Check the options of a command. A group has one of its commands behind its own options."""
    if isinstance(command, click.Group) and arguments:
        context = click.Context(command)
        try:
            _, rest, _ = command.make_parser(context).parse_args(arguments)
        except click.UsageError as error:
            raise AssertionError(f"{command.name}: {error.format_message()}") from error
        if rest:
            found = command.get_command(context, rest[0])
            assert found is not None, f"{command.name} has no command {rest[0]}"
            check_click(found, rest[1:])
        return
    if command.context_settings.get("ignore_unknown_options"):
        # It passes the rest on to s3-syncer: further options of `migrate`, or another command.
        own = {option for parameter in command.params for option in parameter.opts}
        rest = [argument for argument in arguments if argument not in own and not argument.isupper()]
        if rest:
            check_click(cli, rest if not rest[0].startswith("-") else ["migrate", *rest])
        return
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert options(arguments) <= known | {"--help"}


def check_script(script: Path, arguments: list[str]) -> None:
    assert script.is_file(), f"there is no {script.name}"
    text = script.read_text()
    if text.startswith("#!/usr/bin/env python3") and "click" in text:
        loader = importlib.machinery.SourceFileLoader(script.name, str(script))
        spec = importlib.util.spec_from_loader(loader.name, loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        check_click(module.main, arguments)
        return
    (package,) = re.findall(r"-m ((?:localcloud|devtools|benchmark)(?:\.\w+)?)", text) or [""]
    if "--" in arguments:  # what follows is for our own command
        own, arguments = arguments[arguments.index("--") + 1 :], arguments[: arguments.index("--")]
        check_click(cli, ["migrate", *own])
    if options(arguments):
        module = importlib.import_module(package)
        check_click(module.main, arguments)


# Commands of the AWS CLI that are its own, not an API's: their options cannot be looked up in the service models.
AWS_OWN = {
    ("s3", "cp"): {"--recursive"},
    ("s3", "ls"): {"--recursive"},
    ("logs", "tail"): {"--since", "--follow"},
}
AWS_GLOBAL = {
    *("--region", "--query", "--output", "--endpoint-url", "--profile", "--no-cli-pager"),
    *("--cli-binary-format", "--cli-read-timeout"),
}


def check_aws(arguments: list[str]) -> None:
    service, operation, *rest = arguments
    given = options(rest) - AWS_GLOBAL
    if (service, operation) in AWS_OWN:
        assert given <= AWS_OWN[service, operation]
        return
    model = botocore.session.get_session().get_service_model({"s3api": "s3"}.get(service, service))
    found = [name for name in model.operation_names if xform_name(name, "-") == operation]
    assert found, f"aws {service} has no {operation}"
    shape = model.operation_model(found[0]).input_shape
    members = {"--" + xform_name(name, "-"): name for name in (shape.members if shape else {})}
    assert given <= members.keys(), f"aws {service} {operation}: {given - members.keys()}"
    required = {"--" + xform_name(name, "-") for name in (shape.required_members if shape else ())}
    assert required <= given, f"aws {service} {operation} needs {required - given}"


def check_terraform(arguments: list[str]) -> None:
    tool = terraform.executable()
    names = [argument for argument in arguments if not argument.startswith("-")]
    said = subprocess.run(
        [tool, *names[: 2 if names[0] == "state" else 1], "-help"], capture_output=True, text=True, check=False
    )
    assert said.stdout.startswith("Usage: terraform"), f"terraform has no {names[0]}"
    help = said.stdout
    if names[0] in ("apply", "destroy"):  # they take the options of plan, and say so
        help += subprocess.run([tool, "plan", "-help"], capture_output=True, text=True, check=True).stdout
    for argument in arguments[1:]:
        if argument.startswith("-"):
            option = argument.partition("=")[0]
            assert option in help or option == "-chdir", f"terraform {names[0]} has no {option}"


# The tests of the tests: what they are to find, they find.


@pytest.mark.parametrize(
    "wrong",
    [
        "aws sqs receive-massage --queue-url x",
        "aws sqs receive-message --queue x",
        "aws sqs send-message --queue-url x",
        "s3-syncer migrates",
        "s3-syncer migrate --dry",
        "scripts/lokal up",
        "scripts/local upp",
        "scripts/local migrate --dry",
        "s3-syncer --module DIRECTORY status --wach",
        "scripts/demo --kep",
        "terraform aply",
        "terraform plan -refrech=false",
        "x=1 kubectl get pods",
    ],
)
def test_a_wrong_command_is_found(wrong: str) -> None:
    with pytest.raises(AssertionError):
        test_every_command_exists_with_its_options(Block("here", 1, wrong))
