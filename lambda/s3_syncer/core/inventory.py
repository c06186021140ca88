"""S3 Inventory: its manifest, and its rows as entries of a listing. Pure.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from .headers import listed_archive, unquoted
from .model import ListEntry

#: The formats that can be read. ORC is the third one of S3.
FORMATS = ("CSV", "Parquet")


class BadInventory(ValueError):
    """The manifest or a data file cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file of an inventory; the MD5 is in hex."""

    key: str
    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The `manifest.json` of an inventory."""

    source_bucket: str
    format: str
    created: datetime | None
    #: The names of the columns, as `_name` makes them; empty for Parquet, because its files name them.
    columns: Sequence[str]
    files: Sequence[DataFile]

    @classmethod
    def parse(cls, text: bytes) -> Manifest:
        """Return the manifest. Raises BadInventory."""
        try:
            found = json.loads(text)
            files = [DataFile(file["key"], int(file["size"]), str(file["MD5checksum"])) for file in found["files"]]
            kind, schema = found["fileFormat"], found["fileSchema"]
            manifest = cls(
                found["sourceBucket"],
                kind,
                _created(found.get("creationTimestamp")),
                [_name(name) for name in schema.split(",")] if kind == "CSV" else (),
                files,
            )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise BadInventory(f"the manifest cannot be read: {error!r}") from error
        if kind not in FORMATS:
            raise BadInventory(f"its format is {kind}: choose {' or '.join(FORMATS)} in its configuration")
        if kind == "CSV" and "key" not in manifest.columns:
            raise BadInventory(f"the schema {schema!r} has no column Key")
        return manifest


def csv_rows(lines: Iterable[str], columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a CSV file. Its keys are form-encoded. Raises BadInventory."""
    for row in csv.reader(lines):
        if len(row) != len(columns):
            raise BadInventory(f"a row has {len(row)} columns instead of {len(columns)}: {row}")
        values: dict[str, Any] = dict(zip(columns, row, strict=True))
        values["key"] = unquote_plus(values["key"], errors="surrogateescape")
        yield values


def entries(rows: Iterable[Mapping[str, Any]], prefix: str) -> Iterator[ListEntry]:
    """Yield an entry for the current version of each key below the prefix, without the prefix.

    Raises BadInventory. A column that the inventory lacks is None in the entry, so that its key is checked.
    """
    for row in rows:
        key = row["key"]
        if not key.startswith(prefix) or key == prefix or not _is_true(row.get("islatest", True)):
            continue
        if _is_true(row.get("isdeletemarker", False)):
            continue
        size = row.get("size")
        try:
            yield ListEntry(
                key[len(prefix) :],
                None if size in (None, "") else int(size),
                unquoted(row.get("etag")) or None,
                _moment(row.get("lastmodifieddate")),
                listed_archive(row.get("storageclass"), None, None),
            )
        except ValueError as error:
            raise BadInventory(f"the row of {key!r} cannot be read: {error}") from error


def parquet_columns(names: Iterable[str]) -> dict[str, str]:
    """Return the columns of a Parquet file that `entries` reads, with their names in the file.

    Raises BadInventory.
    """
    found = {_name(name): name for name in names}
    if "key" not in found:
        raise BadInventory(f"the Parquet file has no column key: {sorted(found.values())}")
    return {name: found[name] for name in _READ if name in found}


_READ = ("key", "islatest", "isdeletemarker", "size", "lastmodifieddate", "etag", "storageclass")


def _name(column: str) -> str:
    """Return the name of a column: CSV has LastModifiedDate, and Parquet has last_modified_date."""
    return column.strip().lower().replace("_", "")


def _is_true(value: object) -> bool:
    return value is True or str(value).lower() == "true"


def _moment(value: object) -> datetime | None:
    """Return a time of an inventory. One without a zone is in UTC."""
    if isinstance(value, str) and value:
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def _created(milliseconds: object) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(int(str(milliseconds)) / 1000, UTC)
