"""Read an S3 Inventory as the listing of the source: its manifest, its data files and their checksums."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from ...core.errors import StoreUnusable
from ...core.inventory import BadInventory, DataFile, Manifest, csv_rows, entries, parquet_columns
from ...core.key_list import lines
from ...core.listing_diff import PAGE_KEYS
from ...core.model import ListEntry
from ...settings import Settings
from ...sync.named_keys import NamedBatch
from .key_files import SORTED_KEYS, S3Object, object_chunks

#: The object beside `manifest.json` with its MD5.
_CHECKSUM = "manifest.checksum"

#: Rows of a Parquet file that are decoded at a time.
_ROWS = 50_000


class Inventory:
    """An inventory of the source bucket. The constructor raises StoreUnusable."""

    def __init__(self, manifest: S3Object, settings: Settings) -> None:
        self._where, self._settings = manifest, settings
        text = b"".join(object_chunks(manifest, settings))
        checksum = S3Object(manifest.bucket, manifest.key.rpartition("/")[0].removesuffix("/") + "/" + _CHECKSUM)
        expected = b"".join(object_chunks(checksum, settings)).decode(errors="replace").strip()
        if _md5(text) != expected:
            raise self._unusable(f"its MD5 is not the one of {checksum}")
        try:
            self.manifest = Manifest.parse(text)
        except BadInventory as error:
            raise self._unusable(str(error)) from error
        if self.manifest.source_bucket != settings.source_bucket:
            raise self._unusable(f"it is of the bucket {self.manifest.source_bucket}, not of {settings.source_bucket}")

    def batches(self) -> Iterator[NamedBatch]:
        """Yield the keys with their entries, sorted within SORTED_KEYS keys. Raises StoreUnusable."""
        found = self._entries()
        while chunk := {entry.key: entry for entry in islice(found, SORTED_KEYS)}:
            names = sorted(chunk)
            for start in range(0, len(names), PAGE_KEYS):
                page = names[start : start + PAGE_KEYS]
                yield NamedBatch(page, {name: chunk[name] for name in page})

    def _entries(self) -> Iterator[ListEntry]:
        for file in self.manifest.files:
            try:
                yield from entries(self._rows(file), self._settings.source_prefix)
            except BadInventory as error:
                raise self._unusable(f"{file.key}: {error}") from error

    def _rows(self, file: DataFile) -> Iterable[Mapping[str, Any]]:
        chunks = _verified(object_chunks(S3Object(self._where.bucket, file.key), self._settings), file)
        if self.manifest.format == "Parquet":
            return _parquet_rows(b"".join(chunks))
        text = (line.decode(errors="surrogateescape") for line in lines(_unzipped(chunks)))
        return csv_rows(text, self.manifest.columns)

    def _unusable(self, reason: str) -> StoreUnusable:
        return StoreUnusable(f"the inventory {self._where} cannot be used: {reason}", "Inventory")


def _verified(chunks: Iterable[bytes], file: DataFile) -> Iterator[bytes]:
    """Yield the chunks. Raises BadInventory at their end if their MD5 is not that of the manifest."""
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != file.md5:
        raise BadInventory("its MD5 is not the one of the manifest")


def _unzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a gzip file, which may have several members. Raises BadInventory."""
    unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                yield unzip.decompress(rest)
                rest = unzip.unused_data
                if unzip.eof:
                    unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
    except zlib.error as error:
        raise BadInventory(f"it is no gzip file: {error}") from error


def _parquet_rows(data: bytes) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a Parquet file. Raises BadInventory."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise BadInventory("Parquet needs pyarrow: pip install 's3-syncer[inventory]'") from error
    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        columns = parquet_columns(file.schema_arrow.names)
        for batch in file.iter_batches(_ROWS, columns=list(columns.values())):
            values = [batch.column(name).to_pylist() for name in columns.values()]
            for row in zip(*values, strict=True):
                yield dict(zip(columns, row, strict=True))
    except ArrowException as error:
        raise BadInventory(f"it is no Parquet file: {error}") from error


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
