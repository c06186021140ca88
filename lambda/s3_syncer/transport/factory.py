"""Build transports over `http.client`, with the endpoints, credentials and CA bundle of boto3."""

from __future__ import annotations

from ..stores.protocols import BucketLocation
from ..sync.context import Transports
from .list_objects import ObjectListing
from .object_requests import ObjectRequests
from .pauses import Pauses
from .plain_http import PlainHttpClient
from .protocols import HttpClient
from .sides import DeferredHttpClient, Side
from .stream_http import StreamingHttpClient


def plain_transports(source: BucketLocation, target: BucketLocation) -> Transports:
    """Return transports over `http.client`. They leave a bucket that only boto3 can reach to boto3."""
    return Transports(_plain_transport(source), _plain_transport(target))


class HttpTransport:
    """The listings and the requests of one bucket over an HTTP client: see `stores.protocols.Transport`."""

    def __init__(self, client: HttpClient, prefix: str) -> None:
        pauses = Pauses()
        self.list_page = ObjectListing(client, prefix, pauses).list_page
        self.try_call = ObjectRequests(client, pauses).try_call


def _plain_transport(location: BucketLocation) -> HttpTransport:
    return HttpTransport(DeferredHttpClient(_plain_client, Side(location)), location.prefix)


def _plain_client(side: Side) -> PlainHttpClient:
    """Return a client of the bucket. Raises as `bucket_endpoint` does."""
    return PlainHttpClient(StreamingHttpClient(side.endpoint(), "", side.signing_keys))
