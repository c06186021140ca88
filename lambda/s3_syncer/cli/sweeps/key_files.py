"""Read a file with keys: of this machine, of S3, or standard input."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from botocore.exceptions import BotoCoreError, ClientError

from ...core import key_list
from ...core.errors import StoreUnusable
from ...core.listing_diff import PAGE_KEYS
from ...core.units import MIB
from ...settings import Settings
from ...stores.bucket_owner import without_owner
from ...stores.clients import source_client
from ...sync.named_keys import NamedBatch

#: Keys that are sorted together, so that a page has keys that are close together. They take about 30 MB.
SORTED_KEYS = 200_000


@dataclass(frozen=True, slots=True)
class S3Object:
    """The bucket and the key of a file in S3."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class KeyFileLocation:
    """A file, an object of S3, or standard input if both are None."""

    path: Path | None = None
    s3_object: S3Object | None = None

    @classmethod
    def parse(cls, text: str) -> KeyFileLocation | None:
        """Return the location; None if the text begins like the URL of an object and is none."""
        if text == "-":
            return cls()
        if not text.startswith("s3://"):
            return cls(Path(text))
        parts = re.fullmatch(r"s3://([^/]+)/(.+)", text)
        return None if parts is None else cls(None, S3Object(parts[1], parts[2]))

    def keys(self, settings: Settings) -> Iterator[str]:
        """Yield the keys. Raises OSError, and StoreUnusable for an object of S3, while the file is read."""
        return key_list.keys(key_list.lines(self._chunks(settings)))

    def _chunks(self, settings: Settings) -> Iterator[bytes]:
        if self.s3_object is not None:
            yield from object_chunks(self.s3_object, settings)
        elif self.path is None:
            yield from _file_chunks(standard_input())
        else:
            with self.path.open("rb") as file:
                yield from _file_chunks(file)


def object_chunks(where: S3Object, settings: Settings) -> Iterator[bytes]:
    """Yield the bytes of an object of the source's store. Raises StoreUnusable."""
    options = settings.source_requests
    if where.bucket != settings.source_bucket:  # another account may own this bucket
        options = replace(options, headers=without_owner(options.headers))
    client = source_client(1, options, settings.source_connection).lease().client
    try:
        yield from client.get_object(Bucket=where.bucket, Key=where.key)["Body"].iter_chunks(MIB)
    except (ClientError, BotoCoreError) as error:
        raise StoreUnusable(f"{where} cannot be read: {error}", "KeyFile") from error


def batches(keys: Iterator[str]) -> Iterator[NamedBatch]:
    """Yield the keys in pages, sorted within SORTED_KEYS keys."""
    while chunk := sorted(set(islice(keys, SORTED_KEYS))):
        for start in range(0, len(chunk), PAGE_KEYS):
            yield NamedBatch(chunk[start : start + PAGE_KEYS])


def standard_input() -> BinaryIO:
    """Return the bytes of standard input."""
    return sys.stdin.buffer


def _file_chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(MIB):
        yield chunk
