"""Build the transports of the command and the service: see `transport/factory.py`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..core.errors import StoreUnusable
from ..stores.protocols import BucketLocation
from ..stores.request_limiter import RequestLimiters
from ..sync.context import Transports
from ..sync.transfer import StreamCopier, Transfer
from ..transport.endpoint import OnlyBoto3Error
from ..transport.factory import HttpTransport, plain_transports
from ..transport.protocols import NO_RESPONSE, HttpResponse
from ..transport.sides import NO_CREDENTIALS, Deferred, DeferredHttpClient, Side
from ..transport.stream_http import StreamingHttpClient, StreamingRequest
from .protocols import CallbackHttpClient
from .small_object_copy import CrtSmallObjectCopier
from .stream_copy import HttpStreamCopier

if TYPE_CHECKING:
    from .http_client import CrtHttpClient


def crt_transports(source: BucketLocation, target: BucketLocation, *, concurrency: int) -> Transports:
    """Return transports over awscrt, and streams for large objects.

    awscrt is for listings, for small objects and for requests about single keys. `concurrency` is the number of small
    objects that are copied at a time. Without awscrt, or where only boto3 can reach one of the buckets, the result is
    that of `stream_transports`.
    """
    if not is_awscrt_installed():
        return stream_transports(source, target)
    sides = Side(source), Side(target)
    try:
        clients = list(map(_http_client, sides))
    except OnlyBoto3Error:
        return stream_transports(source, target)
    return http_transports(source, target, *clients, concurrency=concurrency, stream_copier=_stream_copier(*sides))


def http_transports(
    source: BucketLocation,
    target: BucketLocation,
    source_client: CallbackHttpClient,
    target_client: CallbackHttpClient,
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
        HttpTransport(source_client, source.prefix),
        HttpTransport(target_client, target.prefix),
        stream_copier,
        small_object_copier,
    )


def is_awscrt_installed() -> bool:
    """Return True if the transports over awscrt can be built."""
    return find_spec("awscrt") is not None


def stream_transports(source: BucketLocation, target: BucketLocation) -> Transports:
    """Return streams for large objects, and the transports over `http.client` for everything else."""
    return replace(plain_transports(source, target), stream_copier=_stream_copier(Side(source), Side(target)))


class _DeferredCallbackClient(DeferredHttpClient[CallbackHttpClient]):
    """A `DeferredHttpClient` that also calls back."""

    def send(self, method: str, key: str | None, done: Callable[[HttpResponse], None], **options: Any) -> None:
        client = self._client.get()
        if client is None:
            done(NO_RESPONSE)
        else:
            client.send(method, key, done, **options)


def _http_client(side: Side) -> CallbackHttpClient:
    try:
        return _crt_http_client(side)
    except NO_CREDENTIALS:
        return _DeferredCallbackClient(_crt_http_client, side)


def _crt_http_client(side: Side) -> CrtHttpClient:
    """Return an awscrt client for the bucket. Raises as `bucket_endpoint` does."""
    from .http_client import CrtHttpClient  # here, because it imports awscrt, which may not be installed

    return CrtHttpClient(side.endpoint(), side.signing_keys)


def _stream_copier(source: Side, target: Side) -> HttpStreamCopier | None:
    if target.location.options.payload_signing:
        return None
    try:
        limiters = RequestLimiters(source.location.limiter, target.location.limiter)
        return HttpStreamCopier(_stream_client(source), _stream_client(target), limiters)
    except OnlyBoto3Error:
        return None


class _DeferredStreamClient:
    """A streaming client of a bucket that has no credentials yet. Until it has some, no request begins."""

    def __init__(self, side: Side) -> None:
        self._name, self._client = side.location.name, Deferred(_streaming_http_client, side)

    def begin(self, method: str, key: str, **options: Any) -> AbstractContextManager[StreamingRequest]:
        client = self._client.get()
        if client is None:
            raise StoreUnusable(f"{self._name} cannot be opened yet: there are no credentials", "NoCredentials")
        return client.begin(method, key, **options)


def _stream_client(side: Side) -> StreamingHttpClient | _DeferredStreamClient:
    try:
        return _streaming_http_client(side)
    except NO_CREDENTIALS:
        return _DeferredStreamClient(side)


def _streaming_http_client(side: Side) -> StreamingHttpClient:
    """Return a streaming client for the bucket. Raises as `bucket_endpoint` does."""
    return StreamingHttpClient(side.endpoint(), side.location.prefix, side.signing_keys)
