"""Quirks of the headers, the metadata and the state of an object."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from email.header import decode_header

from tests.support.odd_objects import META
from tests.support.odd_requests import Element, Quirk, Request, Response, Store, error
from tests.support.quirks.edits import edited_element, edits, if_found, text_of, with_entries, with_headers
from tests.support.quirks.responses import leaves_out, malforms, refuses, sends_header
from tests.support.quirks.scope import READING, STORING, on, where


def drops_header(name: str) -> Quirk:
    """Accept a header of an object and do not keep it."""
    return on(*STORING)(lambda request, store: store(with_headers(request, lambda n, v: n != name.lower())))


def changes_header(name: str, change: Callable[[str], str]) -> Quirk:
    """Keep another value of a header, as a store does that appends a charset."""

    def quirk(request: Request, store: Store) -> Response:
        headers = {n: change(v) if n == name.lower() else v for n, v in request.headers.items()}
        return store(replace(request, headers=headers))

    return on(*STORING)(quirk)


@on(*STORING)
def drops_metadata(request: Request, store: Store) -> Response:
    """Keep no user metadata."""
    return store(with_headers(request, lambda name, _: not name.startswith(META)))


@on(*STORING)
def drops_metadata_with_underscores(request: Request, store: Store) -> Response:
    """Keep no user metadata with an underscore in its name."""
    return store(with_headers(request, lambda name, _: not (name.startswith(META) and "_" in name)))


@on(*STORING)
def renames_metadata_with_underscores(request: Request, store: Store) -> Response:
    """Keep `a_b` in user metadata as `a-b`."""
    headers = {name.replace("_", "-") if name.startswith(META) else name: v for name, v in request.headers.items()}
    return store(replace(request, headers=headers))


def refuses_large_metadata(limit: int = 2048) -> Quirk:
    """Refuse user metadata with more bytes than this in names and values."""

    def is_large(request: Request) -> bool:
        return sum(len(n) - len(META) + len(v) for n, v in request.headers.items() if n.startswith(META)) > limit

    return on(*STORING)(where(is_large)(refuses(400, "MetadataTooLarge")))


def sends_metadata(form: Callable[[str], str]) -> Quirk:
    """Send the values of user metadata in another form."""

    def sent(response: Response) -> Response:
        return replace(
            response,
            headers=tuple((n, form(v) if n.lower().startswith(META) else v) for n, v in response.headers),
        )

    return on(*READING)(lambda request, store: sent(store(request)))


#: Metadata that is not ASCII is sent as the bytes of its UTF-8.
sends_raw_metadata = sends_metadata(lambda value: _decoded(value).encode().decode("latin-1"))

#: Metadata that is not ASCII is sent in Q words of RFC 2047.
sends_metadata_in_q_words = sends_metadata(lambda value: _q_word(_decoded(value)))


def sends_missing_meta(count: int) -> Quirk:
    """Say in `x-amz-missing-meta` that so many entries of user metadata cannot be shown."""
    return sends_header("x-amz-missing-meta", str(count))


def head_without(*fields: str) -> Quirk:
    """Respond to a HEAD without these headers, such as `Content-Length`, `ETag` and `Last-Modified`."""
    return on("HeadObject")(leaves_out(*fields))


#: Last-Modified is in ISO 8601.
sends_iso_times = on(*READING)(malforms("Last-Modified", "2026-01-01T00:00:00.000Z"))

#: Last-Modified has a fraction of a second.
sends_fractions_of_seconds = on(*READING)(malforms("Last-Modified", "Thu, 01 Jan 2026 00:00:00.123 GMT"))


def _etags(pattern: str) -> Quirk:
    """Send each MD5 that matches `pattern` backwards, and read it backwards from the client."""

    def turned(text: str) -> str:
        return re.sub(pattern, lambda found: found[0][::-1], text)

    def quirk(request: Request, store: Store) -> Response:
        headers = {n: turned(v) if n in ("if-match", "if-none-match") else v for n, v in request.headers.items()}
        body = request.body
        if request.operation == "CompleteMultipartUpload":
            body = turned(body.decode()).encode()
        return edits(["ETag"], lambda etag: [turned(etag)])(replace(request, headers=headers, body=body), store)

    return quirk


#: ETags look like MD5s and are none, as in a store with server-side encryption.
etags_are_no_md5s = _etags("[0-9a-f]{32}")

#: The ETag of an object in parts does not follow from the MD5s of its parts.
multipart_etags_are_no_md5s = _etags("[0-9a-f]{32}(?=-)")


@on(*READING)
def ignores_part_numbers(request: Request, store: Store) -> Response:
    """Respond to a HEAD or GET of a part with the whole object."""
    return store(replace(request, query={n: v for n, v in request.query.items() if n != "partNumber"}))


@on(*READING)
def ignores_ranges(request: Request, store: Store) -> Response:
    """Respond to a GET of a range with the whole object."""
    return store(with_headers(request, lambda name, _: name != "range"))


def archives(prefix: str) -> Quirk:
    """Keep the objects below a prefix in an archive: their bytes cannot be read."""

    def quirk(request: Request, store: Store) -> Response:
        if not request.key.startswith(prefix) or request.operation not in READING:
            return store(request)
        if request.method == "GET":
            return error(403, "InvalidObjectState", "The operation is not valid for the object's storage class")
        return if_found(store(request), lambda found: found.having("x-amz-storage-class", "GLACIER"))

    def listed(request: Request, store: Store) -> Response:
        response = quirk(request, store)
        if request.operation != "ListObjectsV2":
            return response
        return with_entries(
            response, lambda entry: _archived(entry) if text_of(entry, "Key").startswith(prefix) else entry
        )

    return listed


def archives_in_tier(prefix: str, tier: str, restores: list[str]) -> Quirk:
    """Keep the objects below a prefix in an archive tier of Intelligent-Tiering, which no listing shows.

    The bodies of the restore requests go to `restores`. Such a request must not have Days.
    """
    asked: set[str] = set()

    def quirk(request: Request, store: Store) -> Response:
        if not request.key.startswith(prefix):
            return store(request)
        if request.method == "POST" and "restore" in request.query:
            restores.append(request.body.decode())
            asked.add(request.key)
            return error(400, "MalformedXML") if "<Days>" in restores[-1] else Response(202)
        if request.operation == "GetObject":
            return error(403, "InvalidObjectState", "The operation is not valid for the object's access tier")
        if request.operation != "HeadObject":
            return store(request)
        response = store(request).having("x-amz-storage-class", "INTELLIGENT_TIERING")
        response = response.having("x-amz-archive-status", tier)
        return response.having("x-amz-restore", 'ongoing-request="true"') if request.key in asked else response

    return quirk


def _archived(entry: Element) -> Element:
    (archived,) = edited_element(entry, ["StorageClass"], lambda _: ["GLACIER"])
    return archived


def _decoded(value: str) -> str:
    """Return the text of a value in words of RFC 2047."""
    parts = decode_header(value)
    return "".join(part.decode(charset or "latin-1") if isinstance(part, bytes) else part for part, charset in parts)


def _q_word(text: str) -> str:
    if text.isascii():
        return text
    return "=?UTF-8?Q?" + "".join(c if c.isalnum() and c.isascii() else _hex(c) for c in text) + "?="


def _hex(character: str) -> str:
    return "".join(f"={byte:02X}" for byte in character.encode())
