"""Quirks of any response: errors, headers and XML."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from tests.support.odd_requests import Quirk, Request, Response, Store, error
from tests.support.quirks.edits import edits, if_found
from tests.support.quirks.scope import READING, on, where


def refuses(status: int, code: str, message: str = "") -> Quirk:
    """Respond to each request with this error. Without a code, the response has no body."""
    return lambda request, store: error(status, code, message) if code else Response(status)


def responds(status: int, body: str, content_type: str = "text/html") -> Quirk:
    """Respond to each request with this text, such as a page of HTML."""
    return lambda request, store: Response(status, (("Content-Type", content_type),), body.encode())


def leaves_out(*fields: str) -> Quirk:
    """Leave out these headers and XML elements, such as `ETag`, wherever they are in a response."""
    return edits(fields, lambda value: [])


def malforms(field: str, value: str = "?") -> Quirk:
    """Respond with this value in the headers and XML elements of that name."""
    return edits([field], lambda _: [value])


def doubles(field: str) -> Quirk:
    """Send the headers and XML elements of that name twice."""
    return edits([field], lambda value: [value, value])


def sends_header(name: str, value: str) -> Quirk:
    """Send this header with each object, in place of the one that the client has set."""
    return on(*READING)(lambda request, store: if_found(store(request), lambda found: found.having(name, value)))


def sends_length(value: str) -> Quirk:
    """Send this Content-Length with each response; without a text, send none."""
    return lambda request, store: store(request).having("Content-Length", value)


def renames_header(name: str, new: str) -> Quirk:
    """Send a header under another name, such as `E-Tag` for `ETag`."""

    def quirk(request: Request, store: Store) -> Response:
        response = store(request)
        value = response.header(name)
        return response if value is None else response.without(name).having(new, value)

    return quirk


#: ETags are weak, as a proxy makes them that compresses responses.
weakens_etags = edits(["ETag"], lambda value: ["W/" + value])


def _writes_raw(*characters: str) -> Quirk:
    def raw(text: str) -> str:
        for written, character in _REFERENCES.items():
            if not characters or character in characters:
                text = text.replace(written, character)
        return text

    def control(text: str) -> str:
        return re.sub("&#x([0-9a-f]+);", lambda found: chr(int(found[1], 16)), text)

    return lambda request, store: store(request).rewritten(lambda text: raw(text if characters else control(text)))


_REFERENCES = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}

#: XML is written without any escape: control characters, `&` and `<` stand as they are.
writes_unescaped_xml = _writes_raw()

#: `&` stands as it is.
writes_bare_ampersands = _writes_raw("&")


@where(lambda request: not request.virtual_host)
def only_virtual_host(request: Request, store: Store) -> Response:
    """Refuse a request with the bucket in the path."""
    return error(403, "SecondLevelDomainForbidden", "Put the bucket into the host name.")


@where(lambda request: request.headers.get("x-amz-request-payer") != "requester")
def requester_pays(request: Request, store: Store) -> Response:
    """Refuse a client that does not offer to pay."""
    return error(403, "AccessDenied", "Access Denied")


#: The forms of a 404. None of these pages is readable XML with a code, except the first.
NOT_FOUND: Mapping[str, Callable[[str], Response]] = {
    "xml": lambda code: error(404, code),
    "html": lambda code: Response(404, body=b"<html><body>404 Not Found</body></html>"),
    "broken xml": lambda code: Response(404, body=f"<Error><Code>{code}</Code><Resource>?x=1&y</Resource>".encode()),
    "empty": lambda code: Response(404),
    "json": lambda code: Response(404, (("Content-Type", "application/json"),), b'{"message": "Not Found"}'),
}


def bucket_is_gone(form: str = "xml") -> Quirk:
    """Respond as if the bucket did not exist, in a form of NOT_FOUND."""
    return lambda request, store: NOT_FOUND[form]("NoSuchBucket")


def missing_keys_are(form: str, code: str = "NoSuchKey") -> Quirk:
    """Respond to a GET of a missing key in a form of NOT_FOUND, with this code."""

    def quirk(request: Request, store: Store) -> Response:
        response = store(request)
        return NOT_FOUND[form](code) if response.status == 404 else response

    return on("GetObject")(quirk)
