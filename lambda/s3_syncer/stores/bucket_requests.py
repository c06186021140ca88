"""Make every request to one bucket, by a transport or boto3. Every failure is a SyncError.

No error of boto3 leaves this module: see `core/errors.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from botocore.exceptions import ClientError

from ..core import fence
from ..core.errors import CREDENTIAL_CODES, unnameable
from ..core.model import ListPage, is_nameable
from .availability import Availability
from .bucket_owner import expect_owner
from .fenced_requests import send_request
from .protocols import ClientSource, RequestGate, Transport
from .request_errors import REQUEST_ERRORS, as_sync_error, error_code
from .request_limiter import RequestLimiter
from .responses import Response

#: The operations that change an object, its tags or its existence.
_OBJECT_WRITES = frozenset(
    {"put_object", "delete_object", "put_object_tagging", "delete_object_tagging", "complete_multipart_upload"}
    | {"put_object_retention", "put_object_legal_hold"}
)


class BucketRequests:
    """The requests to a bucket below a prefix. Safe to share between threads.

    A request about the bucket has None as its key. The parameters are those of boto3, without the bucket and the key.
    """

    def __init__(
        self,
        name: str,
        prefix: str,
        clients: ClientSource,
        *,
        reads_checksums: bool,
        transport: Transport | None,
        gate: RequestGate | None,
        limiter: RequestLimiter | None,
        expected_owner: str,
    ) -> None:
        """Take the parameters of `Bucket`."""
        self._name, self._prefix, self._clients = name, prefix, clients
        self._reads_checksums, self._transport, self._expected_owner = reads_checksums, transport, expected_owner
        self.availability = Availability(self._list_one_key, gate, limiter)

    def full_key(self, key: str) -> str:
        """Return the key as the store has it, with the prefix."""
        return self._prefix + key

    def call(self, operation: str, key: str | None, **parameters: Any) -> Response:
        """Make a request. Raises a SyncError as `send` does, confirmed: see `availability.py`."""
        return self.availability.request(
            lambda: self.send(operation, key, **parameters),
            operation,
            key or "",
            size=len(parameters.get("Body", b"")),
            about_bucket=key is None,
            # The repeat of a completion is as late as that of a PUT, but the alternative is to send all parts again.
            writes=operation in _OBJECT_WRITES and operation != "complete_multipart_upload",
        )

    def list_page(self, position: Mapping[str, Any]) -> ListPage | None:
        """Return the page of a listing from the transport, or None if boto3 must request it."""
        if self._transport is None:
            return None
        with fence.request():
            found = self.availability.attempt(partial(self._transport.list_page, position), "list_objects_v2")
        if found is not None:
            self.availability.note_response()
        return found

    def send(self, operation: str, key: str | None, **parameters: Any) -> Response:
        """Make a request. After refused credentials, read the secret again and repeat the request once.

        Raises a SyncError that names the bucket, the operation and the request id. The error is not confirmed. Every
        attempt asks the fence: see `core/fence.py`.
        """
        with fence.request(key if operation in _OBJECT_WRITES else None), expect_owner(self._expected_owner, operation):
            return Response(operation, self._name, self._attempt(operation, key, parameters)).check()

    def _list_one_key(self) -> None:
        self.send("list_objects_v2", None, Prefix=self._prefix, MaxKeys=1)

    def _attempt(self, operation: str, key: str | None, parameters: dict[str, Any]) -> dict[str, Any]:
        parameters["Bucket"] = self._name
        if self._reads_checksums and operation == "head_object":
            parameters["ChecksumMode"] = "ENABLED"
        if key is not None:
            if not is_nameable(key):
                raise unnameable()
            parameters["Key"] = self.full_key(key)
        if self._transport is not None and (response := self._transport.try_call(operation, parameters)) is not None:
            if "Error" in response:
                raise as_sync_error(operation, self._name, ClientError(cast("Any", response), operation))
            return response
        lease = self._clients.lease()
        try:
            return send_request(lease.client, operation, parameters)
        except ClientError as error:
            fresh = self._clients.renew(lease) if error_code(error) in CREDENTIAL_CODES else None
            if fresh is None:
                raise as_sync_error(operation, self._name, error) from error
        except REQUEST_ERRORS as error:
            raise as_sync_error(operation, self._name, error) from error
        try:
            return send_request(fresh.client, operation, parameters)
        except REQUEST_ERRORS as error:
            raise as_sync_error(operation, self._name, error) from error
