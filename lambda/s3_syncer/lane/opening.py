"""Opens the lane between two buckets, where there can be one: the same addresses, keys and trust as boto3's."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from botocore.exceptions import BotoCoreError

from .copies import Copies
from .exchange import Exchanges, Place
from .pages import Pages
from .streams import Streams

if TYPE_CHECKING:
    from ..bucket import Bucket
    from ..connect import Connection
    from .wire import Wire

#: Stands for a key in an address, and needs no encoding.
_KEY = "key"


def open_lane(connection: Connection, *, threads: int) -> Copies | None:
    """A lane between the buckets for `threads` objects at a time, or None where there can be none.

    Their listings take it as well, and large objects are streamed.
    """
    open_streams(connection)
    if find_spec("awscrt") is None:
        return None
    source = _wire(connection.source)
    target = source and _wire(connection.target)
    if source is None or target is None:
        return None
    connection.source.pages = Pages(source, connection.source.prefix).page
    connection.target.pages = Pages(target, connection.target.prefix).page
    return Copies(
        source,
        target,
        connection.transfer,
        source_prefix=connection.source.prefix,
        target_prefix=connection.target.prefix,
        tags=connection.source.mirrors_tags,
        threads=threads,
    )


def open_streams(connection: Connection) -> None:
    """Has large objects streamed between the buckets, where they can be."""
    source, target = _exchanges(connection.source), _exchanges(connection.target)
    if source is not None and target is not None:
        connection.transfer.streams = Streams(source, target)


def _wire(bucket: Bucket) -> Wire | None:
    """Requests to the bucket as its client would make them; None where only boto3 knows how."""
    from .wire import Address, Wire  # awscrt takes a while to import

    place = _place(bucket)
    if place is None:
        return None
    return Wire(Address(place.url, place.region), lambda: bucket.clients.lease().keys(), ca_file=place.ca_file)


def _exchanges(bucket: Bucket) -> Exchanges | None:
    place = _place(bucket)
    if place is None:
        return None
    return Exchanges(place, bucket.prefix, lambda: bucket.clients.lease().keys())


def _place(bucket: Bucket) -> Place | None:
    """Where the bucket is for its client; None where only boto3 knows how to get there."""
    if bucket.name.startswith("arn:") or bucket.name.endswith("--x-s3"):  # signed in ways of their own
        return None
    try:
        client = bucket.clients.lease().client
        # Where a key of the bucket is: in its host or in its path, in whatever partition, on whatever endpoint.
        signed = client.generate_presigned_url("get_object", Params={"Bucket": bucket.name, "Key": _KEY})
    except BotoCoreError:  # no credentials: the common path says so
        return None
    url = signed.partition("?")[0].removesuffix(f"/{_KEY}")
    if _proxied(url):
        return None
    return Place(url, client.meta.region_name, os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE"))


def _proxied(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in getproxies() and not proxy_bypass(parts.netloc)
