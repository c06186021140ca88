"""Options, commands and errors that click lacks: sections, examples, needed options, and late imports."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any, Protocol

import click

from .exit_codes import UNUSABLE

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: Exactly the variables that the command read before its own variables started with S3_SYNCER_, and their new names.
#: A general name like VERBOSE may be set for another program. The warning then only says that it has no effect here.
FORMER_VARIABLES = {
    **{
        name: f"S3_SYNCER_{name}"
        for name in (
            *("BWLIMIT", "CONCURRENCY", "DRY_RUN", "EXCLUDE", "FULL", "HEALTH_ADDRESS", "HEALTH_PORT", "INCLUDE"),
            *("LOG_FORMAT", "LOG_GROUP", "MAX_DELETE", "ONE_WAY", "PROCESSES", "REPORT", "VERBOSE", "WORKERS"),
        )
    },
    "GRACE_S": "S3_SYNCER_SHUTDOWN_GRACE",
    "IDLE": "S3_SYNCER_IDLE_TIMEOUT",
    "MEMORY_MB": "S3_SYNCER_MEMORY",
    "MIGRATE_DELETE": "S3_SYNCER_DELETE",
    "PARTS_ABOVE_MB": "DISTRIBUTED_COPY_THRESHOLD_MB",
    "VISIBILITY_S": "S3_SYNCER_VISIBILITY_TIMEOUT",
}


#: The key of `click.Context.meta` with the variables that the command line states by another way than an option.
STATED = f"{__name__}.stated"


class Unusable(click.ClickException):
    """A file or a program that the options need cannot be used."""

    exit_code = UNUSABLE

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message as every other error of a command that could not finish."""
        click.echo(f"s3-syncer: {self.message}", file=file, err=file is None)


class VariableSource(Protocol):
    """Something that may know the values of options, by their environment variables: an applied module."""

    @property
    def is_named(self) -> bool:
        """Return True if the user has named it."""

    @property
    def variables(self) -> Mapping[str, str]:
        """Return the values by environment variable."""


class Option(click.Option):
    """An option with the section of the help that lists it.

    `needed` marks an option that the command cannot work without. Click does not check it: the reader of the settings
    names all missing options at once.
    """

    def __init__(self, *args: Any, section: str, needed: bool = False, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.section = section
        self.needed = needed

    def get_help_extra(self, ctx: click.Context) -> click.types.OptionHelpExtra:
        """Return the notes behind the help text, with a mark for a needed option."""
        extra = super().get_help_extra(ctx)
        if self.needed:
            extra["required"] = "required"
        return extra

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the variable that the command line states, or else the first that is set in the named module.

        Without a module, it is the first that is set in the environment.
        """
        stated: Mapping[str, str] = ctx.meta.get(STATED, {})
        for name in self.variables:
            if name in stated:
                return stated[name] or None
        module: VariableSource | None = ctx.find_root().obj
        if module is not None and module.is_named:
            for name in self.variables:
                if value := module.variables.get(name):
                    return value
        return super().resolve_envvar_value(ctx)

    @property
    def variables(self) -> Sequence[str]:
        """Return the environment variables that set the option; the first one that is set wins."""
        return [self.envvar] if isinstance(self.envvar, str) else list(self.envvar or ())


class Command(click.Command):
    """A command with sections of options and examples in its help. It warns of former variables.

    An example is a description and a command line.
    """

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.examples = examples

    @property
    def sections(self) -> dict[str, list[Option]]:
        """Return the options that are not hidden by section, in the order of their declaration."""
        sections: dict[str, list[Option]] = {}
        for option in self.params:
            if isinstance(option, Option) and not option.hidden:
                sections.setdefault(option.section, []).append(option)
        return sections

    @property
    def variables(self) -> set[str]:
        """Return the environment variables that set an option of the command."""
        return {variable for options in self.sections.values() for option in options for variable in option.variables}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for former, variable in () if ctx.resilient_parsing else FORMER_VARIABLES.items():
            if variable in self.variables and os.environ.get(former):
                click.echo(f"s3-syncer: warning: {former} has no effect: set {variable} instead", err=True)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, options in self.sections.items():
            with formatter.section(section):
                formatter.write_dl([record for option in options if (record := option.get_help_record(ctx))])
        if self.examples:
            with formatter.section("Examples"):
                for description, line in self.examples:
                    formatter.write_text(f"{description}:")
                    formatter.write(f"{'':>{formatter.current_indent + 2}}{line}\n")


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command that is imported when it is used.

    It is an attribute of `module`, with the command's name and underscores. The help of the group shows the `summary`.
    """

    name: str
    module: str
    summary: str

    def load(self) -> click.Command:
        """Import the module and return the command."""
        command: click.Command = getattr(import_module(self.module), self.name.replace("-", "_"))
        return command


class LazyGroup(click.Group):
    """A group that imports a command when it is used.

    https://click.palletsprojects.com/en/stable/complex/#lazily-loading-subcommands
    """

    def __init__(self, *args: Any, lazy_commands: Iterable[LazyCommand] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._lazy_commands = {command.name: command for command in lazy_commands}
        self._on_imported: Callable[[], None] = lambda: None

    def calling(self, on_imported: Callable[[], None]) -> LazyGroup:
        """Return the same group, but it calls `on_imported` when it has imported the command to run."""
        group = copy.copy(self)
        group._on_imported = on_imported
        return group

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Ctrl-C exits with 130: the code 1 of click means that differences were listed."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(128 + signal.SIGINT)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args[0] not in names and not ctx.resilient_parsing:
            from difflib import get_close_matches  # only a mistake needs it

            for close in get_close_matches(args[0], names, n=1):
                ctx.fail(f"No such command {args[0]!r}. Did you mean {close!r}?")
        resolved = super().resolve_command(ctx, args)
        self._on_imported()
        return resolved

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self._lazy_commands, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands and cmd_name in self._lazy_commands:
            self.add_command(self._lazy_commands[cmd_name].load())
        return super().get_command(ctx, cmd_name)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that start with `incomplete`, without an import of the commands."""
        from click.shell_completion import CompletionItem  # only a completion needs it

        commands = [
            CompletionItem(name, help=command.summary)
            for name, command in sorted(self._lazy_commands.items())
            if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def load_commands(self) -> Mapping[str, click.Command]:
        """Import all commands, and return them by name, in the order of their declaration."""
        return {name: command.load() for name, command in self._lazy_commands.items()}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their summaries, without an import."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._lazy_commands[name].summary) for name in self.list_commands(ctx)])


Decorator = Callable[[Any], Any]


def option(section: str, *names: str, envvar: str | Sequence[str] | None = None, **attributes: Any) -> Decorator:
    """Return an option of the section.

    Its variable is S3_SYNCER_ and its long name, unless `envvar` is given: () is no variable.
    """
    long = next(name for name in names if name.startswith("--")).partition("/")[0]
    own = "S3_SYNCER_" + long.removeprefix("--").replace("-", "_").upper()
    variables = own if envvar is None else envvar
    return click.option(
        *names, cls=Option, section=section, envvar=variables, show_envvar=variables != (), **attributes
    )


def with_options(*groups: Sequence[Decorator]) -> Decorator:
    """Return a decorator that adds the options of the groups to a command, in this order."""

    def add(command: Any) -> Any:
        for decorate in reversed([decorate for group in groups for decorate in group]):
            command = decorate(command)
        return command

    return add
