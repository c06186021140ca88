"""Quirks of keys that a store folds or refuses."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace

from tests.support.odd_objects import md5_hex
from tests.support.odd_requests import Quirk, Request, Response, Store, error
from tests.support.quirks.edits import entries_of
from tests.support.quirks.responses import refuses
from tests.support.quirks.scope import READING, where


def folds_keys(fold: Callable[[str], str]) -> Quirk:
    """Store each object under a folded key; a request for any key with the same folded key finds it."""
    return lambda request, store: store(replace(request, key=fold(request.key) if request.key else ""))


#: `/a` is `a`, and `d//x` is `d/x`.
folds_slashes = folds_keys(lambda key: re.sub("/+", "/", key).removeprefix("/") or "/")

#: `d/` is `d`.
folds_last_slash = folds_keys(lambda key: key.rstrip("/") or "/")

#: `d/./x` and `d/e/../x` are `d/x`.
folds_dot_segments = folds_keys(lambda key: _without_dot_segments(key))

#: `A` is `a`.
folds_case = folds_keys(str.lower)


def folds_case_and_keeps_the_first() -> Quirk:
    """Take `A` for `a`, and list the key as it was written first, as file systems do."""
    names: dict[str, str] = {}

    def quirk(request: Request, store: Store) -> Response:
        if not request.key:
            return store(request)
        kept = names.get(request.key.lower(), request.key)
        if request.method == "PUT":
            names[request.key.lower()] = kept
        elif request.method == "DELETE":
            names.pop(request.key.lower(), None)
        return store(replace(request, key=kept))

    return quirk


#: The decomposed form of a letter is its composed form.
folds_unicode = folds_keys(lambda key: unicodedata.normalize("NFC", key))

#: `d\x` is `d/x`.
folds_backslashes = folds_keys(lambda key: key.replace("\\", "/"))


def refuses_keys(is_refused: Callable[[str], bool], status: int = 400, code: str = "InvalidArgument") -> Quirk:
    """Refuse every request for such a key."""
    return where(lambda request: is_refused(request.key))(refuses(status, code, "The key is not supported."))


#: `a//b` and `/a` are InvalidArgument.
refuses_empty_segments = refuses_keys(lambda key: "//" in f"/{key}")


def finds_folders(request: Request, store: Store) -> Response:
    """Respond to a GET or HEAD of `d` and `d/` with an empty object while there are keys below `d/`."""
    response = store(request)
    if request.operation in READING and response.status == 404 and _has_keys_below(request, store):
        headers = {
            "ETag": f'"{md5_hex(b"")}"',
            "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
            "Content-Type": "application/x-directory",
            "Content-Length": "0",
        }
        return Response(200, tuple(headers.items()))
    return response


def keeps_full_folders(request: Request, store: Store) -> Response:
    """Refuse the deletion of `d` and `d/` with 409 DirectoryNotEmpty while there are keys below `d/`."""
    if request.operation == "DeleteObject" and _has_keys_below(request, store):
        return error(409, "DirectoryNotEmpty")
    return store(request)


def _without_dot_segments(key: str) -> str:
    segments: list[str] = []
    for segment in key.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment != ".":
            segments.append(segment)
    return "/".join(segments)


def _has_keys_below(request: Request, store: Store) -> bool:
    prefix = request.key.rstrip("/") + "/"
    query = {"list-type": "2", "prefix": prefix, "start-after": prefix, "max-keys": "1"}
    return bool(entries_of(store(replace(request, method="GET", key="", query=query, headers={}))))
