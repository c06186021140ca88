"""A decorator for the commands that work on an applied module."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from ...core.errors import SyncError
from ...operations.outputs import OutputsError
from ..options.module import module_of
from ..options.settings import fail
from ..signals import ending_on_sigterm


def on_module(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return the command with the outputs of the module as its first argument.

    An error of AWS, or an output that is missing, ends the command with one line and the exit code for that. On SIGTERM
    the command cleans up: many commands hide messages, and show them at their end.
    """

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        outputs = module_of(click.get_current_context()).outputs
        try:
            with ending_on_sigterm():
                return command(outputs, *arguments, **options)
        except (SyncError, ClientError, BotoCoreError, OutputsError) as error:
            fail(error)

    return run
