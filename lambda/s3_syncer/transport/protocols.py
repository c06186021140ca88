"""The interface of an HTTP client for one bucket, and its response. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..core.errors import ARCHIVED_CODE, StoreUnusable, Transient, classify
from ..stores import response_xml

Headers = Sequence[tuple[str, str]]

#: Statuses of a response that concerns one key, unless its error code says otherwise. Any other error status says that
#: the store as a whole fails or refuses.
OBJECT_LEVEL_STATUSES = frozenset({400, 404, 405, 409, 411, 412, 413, 414, 416, 501})


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response with the names of its headers in lower case. Status 0 means that there was no response.

    The bytes of a header are decoded as Latin-1, as botocore does.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


NO_RESPONSE = HttpResponse(0)


def is_archived(response: HttpResponse) -> bool:
    """Return True if the object must be restored before a read. That 403 says nothing about other objects."""
    return response.status == 403 and response_xml.error(response.body)[0] == ARCHIVED_CODE


def concerns_store(response: HttpResponse) -> bool:
    """Return True if the response, or its absence, says that the store as a whole fails or refuses.

    The error code decides where the status does not: 400 is also the status of a wrong region, and 404 that of a
    missing bucket.
    """
    status = response.status
    if 200 <= status < 300:
        return False
    if status not in OBJECT_LEVEL_STATUSES:
        return not is_archived(response)
    return isinstance(classify(response_xml.error(response.body)[0], status, ""), (StoreUnusable, Transient))


class HttpClient(Protocol):
    """A client for one bucket. Keys are whole; a key of None is the bucket itself."""

    def request(
        self,
        method: str,
        key: str | None,
        *,
        query: str = "",
        headers: Headers = (),
        body: bytes = b"",
        max_body: float = math.inf,
    ) -> HttpResponse:
        """Send a request and wait for the response. Raises OutOfTime if the work was given up.

        A response of more than `max_body` bytes is cut off, and counts as none.
        """
