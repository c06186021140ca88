"""The way from a process to a server: latency, faults, boto3's retries, and clients in boto3's form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectionError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
)

from s3_syncer.core import fence
from s3_syncer.stores import plain_responses

from .faults import NO_FAULTS, SIGNATURE_MAX_AGE_S, SLOW_S, Faults
from .scheduler import Scheduler
from .store import Refused, Response, Server, Store

#: Seconds that a request or a response is on its way. Most are equal, so that requests meet; some are long.
LATENCIES_S = (0.0, 0.01, 0.01, 0.01, 0.05, 0.2, 2.0)

#: Seconds until a client notices that its connection is broken. 60 is the read timeout of `stores/clients.py`.
_BREAKS_S = (0.0, 1.0, 60.0)

#: Shares of SIGNATURE_MAX_AGE_S after which the server applies a late request.
_LATE_SHARES = (0.001, 0.02, 0.1, 0.5, 0.99)

#: boto3 repeats a request after these: https://github.com/boto/botocore/blob/develop/botocore/retries/standard.py
_BROKEN = (ConnectionError, HTTPClientError)
_RETRIED_STATUS = frozenset({500, 502, 503, 504})
_THROTTLED_CODES = frozenset({"SlowDown", "Throttling", "ThrottlingException"})
_RETRIED_CODES = _THROTTLED_CODES | {"RequestTimeout"}
_BACKOFF_MAX_S = 20.0


class Events:
    """The events of a client, as botocore's: handlers by the name of the event."""

    def __init__(self) -> None:
        self._handlers: dict[str, list[Callable[..., object]]] = defaultdict(list)

    def register(self, name: str, handler: Callable[..., object]) -> None:
        self._handlers[name].append(handler)

    def emit(self, name: str, **values: object) -> list[object]:
        """Call the handlers, and return their results."""
        return [handler(**values) for handler in self._handlers[name]]


class Socket:
    """The connection of one attempt. If another thread breaks it, the thread that waits for it wakes."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler, self._waiting, self.is_broken = scheduler, scheduler.task, False

    def shut_down(self) -> None:
        self.is_broken = True
        self._scheduler.wake(self._waiting)


class Connection:
    """Sends the requests of one process to one server. `attempts` is the number of attempts of boto3."""

    def __init__(self, server: Server, faults: Faults = NO_FAULTS, *, attempts: int = 6) -> None:
        self._server, self._faults, self._attempts = server, faults, attempts
        self._scheduler: Scheduler = server.scheduler
        self.events = Events()

    def request(self, operation: str, apply: Callable[[], Response], *, subject: str, is_write: bool) -> Response:
        """Return the response. Raises what boto3 raises. `subject` names the object in the history."""
        label = f"{operation}({subject})"
        for attempt in range(1, self._attempts + 1):
            self.events.emit("before-send.s3")
            response, error = Response(), None
            try:
                response = self.attempt(
                    operation, apply, label, is_write=is_write, on_connect=_connect(fence.current_request())
                )
            except (ClientError, *_BROKEN) as failure:
                error = failure
                self._scheduler.note(self._server.name, label, "fails:", _text(failure))
            self.events.emit("response-received.s3", **_received(error))
            self.events.emit("needs-retry.s3")  # after a success too, as in botocore
            # The handler of an operation ends the attempts if it raises the error.
            called = SimpleNamespace(name=_api_name(operation))
            self.events.emit(f"needs-retry.s3.{called.name}", operation=called, **_caught(error))
            if error is None:
                return response
            if attempt == self._attempts or not _is_retried(error):
                raise error
            first_s = 1.0 if _text(error) in _THROTTLED_CODES else 0.05
            scale_s = min(first_s * 2 ** (attempt - 1), _BACKOFF_MAX_S)
            self._scheduler.sleep(scale_s * self._scheduler.choose((0.1, 0.5, 0.9)), "backoff")
        raise AssertionError("the last attempt returns or raises")

    def body(self, data: bytes) -> Body:
        """Return the body of a response as a stream."""
        return Body(self.damaged(data), cut=self.is_cut())

    def damaged(self, data: bytes) -> bytes:
        """Return the bytes of a response as they arrive."""
        if not (self._happens("damage") and data):
            return data
        place = self._scheduler.choose(range(len(data)))
        self._scheduler.note(self._server.name, "damages a body at byte", place)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    def is_cut(self) -> bool:
        """Return True if the connection breaks within the body of a response."""
        return self._happens("body_cut")

    def attempt(
        self,
        operation: str,
        apply: Callable[[], Response],
        label: str,
        *,
        is_write: bool,
        on_connect: Callable[[Socket], object],
    ) -> Response:
        """Send the request once, and return the response. Raises what boto3 raises after its last attempt.

        `on_connect` gets the connection before the request is on its way.
        """
        scheduler = self._scheduler
        scheduler.count("request")
        self._meet_outage(operation)
        socket = Socket(scheduler)
        on_connect(socket)
        self._travel(label)
        if is_write and self._happens("slow"):
            scheduler.sleep(SLOW_S, label)
        if self._happens("request_lost"):
            self._break()
        is_late = is_write and (scheduler.chance(0.5) if socket.is_broken else self._happens("late"))
        if is_late:
            self._server.apply_later(SIGNATURE_MAX_AGE_S * scheduler.choose(_LATE_SHARES), apply, label)
        if is_late or socket.is_broken:
            self._break()
        if self._happens("busy"):
            raise _client_error(operation, Refused(*scheduler.choose((("SlowDown", 503), ("InternalError", 500)))))
        try:
            response, error = apply(), None
        except Refused as refused:
            response, error = {}, refused
        scheduler.note(self._server.name, label, error or "")
        self._travel(label)
        if socket.is_broken or self._happens("response_lost"):
            self._break()
        if error is not None:
            raise _client_error(operation, error)
        return response

    def _travel(self, label: str) -> None:
        latency_s = self._scheduler.choose(LATENCIES_S)
        if latency_s:
            self._scheduler.sleep(latency_s, label)
        else:
            self._scheduler.pause(label)

    def _meet_outage(self, operation: str) -> None:
        outage = self._faults.outage(self._scheduler.now)
        if outage is None:
            return
        self._scheduler.count("outage")
        if outage.kind == "refused":
            if self._scheduler.chance(0.5):
                raise EndpointConnectionError(endpoint_url=self._server.name)
            self._scheduler.sleep(5.0, "connect timeout")
            raise ConnectTimeoutError(endpoint_url=self._server.name)
        if outage.kind == "denied":
            raise _client_error(operation, Refused("SomethingForbidden", 403))
        raise _client_error(operation, Refused("", 404 if outage.kind == "not found" else 503))

    def _break(self) -> NoReturn:
        wait_s = self._scheduler.choose(_BREAKS_S)
        self._scheduler.sleep(wait_s, "broken connection")
        broken = ReadTimeoutError if wait_s == max(_BREAKS_S) else ConnectionClosedError
        raise broken(endpoint_url=self._server.name)

    def _happens(self, name: str) -> bool:
        """Return True if the fault with this name happens now, and count it."""
        rate: float = getattr(self._faults, name)
        return rate > 0 and self._scheduler.chance(rate) and self._scheduler.count(name)


def _connect(request: fence.Request | None) -> Callable[[Socket], object]:
    return lambda socket: None if request is None else request.connect(socket.shut_down)


def _received(error: Exception | None) -> dict[str, Any]:
    """Return the values of botocore's event after an attempt."""
    if error is None or isinstance(error, ClientError):
        status: Any = 200 if error is None else error.response["ResponseMetadata"]["HTTPStatusCode"]
        return {"response_dict": {"status_code": status}, "exception": None}
    return {"response_dict": None, "exception": error}


def _caught(error: Exception | None) -> dict[str, Any]:
    """Return the values of botocore's event that decides on a further attempt."""
    received = _received(error)
    response = received["response_dict"]
    parsed = error.response if isinstance(error, ClientError) else {}
    return {
        "caught_exception": received["exception"],
        "response": response and (SimpleNamespace(status_code=response["status_code"]), parsed),
    }


def _api_name(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))


class Body:
    """The body of a response, as botocore's StreamingBody. With `cut`, the connection breaks halfway."""

    def __init__(self, data: bytes, *, cut: bool) -> None:
        self._data, self._place, self._cut = data, 0, cut

    def read(self, amount: int | None = None) -> bytes:
        end = len(self._data) if amount is None else self._place + amount
        if self._cut and end > len(self._data) // 2:
            raise ReadTimeoutError(endpoint_url="the body of a response")
        found = self._data[self._place : end]
        self._place += len(found)
        return found

    def close(self) -> None:
        """Do nothing: there is no connection to keep."""


#: The operations that change a store, and those that do not.
_WRITES = frozenset(
    {
        "put_object",
        "delete_object",
        "put_object_tagging",
        "delete_object_tagging",
        "create_multipart_upload",
        "upload_part",
        "complete_multipart_upload",
        "abort_multipart_upload",
    }
)
_READS = frozenset(
    {
        "head_bucket",
        "head_object",
        "get_object",
        "get_object_tagging",
        "list_objects_v2",
        "list_parts",
        "list_multipart_uploads",
    }
)


class S3Client:
    """A client in boto3's form for the store at the other end of a connection."""

    def __init__(self, store: Store, connection: Connection) -> None:
        self._store, self._connection = store, connection
        self.meta = SimpleNamespace(events=connection.events, endpoint_url="https://simulated")
        # The one handler of `read_plain_responses` that does not parse XML.
        connection.events.register("needs-retry.s3.CreateMultipartUpload", plain_responses._end_attempts_of_creation)

    def __getattr__(self, operation: str) -> Callable[..., Response]:
        if operation not in _WRITES | _READS:
            raise AttributeError(f"the simulated S3 has no {operation}")

        def call(*, Bucket: str, **parameters: Any) -> Response:
            def apply() -> Response:
                if Bucket != self._store.name:
                    raise Refused("NoSuchBucket", 404)
                response: Response = getattr(self._store, operation)(**parameters)
                return response

            subject = parameters.get("Key") or parameters.get("Prefix", "")
            if operation == "abort_multipart_upload":
                self._store.known_uploads.discard(parameters["UploadId"])
            response = self._connection.request(operation, apply, subject=subject, is_write=operation in _WRITES)
            if "UploadId" in response:
                self._store.known_uploads.add(response["UploadId"])
            return {**response, "Body": self._connection.body(response["Body"])} if "Body" in response else response

        setattr(self, operation, call)  # the next call finds it without this method
        return call


def _client_error(operation: str, refused: Refused) -> ClientError:
    # botocore gives a page without XML the status as its code, and the response to a HEAD has no body.
    code = str(refused.status) if not refused.code or operation.startswith("head_") else refused.code
    return ClientError(
        {
            "Error": {"Code": code, "Message": refused.message},
            "ResponseMetadata": {
                "HTTPStatusCode": refused.status,
                "RequestId": "simulated",
                "HTTPHeaders": {},
                "HostId": "",
                "RetryAttempts": 0,
            },
        },
        _api_name(operation),
    )


def _is_retried(error: Exception) -> bool:
    if not isinstance(error, ClientError):
        return True
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return status in _RETRIED_STATUS or error.response["Error"]["Code"] in _RETRIED_CODES


def _text(error: Exception) -> str:
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
