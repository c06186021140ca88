"""Listings and multipart uploads of stores with quirks, over both transports."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from tests.support.odd_requests import Quirk, Request, Response, Store, error
from tests.support.odd_store import OddStore
from tests.support.quirks import listings, responses, uploads
from tests.support.quirks.scope import on, times

from s3_syncer.core.errors import Changed, Permanent, Retryable, StoreUnusable, SyncError
from s3_syncer.core.model import ObjectState, md5_of
from s3_syncer.core.multipart import Part
from s3_syncer.crt.factory import crt_transports
from s3_syncer.settings import Credentials
from s3_syncer.stores.bucket import Bucket
from s3_syncer.stores.clients import target_client
from s3_syncer.stores.protocols import BucketLocation

BUCKET = "bucket"
STATE = ObjectState(3, "e", datetime(2026, 1, 1, tzinfo=UTC))
KEYS = [f"k{number:03}" for number in range(25)]


@pytest.fixture(params=["boto3", "crt"])
def connect(request: pytest.FixtureRequest, odd_store: OddStore) -> Callable[..., Bucket]:
    odd_store.objects.buckets[BUCKET] = {}

    def connect(prefix: str = "") -> Bucket:
        clients = target_client(odd_store.endpoint, "us-east-1", Credentials("key", "secret"), 4)
        location = BucketLocation(BUCKET, prefix, clients)
        transport = crt_transports(location, location, concurrency=1).target if request.param == "crt" else None
        return Bucket(BUCKET, prefix, clients, tags=False, transport=transport)

    return connect


def listed(bucket: Bucket, after: str = "", *, in_order: bool = True) -> list[str]:
    return [key for page in bucket.listing(after, in_order=in_order) for key in page.keys]


PAGED: dict[str, Quirk] = {
    "usual pages": listings.pages_of(10),
    "no IsTruncated": listings.lists_without_is_truncated,
    "no token": listings.lists_without_token,
    "the first version": listings.lists_as_version_1,
    "an empty page at the end": listings.lists_an_empty_page_at_the_end,
    "StartAfter included": listings.lists_start_after_itself,
    "no IsTruncated, but a token": on("ListObjectsV2")(responses.leaves_out("IsTruncated")),
}


@pytest.mark.parametrize("name", PAGED)
@pytest.mark.parametrize("count", [0, 1, 10, 25])
def test_a_listing_is_complete_however_its_pages_end(
    connect: Callable[..., Bucket], odd_store: OddStore, name: str, count: int
) -> None:
    for key in KEYS[:count]:
        odd_store.put(BUCKET, key)
    odd_store.add(listings.pages_of(10), PAGED[name])
    assert listed(connect()) == KEYS[:count]


@pytest.mark.parametrize("name", PAGED)
@pytest.mark.parametrize("after", ["k000", "k004", "k004-", "k009", "k0095", "k024", "z"])
def test_a_listing_begins_behind_any_key(
    connect: Callable[..., Bucket], odd_store: OddStore, name: str, after: str
) -> None:
    for key in KEYS:
        odd_store.put(BUCKET, key)
    odd_store.add(listings.pages_of(10), PAGED[name])
    bucket, behind = connect(), [key for key in KEYS if key > after]
    assert listed(bucket, after) == listed(bucket, after) == behind
    assert bucket.first(after) == (behind[0] if behind else None)


def test_a_store_that_ignores_start_after_is_asked_by_marker_from_then_on(
    connect: Callable[..., Bucket], odd_store: OddStore
) -> None:
    for key in KEYS:
        odd_store.put(BUCKET, key)
    odd_store.add(listings.pages_of(10), listings.lists_as_version_1)
    bucket = connect()
    assert listed(bucket, "k019") == listed(bucket, "k019") == KEYS[20:]
    assert odd_store.count("ListObjectsV2") + odd_store.count("ListObjects") == 3


def test_a_listing_that_cannot_be_continued_has_no_end(connect: Callable[..., Bucket], odd_store: OddStore) -> None:
    for key in KEYS:
        odd_store.put(BUCKET, key)

    def ignores_marker(request: Request, store: Store) -> Response:
        request.query.pop("marker", None)
        return store(request)

    odd_store.add(listings.pages_of(10), listings.lists_without_token, listings.ignores_start_after, ignores_marker)
    with pytest.raises(Retryable, match="has no NextContinuationToken"):
        listed(connect())


def test_an_unordered_listing_is_not_continued_behind_its_last_key(
    connect: Callable[..., Bucket], odd_store: OddStore
) -> None:
    for key in KEYS:
        odd_store.put(BUCKET, key)
    odd_store.add(listings.pages_of(10), listings.lists_without_is_truncated)
    with pytest.raises(Retryable, match="has no NextContinuationToken"):
        listed(connect(), in_order=False)


ODD_KEYS = ["a\x01b", "a\x01c/d", "a&b", "a<b>c", "cr\rlf", "plain", "quote'\"", "w \u00e9+%2B"]


@pytest.mark.parametrize(
    "quirk",
    [listings.ignores_encoding_type, responses.writes_unescaped_xml, responses.writes_bare_ampersands],
    ids=["references", "raw", "ampersands"],
)
@pytest.mark.parametrize("page", [1, 3, 1000])
def test_each_key_is_listed_under_its_name_although_xml_cannot_contain_it(
    connect: Callable[..., Bucket], odd_store: OddStore, quirk: Quirk, page: int
) -> None:
    keys = sorted(ODD_KEYS, key=str.encode)
    for key in keys:
        odd_store.put(BUCKET, key)
    odd_store.add(listings.pages_of(page), listings.ignores_encoding_type, quirk)
    assert listed(connect()) == keys
    assert listed(connect(), "a\x01b") == keys[1:]
    assert listed(connect("a\x01")) == ["b", "c/d"]


@pytest.mark.parametrize("key", ["a\x01b", "a&b", "a<b"])
def test_an_upload_of_a_key_that_spoils_xml_is_created_once_and_completed(
    connect: Callable[..., Bucket], odd_store: OddStore, key: str
) -> None:
    odd_store.add(responses.writes_unescaped_xml)
    bucket = connect()
    upload_id = bucket.create_upload(key, STATE, None)
    assert odd_store.count("CreateMultipartUpload") == 1
    etag = bucket.upload_part(key, upload_id, Part(1, 0, 3), b"abc", md5_of(b"abc"))
    assert [upload.id for upload in bucket.uploads(key)] == [upload_id]
    assert bucket.uploads("a") == []
    assert bucket.parts(key, upload_id)[1].etag == etag
    assert bucket.complete_upload(key, upload_id, {1: etag}).endswith("-1")


def loses_xml(request: Request, store: Store) -> Response:
    """Do the work, and respond with a page that is no XML."""
    store(request)
    return Response(200, body=b"<html><br>ok</html>")


def leaves_out_upload_id(request: Request, store: Store) -> Response:
    return responses.leaves_out("UploadId")(request, store)


def creates_and_fails(request: Request, store: Store) -> Response:
    store(request)
    return error(500, "InternalError")


@pytest.mark.parametrize("spoils", [loses_xml, leaves_out_upload_id, creates_and_fails])
def test_an_upload_with_an_unreadable_response_is_found_and_not_created_again(
    connect: Callable[..., Bucket], odd_store: OddStore, spoils: Quirk
) -> None:
    odd_store.add(on("CreateMultipartUpload")(spoils))
    upload_id = connect().create_upload("key", STATE, None)
    assert odd_store.count("CreateMultipartUpload") == 1
    assert list(odd_store.objects.uploads) == [upload_id]


def test_an_unreadable_creation_that_has_created_nothing_is_an_error(
    connect: Callable[..., Bucket], odd_store: OddStore
) -> None:
    odd_store.add(on("CreateMultipartUpload")(lambda request, store: Response(200, body=b"<br>")))
    with pytest.raises(Retryable, match="status 200, but it is not XML"):
        connect().create_upload("key", STATE, None)
    assert odd_store.count("CreateMultipartUpload") == 1


def test_a_completion_with_an_unreadable_response_is_looked_up(
    connect: Callable[..., Bucket], odd_store: OddStore
) -> None:
    bucket = connect()
    upload_id = bucket.create_upload("key", STATE, None)
    etag = bucket.upload_part("key", upload_id, Part(1, 0, 3), b"abc", md5_of(b"abc"))
    with odd_store.having(on("CompleteMultipartUpload")(lambda request, store: Response(200, body=b"<br>"))):
        with pytest.raises(Retryable, match="status 200, but it is not XML") as caught:
            bucket.complete_upload("key", upload_id, {1: etag})
        assert not isinstance(caught.value, Changed), "the upload is not completed"
    with odd_store.having(on("CompleteMultipartUpload")(loses_xml)), pytest.raises(Changed):
        bucket.complete_upload("key", upload_id, {1: etag})
    assert odd_store.count("CompleteMultipartUpload") == 2
    assert odd_store.keys(BUCKET) == ["key"]


def test_an_error_in_a_response_with_status_200_is_retried(connect: Callable[..., Bucket], odd_store: OddStore) -> None:
    odd_store.add(uploads.complete_fails(2))
    bucket = connect()
    upload_id = bucket.create_upload("key", STATE, None)
    etag = bucket.upload_part("key", upload_id, Part(1, 0, 3), b"abc", md5_of(b"abc"))
    assert bucket.complete_upload("key", upload_id, {1: etag})
    assert odd_store.count("CompleteMultipartUpload") == 3


def test_a_listing_that_is_not_xml_is_repeated_and_named_with_its_status(
    connect: Callable[..., Bucket], odd_store: OddStore
) -> None:
    odd_store.put(BUCKET, "key")
    with odd_store.having(on("ListObjectsV2")(times(2)(loses_xml))):
        assert listed(connect()) == ["key"]
    odd_store.add(on("ListObjectsV2")(loses_xml))
    with pytest.raises(SyncError, match="list_objects_v2 in bucket: the response has status 200, but it is not XML"):
        listed(connect())


def test_a_listing_of_uploads_that_is_not_continued_is_a_store_that_lists_no_uploads(
    connect: Callable[..., Bucket], odd_store: OddStore
) -> None:
    odd_store.add(uploads.lists_uploads_without_markers)
    bucket = connect()
    assert bucket.uploads("key") == []
    bucket.create_upload("key", STATE, None)
    with pytest.raises(Permanent, match="does not continue it"):
        bucket.uploads("key")


def test_parts_are_listed_behind_the_last_one_without_a_marker(
    connect: Callable[..., Bucket], odd_store: OddStore
) -> None:
    def pages_of_two(request: Request, store: Store) -> Response:
        request.query["max-parts"] = "2"
        return store(request)

    odd_store.add(on("ListParts")(pages_of_two), on("ListParts")(responses.leaves_out("NextPartNumberMarker")))
    bucket = connect()
    upload_id = bucket.create_upload("key", STATE, None)
    for number in range(1, 6):
        bucket.upload_part("key", upload_id, Part(number, 0, 3), b"abc", md5_of(b"abc"))
    assert list(bucket.parts("key", upload_id)) == [1, 2, 3, 4, 5]
    odd_store.add(on("ListParts")(responses.leaves_out("IsTruncated")))
    assert list(bucket.parts("key", upload_id, 1, 4)) == [2, 3, 4]
    assert list(bucket.parts("key", upload_id)) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "quirk",
    [listings.encodes_without_saying, listings.encodes_twice, listings.encodes_no_plus],
    ids=["without saying", "twice", "no plus"],
)
def test_keys_under_names_that_the_store_does_not_know_are_an_error(
    connect: Callable[..., Bucket], odd_store: OddStore, quirk: Quirk
) -> None:
    odd_store.put(BUCKET, "a+b")
    odd_store.add(quirk)
    with pytest.raises(Permanent, match="encodes keys in another way than it says"):
        listed(connect())


@pytest.mark.parametrize("quirk", [listings.encodes_blanks_as_plus, listings.ignores_encoding_type])
def test_keys_are_looked_up_once(connect: Callable[..., Bucket], odd_store: OddStore, quirk: Quirk) -> None:
    keys = ["a b", "a%20b", "a+b", "b c%"]
    for key in keys:
        odd_store.put(BUCKET, key)
    odd_store.add(quirk)
    bucket = connect()
    assert listed(bucket) == listed(bucket) == keys
    assert odd_store.count("ListObjectsV2") == 4


def test_a_listing_that_goes_in_circles_ends_with_an_error(connect: Callable[..., Bucket], odd_store: OddStore) -> None:
    for key in KEYS:
        odd_store.put(BUCKET, key)
    odd_store.add(listings.pages_of(10), listings.lists_in_a_circle)
    with pytest.raises(Retryable, match="the same continuation token twice"):
        listed(connect(), in_order=False)
    assert odd_store.count("ListObjectsV2") < 20


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("size", [1, 10])
def test_a_listing_that_repeats_its_first_page_under_new_tokens_ends_with_an_error(
    connect: Callable[..., Bucket], odd_store: OddStore, size: int, in_order: bool
) -> None:
    for key in KEYS:
        odd_store.put(BUCKET, key)
    odd_store.add(listings.pages_of(size), listings.lists_the_same_page())
    with pytest.raises(Retryable, match="the same page twice"):
        listed(connect(), in_order=in_order)
    assert odd_store.count("ListObjectsV2") < 20


def test_a_listing_of_uploads_that_repeats_its_first_page_ends_with_an_error(
    connect: Callable[..., Bucket], odd_store: OddStore
) -> None:
    bucket = connect()
    bucket.create_upload("key", STATE, None)
    odd_store.add(listings.lists_the_same_uploads())
    with pytest.raises(Retryable, match="the same page twice"):
        bucket.uploads("key")
    assert odd_store.count("ListMultipartUploads") < 20


def test_a_listing_of_no_uploads_without_an_end_fails(
    connect: Callable[..., Bucket], odd_store: OddStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3_syncer.stores.listings.MAX_EMPTY_PAGES", 5)
    odd_store.add(listings.lists_the_same_uploads())
    with pytest.raises(Retryable, match="more than 5 pages without an entry"):
        connect().uploads("key")


def test_a_listing_without_keys_and_without_an_end_fails(
    connect: Callable[..., Bucket], odd_store: OddStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3_syncer.stores.listings.MAX_EMPTY_PAGES", 5)
    odd_store.put(BUCKET, "key")
    odd_store.add(listings.lists_empty_pages_first(100))
    with pytest.raises(Retryable, match="more than 5 pages without an entry"):
        listed(connect())


def test_a_key_behind_an_empty_page_is_listed(connect: Callable[..., Bucket], odd_store: OddStore) -> None:
    odd_store.put(BUCKET, "key")
    odd_store.add(listings.lists_empty_pages_first(2))
    assert connect().lists("key")
    assert not connect().lists("ke")
    assert listed(connect()) == ["key"]


def test_a_listing_of_folders_is_no_listing_of_keys(connect: Callable[..., Bucket], odd_store: OddStore) -> None:
    odd_store.put(BUCKET, "d/key")
    odd_store.add(listings.lists_folders)
    with pytest.raises(Permanent, match="list_objects_v2 in bucket: the listing shows folders in place of keys"):
        listed(connect())


def test_weak_etags_are_etags(connect: Callable[..., Bucket], odd_store: OddStore) -> None:
    odd_store.put(BUCKET, "key", b"body")
    bucket = connect()
    strong = [page.etags for page in bucket.listing()], bucket.head("key")
    odd_store.add(responses.weakens_etags)
    assert ([page.etags for page in bucket.listing()], bucket.head("key")) == strong


def test_a_redirect_without_a_region_is_an_error(connect: Callable[..., Bucket], odd_store: OddStore) -> None:
    # botocore asks HeadBucket for the region, and asked it for the region of that response too.
    odd_store.add(responses.refuses(301, "PermanentRedirect", "use the other endpoint"))
    with pytest.raises(StoreUnusable, match="the bucket is in another region or at another endpoint"):
        listed(connect())
    assert odd_store.count("HeadBucket") <= 1
