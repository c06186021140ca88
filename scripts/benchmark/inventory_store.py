"""A read-only store with an S3 Inventory and any number of keys, which are the numbers from 0 on.

    python -m benchmark.inventory_store PORT COUNT FOLDER

It makes each page of a listing when it is requested, so that 100 million keys need no memory. FOLDER has the files of
the inventory, in the folders of their keys. It does not check signatures.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from benchmark.fake_store import MODIFIED, FakeStore, Response, serve

SIZE = 10 * 1024

#: The bucket of the files of the inventory.
REPORTS = "reports"


def key(number: int) -> str:
    return f"{number:012d}"


def etag(number: int) -> str:
    """Return a text with the form of an MD5, which costs less than one."""
    return f"{number:032x}"


def _entry(number: int) -> bytes:
    return (
        f"<Contents><Key>{key(number)}</Key><LastModified>{MODIFIED}</LastModified><ETag>&quot;{etag(number)}&quot;</ETag>"
        f"<Size>{SIZE}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    ).encode()


class _Numbered(Sequence[Any]):
    """A sequence that makes each element from its number. A slice joins them, as in `Packed`."""

    def __init__(self, count: int, make: Callable[[int], Any]) -> None:
        self._numbers, self._make = range(count), make

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return b"".join(self._make(number) for number in self._numbers[index])
        return self._make(self._numbers[index])


class InventoryStore(FakeStore):
    """Both stores of a comparison: the source is in the inventory, and the listing is that of the target."""

    def __init__(self, count: int, folder: Path) -> None:
        self.keys, self.size = _Numbered(count, key), SIZE
        self._entries = _Numbered(count, _entry)
        self._folder = folder

    def etag(self, key: str) -> str:
        return etag(int(key))

    def respond(self, method: str, path: str) -> Response:
        bucket, _, name = unquote(path.partition("?")[0]).removeprefix("/").partition("/")
        if method == "GET" and bucket == REPORTS:
            return Response("200 OK", (self._folder / name).read_bytes(), {"Content-Type": "application/octet-stream"})
        return super().respond(method, path)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), InventoryStore(int(sys.argv[2]), Path(sys.argv[3]))))
