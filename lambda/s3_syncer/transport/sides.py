"""One bucket of a transport: its endpoint and its client, which are built once there are credentials."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from botocore.exceptions import BotoCoreError

from ..core.errors import StoreUnusable, Transient
from ..stores.credentials import SigningKeys
from ..stores.protocols import BucketLocation
from .endpoint import BucketEndpoint, OnlyBoto3Error, bucket_endpoint
from .protocols import NO_RESPONSE, HttpClient, HttpResponse

Client = TypeVar("Client")
AnyHttpClient = TypeVar("AnyHttpClient", bound=HttpClient)

#: There are no credentials, or none for now: the service that has them is busy, or was not reached.
NO_CREDENTIALS = (BotoCoreError, StoreUnusable, Transient)


class Side:
    """A bucket and its endpoint, which is determined once, as soon as the bucket's client has credentials."""

    def __init__(self, location: BucketLocation) -> None:
        self.location, self._lock = location, threading.Lock()
        self._endpoint: BucketEndpoint | None = None

    def endpoint(self) -> BucketEndpoint:
        """Return the endpoint of the bucket. Raises as `bucket_endpoint` does."""
        with self._lock:
            self._endpoint = self._endpoint or bucket_endpoint(self.location)
            return self._endpoint

    def signing_keys(self) -> SigningKeys:
        """Return the keys to sign a request with now. Raises StoreUnusable or Transient."""
        return self.location.clients.lease().signing_keys()


class Deferred(Generic[Client]):
    """A client that cannot be built without credentials; each use tries again to build it."""

    def __init__(self, build: Callable[[Side], Client], side: Side) -> None:
        self._build, self._side, self._lock = build, side, threading.Lock()
        self._built: Client | None = None

    def get(self) -> Client | None:
        """Return the client, or None as long as it cannot be built.

        Other threads wait while one of them builds it, and reads a secret for that. No request of theirs can begin
        without the secret, and each one asks the fence once it can.
        """
        with self._lock, suppress(*NO_CREDENTIALS, OnlyBoto3Error):
            self._built = self._built or self._build(self._side)
        return self._built


class DeferredHttpClient(Generic[AnyHttpClient]):
    """A client that is built at its first request.

    As long as it cannot be built, no request gets a response. So boto3 makes every request, and its error says what is
    wrong.
    """

    def __init__(self, build: Callable[[Side], AnyHttpClient], side: Side) -> None:
        self._client = Deferred(build, side)

    def request(self, method: str, key: str | None, **options: Any) -> HttpResponse:
        client = self._client.get()
        return NO_RESPONSE if client is None else client.request(method, key, **options)
