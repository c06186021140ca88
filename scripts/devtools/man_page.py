"""Write the man page of the command `s3-syncer` from its options and help texts: docs/s3-syncer.1.

`click-man` 0.6.0 was tried first. It leaves out the commands, because they are imported late, and also sections,
examples and exit codes. It does not escape the text, and writes the day of the build into the page.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator

import click

from devtools.cli_docs import allowed, default, is_argument, is_shown, leaves
from s3_syncer import __version__
from s3_syncer.cli.click_extensions import Command, Option
from s3_syncer.cli.commands import cli
from s3_syncer.cli.exit_codes import EXIT_CODES


def page() -> str:
    """Return the page in the macros of man(7)."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    first, _, rest = inspect.cleandoc(cli.help or "").partition("\n\n")
    yield f'.TH S3\\-SYNCER 1 "" "s3\\-syncer {escaped(__version__)}" "User Commands"'
    yield from (".SH NAME", f"s3\\-syncer \\- {escaped(_inline(first[0].lower() + first[1:].rstrip('.')))}")
    yield from (".SH SYNOPSIS", ".B s3\\-syncer", "[OPTIONS] COMMAND [ARGUMENTS]")
    yield ".SH DESCRIPTION"
    yield from _paragraphs(rest)
    yield ".SH OPTIONS"
    for option in filter(is_shown, cli.params):
        yield from _option(option)
    yield ".SH COMMANDS"
    for name, command in leaves("s3-syncer", cli.load_commands()):
        yield from _command(name, command)
    yield ".SH EXIT STATUS"
    for codes, meaning in EXIT_CODES.items():
        yield from _tagged(codes, meaning)


def _command(name: str, command: Command) -> Iterator[str]:
    arguments = [each.make_metavar(click.Context(command)) for each in command.params if is_argument(each)]
    yield f'.SS "{escaped(" ".join([name, "[OPTIONS]", *arguments]))}"'
    yield from _paragraphs(inspect.cleandoc(command.help or ""))
    for title, options in command.sections.items():
        yield from (".PP", f"\\fI{escaped(title)}\\fP")
        for option in options:
            yield from _option(option)
    if command.examples:
        yield from (".PP", "\\fIExamples\\fP")
    for description, line in command.examples:
        yield from (".PP", f"{escaped(description)}:", ".PP", ".RS", ".nf", escaped(line), ".fi", ".RE")


def _option(option: Option) -> Iterator[str]:
    names = ", ".join((*option.opts, *option.secondary_opts))
    notes = {"Allowed values": allowed(option), "Default": default(option), "Variable": ", ".join(option.variables)}
    if option.needed:
        del notes["Default"]
    needed = ["Required."] if option.needed else []
    text = " ".join([option.help or "", *needed, *(f"{title}: {note}." for title, note in notes.items() if note)])
    yield from _tagged(names, text)


def _tagged(tag: str, text: str) -> Iterable[str]:
    return ".TP", f"\\fB{escaped(tag)}\\fP", escaped(_inline(text))


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in filter(None, re.split(r"\n{2,}", text)):
        yield from (".PP", escaped(_inline(paragraph)))


def _inline(text: str) -> str:
    """Return the text on one line without the marks of code, because a page is filled and has no code."""
    return " ".join(text.replace("`", "").split())


def escaped(text: str) -> str:
    """Return the text so that roff prints it as it is.

    A hyphen of an option must stay one when it is copied. A dot or an apostrophe at the begin is no request.
    """
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{text}" if text.startswith((".", "'")) else text
