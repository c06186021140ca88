"""Make requests about single keys in boto3's form, at a fraction of its CPU time.

Only ordinary responses are returned. For every other response boto3 makes the request again, and its error is the one
that counts. So a write may be made twice, as boto3 itself does after a lost response.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from ..core import fence, headers
from ..core.errors import ARCHIVED_CODE
from ..core.units import MIB
from ..stores import response_xml
from ..stores.object_tags import UNTAGGED_CODES
from ..stores.response_xml import NotXmlError
from .pauses import Pauses
from .protocols import HttpClient, HttpResponse

#: Largest body in bytes. boto3 moves larger ones: moving the bytes then takes most of the time, and a client can hold
#: them twice.
MAX_BODY = MIB

#: Parameters that are a header with the same value.
_HEADERS = {"ChecksumMode": "x-amz-checksum-mode", "ContentMD5": "content-md5", "Range": "range"}
_HEADERS |= {parameter: name for name, parameter in headers.PARAMETERS.items()}

#: Parameters that are not a header.
_OTHERS = frozenset({"Bucket", "Key", "Body", "Metadata"})

#: Errors that are certain without boto3: the object does not exist, has changed, is in an archive, or has no tags.
_CERTAIN_ERRORS = frozenset({(404, "NoSuchKey"), (412, "PreconditionFailed"), (416, "InvalidRange")})
_CERTAIN_ERRORS |= {(403, ARCHIVED_CODE)}
_CERTAIN_ERRORS |= {(404, code) for code in UNTAGGED_CODES}

Reply = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Operation:
    """A request, and the reader of its response.

    The reader returns None, or raises NotXmlError, for a response that is not ordinary.
    """

    method: str
    read: Callable[[HttpResponse], Reply | None]
    query: str = ""


class ObjectRequests:
    """Makes the requests about the keys of one bucket. Safe to share between threads."""

    def __init__(self, client: HttpClient, pauses: Pauses) -> None:
        self._client, self._pauses = client, pauses

    def try_call(self, operation: str, parameters: Mapping[str, Any]) -> Reply | None:
        """Return the response that boto3 would have, or None if boto3 must make the request.

        The response has an "Error" where boto3 would raise ClientError. Raises OutOfTime if the work was given up.
        """
        known = _OPERATIONS.get(operation)
        if known is None or self._pauses.is_paused(operation):
            return None
        sent, body = _headers(parameters), parameters.get("Body", b"")
        if sent is None or max(len(body), _range_size(parameters)) > MAX_BODY:
            return None
        fence.ensure_open()
        response = self._client.request(
            known.method,
            parameters["Key"],
            query=known.query,
            headers=sent,
            body=bytes(body),
            max_body=MAX_BODY,  # a store that ignores the range may send any number of bytes
        )
        try:
            reply = known.read(response)
        except NotXmlError:
            reply = None
        self._pauses.note(operation, response, is_ordinary=reply is not None)
        return reply


def _headers(parameters: Mapping[str, Any]) -> list[tuple[str, str]] | None:
    """Return the headers of a request, or None for other parameters and for text that only boto3 encodes."""
    found: list[tuple[str, str]] = []
    for name, value in parameters.items():
        if name in _HEADERS:
            found.append((_HEADERS[name], value))
        elif name not in _OTHERS:
            return None
    found += [(headers.META + name, value) for name, value in parameters.get("Metadata", {}).items()]
    return found if all(name.isascii() and value.isascii() for name, value in found) else None


def _range_size(parameters: Mapping[str, Any]) -> int:
    """Return the number of bytes that a range contains; 0 without a range."""
    if "Range" not in parameters:
        return 0
    first, _, last = parameters["Range"].removeprefix("bytes=").partition("-")
    return int(last) - int(first) + 1


def _read_head(response: HttpResponse) -> Reply | None:
    if response.status == 404:  # a response without a body has no other code
        return _error(response, "404", "Not Found")
    return _reply(response) if response.status == 200 else None


def _read_get(response: HttpResponse) -> Reply | None:
    if response.status not in (200, 206):
        return _certain_error(response)
    length = headers.content_length(response.headers)
    return _reply(response) | {"Body": BytesIO(response.body)} if length in (None, len(response.body)) else None


def _read_put(response: HttpResponse) -> Reply | None:
    return _reply(response) if response.status == 200 and not response.body else None


def _read_tagging(response: HttpResponse) -> Reply | None:
    if response.status != 200:
        return _certain_error(response)
    root = response_xml.parse(response.body)
    return _reply(response) | response_xml.fields(root) if response_xml.name(root) == "Tagging" else None


def _read_delete(response: HttpResponse) -> Reply | None:
    return _reply(response) if response.status == 204 else None


_OPERATIONS = {
    "head_object": _Operation("HEAD", _read_head),
    "get_object": _Operation("GET", _read_get),
    "put_object": _Operation("PUT", _read_put),
    "get_object_tagging": _Operation("GET", _read_tagging, "?tagging"),
    "delete_object": _Operation("DELETE", _read_delete),
}


def _reply(response: HttpResponse) -> Reply:
    """Return the headers of a response in boto3's form."""
    return {"ResponseMetadata": {"HTTPHeaders": response.headers}}


def _certain_error(response: HttpResponse) -> Reply | None:
    code, message = response_xml.error(response.body)
    return _error(response, code, message) if (response.status, code) in _CERTAIN_ERRORS else None


def _error(response: HttpResponse, code: str, message: str) -> Reply:
    metadata = {"HTTPStatusCode": response.status, "RequestId": response.headers.get("x-amz-request-id", "")}
    return {"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}
