"""Opens the lane between two buckets, where there can be one: the same addresses, keys and trust as boto3's."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from botocore.exceptions import BotoCoreError
from botocore.httpsession import get_cert_path

from ..core.errors import StoreUnusable
from .endpoint import Keys, Place
from .list_objects import Pages
from .object_requests import Requests
from .small_object_copy import Answer, Copies
from .stream_copy import Streams
from .stream_http import Exchange, Exchanges

if TYPE_CHECKING:
    from ..stores.bucket import Bucket
    from ..sync.context import SyncContext
    from .http_client import Wire

Opened = TypeVar("Opened")

#: Stands for a key in an address, and needs no encoding.
_KEY = "key"


def open_lane(context: SyncContext, *, threads: int) -> Copies | None:
    """A lane between the buckets for `threads` objects at a time, or None where there can be none.

    Their listings take it as well, and so do ordinary requests about single keys; large objects are streamed.
    """
    ends = _End(context.source), _End(context.target)
    _open_streams(context, *ends)
    if find_spec("awscrt") is None:
        return None
    try:
        source, target = map(_side, ends)
    except _NoLane:
        return None
    context.source.pages = Pages(source, context.source.prefix).page
    context.target.pages = Pages(target, context.target.prefix).page
    context.source.requests = Requests(source).make
    context.target.requests = Requests(target).make
    return Copies(
        source,
        target,
        context.transfer,
        source_prefix=context.source.prefix,
        target_prefix=context.target.prefix,
        tags=context.source.mirrors_tags,
        threads=threads,
    )


def open_streams(context: SyncContext) -> None:
    """Has large objects streamed between the buckets, where they can be."""
    _open_streams(context, _End(context.source), _End(context.target))


def _open_streams(context: SyncContext, source: _End, target: _End) -> None:
    with suppress(_NoLane):
        context.transfer.streams = Streams(_stream_side(source), _stream_side(target))


class _NoLane(Exception):
    """Only boto3 knows how to talk to the bucket."""


class _End:
    """A bucket, and where it is, which is found out once, as soon as its client has credentials."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket, self._lock = bucket, threading.Lock()
        self._place: Place | None = None

    def place(self) -> Place:
        """Raises as `_place` does."""
        with self._lock:
            self._place = self._place or _place(self.bucket)
            return self._place

    def keys(self) -> Keys:
        return self.bucket.clients.lease().keys()


class _Once(Generic[Opened]):
    """What cannot be opened without credentials, tried again until there are some."""

    def __init__(self, opening: Callable[[_End], Opened], end: _End) -> None:
        self._opening, self._end, self._lock = opening, end, threading.Lock()
        self._opened: Opened | None = None

    def get(self) -> Opened | None:
        """It, or None as long as it cannot be opened."""
        with self._lock, suppress(BotoCoreError, StoreUnusable, _NoLane):
            self._opened = self._opened or self._opening(self._end)
        return self._opened


class _Later:
    """A wire to a bucket for which there are no credentials yet: nothing is answered until there are.

    So all goes the common path, which says what is wrong.
    """

    def __init__(self, end: _End, no_answer: Answer) -> None:
        self._wire, self._no_answer = _Once(_wire, end), no_answer

    def send(self, method: str, key: str | None, done: Callable[[Answer], None], **options: Any) -> None:
        wire = self._wire.get()
        if wire is None:
            done(self._no_answer)
        else:
            wire.send(method, key, done, **options)

    def ask(self, method: str, key: str | None, **options: Any) -> Answer:
        wire = self._wire.get()
        return self._no_answer if wire is None else wire.ask(method, key, **options)


def _side(end: _End) -> Wire | _Later:
    from . import http_client  # awscrt takes a while to import

    try:
        return _wire(end)
    except (BotoCoreError, StoreUnusable):
        return _Later(end, http_client.Answer(0))


def _wire(end: _End) -> Wire:
    """Requests to the bucket as its client would make them. Raises as `_place` does."""
    from .http_client import Wire

    return Wire(end.place(), end.keys)


class _LaterExchanges:
    """Exchanges with a bucket for which there are no credentials yet: none of them begins until there are."""

    def __init__(self, end: _End) -> None:
        self._name, self._exchanges = end.bucket.name, _Once(_exchanges, end)

    def begin(self, method: str, key: str, **options: Any) -> AbstractContextManager[Exchange]:
        exchanges = self._exchanges.get()
        if exchanges is None:
            raise StoreUnusable(f"{self._name} cannot be opened yet", "NoCredentials")
        return exchanges.begin(method, key, **options)


def _stream_side(end: _End) -> Exchanges | _LaterExchanges:
    try:
        return _exchanges(end)
    except (BotoCoreError, StoreUnusable):
        return _LaterExchanges(end)


def _exchanges(end: _End) -> Exchanges:
    """Exchanges with the bucket as its client would have them. Raises as `_place` does."""
    return Exchanges(end.place(), end.bucket.prefix, end.keys)


def _place(bucket: Bucket) -> Place:
    """Where the bucket is for its client. Raises _NoLane, or what there is without credentials."""
    if bucket.name.startswith("arn:") or bucket.name.endswith("--x-s3"):  # signed in ways of their own
        raise _NoLane
    client = bucket.clients.lease().client
    # Where a key of the bucket is: in its host or in its path, in whatever partition, on whatever endpoint.
    signed = client.generate_presigned_url("get_object", Params={"Bucket": bucket.name, "Key": _KEY})
    url = signed.partition("?")[0].removesuffix(f"/{_KEY}")
    if _proxied(url):
        raise _NoLane
    own = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    return Place(url, client.meta.region_name, own or str(get_cert_path(True)))


def _proxied(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in getproxies() and not proxy_bypass(parts.netloc)
