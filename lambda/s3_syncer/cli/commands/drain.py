"""The command `drain`: wait until the queues can be destroyed."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from ...operations.drain import Drain, NotDrainedError
from ...operations.outputs import Outputs
from ...stores.clients import queue_client
from ..click_extensions import Command, with_options
from ..exit_codes import DIFFERENT
from ..options import operations as groups
from .on_module import on_module


@click.command(
    cls=Command,
    examples=[("Wait for the queues, then destroy them", "s3-syncer --module infra drain && terraform destroy")],
)
@with_options(groups.DRAIN, groups.JSON)
@on_module
def drain(outputs: Outputs, timeout: float, settled: float, as_json: bool) -> None:
    """Wait until the queues of a module are empty, so that they can be destroyed.

    The command stops no events and removes no messages: remove the notifications of the bucket first. Exit code 0 is
    without a message, a dead letter and a held deletion, 1 with some.
    """

    def end(code: int, text: str, **fields: Any) -> None:
        click.echo(json.dumps({"drained": not code, **fields}) if as_json else text, err=bool(code) and not as_json)
        sys.exit(code)

    try:
        Drain(outputs, queue_client(1), settled).wait(timeout, lambda line: click.echo(line, err=as_json))
    except NotDrainedError as error:
        end(DIFFERENT, f"s3-syncer: {error}", reason=str(error))
    end(0, "The queues and the dead-letter queue are empty, and no deletion is held.")
