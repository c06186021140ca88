"""The lookup of one key: which request follows which response, and which result the responses give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from threading import Event
from typing import Any, cast

import pytest

from s3_syncer.core import fence
from s3_syncer.core.errors import (
    Busy,
    Changed,
    Permanent,
    Refused,
    Retryable,
    StoreUnavailable,
    StoreUnusable,
    SyncError,
)
from s3_syncer.core.fence import Fence
from s3_syncer.core.model import KeyPage, ListPage, ObjectState, md5_of
from s3_syncer.stores.bucket import MAX_LOOKUPS, Bucket
from s3_syncer.stores.kept_bucket import KeptBucket

HEAD, GET, TAGS = "head_object", "get_object", "get_object_tagging"
DELETE, ABORT, LIST = "delete_object", "abort_multipart_upload", "list_objects_v2"
UPLOADS = "list_multipart_uploads"

HEADERS = {"etag": '"e"', "content-length": "1", "last-modified": "Thu, 01 Jan 2026 12:34:56 GMT"}
FOUND = {"ResponseMetadata": {"HTTPHeaders": HEADERS}}
EMPTY: dict[str, Any] = {"Contents": []}
NO_UPLOADS: dict[str, Any] = {"Uploads": [], "IsTruncated": "false"}
UNTAGGED: dict[str, Any] = {"TagSet": []}


def body() -> dict[str, Any]:
    return {**FOUND, "Body": BytesIO(b"1")}


def headed(response: Mapping[str, Any], **headers: str) -> dict[str, Any]:
    """Return the response with other headers; an underscore stands for a dash."""
    changed = HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
    return {**response, "ResponseMetadata": {"HTTPHeaders": changed}}


def error(status: int, code: str = "") -> dict[str, Any]:
    """Return an error response in boto3's form; a response without a body has the status for its code."""
    return {
        "Error": {"Code": code or str(status), "Message": ""},
        "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": ""},
    }


class Script:
    """A transport that expects these requests in this order, and returns their responses."""

    def __init__(self, *requests: tuple[str, Mapping[str, Any]]) -> None:
        self.left = list(requests)

    def list_page(self, position: Mapping[str, Any]) -> ListPage | None:
        raise AssertionError(f"a listing was requested: {position}")

    def try_call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        assert self.left, f"{operation} was requested after the last expected request"
        expected, response = self.left.pop(0)
        assert operation == expected
        return dict(response)


def bucket(script: Script, *, tags: bool = False) -> Bucket:
    return Bucket("bucket", "", cast(Any, None), tags=tags, transport=script)


LISTED = {"Contents": [{"Key": "key"}]}

Requests = Sequence[tuple[str, Mapping[str, Any]]]
NO_KEY = (GET, error(404, "NoSuchKey"))


@pytest.mark.parametrize(
    ("confirm_missing", "requests", "result"),
    [
        (False, [(HEAD, FOUND)], "e"),
        (True, [(HEAD, FOUND)], "e"),
        (False, [(HEAD, error(404))], None),
        (True, [(HEAD, error(404)), NO_KEY], None),
        (True, [(HEAD, error(404)), (GET, error(404)), (LIST, EMPTY)], None),
        (True, [(HEAD, error(404)), (GET, error(404)), (LIST, LISTED)], Retryable),
        (True, [(HEAD, error(404)), (GET, error(404)), (LIST, error(404))], Retryable),
        (True, [(HEAD, error(404)), (GET, error(404, "NotFound")), (LIST, EMPTY)], None),
        (True, [(HEAD, error(404)), (GET, error(404, "NotFound")), (LIST, LISTED)], Refused),
        (True, [(HEAD, error(404)), (GET, error(404, "NotFound")), (LIST, error(404, "NotFound"))], Refused),
        (
            True,
            [(HEAD, error(404)), (GET, error(404, "NoSuchBucket")), (LIST, error(404, "NoSuchBucket"))],
            StoreUnusable,
        ),
        (True, [(HEAD, error(404)), (GET, error(403, "AccessDenied"))], Permanent),
        (True, [(HEAD, error(404)), (GET, error(503, "SlowDown")), (LIST, EMPTY)], Busy),
        (True, [(HEAD, error(404)), (GET, error(503, "SlowDown")), (LIST, error(503, "SlowDown"))], StoreUnavailable),
        (True, [(HEAD, error(404)), (GET, body()), (HEAD, FOUND)], "e"),
        (True, [(HEAD, error(404)), (GET, error(416, "InvalidRange")), (HEAD, FOUND)], "e"),
        (True, [(HEAD, error(404)), (GET, body()), (HEAD, error(404))], Changed),
        (False, [(HEAD, error(403)), NO_KEY], None),
        (False, [(HEAD, error(403)), (GET, error(403, "AccessDenied"))], Permanent),
        (False, [(HEAD, error(403)), (GET, body()), (HEAD, FOUND)], "e"),
        (
            False,
            [(HEAD, error(400)), (GET, error(400, "ExpiredToken")), (LIST, error(400, "ExpiredToken"))],
            StoreUnusable,
        ),
        (False, [(HEAD, error(503)), (LIST, EMPTY)], Busy),
        (True, [(HEAD, error(412))], Changed),
    ],
)
def test_the_response_decides_the_next_request(
    confirm_missing: bool, requests: Requests, result: str | type[SyncError] | None
) -> None:
    script = Script(*requests)
    if isinstance(result, type):
        with pytest.raises(result):
            bucket(script).head("key", confirm_missing=confirm_missing)
    else:
        state = bucket(script).head("key", confirm_missing=confirm_missing)
        assert (state.etag if state else None) == result
    assert script.left == []


@pytest.mark.parametrize("key", ["key", "a b+c%2F", "line\nbreak", "control \x01", "\u00e9 \ud7ff \U0001f600"])
def test_a_404_without_a_code_is_not_about_a_key_that_is_listed(key: str) -> None:
    listed = {"Contents": [{"Key": key}]}
    script = Script((HEAD, error(404)), (GET, error(404)), (LIST, listed))
    with pytest.raises(Retryable, match="does not say what is missing") as caught:
        bucket(script).head(key, confirm_missing=True)
    assert not isinstance(caught.value, Changed)


@pytest.mark.parametrize(
    ("requests", "error_code"),
    [
        ([(DELETE, {}), NO_KEY], None),
        ([(DELETE, error(404, "NoSuchKey")), NO_KEY], None),
        ([(DELETE, error(404)), NO_KEY], None),
        ([(DELETE, error(404)), (GET, body())], "NotDeleted"),
        ([(DELETE, error(404)), (GET, error(404)), (LIST, LISTED)], "NoErrorCode"),
        ([(DELETE, error(404)), (GET, error(404)), (LIST, error(404))], "NoErrorCode"),
        ([(DELETE, error(404)), (GET, error(404)), (LIST, EMPTY)], None),
        ([(DELETE, error(404, "NotFound")), (GET, error(404, "NotFound")), (LIST, EMPTY)], None),
        ([(DELETE, error(404, "NoSuchBucket")), (LIST, error(404, "NoSuchBucket"))], "NoSuchBucket"),
        ([(DELETE, error(404, "NoSuchBucket")), (LIST, EMPTY)], "NoSuchBucket"),
        ([(DELETE, {}), (GET, body())], "NotDeleted"),
        ([(DELETE, error(404, "NoSuchKey")), (GET, body())], "NotDeleted"),
        ([(DELETE, {}), (GET, error(416, "InvalidRange"))], "NotDeleted"),
        ([(DELETE, {}), (GET, error(404)), (LIST, LISTED)], "NoErrorCode"),
    ],
)
def test_a_deletion_counts_once_the_store_names_the_key_as_missing(requests: Requests, error_code: str | None) -> None:
    script = Script(*requests)
    if error_code is None:
        bucket(script).delete("key")
    else:
        with pytest.raises(Retryable) as caught:
            bucket(script).delete("key")
        assert caught.value.code == error_code
    assert script.left == []


@pytest.mark.parametrize("kind", [Bucket, KeptBucket])
@pytest.mark.parametrize("code", ["", "NoSuchKey", "NotFound"])
def test_a_404_that_names_no_upload_is_about_one_that_is_not_listed(code: str, kind: type[Bucket]) -> None:
    """Ceph RGW responds to ListParts of an aborted upload with NoSuchKey."""

    def bucket(script: Script) -> Bucket:
        return kind("bucket", "", cast(Any, None), tags=False, transport=script)

    bucket(Script((ABORT, error(404, "NoSuchUpload")))).abort_upload("key", "upload")
    bucket(Script((ABORT, error(404, code)), (UPLOADS, NO_UPLOADS))).abort_upload("key", "upload")
    listed = {"IsTruncated": "false", "Uploads": [{"Key": "key", "UploadId": "upload"}]}
    for responses in ([(UPLOADS, listed)], [(UPLOADS, error(404))]):
        with pytest.raises(SyncError) as raised:
            bucket(Script((ABORT, error(404, code)), *responses)).abort_upload("key", "upload")
        assert raised.value.code != "NoSuchUpload"
    with pytest.raises(Changed) as raised:
        bucket(Script(("list_parts", error(404, code)), (UPLOADS, NO_UPLOADS))).parts("key", "upload")
    assert raised.value.code == "NoSuchUpload"


def test_a_key_that_is_deleted_before_its_tags_are_read_is_looked_up_again() -> None:
    script = Script((HEAD, FOUND), (TAGS, error(404, "NoSuchKey")), (HEAD, error(404)), NO_KEY)
    assert bucket(script, tags=True).head("key") is None
    assert script.left == []


def test_a_store_that_never_has_the_tags_of_a_key_ends_the_lookups() -> None:
    script = Script(*[(HEAD, FOUND), (TAGS, error(404, "NoSuchKey"))] * MAX_LOOKUPS)
    with pytest.raises(Changed):
        bucket(script, tags=True).head("key")
    assert script.left == []


@pytest.mark.parametrize(
    ("tags", "requests", "found", "small"),
    [
        (False, [(GET, body())], True, True),
        (False, [NO_KEY], False, False),
        (False, [(GET, error(403, "AccessDenied")), (HEAD, error(404)), NO_KEY], False, False),
        (False, [(GET, error(416, "InvalidRange")), (HEAD, FOUND)], True, False),
        (False, [(GET, headed(body(), content_length=str(1 << 30)))], True, False),
        (True, [(GET, body()), (TAGS, UNTAGGED)], True, True),
        (True, [(GET, body()), (TAGS, error(404, "NoSuchKey")), (HEAD, error(404)), NO_KEY], False, False),
        (True, [(GET, body()), (TAGS, error(404, "NoSuchKey")), (HEAD, FOUND), (TAGS, UNTAGGED)], True, True),
    ],
)
def test_one_get_brings_the_state_and_the_bytes_of_a_small_object(
    tags: bool, requests: Requests, found: bool, small: bool
) -> None:
    script = Script(*requests)
    state = bucket(script, tags=tags).get_small("key")
    assert (state is not None) == found
    assert (state is not None and state.body is not None) == small
    assert script.left == []


def test_the_bytes_of_an_object_that_was_replaced_between_the_requests_are_dropped() -> None:
    other = headed(FOUND, etag='"other"')
    script = Script((GET, body()), (TAGS, error(404, "NoSuchKey")), (HEAD, other), (TAGS, UNTAGGED))
    state = bucket(script, tags=True).get_small("key")
    assert state is not None
    assert (state.etag, state.body) == ("other", None)


OTHER_HASH = ("put_object", error(400, "XAmzContentSHA256Mismatch"))
WRITTEN = ("put_object", {"ETag": '"abc"', "ResponseMetadata": {"HTTPHeaders": {"etag": '"abc"'}}})


def put(*responses: tuple[str, Mapping[str, Any]]) -> str:
    state = ObjectState(4, "etag", datetime(2026, 1, 1, tzinfo=UTC))
    return bucket(Script(*responses)).put("key", b"body", md5_of(b"body"), state, None)


def test_a_body_that_the_store_hashes_in_another_way_once_is_sent_again() -> None:
    assert put(OTHER_HASH, WRITTEN) == "abc"


def test_a_body_that_the_store_hashes_in_another_way_twice_is_not_sent_again() -> None:
    with pytest.raises(Permanent, match="set payload_signing of the target") as failure:
        put(OTHER_HASH, OTHER_HASH)
    assert failure.value.code == "XAmzContentSHA256Mismatch"


@pytest.mark.parametrize("listed", [["key"], ["key", "key/longer"], []])
def test_a_key_is_listed_if_it_comes_first(listed: list[str]) -> None:
    assert listings(listed).lists("key") == bool(listed)


def test_a_store_that_lists_out_of_order_is_asked_for_more_keys() -> None:
    assert listings(["key/longer"], ["key/longer", "key"]).lists("key")
    assert not listings(["key/longer"], ["key/longer"]).lists("key")


def test_the_fence_of_the_thread_can_break_a_listing_over_a_transport() -> None:
    class Listing(Script):
        def list_page(self, position: Mapping[str, Any]) -> ListPage | None:
            request = fence.current_request()
            assert request is not None
            request.connect(broken.set)
            work.close()
            return ListPage(KeyPage.of([]), is_last=True)

    broken, work = Event(), Fence()
    with fence.fenced(work):
        assert bucket(Listing()).first("") is None
    assert broken.is_set()


def listings(*pages: list[str]) -> Bucket:
    """Return a bucket with these pages in its listings by prefix."""
    entry = {"LastModified": datetime(2026, 1, 1, tzinfo=UTC), "Size": 1, "ETag": '"e"'}
    listed = [[{"Key": key} | entry for key in page] for page in pages]
    answers = [{"Name": "bucket", "IsTruncated": False, "Contents": contents} for contents in listed]
    return bucket(Script(*((LIST, answer) for answer in answers)))
