"""The command `sync`: converge single keys."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from itertools import chain
from typing import Any

import click

from ...core.deadline import Deadline, OutOfTime
from ...core.errors import StoreUnusable, SyncError, unexpected_failure
from ...core.fence import Fence, fenced
from ...crt.factory import stream_transports
from ...settings import Settings
from ...stores.request_limiter import RequestLimiters
from ...sync.converge import converge
from ...sync.outcome import Outcome
from ...sync.own_copies import OwnCopies
from ...wiring import build_sync_context
from ..click_extensions import Command, with_options
from ..exit_codes import DIFFERENT, EQUAL
from ..options import groups, resources
from ..options.key_selection import require_below
from ..options.settings import configure_log, fail, read_settings
from ..options.stores import STORES
from ..output.stats import print_row, printable, uncertain_note
from ..signals import handle_signals
from ..sweeps.key_files import KeyFileLocation
from ..sweeps.outage import OutageDisplay, WaitEnd, outage_gates

logger = logging.getLogger(__name__)


@click.command(
    cls=Command,
    examples=[("Copy or delete two keys, whatever the source has", "s3-syncer sync photos/1.jpg photos/2.jpg")],
)
@with_options(STORES, groups.FILTERS, groups.FILES_FROM, groups.TAGS, groups.OBJECT_LOCK, groups.KEY_DELETES)
@with_options(resources.KEY_CONCURRENCY, resources.MEMORY)
@with_options(resources.OUTAGES, groups.LOG, groups.STOP_GRACE)
@click.argument("keys", nargs=-1, metavar="[KEY]...")
def sync(keys: tuple[str, ...], delete: bool, **options: Any) -> None:
    """Make each KEY of the source equal in the target now, and print what was done and why.

    A KEY includes the source prefix, and a key of --files-from does not. A key that the source does not have is deleted
    from the target, unless --no-delete is given.
    """
    file: KeyFileLocation | None = options["files_from"]
    if not keys and file is None:
        raise click.UsageError("name the keys: give at least one KEY, or --files-from")
    settings = read_settings(options, delete=delete)
    configure_log(options["log_format"], verbose=options["verbose"])
    for key in keys:
        require_below(key, settings.source_prefix)
    try:
        named = iter(()) if file is None else file.keys(settings)
        sys.exit(_sync(settings, chain((key.removeprefix(settings.source_prefix) for key in keys), named), options))
    except (SyncError, OSError) as error:
        fail(error)


def _sync(settings: Settings, keys: Iterable[str], options: dict[str, Any]) -> int:
    """Converge the keys and return the exit code. Raises StoreUnusable: every other key would fail too."""
    code, deadline, fence = EQUAL, Deadline(), Fence()
    outages = OutageDisplay(lambda line: click.echo(printable(line), err=True))
    with handle_signals(deadline, grace_s=options["stop_grace"]) as stop:
        limiters = RequestLimiters.up_to(options["concurrency"])
        context = build_sync_context(
            settings,
            threads=options["concurrency"],
            resumes=True,
            transports=stream_transports,
            gates=outage_gates(outages, WaitEnd(deadline), options["outage_timeout"], limiters=limiters),
            limiters=limiters,
        )
        for key in keys:
            try:
                deadline.check()
                with fenced(fence):
                    outcome = converge(context.pair, key, deadline, own_copies=OwnCopies())
            except OutOfTime:
                return stop.exit_code
            except StoreUnusable:
                raise
            except SyncError as error:
                outcome = Outcome("failed", str(error))
            except Exception as error:  # a bug, or a malformed response: only this key fails
                logger.exception("unexpected failure", extra={"key": key})
                outcome = Outcome("failed", str(unexpected_failure(error)))
            print_row(outcome.action, settings.source_prefix + key, outcome.reason)
            if outcome.action in ("failed", "kept"):
                code = DIFFERENT
    if fence.uncertain:
        click.echo(f"note: {uncertain_note(len(fence.uncertain))}", err=True)
    return code
