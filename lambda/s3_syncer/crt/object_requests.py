"""Requests about single keys in boto3's words, at a fraction of what boto3 spends on each.

It answers only where the answer is an ordinary one, and keeps silent about all others: boto3 makes the request then,
and what comes of that is judged. So a write may be made twice, as by boto3 itself when an answer is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import inf
from typing import Any, Protocol

from ..core import headers
from ..core.multipart import MIB
from .s3_xml import refusal, tag_set
from .small_object_copy import OF_ONE_KEY, REST_S, HttpResponse

#: Most bytes of a body: what is larger takes its time for itself, and is better not held twice.
SMALL = MIB

#: Parameters that are a header as they stand.
_HEADERS = {"ContentMD5": "content-md5", "IfMatch": "if-match", "Range": "range"}
_HEADERS |= {parameter: name for name, parameter in headers.PARAMETERS.items()}

#: The parameters that say where, or are no headers.
_OTHERS = frozenset({"Bucket", "Key", "Body", "Metadata"})

#: What a refusal may say for it to be as good as boto3's: the object is not there, or not what it was.
_REFUSALS = frozenset({(404, "NoSuchKey"), (412, "PreconditionFailed"), (416, "InvalidRange")})

Reply = dict[str, Any]


class Asking(Protocol):
    """See `wire.CrtHttpClient`."""

    def ask(
        self,
        method: str,
        key: str | None,
        *,
        query: str = "",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        most: float = inf,
    ) -> HttpResponse: ...


@dataclass(frozen=True, slots=True)
class _Operation:
    """A request, and what is made of an answer to it: None, KeyError or ValueError where it is no ordinary one."""

    method: str
    read: Callable[[HttpResponse], Reply | None]
    query: str = ""


class ObjectRequests:
    """The requests about the keys of one bucket. Safe to share between threads."""

    def __init__(self, side: Asking) -> None:
        self._side = side
        self._rests_until = 0.0

    def try_call(self, operation: str, parameters: Mapping[str, Any]) -> Reply | None:
        """What boto3 would answer, with an "Error" where it would raise one; None when boto3 has to be asked."""
        known = _OPERATIONS.get(operation)
        if known is None or time.monotonic() < self._rests_until:
            return None
        sent, body = _headers(parameters), parameters.get("Body", b"")
        if sent is None or max(len(body), _wanted(parameters)) > SMALL:
            return None
        key = parameters["Key"]
        # A store that overlooks the range may send any number of bytes.
        answer = self._side.ask(known.method, key, query=known.query, headers=sent, body=bytes(body), most=SMALL)
        if not 200 <= answer.status < 300 and answer.status not in OF_ONE_KEY:
            self._rests_until = time.monotonic() + REST_S
            return None
        try:
            return known.read(answer)
        except (KeyError, ValueError):  # it lacks what every store tells, or tells it otherwise
            return None


def _headers(parameters: Mapping[str, Any]) -> list[tuple[str, str]] | None:
    """The headers of a request; None when there is something else to it, or text that boto3 knows how to send."""
    found: list[tuple[str, str]] = []
    for name, value in parameters.items():
        if name in _HEADERS:
            found.append((_HEADERS[name], value))
        elif name not in _OTHERS:
            return None
    found += [(headers.META + name, value) for name, value in parameters.get("Metadata", {}).items()]
    return found if all(name.isascii() and value.isascii() for name, value in found) else None


def _wanted(parameters: Mapping[str, Any]) -> int:
    """How many bytes of an object are asked for."""
    if "Range" not in parameters:
        return 0
    first, _, last = parameters["Range"].removeprefix("bytes=").partition("-")
    return int(last) - int(first) + 1


def _looked(answer: HttpResponse) -> Reply | None:
    if answer.status == 404:  # all that an answer without a body can say
        return _refused(answer, "404", "Not Found")
    return _object(answer) if answer.status == 200 else None


def _got(answer: HttpResponse) -> Reply | None:
    if answer.status not in (200, 206):
        return _refusal(answer)
    told = answer.headers
    if len(answer.body) != int(told["content-length"]):
        return None
    found = _object(answer) | {"ContentLength": len(answer.body), "Body": BytesIO(answer.body)}
    # Which tells that it is a part of the object: some stores say so under a status of 200.
    if answer.status == 206 or "content-range" in told:
        int(told["content-range"].rpartition("/")[2])
        found["ContentRange"] = told["content-range"]
    return found


def _put(answer: HttpResponse) -> Reply | None:
    etag = answer.headers["etag"] if answer.status == 200 else ""
    return {"ETag": etag} if etag.strip('"') else None


def _tagged(answer: HttpResponse) -> Reply | None:
    if answer.status != 200:
        return _refusal(answer)
    tags = tag_set(answer.body)
    return None if tags is None else {"TagSet": tags}


def _deleted(answer: HttpResponse) -> Reply | None:
    return {} if answer.status == 204 else None


_OPERATIONS = {
    "head_object": _Operation("HEAD", _looked),
    "get_object": _Operation("GET", _got),
    "put_object": _Operation("PUT", _put),
    "get_object_tagging": _Operation("GET", _tagged, "?tagging"),
    "delete_object": _Operation("DELETE", _deleted),
}


def _object(answer: HttpResponse) -> Reply:
    """What the headers tell of an object, as boto3 hands them on. Raises KeyError or ValueError when they do not."""
    told = answer.headers
    int(told["content-length"])
    headers.moment(told["last-modified"])
    if not all(value.isascii() for value in told.values()):
        # awscrt reads headers as UTF-8, botocore their bytes as Latin-1: two looks have to see the same.
        told = {name: value.encode().decode("latin-1") for name, value in told.items()}
    return {"ETag": told["etag"], "ResponseMetadata": {"HTTPHeaders": told}}


def _refusal(answer: HttpResponse) -> Reply | None:
    code, message = refusal(answer.body)
    return _refused(answer, code, message) if (answer.status, code) in _REFUSALS else None


def _refused(answer: HttpResponse, code: str, message: str) -> Reply:
    about = {"HTTPStatusCode": answer.status, "RequestId": answer.headers.get("x-amz-request-id", "")}
    return {"Error": {"Code": code, "Message": message}, "ResponseMetadata": about}
