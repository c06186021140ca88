"""Quirks of writes and deletions."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from tests.support.odd_objects import META
from tests.support.odd_requests import Quirk, Request, Response, Store, error
from tests.support.quirks.edits import with_headers
from tests.support.quirks.responses import leaves_out, refuses
from tests.support.quirks.scope import STORING, of_key, on, where

#: The response to a PUT has no ETag.
puts_without_etag = on("PutObject")(leaves_out("ETag"))

#: The response to the upload of a part has no ETag.
parts_without_etag = on("UploadPart")(leaves_out("ETag"))


def quota(code: str = "QuotaExceeded", status: int = 403) -> Quirk:
    """Refuse every request that stores bytes. Deletions still work."""
    return on(*STORING)(refuses(status, code))


def refuses_signature_of(key: str) -> Quirk:
    """Refuse the signature of each PUT of one key, as a store does that encodes the key in its own way."""
    return of_key(key)(on("PutObject")(refuses(403, "SignatureDoesNotMatch")))


def refuses_signed_underscores(request: Request, store: Store) -> Response:
    """Refuse the signature of each request that has an underscore in a metadata name."""
    if any(name.startswith(META) and "_" in name for name in request.headers):
        return error(403, "SignatureDoesNotMatch")
    return store(request)


def refuses_unsigned_payload(code: str = "XAmzContentSHA256Mismatch", status: int = 400) -> Quirk:
    """Refuse a body if its SHA-256 is not in the signature."""
    return where(lambda r: r.headers.get("x-amz-content-sha256") == "UNSIGNED-PAYLOAD")(refuses(status, code))


def throttles(percent: int, status: int = 503, operations: Iterable[str] = ("PutObject",)) -> Quirk:
    """Refuse this share of the requests with SlowDown. They are spread evenly. A 429 has no body."""
    seen, lock = [0], threading.Lock()

    def applies(request: Request) -> bool:
        with lock:
            seen[0] += percent
            is_refused = seen[0] >= 100
            seen[0] %= 100
            return is_refused

    slow_down = refuses(status, "" if status == 429 else "SlowDown", "Please reduce your request rate.")
    return on(*operations)(where(applies)(slow_down))


@on("PutObject", "UploadPart", "PutObjectTagging", "CompleteMultipartUpload")
def demands_md5(request: Request, store: Store) -> Response:
    """Refuse a body without Content-MD5. Limit it with `on`, as most stores demand it for XML only."""
    if "content-md5" not in request.headers:
        return error(400, "InvalidRequest", "Missing required header for this request: Content-MD5")
    return store(request)


@on("PutObject", "CompleteMultipartUpload", "DeleteObject")
def ignores_conditions(request: Request, store: Store) -> Response:
    """Ignore If-Match and If-None-Match of a write."""
    return store(with_headers(request, lambda name, _: name not in ("if-match", "if-none-match")))


def refuses_conditions(status: int = 501, code: str = "NotImplemented") -> Quirk:
    """Refuse a write that has If-Match or If-None-Match."""
    has_one = where(lambda request: bool({"if-match", "if-none-match"} & request.headers.keys()))
    return on("PutObject", "CompleteMultipartUpload", "DeleteObject")(has_one(refuses(status, code)))


def deletes_nothing(status: int = 204) -> Quirk:
    """Respond to a deletion with this status and keep the object. A 404 has a page of HTML."""
    response = Response(status) if status == 204 else Response(status, body=b"<html>Not Found</html>")
    return on("DeleteObject")(lambda request, store: response)


def locks_objects(code: str = "AccessDenied") -> Quirk:
    """Refuse the deletion of each object, as a store with a retention does for a version."""
    return on("DeleteObject")(refuses(403, code))
