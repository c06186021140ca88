"""Quirks of listings."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from urllib.parse import quote, unquote

from tests.support.odd_objects import PAGE
from tests.support.odd_requests import Element, Quirk, Request, Response, Store
from tests.support.quirks.edits import adding, edits, entries_of, only_keys, text_of, without_elements
from tests.support.quirks.responses import leaves_out, malforms
from tests.support.quirks.scope import LISTING, on


@on(*LISTING)
def ignores_encoding_type(request: Request, store: Store) -> Response:
    """List keys without the encoding that the client asks for."""
    return store(replace(request, query={n: v for n, v in request.query.items() if n != "encoding-type"}))


#: Keys are encoded as the client asks, and the response does not say so.
encodes_without_saying = on(*LISTING)(leaves_out("EncodingType"))


def _encodes(encode: Callable[[str], str]) -> Quirk:
    """Encode the keys of a listing in another way; `encode` gets the key."""

    def quirk(request: Request, store: Store) -> Response:
        response = store(request)
        if request.query.get("encoding-type") != "url":
            return response
        return edits(["Key", "Prefix", "StartAfter"], lambda key: [encode(unquote(key))])(request, lambda _: response)

    return on(*LISTING)(quirk)


#: Keys are encoded twice.
encodes_twice = _encodes(lambda key: quote(quote(key, safe="/"), safe="/"))

#: Keys are encoded, and a `+` in a key stands as it is.
encodes_no_plus = _encodes(lambda key: quote(key, safe="/+"))

#: Keys are encoded as in a form: a blank is a `+`.
encodes_blanks_as_plus = _encodes(lambda key: quote(key, safe="/ ").replace(" ", "+"))


def pages_of(most_keys: int) -> Quirk:
    """List at most so many keys on a page."""

    def quirk(request: Request, store: Store) -> Response:
        most = min(most_keys, int(request.query.get("max-keys", PAGE)))
        return store(replace(request, query={**request.query, "max-keys": str(most)}))

    return on("ListObjectsV2")(quirk)


#: Pages do not say if there are more.
lists_without_is_truncated = on("ListObjectsV2")(leaves_out("IsTruncated", "NextContinuationToken"))

#: Pages say that there are more, and have no token.
lists_without_token = on("ListObjectsV2")(leaves_out("NextContinuationToken"))


@on("ListObjectsV2")
def lists_as_version_1(request: Request, store: Store) -> Response:
    """Respond as ListObjects does: with NextMarker, and without any parameter of version 2."""
    query = {n: v for n, v in request.query.items() if n not in ("continuation-token", "start-after")}
    if marker := request.query.get("marker"):
        query["start-after"] = marker
    response = leaves_out("NextContinuationToken", "KeyCount")(replace(request, query=query), store)
    keys = [text_of(entry, "Key") for entry in entries_of(response)]
    return adding(response, ("NextMarker", keys[-1])) if keys else response


@on("ListObjectsV2")
def lists_an_empty_page_at_the_end(request: Request, store: Store) -> Response:
    """Say after the last key, too, that there are more; the page behind it is empty."""
    response = store(request)
    keys = [text_of(entry, "Key") for entry in entries_of(response)]
    if not keys or text_of(response.xml, "IsTruncated") == "true":
        return response
    token = base64.urlsafe_b64encode(unquote(keys[-1]).encode()).decode()
    truncated = malforms("IsTruncated", "true")(request, lambda _: response)
    return adding(truncated, ("NextContinuationToken", token))


def _lists_by(order: Callable[[str], object]) -> Quirk:
    """List the keys in another order. StartAfter and tokens follow that order."""

    def quirk(request: Request, store: Store) -> Response:
        query = {n: v for n, v in request.query.items() if n not in ("start-after", "continuation-token", "max-keys")}
        found: list[Element] = []
        page = store(replace(request, query=query))
        first = page
        while True:
            found += entries_of(page)
            token = text_of(page.xml, "NextContinuationToken")
            if not token:
                break
            page = store(replace(request, query={**query, "continuation-token": token}))
        decode = unquote if "encoding-type" in query else str
        after = request.query.get("start-after", "")
        if given := request.query.get("continuation-token"):
            after = base64.urlsafe_b64decode(given).decode()
        found.sort(key=lambda entry: order(decode(text_of(entry, "Key"))))  # type: ignore[arg-type, return-value]
        found = [e for e in found if not after or order(decode(text_of(e, "Key"))) > order(after)]  # type: ignore[operator]
        shown = found[: int(request.query.get("max-keys", PAGE))]
        response = without_elements(first, "Contents", "NextContinuationToken", "IsTruncated")
        more = len(found) > len(shown)
        response = adding(response, ("IsTruncated", str(more).lower()), *shown)
        if not more:
            return response
        last = decode(text_of(shown[-1], "Key"))
        return adding(response, ("NextContinuationToken", base64.urlsafe_b64encode(last.encode()).decode()))

    return on("ListObjectsV2")(quirk)


#: Keys are listed in the order of UTF-16 code units, in which U+1F600 comes before U+FF21.
lists_in_utf_16_order = _lists_by(lambda key: key.encode("utf-16-be"))

#: Keys are listed in an order that ignores case.
lists_in_order_without_case = _lists_by(lambda key: (key.lower(), key))


@on("ListObjectsV2")
def lists_start_after_itself(request: Request, store: Store) -> Response:
    """Include the key of StartAfter in the listing."""
    after = request.query.get("start-after", "")
    if not after:
        return store(request)
    before = after[:-1] + chr(ord(after[-1]) - 1) + "\U0010ffff"
    response = store(replace(request, query={**request.query, "start-after": before}))
    return only_keys(response, lambda key: key.encode() >= after.encode())


@on("ListObjectsV2")
def ignores_start_after(request: Request, store: Store) -> Response:
    """List from the first key, whatever StartAfter says."""
    return store(replace(request, query={n: v for n, v in request.query.items() if n != "start-after"}))


def hides_from_listings(is_hidden: Callable[[str], bool]) -> Quirk:
    """Leave these keys out of listings, as a listing does that is behind the writes."""
    return on("ListObjectsV2")(lambda request, store: only_keys(store(request), lambda key: not is_hidden(key)))


@on("ListObjectsV2")
def lists_in_a_circle(request: Request, store: Store) -> Response:
    """Continue the last page with the second page again."""
    response = store(request)
    if text_of(response.xml, "IsTruncated") == "true":
        return response
    first = store(replace(request, query={n: v for n, v in request.query.items() if n != "continuation-token"}))
    response = malforms("IsTruncated", "true")(request, lambda _: response)
    return adding(response, ("NextContinuationToken", text_of(first.xml, "NextContinuationToken")))


def _same_page(token: str) -> Quirk:
    """Return the first page for each request, with a new token in the element `token` each time."""
    numbers = count(1)

    def quirk(request: Request, store: Store) -> Response:
        first = {n: v for n, v in request.query.items() if n not in ("continuation-token", "key-marker")}
        response = without_elements(store(replace(request, query=first)), "IsTruncated", token)
        return adding(response, ("IsTruncated", "true"), (token, f"k{next(numbers):06}"))

    return quirk


def lists_the_same_page() -> Quirk:
    """Return the first page of keys for each request, with a new token each time."""
    return on("ListObjectsV2")(_same_page("NextContinuationToken"))


def lists_the_same_uploads() -> Quirk:
    """Return the first page of uploads for each request, with a new marker each time."""
    by_key = _same_page("NextKeyMarker")

    def quirk(request: Request, store: Store) -> Response:
        return adding(without_elements(by_key(request, store), "NextUploadIdMarker"), ("NextUploadIdMarker", "upload"))

    return on("ListMultipartUploads")(quirk)


def lists_empty_pages_first(number_of_pages: int) -> Quirk:
    """Begin each listing with so many pages without keys, as a store may do that skips deleted keys."""

    def quirk(request: Request, store: Store) -> Response:
        number = int(request.query.get("continuation-token", "empty-0").removeprefix("empty-"))
        response = store(replace(request, query={n: v for n, v in request.query.items() if n != "continuation-token"}))
        if number >= number_of_pages:
            return response
        response = without_elements(response, "Contents", "IsTruncated", "NextContinuationToken")
        return adding(response, ("IsTruncated", "true"), ("NextContinuationToken", f"empty-{number + 1}"))

    return on("ListObjectsV2")(quirk)


@on("ListObjectsV2")
def lists_folders(request: Request, store: Store) -> Response:
    """List the folders in place of the keys, as with a delimiter."""
    response = store(request)
    folders = sorted({text_of(entry, "Key").rpartition("/")[0] + "/" for entry in entries_of(response)})
    shown: list[Element] = [("CommonPrefixes", [("Prefix", folder)]) for folder in folders]
    return adding(without_elements(response, "Contents"), *shown)
