"""Write the reference of the command `s3-syncer` from its options and help texts: docs/cli.md."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator

import click

from devtools.module_docs import code, table
from s3_syncer.cli.click_extensions import Command, Option
from s3_syncer.cli.commands import cli
from s3_syncer.cli.exit_codes import EXIT_CODES


def reference() -> str:
    """Return the exit codes and a section for each command, as Markdown."""
    lines = [
        "## Exit codes\n",
        *table(("Exit code", "Meaning"), [(code(codes), meaning) for codes, meaning in EXIT_CODES.items()]),
    ]
    for command in cli.load_commands().values():
        assert isinstance(command, Command)
        lines += ["", *section(command)]
    return "\n".join(lines)


def section(command: Command) -> Iterator[str]:
    """Yield the lines of a command: usage, description, options by section, and examples."""
    arguments = [
        parameter.make_metavar(click.Context(command)) for parameter in command.params if is_argument(parameter)
    ]
    yield f"## s3-syncer {command.name}\n"
    yield f"```text\n{' '.join(['s3-syncer', str(command.name), '[OPTIONS]', *arguments])}\n```\n"
    yield inspect.cleandoc(command.help or "")
    for title, options in command.sections.items():
        yield f"\n**{title}**\n"
        yield from table(("Option", "Variable", "Default", "Allowed values", "Meaning"), map(row, options))
    yield "\n**Examples**\n\n```sh"
    yield from without_last_blank(example for pair in command.examples for example in (f"# {pair[0]}", pair[1], ""))
    yield "```"


def is_argument(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Argument)


def row(option: Option) -> tuple[str, ...]:
    """Return the table row of an option."""
    names = ", ".join(code(name) for name in (*option.opts, *option.secondary_opts))
    variables = ", ".join(map(code, option.variables))
    return names, variables, default(option), allowed(option), option.help or ""


def default(option: Option) -> str:
    """Return the default as the help shows it, "required", or nothing if the help text names the default."""
    if option.needed:
        return "required"
    if isinstance(option.show_default, str):
        return option.show_default
    if not option.show_default:
        return ""
    if option.secondary_opts:
        return code((option.opts if option.default else option.secondary_opts)[0])
    return code(str(option.default))


def allowed(option: Option) -> str:
    """Return the choices or the range of the option, or nothing if the help text describes the values."""
    kind = option.type
    if isinstance(kind, click.Choice):
        return ", ".join(map(code, kind.choices))
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return ""
    return f"{kind.min:g} or more" if kind.max is None else f"{kind.min} to {kind.max}"


def without_last_blank(lines: Iterable[str]) -> list[str]:
    """Return the lines without a blank one at the end."""
    return "\n".join(lines).rstrip().splitlines()
