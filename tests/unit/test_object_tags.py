"""The tags of objects: which response means which tags, and when no request is needed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.support.in_memory_store import stored

from s3_syncer.core.errors import Changed, Permanent, Retryable, SyncError, classify
from s3_syncer.core.headers import carries_tags
from s3_syncer.stores.capabilities import ObjectRequest, TagSupport
from s3_syncer.stores.clients import is_aws
from s3_syncer.stores.object_tags import ObjectTags
from s3_syncer.stores.responses import NOT_XML, Response

READ, HEAD, PUT, DELETE = "get_object_tagging", "head_object", "put_object_tagging", "delete_object_tagging"

RED = {"colour": "red"}
TAGGED = {"TagSet": [{"Key": "colour", "Value": "red"}]}
UNTAGGED: dict[str, Any] = {"TagSet": []}
THERE: dict[str, Any] = {"ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {"etag": '"e"'}}}
OTHER: dict[str, Any] = {"ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {"etag": '"other"'}}}
NOT_TAGS: dict[str, Any] = {"ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {}}}
THE_OBJECT = {**THERE, NOT_XML: True}
EMPTY_BODY: dict[str, Any] = {"ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {"x-amz-request-id": "1"}}}
NO_CONTENT = {"ResponseMetadata": {"HTTPStatusCode": 204, "HTTPHeaders": {}}}


def error(status: int, code: str = "", message: str = "") -> SyncError:
    """Return the error for a response to GetObjectTagging, as `Bucket` raises it."""
    found = classify(code or str(status), status, message)
    found.args = (f"get_object_tagging in bucket: {found.reason}",)
    return found


class Store:
    """Expects these requests in this order."""

    def __init__(self, *requests: tuple[str, Mapping[str, Any] | SyncError]) -> None:
        self.left = list(requests)

    def __call__(self, operation: str, key: str, **_: object) -> Response:
        assert self.left, f"{operation} was requested after the last expected request"
        expected, response = self.left.pop(0)
        assert operation == expected
        if isinstance(response, SyncError):
            raise response
        return Response(operation, "bucket", response).check()


def tags_of(*requests: tuple[str, Mapping[str, Any] | SyncError], **support: Any) -> tuple[ObjectTags, Store]:
    store = Store(*requests)
    return ObjectTags("bucket", store, TagSupport(**support)), store


@pytest.mark.parametrize(
    "response",
    [UNTAGGED, NO_CONTENT, EMPTY_BODY, error(404, "NoSuchTagSet"), error(404, "NoSuchTagSetError")],
    ids=["empty set", "no content", "Ceph, in parts", "NoSuchTagSet", "Ceph"],
)
def test_an_object_without_tags(response: Mapping[str, Any] | SyncError) -> None:
    tags, _ = tags_of((READ, response), (READ, TAGGED))
    assert tags.read("key") == {}
    assert tags.support.exists
    assert tags.read("key") == RED


NO_TAGS = {
    "R2": error(501, "NotImplemented", "GetObjectTagging not implemented"),
    "OCI": error(501),
    "405": error(405, "MethodNotAllowed"),
    "405 without a code": error(405),
    "400 by its code": error(400, "UnsupportedOperation"),
    "400": error(400, "InvalidArgument"),
}


@pytest.mark.parametrize("response", NO_TAGS.values(), ids=NO_TAGS)
def test_a_store_without_tags_is_found_out_once(response: SyncError, caplog: pytest.LogCaptureFixture) -> None:
    tags, store = tags_of((READ, response), (HEAD, THERE))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert tags.read("key") == tags.of("key", 0, "HEAD") == {}
            tags.write("key", {})
    assert store.left == []
    assert [record.message for record in caplog.records] == [
        "bucket has no object tags: objects without tags are not affected"
    ]
    for refused in (lambda: tags.write("key", RED), lambda: tags.require("key", is_there=False)):
        with pytest.raises(Permanent, match="set sync"):
            refused()


def test_a_store_that_returns_the_object_for_its_tags_has_none() -> None:
    tags, store = tags_of((READ, THE_OBJECT), (HEAD, THERE))
    with pytest.raises(Permanent, match="set sync"):
        tags.write("key", RED)  # "?tagging" would overwrite the object
    assert store.left == []


@pytest.mark.parametrize(
    ("requests", "raised"),
    [
        ([(READ, error(403, "AccessDenied"))], Permanent),
        ([(READ, error(403))], Permanent),
        ([(READ, error(500, "InternalError"))], Retryable),
        ([(READ, error(503, "SlowDown"))], Retryable),
        ([(READ, error(404, "NoSuchKey"))], Changed),
        ([(READ, error(400, "InvalidTag"))], Permanent),
        ([(READ, error(400, "InvalidArgument")), (HEAD, error(404))], Changed),
        ([(READ, NOT_TAGS)], Retryable),
        ([(READ, THE_OBJECT), (HEAD, OTHER)], Retryable),
        ([(READ, error(405)), (HEAD, error(404, "NoSuchKey"))], Changed),
    ],
)
def test_other_responses_say_nothing_about_the_tags(
    requests: list[tuple[str, Mapping[str, Any] | SyncError]], raised: type[SyncError]
) -> None:
    tags, store = tags_of(*requests)
    with pytest.raises(raised):
        tags.read("key")
    assert store.left == []
    assert tags.support.exists is None


@pytest.mark.parametrize("response", [*NO_TAGS.values(), THE_OBJECT], ids=[*NO_TAGS, "object"])
@pytest.mark.parametrize("is_aws", [False, True])
def test_a_store_with_tags_keeps_them(response: Mapping[str, Any] | SyncError, is_aws: bool) -> None:
    """A store that has returned tags has some, and so has AWS: the response is an error, or a proxy's."""
    first = () if is_aws else ((READ, UNTAGGED),)
    tags, _ = tags_of(*first, (READ, response), documents_counts=is_aws)
    for _ in first:
        tags.read("key")
    with pytest.raises(SyncError):
        tags.read("key")
    assert tags.support.exists is not False


def test_tags_are_written_once_the_store_has_returned_some() -> None:
    tags, store = tags_of((READ, UNTAGGED), (PUT, {}), (PUT, {}), (DELETE, {}))
    tags.write("key", RED)
    tags.write("key", RED)
    tags.write("key", {})
    assert store.left == []


def test_an_object_with_tags_is_refused_before_it_replaces_another() -> None:
    tags, store = tags_of((READ, error(501)), (HEAD, THERE))
    with pytest.raises(Permanent):
        tags.require("key", is_there=True)
    assert store.left == []
    tags, _ = tags_of()
    tags.require("key", is_there=False)  # nothing is there to ask about


# -- the number of tags in a response ------------------------------------------------------------------------------


def reads(support: TagSupport, request: ObjectRequest = "HEAD", count: int = 0, number: int = 5) -> int:
    """Return how many of some responses need a read of the tags."""
    return sum(support.needs_read(request, count) for _ in range(number))


def test_aws_is_trusted_once_it_has_returned_the_tags_of_an_object() -> None:
    support = TagSupport(documents_counts=True)
    assert reads(support) == 5  # without the permission to read tags, no response has a count
    support.record_exists()
    assert reads(support) == reads(support, "GET") == 0
    assert reads(support, count=1) == 5


def test_another_store_is_trusted_once_it_has_counted_tags() -> None:
    support = TagSupport()
    support.record_exists()
    support.record_tags("HEAD", 0, 0)
    assert reads(support) == 5
    support.record_tags("GET", 1, 1)
    assert reads(support, "HEAD") == 5  # some stores count for GET only
    assert reads(support, "GET") == 0


@pytest.mark.parametrize("documents_counts", [False, True])
def test_a_store_that_does_not_count_is_never_trusted(documents_counts: bool) -> None:
    support = TagSupport(documents_counts=documents_counts)
    support.record_exists()
    support.record_tags("HEAD", 0, 1)
    support.record_tags("HEAD", 1, 1)
    assert reads(support) == 5


def test_without_the_permission_for_an_object_its_count_proves_nothing() -> None:
    support = TagSupport(documents_counts=True)
    support.record_exists()
    support.record_denied()
    assert reads(support) == 5


@pytest.mark.parametrize("documents_counts", [False, True])
def test_the_permission_is_proven_again_after_a_minute(documents_counts: bool) -> None:
    """A caller that loses the permission to read tags gets no counts, as if no object had tags."""
    now = 100.0
    support = TagSupport(documents_counts=documents_counts, clock=lambda: now)
    support.record_exists()
    support.record_tags("HEAD", 1, 1)
    now += 59
    assert reads(support) == 0
    now += 2
    assert reads(support) == 5
    support.record_exists()
    assert reads(support) == 0


def test_some_objects_are_read_in_any_case() -> None:
    support = TagSupport(documents_counts=True, sample_every=10)
    support.record_exists()
    assert reads(support, number=30) == 3


def test_the_tags_of_a_store_that_never_counts_are_not_lost() -> None:
    tags, store = tags_of((READ, UNTAGGED), (READ, TAGGED), (READ, TAGGED))
    assert [tags.of("key", 0, "GET") for _ in range(3)] == [{}, RED, RED]
    assert store.left == []


def test_untagged_objects_of_a_store_that_counts_need_no_request() -> None:
    tags, store = tags_of((READ, UNTAGGED), (READ, TAGGED))
    assert [tags.of("key", count, "HEAD") for count in (0, 1, 0, 0)] == [{}, RED, {}, {}]
    assert store.left == []


@pytest.mark.parametrize(
    ("tags", "carried"),
    [({}, False), (RED, True), ({"k": "é" * 256}, True), ({str(n): "é" * 256 for n in range(10)}, False)],
)
def test_tags_travel_with_the_object_if_they_fit_into_a_header(tags: dict[str, str], carried: bool) -> None:
    assert carries_tags(replace(stored(b"").look(), tags=tags)) == carried


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("https://s3.amazonaws.com", True),
        ("https://s3.eu-west-1.amazonaws.com", True),
        ("https://s3.dualstack.eu-west-1.amazonaws.com/", True),
        ("https://s3-fips.us-gov-west-1.amazonaws.com", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", True),
        ("https://s3.eusc-de-east-1.amazonaws.eu", True),
        ("https://bucket.vpce-1-2.s3.us-east-1.vpce.amazonaws.com", True),
        ("http://s3.eu-west-1.amazonaws.com", False),  # no certificate proves that this is AWS
        ("https://s3.example.com", False),
        ("https://s3.notamazonaws.com", False),
        ("https://s3.amazonaws.com.example.com", False),
        ("https://id.execute-api.eu-west-1.amazonaws.com", False),
        ("https://x.s3-object-lambda.eu-west-1.amazonaws.com", False),
        ("http://127.0.0.1:9000", False),
    ],
)
def test_the_endpoints_of_aws(endpoint: str, expected: bool) -> None:
    assert is_aws(endpoint) == expected
