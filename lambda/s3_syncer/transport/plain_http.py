"""An HTTP client for one bucket over `http.client`: see `protocols.HttpClient`.

No request is repeated and no response is judged. The fence of the thread is asked before a request is sent.
"""

from __future__ import annotations

import math

from ..core import fence
from ..core.deadline import OutOfTime
from ..stores import body_ends, request_limiter
from .protocols import NO_RESPONSE, Headers, HttpResponse
from .stream_http import StreamingHttpClient


class PlainHttpClient:
    """Makes whole requests over kept connections. Safe to share between threads."""

    def __init__(self, connections: StreamingHttpClient) -> None:
        self._connections = connections

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
        """Send a request and wait for the response: see `protocols.HttpClient`."""
        sent = [*headers, ("content-length", str(len(body)))] if method == "PUT" else headers
        try:
            with self._connections.begin(method, key or "", query=query, headers=sent, body=body) as request:
                status, received = request.response()
                if body_ends.is_bounded(method, status, received):
                    response = HttpResponse(status, received, request.read(max_body))
                elif body_ends.needs_no_body(method, status, received):
                    response = HttpResponse(status, received)
                else:
                    response = NO_RESPONSE
        except OutOfTime:
            raise
        except Exception:  # no response, or a request that cannot be sent: boto3 finds the reason
            response = NO_RESPONSE
        if response.status:
            fence.answered()
        request_limiter.note_status(response.status)
        return response
