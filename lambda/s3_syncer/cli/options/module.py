"""The options that name an applied module, with the outputs that give all other options."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ..click_extensions import Unusable, option

if TYPE_CHECKING:
    from ...operations.outputs import Outputs

_MODULE = "Module"

MODULE = (
    option(
        _MODULE,
        "--module",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIRECTORY",
        help="Directory of the configuration with the applied Terraform module. `terraform output` of it gives all "
        "options that the command needs.",
    ),
    option(
        _MODULE,
        "--outputs",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The same from a file with the output of `terraform output -json`; - for standard input.",
    ),
    option(
        _MODULE,
        "--module-name",
        metavar="NAME",
        help="The module to use if the outputs have several: its input `name`, or the name of its output.",
    ),
    option(
        _MODULE,
        "--terraform",
        default="terraform",
        show_default=True,
        metavar="PROGRAM",
        help="Program that reads the outputs of --module, such as tofu.",
    ),
)


class ModuleUnusable(Unusable):
    """The outputs of the module cannot be used."""


@dataclass
class Module:
    """A module as the options of the program name it. Its outputs are read when they are first needed."""

    ctx: click.Context
    directory: Path | None
    outputs_file: Path | None
    name: str | None
    terraform: str

    @property
    def is_named(self) -> bool:
        """Return True if an option names a module."""
        return self.directory is not None or self.outputs_file is not None

    @cached_property
    def outputs(self) -> Outputs:
        """Read the outputs, and use the region of the module until the program ends.

        Raises ModuleUnusable.
        """
        from ...operations.outputs import Outputs, OutputsError  # here, because most commands need no module

        try:
            outputs = Outputs.parse(self._text(), self.name)
        except OutputsError as error:
            place = "" if self.outputs_file is None else f"the file {str(self.outputs_file)!r}: "
            raise ModuleUnusable(f"{place}{error}") from error
        self._use_region(outputs.region)
        return outputs

    @property
    def variables(self) -> Mapping[str, str]:
        """Return the values of options that the module knows, by the environment variable of the option."""
        outputs = self.outputs
        return {**outputs.environment, "S3_SYNCER_LOG_GROUP": " ".join(outputs.log_groups)}

    @property
    def command(self) -> str:
        """Return the begin of a command line for the same module."""
        options = {"--module": self.directory, "--outputs": self.outputs_file, "--module-name": self.name}
        words = [word for name, value in options.items() if value is not None for word in (name, str(value))]
        return shlex.join(["s3-syncer", *words])

    def _text(self) -> str | bytes:
        from ...operations.outputs import run_terraform

        if self.directory is not None:
            return run_terraform(self.directory, self.terraform)
        assert self.outputs_file is not None
        try:
            return sys.stdin.buffer.read() if str(self.outputs_file) == "-" else self.outputs_file.read_bytes()
        except OSError as error:
            raise ModuleUnusable(f"the file {str(self.outputs_file)!r} cannot be read: {error}") from error

    def _use_region(self, region: str) -> None:
        """Set the region of the requests to AWS. The other processes of a sweep inherit the variable."""
        name = "AWS_DEFAULT_REGION"
        before = os.environ.get(name)
        os.environ[name] = region

        def restore() -> None:
            if before is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = before

        self.ctx.call_on_close(restore)


def one_place(ctx: click.Context, directory: Path | None, outputs_file: Path | None) -> tuple[Path | None, Path | None]:
    """Return the place that is typed, and None for that of the environment.

    Raises UsageError if neither of two wins.
    """
    if directory is None or outputs_file is None:
        return directory, outputs_file
    typed = [ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ("module", "outputs")]
    if typed[0] == typed[1]:
        raise click.UsageError("--module and --outputs both give the outputs of a module: give only one of them")
    return (directory, None) if typed[0] else (None, outputs_file)


def module_of(ctx: click.Context) -> Module:
    """Return the module that the options of the program name. Raises UsageError if there are none."""
    module = ctx.find_root().obj
    if not isinstance(module, Module) or not module.is_named:
        raise click.UsageError("this command needs a module: give --module DIRECTORY, or --outputs FILE, before it")
    return module
