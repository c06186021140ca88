"""Quirks of multipart uploads."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from tests.support.odd_objects import Upload, iso_time
from tests.support.odd_requests import Element, Quirk, Request, Response, Store, error
from tests.support.quirks.edits import adding, children, text_of
from tests.support.quirks.responses import leaves_out, malforms
from tests.support.quirks.scope import on, times

#: The listing of uploads says that there are more, and has no markers.
lists_uploads_without_markers = on("ListMultipartUploads")(malforms("IsTruncated", "true"))

#: The listing of uploads is always empty.
lists_no_uploads = on("ListMultipartUploads")(leaves_out("Upload"))


def lists_a_ghost_upload(key: str) -> Quirk:
    """List an upload of this key that does not exist: its parts are NoSuchUpload."""
    ghost = Upload("", key, {}, {})

    def quirk(request: Request, store: Store) -> Response:
        response = store(request)
        if not key.startswith(request.query.get("prefix", "")):
            return response
        shown = quote(key, safe="/") if request.query.get("encoding-type") == "url" else key
        element: Element = ("Upload", [("Key", shown), ("UploadId", "ghost"), ("Initiated", iso_time(ghost.begun))])
        return adding(response, element)

    return on("ListMultipartUploads")(quirk)


def complete_fails(count: int = 1) -> Quirk:
    """Respond to the first completions with 200 and an <Error>, and complete nothing."""
    failed = replace(error(500, "InternalError", "We encountered an internal error."), status=200)
    return on("CompleteMultipartUpload")(times(count)(lambda request, store: failed))


@on("CompleteMultipartUpload")
def complete_is_unreadable(request: Request, store: Store) -> Response:
    """Complete the upload, and respond with XML that no parser can read."""
    response = store(request)
    if response.status != 200:
        return response
    return response.rewritten(lambda text: text.replace("<Bucket>", "<Location>http://x/?a&b</Location><Bucket>"))


def forgets_uploads(request: Request, store: Store) -> Response:
    """Lose each upload that was begun: its parts and its completion are NoSuchUpload."""
    if request.operation in ("UploadPart", "CompleteMultipartUpload", "ListParts"):
        return error(404, "NoSuchUpload")
    return store(request)


def limits_sizes(
    *, object_max: int = 5 << 40, part_min: int = 0, part_max: int = 5 << 30, parts_max: int = 10_000
) -> Quirk:
    """Refuse objects and parts of other sizes in bytes, and part numbers above `parts_max`."""

    def quirk(request: Request, store: Store) -> Response:
        size = len(request.body)
        if (request.operation == "PutObject" and size > object_max) or (
            request.operation == "UploadPart" and size > part_max
        ):
            return error(400, "EntityTooLarge")
        if request.operation == "UploadPart" and int(request.query["partNumber"]) > parts_max:
            return error(400, "InvalidArgument", "The part number is too large.")
        if request.operation == "CompleteMultipartUpload" and part_min:
            listed = store(replace(request, method="GET", headers={}, body=b"", query=request.query))
            sizes = [int(text_of(part, "Size")) for part in children(listed.xml, "Part")]
            if any(size < part_min for size in sizes[:-1]):
                return error(400, "EntityTooSmall")
        return store(request)

    return quirk
