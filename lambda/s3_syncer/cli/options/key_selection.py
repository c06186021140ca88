"""The options that select the keys of a sweep: a file, an inventory, or a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import click

from ...settings import Settings
from ...sync.named_keys import NamedBatch
from ..sweeps.inventory_files import Inventory
from ..sweeps.key_files import batches

#: Options with --delete, and why they do not work together.
_NOT_WITH_DELETE = {
    "since": "the source has no time for a deletion",
    "inventory": "an inventory is older than the source, and does not show the keys that only the target has",
}


def check_selection(options: dict[str, Any], *, delete: bool) -> None:
    """Raise UsageError for options that do not work together."""
    for name, reason in _NOT_WITH_DELETE.items():
        if delete and options[name] is not None:
            raise click.UsageError(f"--{name} does not work with --delete: {reason}. Omit one of them")
    if options["files_from"] is not None and options["inventory"] is not None:
        raise click.UsageError("--inventory does not work with --files-from: omit one of them")


def selected_batches(
    options: dict[str, Any], settings: Settings, say: Callable[[str], None]
) -> Iterator[NamedBatch] | None:
    """Return the only keys of the sweep; None for all keys. Raises StoreUnusable.

    `say` gets the age of the inventory, because changes after it are not found.
    """
    if options["files_from"] is not None:
        return batches(options["files_from"].keys(settings))
    if options["inventory"] is None:
        return None
    inventory = Inventory(options["inventory"], settings)
    if (created := inventory.manifest.created) is not None:
        hours = (datetime.now(UTC) - created).total_seconds() / 3600
        say(f"the inventory is of {created:%Y-%m-%d %H:%M} UTC, {hours:,.0f} hours ago: it shows no later change")
    return inventory.batches()


def require_below(key: str, prefix: str) -> None:
    """Raise UsageError unless the key of a command line is below the source prefix."""
    if not key:
        raise click.UsageError("a KEY is empty: write the name of an object")
    if not key.startswith(prefix) or key == prefix:
        raise click.UsageError(f"{key!r} is not below the source prefix {prefix!r}: write the KEY with it")
