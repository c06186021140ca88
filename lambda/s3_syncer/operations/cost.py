"""The price of mirroring a bucket, from the number and the sizes of its objects. Pure."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from ..core.units import GB, MIB

#: Source and date of the prices: those of docs/limits.md, for us-east-1, without a free tier.
PRICES_FROM = "AWS's published prices for us-east-1 as remembered in November 2026, not looked up: see docs/limits.md"

#: USD for a request to S3: GET and HEAD, and LIST.
GET_USD, LIST_USD = 0.0004 / 1000, 0.005 / 1000

#: USD for a GB (10^9 bytes) that leaves AWS.
EGRESS_USD = 0.09

#: USD for a change without S3 and egress: SQS, Lambda and logs. With full batches, and with one message in each.
CHANGE_USD = (0.93e-6, 3.16e-6)

#: Requests to the source for a changed object without tags. See "Cost of a million events" in docs/limits.md.
REQUESTS_PER_CHANGE = 2.02

#: USD a month without an event: the secret, eleven alarms, and the polling of three queues by Lambda.
MONTH_USD = 2.28

#: Bytes of a ranged GET of a large object, for the estimate. The real plan depends on the limits of the target.
PART_BYTES = 16 * MIB

#: Keys of one listing request.
PAGE_KEYS = 1000


@dataclass(slots=True)
class Objects:
    """The objects of a bucket, counted."""

    keys: int = 0
    bytes: int = 0
    #: GET requests that read all objects once.
    gets: int = 0
    #: Bytes of the largest object.
    largest: int = 0
    #: Objects without a size in the listing.
    unknown: int = 0

    def add(self, sizes: Iterable[int | None]) -> None:
        """Add objects by their sizes in bytes."""
        for size in sizes:
            self.keys += 1
            if size is None:
                self.unknown += 1
                continue
            self.bytes += size
            self.gets += max(1, -(-size // PART_BYTES))
            self.largest = max(self.largest, size)


@dataclass(frozen=True, slots=True)
class Cost:
    """A row of the estimate: what is paid for, and the USD, from and to."""

    what: str
    quantity: str
    usd: tuple[float, float] = field(default=(0.0, 0.0))


def estimate(objects: Objects, changes_per_month: int) -> list[Cost]:
    """Return the price of a first migration, of a comparison, and of a month with this number of changes."""
    pages = -(-objects.keys // PAGE_KEYS)
    gigabytes = objects.bytes / GB
    average = objects.bytes / objects.keys if objects.keys else 0.0
    changed_gb = changes_per_month * average / GB
    requests = changes_per_month * REQUESTS_PER_CHANGE
    return [
        _exact(
            "migration: requests to the source",
            f"{objects.gets:,} GET, {2 * pages:,} LIST",
            objects.gets * GET_USD + 2 * pages * LIST_USD,
        ),
        _exact("migration: egress", f"{gigabytes:,.1f} GB", gigabytes * EGRESS_USD),
        _exact("one comparison", f"{pages:,} LIST", pages * LIST_USD),
        _exact(
            "one full comparison",
            f"{pages:,} LIST, {2 * objects.keys:,} GET and HEAD",
            pages * LIST_USD + 2 * objects.keys * GET_USD,
        ),
        _exact("a month without changes", "secret, alarms, polling", MONTH_USD),
        Cost(
            "changes of a month: requests and workers",
            f"{changes_per_month:,} changes, {requests:,.0f} GET and HEAD",
            (
                requests * GET_USD + changes_per_month * CHANGE_USD[0],
                requests * GET_USD + changes_per_month * CHANGE_USD[1],
            ),
        ),
        _exact("changes of a month: egress", f"{changed_gb:,.1f} GB of average objects", changed_gb * EGRESS_USD),
    ]


def _exact(what: str, quantity: str, usd: float) -> Cost:
    return Cost(what, quantity, (usd, usd))


class InventoryError(Exception):
    """A file is no inventory. The message says why."""


@dataclass(frozen=True, slots=True)
class InventoryObject:
    """An object of an inventory."""

    #: Relative to the prefix.
    key: str
    #: In bytes; None if the inventory does not have it.
    size: int | None


def inventory_objects(lines: Iterable[str], columns: Sequence[str], prefix: str) -> Iterator[InventoryObject]:
    """Yield each current object below the prefix in an S3 Inventory. Raises InventoryError.

    The file is CSV without a heading: `columns` are the `fileSchema` of its manifest. Keys in it are form-encoded.
    """
    places = {name.strip(): index for index, name in enumerate(columns)}
    if not {"Key", "Size"} <= places.keys():
        raise InventoryError("the columns must contain Key and Size: give the fileSchema of the manifest")
    for number, row in enumerate(csv.reader(lines), 1):
        try:
            fields = {name: row[index] for name, index in places.items()}
            size = int(fields["Size"]) if fields["Size"] else None
        except (IndexError, ValueError) as error:
            raise InventoryError(f"line {number} does not have the columns {', '.join(columns)}: {error}") from error
        is_current = fields.get("IsLatest", "true") == "true" and fields.get("IsDeleteMarker", "false") != "true"
        key = unquote_plus(fields["Key"])
        if is_current and key.startswith(prefix):
            yield InventoryObject(key.removeprefix(prefix), size)
