"""The command `doctor`: check both stores."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from ...core.deadline import Deadline
from ...core.errors import SyncError
from ...wiring import build_doctor
from ..click_extensions import Command, with_options
from ..options import groups
from ..options.settings import fail, read_settings
from ..options.store_locations import LOCATIONS
from ..options.stores import STORES
from ..output.stats import printable


@click.command(
    cls=Command,
    examples=[
        ("Check everything, and print a table", "s3-syncer doctor"),
        ("Check the queue and the notifications, too", "s3-syncer doctor --queue-url URL --json"),
    ],
)
@with_options(LOCATIONS, STORES, groups.TAGS, groups.OBJECT_LOCK, groups.DOCTOR)
def doctor(scratch_prefix: str, as_json: bool, **options: Any) -> None:
    """Check the connections, clocks, credentials and permissions of both stores, and what the target can.

    The command writes about 70 objects below --scratch-prefix, below the target prefix, and removes them. It writes
    nowhere else. Exit code 0 is without a problem, 1 with one, 3 if a store could not be used.
    """
    settings = read_settings(options, delete=False)
    try:
        report = build_doctor(settings, prefix=scratch_prefix).run(Deadline())
    except SyncError as error:
        fail(error)
    click.echo(
        json.dumps(report.as_json(), indent=2) if as_json else "\n".join(map(printable, report.as_table().split("\n")))
    )
    sys.exit(report.exit_code)
