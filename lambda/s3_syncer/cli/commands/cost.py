"""The command `cost`: the price of mirroring a bucket, from its listing or an inventory."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ...core.errors import SyncError
from ...core.filters import Filters
from ...core.model import ListEntry
from ...operations.cost import PRICES_FROM, InventoryError, InventoryObject, Objects, estimate, inventory_objects
from ...wiring import build_sync_context
from ..click_extensions import Command, with_options
from ..options import operations as groups
from ..options.groups import FILTERS
from ..options.settings import fail, read_filters, read_settings
from ..options.stores import STORES
from ..output.progress import format_bytes


@click.command(
    cls=Command,
    examples=[
        ("Estimate the price from a listing of the source", "s3-syncer --module infra cost --changes 1000000"),
        ("Estimate it from an inventory", "s3-syncer cost --inventory data.csv.gz --source-bucket my-bucket"),
    ],
)
@with_options(STORES, FILTERS, groups.COST, groups.JSON)
def cost(inventory: tuple[Path, ...], columns: str, changes: int, as_json: bool, **options: Any) -> None:
    """Estimate what the source's requests, the traffic and the workers cost, for this bucket.

    Objects that the filters exclude are not counted. The listing costs one request for each 1,000 keys. The charges of
    the target store, KMS and the ECS tasks are not included. The prices are estimates: check them at AWS.
    """
    objects, filters = Objects(), read_filters(options)
    try:
        if inventory:
            for path in inventory:
                with _opened(path) as lines:
                    found = inventory_objects(lines, columns.split(","), options["source_prefix"])
                    objects.add(_mirrored_sizes(found, filters))
        else:
            context = build_sync_context(read_settings({**options, "tags": True}, delete=False), threads=1)
            for page in context.source.listing(in_order=False):
                objects.add(_mirrored_sizes(page, filters))
    except (SyncError, InventoryError, OSError, EOFError) as error:
        fail(error)
    rows = estimate(objects, changes)
    if as_json:
        report = {"objects": asdict(objects), "costs": [asdict(row) for row in rows], "prices": PRICES_FROM}
        click.echo(json.dumps(report, indent=2))
        return
    click.echo(
        f"{objects.keys:,} objects, {format_bytes(objects.bytes)}, the largest has {format_bytes(objects.largest)}"
    )
    for row in rows:
        low, high = (f"{usd:,.2f}" for usd in row.usd)
        click.echo(f"{low if low == high else f'{low} to {high}':>20} USD  {row.what}: {row.quantity}")
    click.echo(f"Prices: {PRICES_FROM}. Not included: the target store, KMS, ECS tasks.")


def _mirrored_sizes(objects: Iterable[InventoryObject | ListEntry], filters: Filters) -> Iterator[int | None]:
    return (each.size for each in objects if filters.exclusion(each.key, each, None) is None)


def _opened(path: Path) -> io.TextIOWrapper:
    file = gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115 - the wrapper closes it
    return io.TextIOWrapper(file, encoding="utf-8", newline="")
