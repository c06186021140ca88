"""Lists of keys in files: one key on each line, or JSON lines with a `key`. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

#: The mark that some programs write at the start of a file.
_BOM = b"\xef\xbb\xbf"


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file, without their ends: a line feed, or a carriage return and a line feed."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.removesuffix(b"\r") for line in whole)
    if rest:
        yield rest.removesuffix(b"\r")


def keys(file_lines: Iterable[bytes]) -> Iterator[str]:
    """Yield the keys of a list of keys, of a report, or of a JSON log.

    If the first line begins a JSON object, the file is a report or a log. Of its lines, those that are an object with a
    `key` are read. Otherwise each line is a key as it is, also with `#` or blanks, as in a raw list of rclone.
    Empty lines are ignored.
    """
    is_json: bool | None = None
    for line in file_lines:
        if is_json is None:
            line = line.removeprefix(_BOM)
            if not line:
                continue
            is_json = _begins_json(line)
        if not is_json:
            if line:
                yield line.decode(errors="surrogateescape")
        elif (key := _key_of(line)) is not None:
            yield key


def _begins_json(line: bytes) -> bool:
    """Return True if the first line of a file begins a JSON report, or is a JSON object."""
    return line.strip() == b"{" or isinstance(_parsed(line), dict)


def _key_of(line: bytes) -> str | None:
    """Return the key of a JSON line; a report has other characters behind it."""
    found = _parsed(line.strip().rstrip(b"],"))
    key = found.get("key") if isinstance(found, dict) else None
    return key if isinstance(key, str) and key else None


def _parsed(line: bytes) -> object:
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None
