"""Build the transports between two buckets, with the endpoints, credentials and CA bundle of boto3."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from botocore.exceptions import BotoCoreError

from ..core.errors import StoreUnusable, Transient
from ..stores.credentials import SigningKeys
from ..stores.protocols import BucketLocation
from ..stores.request_limiter import RequestLimiters
from ..sync.context import Transports
from ..sync.transfer import StreamCopier, Transfer
from .endpoint import BucketEndpoint, OnlyBoto3Error, bucket_endpoint
from .list_objects import ObjectListing
from .object_requests import ObjectRequests
from .protocols import HttpClient, HttpResponse
from .small_object_copy import CrtSmallObjectCopier
from .stream_copy import HttpStreamCopier
from .stream_http import StreamingHttpClient, StreamingRequest

if TYPE_CHECKING:
    from .http_client import CrtHttpClient

Client = TypeVar("Client")

#: There are no credentials, or none for now: the service that has them is busy, or was not reached.
_NO_CREDENTIALS = (BotoCoreError, StoreUnusable, Transient)


def crt_transports(source: BucketLocation, target: BucketLocation, *, concurrency: int) -> Transports:
    """Return transports over awscrt, and streams for large objects.

    awscrt is for listings, for small objects and for requests about single keys. `concurrency` is the number of small
    objects that are copied at a time. Without awscrt, or where only boto3 can reach one of the buckets, the result is
    that of `stream_transports`.
    """
    sides = _Side(source), _Side(target)
    stream_copier = _stream_copier(*sides)
    if not is_awscrt_installed():
        return Transports(stream_copier=stream_copier)
    try:
        clients = map(_http_client, sides)
        return http_transports(source, target, *clients, concurrency=concurrency, stream_copier=stream_copier)
    except OnlyBoto3Error:
        return Transports(stream_copier=stream_copier)


def http_transports(
    source: BucketLocation,
    target: BucketLocation,
    source_client: HttpClient,
    target_client: HttpClient,
    *,
    concurrency: int,
    stream_copier: StreamCopier | None = None,
) -> Transports:
    """Return the transports over an HTTP client for each bucket: see `crt_transports`."""

    def small_object_copier(transfer: Transfer, *, tags: bool, object_lock: bool) -> CrtSmallObjectCopier:
        return CrtSmallObjectCopier(
            source_client,
            target_client,
            transfer,
            source_prefix=source.prefix,
            target_prefix=target.prefix,
            tags=tags,
            mirrors_locks=object_lock,
            threads=concurrency,
            limiters=RequestLimiters(source.limiter, target.limiter),
        )

    return Transports(
        CrtTransport(source_client, source.prefix),
        CrtTransport(target_client, target.prefix),
        stream_copier,
        small_object_copier,
    )


def is_awscrt_installed() -> bool:
    """Return True if the transports over awscrt can be built."""
    return find_spec("awscrt") is not None


def stream_transports(source: BucketLocation, target: BucketLocation) -> Transports:
    """Return streams for large objects, and boto3 for everything else."""
    return Transports(stream_copier=_stream_copier(_Side(source), _Side(target)))


class CrtTransport:
    """The listings and the requests of one bucket over awscrt: see `stores.protocols.Transport`."""

    def __init__(self, client: HttpClient, prefix: str) -> None:
        self.list_page = ObjectListing(client, prefix).list_page
        self.try_call = ObjectRequests(client).try_call


class _Side:
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


class _Deferred(Generic[Client]):
    """A client that cannot be built without credentials; each use tries again to build it."""

    def __init__(self, build: Callable[[_Side], Client], side: _Side) -> None:
        self._build, self._side, self._lock = build, side, threading.Lock()
        self._built: Client | None = None

    def get(self) -> Client | None:
        """Return the client, or None as long as it cannot be built."""
        with self._lock, suppress(*_NO_CREDENTIALS, OnlyBoto3Error):
            self._built = self._built or self._build(self._side)
        return self._built


class _DeferredHttpClient:
    """A client of a bucket that has no credentials yet. Until it has some, no request gets a response.

    So boto3 makes every request, and its error says what is wrong.
    """

    def __init__(self, side: _Side) -> None:
        self._client = _Deferred(_crt_http_client, side)

    def send(self, method: str, key: str | None, done: Callable[[HttpResponse], None], **options: Any) -> None:
        client = self._client.get()
        if client is None:
            done(HttpResponse(0))
        else:
            client.send(method, key, done, **options)

    def request(self, method: str, key: str | None, **options: Any) -> HttpResponse:
        client = self._client.get()
        return HttpResponse(0) if client is None else client.request(method, key, **options)


def _http_client(side: _Side) -> CrtHttpClient | _DeferredHttpClient:
    try:
        return _crt_http_client(side)
    except _NO_CREDENTIALS:
        return _DeferredHttpClient(side)


def _crt_http_client(side: _Side) -> CrtHttpClient:
    """Return an awscrt client for the bucket. Raises as `bucket_endpoint` does."""
    from .http_client import CrtHttpClient  # here, because it imports awscrt, which may not be installed

    return CrtHttpClient(side.endpoint(), side.signing_keys)


def _stream_copier(source: _Side, target: _Side) -> HttpStreamCopier | None:
    if target.location.options.payload_signing:
        return None
    try:
        limiters = RequestLimiters(source.location.limiter, target.location.limiter)
        return HttpStreamCopier(_stream_client(source), _stream_client(target), limiters)
    except OnlyBoto3Error:
        return None


class _DeferredStreamClient:
    """A streaming client of a bucket that has no credentials yet. Until it has some, no request begins."""

    def __init__(self, side: _Side) -> None:
        self._name, self._client = side.location.name, _Deferred(_streaming_http_client, side)

    def begin(self, method: str, key: str, **options: Any) -> AbstractContextManager[StreamingRequest]:
        client = self._client.get()
        if client is None:
            raise StoreUnusable(f"{self._name} cannot be opened yet: there are no credentials", "NoCredentials")
        return client.begin(method, key, **options)


def _stream_client(side: _Side) -> StreamingHttpClient | _DeferredStreamClient:
    try:
        return _streaming_http_client(side)
    except _NO_CREDENTIALS:
        return _DeferredStreamClient(side)


def _streaming_http_client(side: _Side) -> StreamingHttpClient:
    """Return a streaming client for the bucket. Raises as `bucket_endpoint` does."""
    return StreamingHttpClient(side.endpoint(), side.location.prefix, side.signing_keys)
