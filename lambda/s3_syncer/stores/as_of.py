"""A client that shows a versioned bucket as it was at a moment, to code without versions.

ListObjectVersions says which version of each key was current then. The listings show these versions, and each request
about a key names its version. A key of which a delete marker was current is missing. Times have whole seconds.

A key that no listing has shown costs a ListObjectVersions. Every request that writes is refused.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from ..core.errors import Permanent, StoreUnusable, Transient
from .listings import Repeats
from .request_errors import REQUEST_ERRORS, as_sync_error
from .response_xml import DELETE_MARKER
from .responses import Response, moment

if TYPE_CHECKING:
    from .credentials import Lease
    from .protocols import ClientSource

#: Keys of which the version is remembered, about 200 bytes each. All pages in flight need a part of that.
MAX_REMEMBERED = 200_000

_LISTINGS = {"list_objects_v2": "StartAfter", "list_objects": "Marker"}

#: The operations about one key.
_READS = frozenset({"head_object", "get_object", "get_object_tagging"})

#: An entry of ListObjectVersions, with the text of the response. A delete marker has no ETag.
_Entry = Mapping[str, Any]


class AsOfClients:
    """The clients of a bucket as it was at a moment; a `protocols.ClientSource`."""

    def __init__(self, clients: ClientSource, as_of: datetime) -> None:
        self._clients, self._versions = clients, Versions(as_of)
        self._lock = threading.Lock()
        self._inner: Lease | None = None
        self._outer: Lease | None = None

    def lease(self) -> Lease:
        return self._wrapped(self._clients.lease())

    def renew(self, refused: Lease) -> Lease | None:
        fresh = self._clients.renew(cast("Any", refused.client).lease)
        return None if fresh is None else self._wrapped(fresh)

    def _wrapped(self, inner: Lease) -> Lease:
        """Return the same lease for the same one of the store: leases are compared by identity."""
        with self._lock:
            if self._outer is None or self._inner is not inner:
                client = cast("Any", AsOfClient(inner, self._versions))
                self._inner, self._outer = inner, replace(inner, client=client)
            return self._outer


def require_versions(clients: ClientSource, bucket: str) -> None:
    """Raise StoreUnusable unless the bucket keeps versions, or did so before."""
    try:
        status = clients.lease().client.get_bucket_versioning(Bucket=bucket).get("Status")
    except REQUEST_ERRORS as error:
        found = as_sync_error("get_bucket_versioning", bucket, error)
        if isinstance(found, (Transient, StoreUnusable)):
            raise found from error
        raise StoreUnusable(f"{found.reason}. --as-of needs a mirror with versions", "NoVersions") from error
    if not status:
        reason = "has no versions, so nothing shows what was there before"
        raise StoreUnusable(f"the bucket {bucket} of the mirror {reason}: omit --as-of", "NoVersions")


class Versions:
    """The IDs of the versions that were current at a moment, by key. Safe to share between threads."""

    def __init__(self, as_of: datetime) -> None:
        self._as_of, self._lock = as_of, threading.Lock()
        self._found: dict[str, str | None] = {}

    def get(self, key: str, look_up: Callable[[], str | None]) -> str | None:
        """Return the ID, or None if there was no object. Without a listing of the key, it is looked up."""
        with self._lock:
            if key in self._found:
                return self._found[key]
        found = look_up()
        self.remember({key: found})
        return found

    def remember(self, found: Mapping[str, str | None]) -> None:
        with self._lock:
            self._found |= found
            while len(self._found) > MAX_REMEMBERED:
                del self._found[next(iter(self._found))]

    def current(self, entries: Iterable[_Entry]) -> _Entry | None:
        """Return the entry of one key that was current then; None if none of these is old enough.

        The entries of one second are in the order of the store: the newest one comes first.
        """
        times = [(_time(entry), entry) for entry in entries]
        return max((each for each in times if each[0] <= self._as_of), key=itemgetter(0), default=(None, None))[1]


def _version_id(entry: _Entry) -> str | None:
    """Return the ID of the version of an object, or None for a delete marker."""
    return str(entry["VersionId"]) if DELETE_MARKER not in entry else None


def _time(entry: _Entry) -> datetime:
    found = moment(entry.get("LastModified"))
    if found is None:
        raise Permanent("list_object_versions: the response has no LastModified of a version", "MissingField")
    return found


class AsOfClient:
    """A client of boto3 for one bucket, which shows it as it was."""

    def __init__(self, lease: Lease, versions: Versions) -> None:
        self.lease, self.meta = lease, lease.client.meta
        self._client, self._versions = lease.client, versions

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        """Return the method of boto3 that makes this request. Raises AttributeError for one that writes."""
        if operation in _LISTINGS:
            return lambda **parameters: self._list(operation, **parameters)
        if operation in _READS:
            return lambda **parameters: self._read(operation, **parameters)
        raise AttributeError(f"a client of the past has no {operation}")

    def _read(self, operation: str, Bucket: str, Key: str, **parameters: Any) -> dict[str, Any]:
        version = self._versions.get(Key, lambda: self._look_up(Bucket, Key))
        if version is None:
            error: Any = {
                "Code": "404" if operation == "head_object" else "NoSuchKey",
                "Message": "missing at that time",
            }
            metadata: Any = {"HTTPStatusCode": 404, "HTTPHeaders": {}}
            raise ClientError({"Error": error, "ResponseMetadata": metadata}, operation)
        request = getattr(self._client, operation)
        return cast("dict[str, Any]", request(Bucket=Bucket, Key=Key, VersionId=version, **parameters))

    def _look_up(self, bucket: str, key: str) -> str | None:
        token, repeats = "", Repeats(bucket)
        while True:
            found, token = self._page(bucket, key, "", token, repeats)
            for entry in found:
                if entry["Key"] == key:
                    return _version_id(entry)
            if not token or any(entry["Key"] > key for entry in found):
                return None

    def _list(
        self, operation: str, Bucket: str, Prefix: str = "", ContinuationToken: str = "", **position: Any
    ) -> dict[str, Any]:
        """Return a page of the listing. It has a key, unless it is the last one: see `KeyListing.first`."""
        after, token, repeats = position.get(_LISTINGS[operation], ""), ContinuationToken, Repeats(Bucket)
        while True:
            found, token = self._page(Bucket, Prefix, after, token, repeats)
            objects = [entry for entry in found if DELETE_MARKER not in entry]
            self._versions.remember({entry["Key"]: _version_id(entry) for entry in found})
            if objects or not token:
                break
        page: dict[str, Any] = {"Name": Bucket, "Contents": objects, "IsTruncated": str(bool(token)).lower()}
        return {**page, "NextContinuationToken": token} if token else page

    def _page(self, bucket: str, prefix: str, after: str, token: str, repeats: Repeats) -> tuple[list[_Entry], str]:
        """Return the current entries of a page in the order of their keys, and the next token.

        The versions of a key may be on several pages, the newest first. The key is on that page of the result that
        decides it. The token also says if the last key was decided, so that its older versions do not count.
        """
        position: dict[str, Any] = {"KeyMarker": after} if after else {}
        decided = ""
        if token:
            position, decided = json.loads(token)
        response: Any = self._client.list_object_versions(Bucket=bucket, Prefix=prefix, EncodingType="url", **position)
        page = Response("list_object_versions", bucket, response).check()
        entries, following = page.versions()
        if following:
            repeats.check(following, entries)
        found = []
        for key, versions in groupby(sorted(entries, key=itemgetter("Key")), key=itemgetter("Key")):
            if key == decided:
                continue
            if (current := self._versions.current(versions)) is not None:
                found.append(current)
                decided = key
        return found, json.dumps((following, decided)) if following else ""
