"""The HTTP client of the CRT transport, for a store in memory: `crt/http_client.py` without awscrt.

Each request is a task, which stands for a thread of awscrt: the callbacks of the product run there. The faults are
those of `client.py`, and nothing is repeated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote
from xml.sax.saxutils import escape

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from s3_syncer.core import fence
from s3_syncer.core.deadline import OutOfTime
from s3_syncer.core.headers import META, PARAMETERS
from s3_syncer.stores import request_limiter
from s3_syncer.transport.protocols import Headers, HttpResponse

from .client import Connection, Socket
from .store import Response, Store
from .threads import Future, current

Done = Callable[[HttpResponse], None]

#: The operations of boto3 by the method and query of a request about a key.
_OPERATIONS = {
    ("HEAD", ""): "head_object",
    ("GET", ""): "get_object",
    ("GET", "?tagging"): "get_object_tagging",
    ("PUT", ""): "put_object",
    ("DELETE", ""): "delete_object",
}

#: The parameters of boto3 by the header, and by the parameter of a listing.
_HEADERS = {**PARAMETERS, "content-md5": "ContentMD5", "range": "Range"}
_LISTING = {
    "prefix": "Prefix",
    "start-after": "StartAfter",
    "continuation-token": "ContinuationToken",
    "max-keys": "MaxKeys",
}


class SimulatedHttpClient:
    """A `crt.protocols.CallbackHttpClient` for the store at the other end of a connection."""

    def __init__(self, store: Store, connection: Connection) -> None:
        self._store, self._connection = store, connection

    def send(
        self,
        method: str,
        key: str | None,
        done: Done,
        *,
        query: str = "",
        headers: Headers = (),
        body: bytes = b"",
        max_body: float = math.inf,
    ) -> None:
        operation = "list_objects_v2" if key is None else _OPERATIONS[method, query]
        parameters = _listing(query) if key is None else {"Key": key, **_parameters(method, headers, body)}

        def apply() -> Response:
            response: Response = getattr(self._store, operation)(**parameters)
            return response

        request = _Request(self._connection, done, operation, apply, f"{operation}({key or parameters['Prefix']})")
        current().spawn(request.run, max_body)

    def request(self, method: str, key: str | None, **options: Any) -> HttpResponse:
        response: Future = Future()
        self.send(method, key, response.set_result, **options)
        found: HttpResponse = response.result()
        request_limiter.note_status(found.status)
        return found


class _Request:
    """One request and its response. It has the fence and the fenced request of the task that made it."""

    def __init__(
        self, connection: Connection, done: Done, operation: str, apply: Callable[[], Response], label: str
    ) -> None:
        self._connection, self._operation, self._apply, self._label = connection, operation, apply, label
        self._done, self._fence, self._fenced = fence.carried(done), fence.current(), fence.current_request()
        self._has_ended = False

    def run(self, max_body: float) -> None:
        current().pause("connect")
        try:
            response = self._response()
        except (OutOfTime, ConnectionError, HTTPClientError) as error:
            current().note(self._label, "over HTTP fails:", type(error).__name__)
            response = HttpResponse(0)
        self._end(response if len(response.body) <= max_body else HttpResponse(0))

    def _response(self) -> HttpResponse:
        is_write = self._operation in ("put_object", "delete_object")
        try:
            found = self._connection.attempt(
                self._operation, self._apply, self._label, is_write=is_write, on_connect=self._ask_fence
            )
        except ClientError as error:
            return _error_response(self._operation, error)
        metadata, body = found["ResponseMetadata"], _body(self._operation, found)
        if body and self._connection.is_cut():
            return HttpResponse(0)
        status = 206 if "content-range" in metadata["HTTPHeaders"] else metadata["HTTPStatusCode"]
        if self._operation == "get_object":
            body = self._connection.damaged(body)
        return HttpResponse(status, metadata["HTTPHeaders"], body)

    def _ask_fence(self, socket: Socket) -> None:
        """Raise OutOfTime if the work was given up. Otherwise the request may take effect from now on."""

        def abort() -> None:
            socket.shut_down()
            self._end(HttpResponse(0))

        if self._fenced is not None:
            self._fenced.begin(abort)
        elif self._fence is not None:
            self._fence.ensure_open()

    def _end(self, response: HttpResponse) -> None:
        """Call back, once."""
        if self._has_ended:
            return
        self._has_ended = True
        if response.status and self._fenced is not None:
            self._fenced.answered()
        self._done(response)


def _parameters(method: str, headers: Headers, body: bytes) -> dict[str, Any]:
    """Return the parameters of boto3 for the headers and the body of a request."""
    found: dict[str, Any] = {_HEADERS[name]: value for name, value in headers if not name.startswith(META)}
    if method == "PUT":
        found |= {
            "Body": body,
            "Metadata": {name[len(META) :]: value for name, value in headers if name.startswith(META)},
        }
    return found


def _listing(query: str) -> dict[str, Any]:
    found = {_LISTING[name]: value for name, value in parse_qsl(query[1:], keep_blank_values=True) if name in _LISTING}
    return {**found, "MaxKeys": int(found["MaxKeys"])} if "MaxKeys" in found else found


def _body(operation: str, found: Response) -> bytes:
    """Return the body of a response to a successful request."""
    if operation == "list_objects_v2":
        return _page(found)
    if operation == "get_object_tagging":
        tags = (f"<Tag><Key>{tag['Key']}</Key><Value>{tag['Value']}</Value></Tag>" for tag in found["TagSet"])
        return f"<Tagging><TagSet>{''.join(tags)}</TagSet></Tagging>".encode()
    body: bytes = found.get("Body", b"")
    return body


def _page(found: Response) -> bytes:
    contents = (
        f"<Contents><Key>{quote(entry['Key'])}</Key><LastModified>{entry['LastModified'].isoformat()}</LastModified>"
        f"<ETag>{escape(entry['ETag'])}</ETag><Size>{entry['Size']}</Size></Contents>"
        for entry in found["Contents"]
    )
    token = escape(found.get("NextContinuationToken", ""))
    return (
        f"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{str(found['IsTruncated']).lower()}"
        f"</IsTruncated>{f'<NextContinuationToken>{token}</NextContinuationToken>' if token else ''}"
        f"{''.join(contents)}</ListBucketResult>"
    ).encode()


def _error_response(operation: str, error: ClientError) -> HttpResponse:
    code, metadata = error.response["Error"]["Code"], error.response["ResponseMetadata"]
    status: int = metadata["HTTPStatusCode"]
    if operation == "head_object":
        return HttpResponse(status)
    body = "<html></html>" if code == str(status) else f"<Error><Code>{code}</Code></Error>"
    return HttpResponse(status, {}, body.encode())
