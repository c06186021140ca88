"""Quirks of tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.support.odd_requests import Quirk, Request, Response, Store, error
from tests.support.quirks.edits import with_headers
from tests.support.quirks.responses import leaves_out, refuses, responds
from tests.support.quirks.scope import TAGGING, on

#: The responses of stores without tags to `?tagging`.
NO_TAGS: Mapping[str, Quirk] = {
    "501 NotImplemented": refuses(501, "NotImplemented"),
    "500 InternalError": refuses(500, "InternalError"),
    "405 MethodNotAllowed": refuses(405, "MethodNotAllowed"),
    "403 AccessDenied": refuses(403, "AccessDenied"),
    "400 InvalidRequest": refuses(400, "InvalidRequest"),
    "404 without a code": responds(404, "<html>Not Found</html>"),
    #: `rclone serve s3`: PUT replaces the object by the XML of the tags, and DELETE deletes the object.
    "the object itself": lambda request, store: store(replace(request, query={})),
    "200 of the object": lambda request, store: (
        store(replace(request, query={})) if request.method == "GET" else Response()
    ),
}

#: The responses of stores without tags to the header `x-amz-tagging`.
NO_TAGS_HEADER: Mapping[str, Quirk] = {
    "501 NotImplemented": refuses(501, "NotImplemented"),
    "400 InvalidArgument": refuses(400, "InvalidArgument"),
    "ignored": lambda request, store: store(with_headers(request, lambda name, _: name != "x-amz-tagging")),
}


def has_no_tags(operations: str = "501 NotImplemented", header: str = "501 NotImplemented") -> Quirk:
    """Keep no tags. `operations` is a key of NO_TAGS, and `header` one of NO_TAGS_HEADER."""

    def quirk(request: Request, store: Store) -> Response:
        if request.operation in TAGGING:
            return NO_TAGS[operations](request, store)
        if "x-amz-tagging" in request.headers:
            return NO_TAGS_HEADER[header](request, store)
        return store(request)

    return quirk


@on("GetObjectTagging")
def has_no_empty_tag_set(request: Request, store: Store) -> Response:
    """Respond with 404 NoSuchTagSet for an object without tags."""
    response = store(request)
    return error(404, "NoSuchTagSet") if response.xml == ("Tagging", [("TagSet", [])]) else response


@on("GetObjectTagging")
def leaves_out_an_empty_tag_set(request: Request, store: Store) -> Response:
    """Respond with 200 and no TagSet for an object without tags."""
    response = store(request)
    return leaves_out("TagSet")(request, store) if response.xml == ("Tagging", [("TagSet", [])]) else response
