"""An HTTP client for one bucket over `http.client`: see `protocols.HttpClient`.

No request is repeated and no response is judged. The fence of the thread is asked before a request is sent.
"""

from __future__ import annotations

import logging
import math
from http.client import HTTPException

from botocore.exceptions import BotoCoreError

from ..core import fence
from ..core.deadline import OutOfTime
from ..core.errors import SyncError
from ..stores import body_ends, request_limiter
from .protocols import NO_RESPONSE, Headers, HttpResponse
from .stream_http import StreamingHttpClient

logger = logging.getLogger(__name__)

#: No whole response, no keys to sign the request, or a value that no header can have.
_NOT_SENT_OR_NO_RESPONSE = (OSError, HTTPException, SyncError, BotoCoreError, ValueError)


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
                else:
                    request.leave()
                    is_whole = body_ends.needs_no_body(method, status, received)
                    response = HttpResponse(status, received) if is_whole else NO_RESPONSE
                if response.status:
                    fence.answered()  # before another request can take the connection, which the fence might break
        except OutOfTime:
            raise
        except _NOT_SENT_OR_NO_RESPONSE:
            response = NO_RESPONSE
        except Exception:  # a fault of this program: boto3 makes the request
            logger.exception("unexpected failure", extra={"key": key})
            response = NO_RESPONSE
        request_limiter.note_status(response.status)
        return response
