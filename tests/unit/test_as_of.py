"""The client that shows a versioned bucket as it was: the version that counts, wherever pages end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote_plus

import pytest
from botocore.exceptions import ClientError

from s3_syncer.core.errors import Retryable, StoreUnusable, Transient
from s3_syncer.stores import as_of as as_of_module
from s3_syncer.stores.as_of import AsOfClient, AsOfClients, Versions, require_versions
from s3_syncer.stores.credentials import FixedClient, Lease
from s3_syncer.stores.response_xml import DELETE_MARKER

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def after(seconds: int) -> str:
    return (NOON + timedelta(seconds=seconds)).isoformat()


@dataclass
class FakeClient:
    """A versioned bucket. An entry is a key, the seconds after NOON, and an ID: d-1 for a delete marker.

    The entries are in the order of ListObjectVersions.
    """

    entries: list[tuple[str, int, str]]
    page: int = 1000
    status: str | Exception = "Enabled"
    has_etags: bool = True
    meta: Any = None
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def list_object_versions(
        self, Bucket: str, Prefix: str, EncodingType: str, KeyMarker: str = "", VersionIdMarker: str = ""
    ) -> dict[str, Any]:
        self.calls.append(("list_object_versions", {}))
        below = [each for each in self.entries if each[0].startswith(Prefix)]
        start = 0
        for number, (key, _, version) in enumerate(below):
            if (
                key < KeyMarker
                or (key == KeyMarker and not VersionIdMarker)
                or (key == KeyMarker and version == VersionIdMarker)
            ):
                start = number + 1
        found, rest = below[start : start + self.page], below[start + self.page :]
        response: dict[str, Any] = {
            "Name": Bucket,
            "EncodingType": EncodingType,
            "IsTruncated": str(bool(rest)).lower(),
            "Versions": [
                {"Key": quote_plus(key), "VersionId": version, "LastModified": after(time)}
                | ({DELETE_MARKER: "true"} if version.startswith("d") else self._properties(version))
                for key, time, version in found
            ],
        }
        if rest:
            response |= {"NextKeyMarker": quote_plus(found[-1][0]), "NextVersionIdMarker": found[-1][2]}
        return response

    def _properties(self, version: str) -> dict[str, str]:
        return {"Size": "3"} | ({"ETag": f'"{version}"'} if self.has_etags else {})

    def head_object(self, **parameters: Any) -> dict[str, Any]:
        self.calls.append(("head_object", parameters))
        return {}

    def get_bucket_versioning(self, Bucket: str) -> dict[str, Any]:
        if isinstance(self.status, Exception):
            raise self.status
        return {"Status": self.status} if self.status else {}


HISTORY = [
    ("a", 9, "a3"),
    ("a", 0, "a2"),
    ("a", -9, "a1"),
    ("b c", 5, "b2"),
    ("b c", 1, "b1"),
    ("d", 5, "d-1"),
    ("d", -5, "v1"),
    ("e", -1, "d-2"),
    ("e", -2, "e1"),
    ("f", -1, "f2"),
    ("f", -1, "f1"),
    ("g", -1, "d-3"),
    ("g", -1, "g1"),
    ("h", 7, "h4"),
    ("h", 6, "h3"),
    ("h", 5, "h2"),
    ("h", -5, "h1"),
]

#: At NOON: b c did not exist yet, d was not deleted yet, e and g were deleted.
CURRENT = {"a": "a2", "d": "v1", "f": "f2", "h": "h1"}


def client_of(fake: FakeClient) -> AsOfClient:
    return AsOfClient(Lease(cast("Any", fake), 0.0), Versions(NOON))


def listed(client: AsOfClient, **position: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    while True:
        page = client.list_objects_v2(Bucket="mirror", EncodingType="url", MaxKeys=1000, **position)
        assert page["Contents"] or page["IsTruncated"] == "false", "KeyListing.first reads one page only"
        found |= {entry["Key"]: entry["VersionId"] for entry in page["Contents"]}
        if page["IsTruncated"] == "false":
            return found
        position = {"ContinuationToken": page["NextContinuationToken"]}


def test_a_version_without_an_etag_is_no_delete_marker() -> None:
    fake = FakeClient(HISTORY, has_etags=False)
    assert listed(client_of(fake)) == CURRENT
    client_of(fake).head_object(Bucket="mirror", Key="a")
    assert fake.calls[-1] == ("head_object", {"Bucket": "mirror", "Key": "a", "VersionId": "a2"})


@pytest.mark.parametrize("page", range(1, len(HISTORY) + 2))
def test_a_listing_shows_the_versions_of_the_moment_wherever_its_pages_end(page: int) -> None:
    assert listed(client_of(FakeClient(HISTORY, page))) == CURRENT


@pytest.mark.parametrize("page", range(1, len(HISTORY) + 2))
@pytest.mark.parametrize("start", ["", "a", "c", "d", "g", "h", "z"])
def test_a_listing_begins_behind_a_key(page: int, start: str) -> None:
    found = listed(client_of(FakeClient(HISTORY, page)), StartAfter=start)
    assert found == {key: version for key, version in CURRENT.items() if key > start}


@pytest.mark.parametrize("page", [1, 2, 5, 1000])
@pytest.mark.parametrize("key", ["a", "b c", "d", "e", "f", "g", "h", "i", ""])
@pytest.mark.parametrize("is_listed", [False, True])
def test_a_request_names_the_version_of_the_moment(page: int, key: str, is_listed: bool) -> None:
    fake = FakeClient(HISTORY, page)
    client = client_of(fake)
    if is_listed:
        listed(client)
        fake.calls.clear()
    if key in CURRENT:
        client.head_object(Bucket="mirror", Key=key, PartNumber=1)
        assert fake.calls[-1] == (
            "head_object",
            {"Bucket": "mirror", "Key": key, "PartNumber": 1, "VersionId": CURRENT[key]},
        )
    else:
        with pytest.raises(ClientError) as caught:
            client.head_object(Bucket="mirror", Key=key)
        assert caught.value.response["Error"]["Code"] == "404"
    if is_listed and key in CURRENT:
        assert len(fake.calls) == 1


def test_a_lookup_does_not_read_the_listing_behind_its_key() -> None:
    fake = FakeClient([("a", 1, "a1"), *((f"a{n}", -1, "x") for n in range(9))], page=2)
    with pytest.raises(ClientError):
        client_of(fake).get_object(Bucket="mirror", Key="a")
    assert len(fake.calls) == 1


@pytest.mark.parametrize("marker", ["d", ""])
def test_a_listing_of_versions_that_repeats_its_first_page_ends_with_an_error(marker: str) -> None:
    fake = FakeClient([("c", 1, "c1")])
    numbers = count(1)

    def same_page(Bucket: str, **position: Any) -> dict[str, Any]:
        page = FakeClient.list_object_versions(fake, Bucket, "", "url")
        return {
            **page,
            "IsTruncated": "true",
            "NextKeyMarker": marker or f"d{next(numbers)}",
            "NextVersionIdMarker": "1",
        }

    fake.list_object_versions = same_page  # type: ignore[assignment]
    with pytest.raises(Retryable, match="twice"):
        listed(client_of(fake))
    with pytest.raises(Retryable, match="twice"):
        client_of(fake).get_object(Bucket="mirror", Key="e")


def test_the_versions_that_are_remembered_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_of_module, "MAX_REMEMBERED", 2)
    fake = FakeClient(HISTORY)
    client = client_of(fake)
    listed(client)
    client.head_object(Bucket="mirror", Key="a")
    assert [name for name, _ in fake.calls] == ["list_object_versions"] * 2 + ["head_object"]


@pytest.mark.parametrize("operation", ["put_object", "delete_object", "restore_object", "complete_multipart_upload"])
def test_nothing_can_be_written_to_the_past(operation: str) -> None:
    with pytest.raises(AttributeError):
        getattr(client_of(FakeClient(HISTORY)), operation)


def test_the_lease_stays_the_same_as_long_as_that_of_the_store() -> None:
    inner = FixedClient(cast("Any", FakeClient(HISTORY)))
    clients = AsOfClients(inner, NOON)
    assert clients.lease() is clients.lease()
    assert clients.renew(clients.lease()) is None


def error(code: str, status: int) -> ClientError:
    metadata: Any = {"HTTPStatusCode": status}
    return ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": metadata}, "GetBucketVersioning")


@pytest.mark.parametrize(
    ("status", "expected", "text"),
    [
        ("", StoreUnusable, "has no versions"),
        (error("NotImplemented", 501), StoreUnusable, "--as-of needs a mirror with versions"),
        (error("AccessDenied", 403), StoreUnusable, "--as-of needs a mirror with versions"),
        (error("SlowDown", 503), Transient, "no"),
    ],
)
def test_a_mirror_without_versions_is_an_error(status: Any, expected: type[Exception], text: str) -> None:
    clients = SimpleNamespace(lease=lambda: Lease(cast("Any", FakeClient([], status=status)), 0.0))
    with pytest.raises(expected, match=text):
        require_versions(cast("Any", clients), "mirror")


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_a_mirror_that_has_versions_or_had_them_is_usable(status: str) -> None:
    require_versions(FixedClient(cast("Any", FakeClient([], status=status))), "mirror")
