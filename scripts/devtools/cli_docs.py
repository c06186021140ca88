"""Write the reference of the command `s3-syncer` from its options and help texts: docs/cli.md."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeGuard

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
    lines += ["\n## Options before the command\n", *options_table(option for option in cli.params if is_shown(option))]
    for name, command in leaves("s3-syncer", cli.load_commands()):
        lines += ["", *section(name, command)]
    return "\n".join(lines)


def leaves(program: str, commands: Mapping[str, click.Command]) -> Iterator[tuple[str, Command]]:
    """Yield each command that is no group, with its command line up to its name."""
    for name, command in commands.items():
        if isinstance(command, click.Group):
            yield from leaves(f"{program} {name}", command.commands)
        else:
            assert isinstance(command, Command)
            yield f"{program} {name}", command


def section(name: str, command: Command) -> Iterator[str]:
    """Yield the lines of a command: usage, description, options by section, and examples."""
    arguments = [
        parameter.make_metavar(click.Context(command)) for parameter in command.params if is_argument(parameter)
    ]
    yield f"## {name}\n"
    yield f"```text\n{' '.join([name, '[OPTIONS]', *arguments])}\n```\n"
    yield inspect.cleandoc(command.help or "")
    for title, options in command.sections.items():
        yield f"\n**{title}**\n"
        yield from options_table(options)
    yield "\n**Examples**\n\n```sh"
    yield from without_last_blank(example for pair in command.examples for example in (f"# {pair[0]}", pair[1], ""))
    yield "```"


def options_table(options: Iterable[Option]) -> Iterable[str]:
    """Return the lines of a table of options."""
    return table(("Option", "Variable", "Default", "Allowed values", "Meaning"), map(row, options))


def is_shown(parameter: click.Parameter) -> TypeGuard[Option]:
    """Return True for an option of this project, and False for those of click."""
    return isinstance(parameter, Option) and not parameter.hidden


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
