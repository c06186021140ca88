"""`OddStore` behaves like AWS without quirks, and each switch does what it says."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from tests.functional.harness import TARGET, Rig, put_parts
from tests.support.odd_requests import Quirk
from tests.support.odd_store import OddStore
from tests.support.quirks import keys, listings, properties, responses, tags, uploads, writes
from tests.support.quirks.scope import of_key, on, times

BUCKET = "bucket"


@pytest.fixture
def client(odd_store: OddStore) -> Iterator[Any]:
    odd_store.objects.buckets[BUCKET] = {}
    with _client(odd_store.endpoint) as client:
        yield client


def _client(endpoint: str, addressing_style: str = "path") -> Any:
    config = Config(
        retries={"total_max_attempts": 1},
        request_checksum_calculation="when_required",
        s3={"addressing_style": addressing_style},
    )
    return closing(
        boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            config=config,
        )
    )


def put(client: Any, key: str, body: bytes = b"", **properties: Any) -> Any:
    return client.put_object(Bucket=BUCKET, Key=key, Body=body, **properties)


def head(client: Any, key: str) -> Any:
    return client.head_object(Bucket=BUCKET, Key=key)


def get(client: Any, key: str) -> bytes:
    body: bytes = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return body


def code_of(call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """Return the error code of a request."""
    with pytest.raises(ClientError) as raised:
        call(*arguments, **options)
    code: str = raised.value.response["Error"]["Code"]
    return code


def listed(client: Any, **options: Any) -> list[str]:
    """Return the keys of the first page."""
    return [entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET, **options).get("Contents", [])]


# -- without quirks ------------------------------------------------------------------------------------------------


def test_an_object_comes_back_with_its_properties(client: Any) -> None:
    properties = {"CacheControl": "no-store", "ContentType": "text/plain", "Metadata": {"a_b": "1"}}
    put(client, "a//b", b"body", Tagging="c=d", **properties)
    found = client.get_object(Bucket=BUCKET, Key="a//b")
    assert {name: found[name] for name in properties} == properties
    assert found["Body"].read() == b"body"
    assert client.get_object_tagging(Bucket=BUCKET, Key="a//b")["TagSet"] == [{"Key": "c", "Value": "d"}]
    assert client.get_object(Bucket=BUCKET, Key="a//b", Range="bytes=1-2")["Body"].read() == b"od"


def test_listings_have_pages_in_the_order_of_utf_8(client: Any, odd_store: OddStore) -> None:
    names = ["\x01", "/", "a b", "a+b", "a&b", "\uff21", "\U0001f600"]
    for name in names:
        put(client, name)
    with odd_store.having(listings.pages_of(2)):
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        assert [entry["Key"] for page in pages for entry in page["Contents"]] == sorted(names, key=str.encode)
    assert listed(client, StartAfter="a+b") == ["a b", "a&b", "\uff21", "\U0001f600"][2:]


def test_an_upload_in_parts_has_the_etag_of_aws(client: Any, odd_store: OddStore) -> None:
    etag = put_parts(client, BUCKET, "key", [b"one", b"two"])
    assert etag.endswith("-2")
    assert head(client, "key")["ETag"] == f'"{etag}"'
    assert client.head_object(Bucket=BUCKET, Key="key", PartNumber=2)["ContentLength"] == 3
    assert client.head_object(Bucket=BUCKET, Key="key", PartNumber=1)["PartsCount"] == 2
    assert odd_store.objects.uploads == {}


def test_conditions_and_content_md5_are_checked(client: Any) -> None:
    put(client, "key", b"1")
    assert code_of(put, client, "key", IfNoneMatch="*") == "PreconditionFailed"
    assert code_of(put, client, "key", IfMatch='"x"') == "PreconditionFailed"
    assert code_of(put, client, "key", ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==") == "BadDigest"
    assert code_of(client.get_object, Bucket=BUCKET, Key="key", IfMatch='"x"') == "PreconditionFailed"
    assert get(client, "key") == b"1"


def test_a_missing_key_and_a_missing_bucket_have_codes(client: Any) -> None:
    assert code_of(client.get_object, Bucket=BUCKET, Key="key") == "NoSuchKey"
    assert code_of(client.get_object, Bucket="other", Key="key") == "NoSuchBucket"


def test_a_path_can_come_before_the_bucket() -> None:
    with OddStore(below="/storage/v1/s3") as store, _client(store.endpoint) as client:
        store.objects.buckets[BUCKET] = {}
        put(client, "key", b"body")
        assert get(client, "key") == b"body"


def test_the_bucket_can_be_in_the_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **options: resolve("127.0.0.1", *rest, **options))
    with OddStore(responses.only_virtual_host, domain="store.test") as store:
        store.objects.buckets[BUCKET] = {}
        with _client(store.endpoint, "virtual") as client:
            put(client, "//key", b"body")
            assert get(client, "//key") == b"body"
        with _client(store.endpoint) as client:
            assert code_of(put, client, "key") == "SecondLevelDomainForbidden"


# -- keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quirk", "written", "stored"),
    [
        (keys.folds_slashes, "/a//b", "a/b"),
        (keys.folds_last_slash, "a/", "a"),
        (keys.folds_dot_segments, "a/./b/../c", "a/c"),
        (keys.folds_case, "A", "a"),
        (keys.folds_unicode, "A\u030a", "\u00c5"),
        (keys.folds_backslashes, "a\\b", "a/b"),
    ],
)
def test_a_folded_key_is_another_key(client: Any, odd_store: OddStore, quirk: Quirk, written: str, stored: str) -> None:
    odd_store.add(quirk)
    put(client, stored, b"old")
    put(client, written, b"new")
    assert (get(client, written), get(client, stored), listed(client)) == (b"new", b"new", [stored])
    client.delete_object(Bucket=BUCKET, Key=written)
    assert listed(client) == []


def test_keys_are_refused(client: Any, odd_store: OddStore) -> None:
    odd_store.add(keys.refuses_empty_segments)
    assert code_of(put, client, "a//b") == "InvalidArgument"
    put(client, "a/b")


def test_folders_are_found_and_kept(client: Any, odd_store: OddStore) -> None:
    odd_store.add(keys.finds_folders, keys.keeps_full_folders)
    put(client, "d/x")
    assert head(client, "d/")["ContentLength"] == head(client, "d")["ContentLength"] == 0
    assert code_of(head, client, "e/") == "404"
    assert code_of(client.delete_object, Bucket=BUCKET, Key="d/") == "DirectoryNotEmpty"
    client.delete_object(Bucket=BUCKET, Key="d/x")


# -- properties ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quirk", "given", "kept"),
    [
        (properties.drops_header("Cache-Control"), {"CacheControl": "no-store"}, {}),
        (responses.sends_header("Cache-Control", "own"), {"CacheControl": "no-store"}, {"CacheControl": "own"}),
        (
            properties.changes_header("Content-Type", lambda value: value + "; charset=utf-8"),
            {"ContentType": "text/plain"},
            {"ContentType": "text/plain; charset=utf-8"},
        ),
        (properties.drops_metadata, {"Metadata": {"a": "b"}}, {"Metadata": {}}),
        (properties.drops_metadata_with_underscores, {"Metadata": {"a_b": "c", "d": "e"}}, {"Metadata": {"d": "e"}}),
        (properties.renames_metadata_with_underscores, {"Metadata": {"a_b": "c"}}, {"Metadata": {"a-b": "c"}}),
        (
            properties.sends_metadata_in_q_words,
            {"Metadata": {"a": "=?UTF-8?B?w7w=?="}},
            {"Metadata": {"a": "=?UTF-8?Q?=C3=BC?="}},
        ),
        (properties.sends_raw_metadata, {"Metadata": {"a": "=?UTF-8?B?w7w=?="}}, {"Metadata": {"a": "\u00c3\u00bc"}}),
        (responses.sends_header("x-amz-missing-meta", "2"), {}, {"MissingMeta": 2}),
    ],
)
def test_other_properties_come_back(
    client: Any, odd_store: OddStore, quirk: Quirk, given: dict[str, Any], kept: dict[str, Any]
) -> None:
    odd_store.add(quirk)
    put(client, "key", b"body", **given)
    found = head(client, "key")
    assert {name: found[name] for name in {*given, *kept} if name in found} == kept


@pytest.mark.parametrize(
    ("quirk", "name", "value"),
    [
        (properties.head_without("ETag"), "etag", None),
        (properties.head_without("Last-Modified"), "last-modified", None),
        (properties.head_without("Content-Length"), "content-length", None),
        (properties.sends_iso_times, "last-modified", "2026-01-01T00:00:00.000Z"),
        (properties.sends_fractions_of_seconds, "last-modified", "Thu, 01 Jan 2026 00:00:00.123 GMT"),
        (on("HeadObject")(responses.malforms("Content-Length", "x")), "content-length", "x"),
        (on("HeadObject")(responses.renames_header("ETag", "E-Tag")), "e-tag", '"841a2d689ad86bd1611447453c22c6fc"'),
    ],
)
def test_a_header_of_a_head_is_missing_or_odd(odd_store: OddStore, quirk: Quirk, name: str, value: str | None) -> None:
    odd_store.add(quirk)
    odd_store.put(BUCKET, "key", b"body")
    connection = http.client.HTTPConnection(odd_store.endpoint.removeprefix("http://"))
    connection.request("HEAD", f"/{BUCKET}/key")
    assert connection.getresponse().getheader(name) == value
    connection.close()


def test_a_doubled_field_is_sent_twice(client: Any, odd_store: OddStore) -> None:
    put(client, "key")
    odd_store.add(responses.doubles("ETag"), responses.doubles("Contents"))
    assert head(client, "key")["ETag"].count(",") == 1
    assert listed(client) == ["key", "key"]


def test_etags_are_no_md5s(client: Any, odd_store: OddStore) -> None:
    plain = put(client, "key", b"body")["ETag"]
    odd_store.add(properties.etags_are_no_md5s)
    etag = put(client, "key", b"body")["ETag"]
    assert etag not in (plain, "")
    put(client, "key", b"body", IfMatch=etag)
    put_parts(client, BUCKET, "parts", [b"one"])
    assert get(client, "parts") == b"one"


def test_multipart_etags_are_no_md5s(client: Any, odd_store: OddStore) -> None:
    etag = put_parts(client, BUCKET, "key", [b"one", b"two"])
    odd_store.add(properties.multipart_etags_are_no_md5s)
    other = put_parts(client, BUCKET, "key", [b"one", b"two"])
    assert other != etag
    client.head_object(Bucket=BUCKET, Key="key", IfMatch=f'"{other}"')


def test_ranges_and_part_numbers_are_ignored(client: Any, odd_store: OddStore) -> None:
    put_parts(client, BUCKET, "key", [b"one", b"two"])
    odd_store.add(properties.ignores_ranges, properties.ignores_part_numbers)
    assert client.get_object(Bucket=BUCKET, Key="key", Range="bytes=0-0")["Body"].read() == b"onetwo"
    assert "PartsCount" not in client.head_object(Bucket=BUCKET, Key="key", PartNumber=1)


def test_archived_objects_are_listed_and_not_read(client: Any, odd_store: OddStore) -> None:
    put(client, "cold/a")
    odd_store.add(properties.archives("cold/"))
    assert code_of(get, client, "cold/a") == "InvalidObjectState"
    assert head(client, "cold/a")["StorageClass"] == "GLACIER"
    assert client.list_objects_v2(Bucket=BUCKET)["Contents"][0]["StorageClass"] == "GLACIER"


# -- tags ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operations", tags.NO_TAGS)
@pytest.mark.parametrize("header", tags.NO_TAGS_HEADER)
def test_no_tags_are_kept(client: Any, odd_store: OddStore, operations: str, header: str) -> None:
    odd_store.add(tags.has_no_tags(operations, header))
    put(client, "key", b"body")
    if header == "ignored":
        put(client, "key", b"body", Tagging="a=b")
    else:
        assert code_of(put, client, "key", Tagging="a=b") == header.split()[1]
    if operations == "200 of the object":
        with pytest.raises((ClientError, ResponseParserError)):
            client.get_object_tagging(Bucket=BUCKET, Key="key")
    else:
        code_of(client.get_object_tagging, Bucket=BUCKET, Key="key")
    assert odd_store.objects.buckets[BUCKET]["key"].tags == {}
    assert get(client, "key") == b"body"


def test_an_empty_tag_set_is_an_error_or_left_out(client: Any, odd_store: OddStore) -> None:
    put(client, "none")
    put(client, "one", Tagging="a=b")
    with odd_store.having(tags.has_no_empty_tag_set):
        assert code_of(client.get_object_tagging, Bucket=BUCKET, Key="none") == "NoSuchTagSet"
        assert client.get_object_tagging(Bucket=BUCKET, Key="one")["TagSet"]
    with odd_store.having(tags.leaves_out_an_empty_tag_set):
        assert "TagSet" not in client.get_object_tagging(Bucket=BUCKET, Key="none")
        assert client.get_object_tagging(Bucket=BUCKET, Key="one")["TagSet"]


# -- writes --------------------------------------------------------------------------------------------------------


def test_content_md5_is_demanded(client: Any, odd_store: OddStore) -> None:
    odd_store.add(writes.demands_md5)
    with pytest.raises(ClientError, match="Content-MD5"):
        put(client, "key")
    put(client, "key", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")


def test_writes_have_no_etag(client: Any, odd_store: OddStore) -> None:
    odd_store.add(writes.puts_without_etag, writes.parts_without_etag)
    assert "ETag" not in put(client, "key")
    upload = client.create_multipart_upload(Bucket=BUCKET, Key="key")["UploadId"]
    assert "ETag" not in client.upload_part(Bucket=BUCKET, Key="key", UploadId=upload, PartNumber=1, Body=b"x")


def test_a_quota_refuses_bytes_only(client: Any, odd_store: OddStore) -> None:
    put(client, "key")
    odd_store.add(writes.quota())
    assert code_of(put, client, "key") == "QuotaExceeded"
    client.delete_object(Bucket=BUCKET, Key="key")


def test_one_signature_is_refused(client: Any, odd_store: OddStore) -> None:
    odd_store.add(writes.refuses_signature_of("a"))
    assert code_of(put, client, "a") == "SignatureDoesNotMatch"
    put(client, "b")


def test_signed_underscores_are_refused(client: Any, odd_store: OddStore) -> None:
    odd_store.add(writes.refuses_signed_underscores)
    assert code_of(put, client, "a", Metadata={"a_b": "c"}) == "SignatureDoesNotMatch"
    put(client, "a", Metadata={"a-b": "c"})


def test_an_unsigned_payload_is_refused(client: Any, odd_store: OddStore) -> None:
    odd_store.add(writes.refuses_unsigned_payload("AccessDenied", 403))
    put(client, "key")  # boto3 signs the body where the endpoint is http
    (request,) = odd_store.asked("PutObject")
    assert request.headers["x-amz-content-sha256"] != "UNSIGNED-PAYLOAD"


def test_a_share_of_the_requests_is_throttled(client: Any, odd_store: OddStore) -> None:
    odd_store.add(writes.throttles(50))
    codes = []
    for _ in range(4):
        try:
            put(client, "key")
            codes.append("")
        except ClientError as error:
            codes.append(error.response["Error"]["Code"])
    assert codes == ["", "SlowDown", "", "SlowDown"]


def test_conditions_are_ignored_or_refused(client: Any, odd_store: OddStore) -> None:
    put(client, "key")
    with odd_store.having(writes.ignores_conditions):
        put(client, "key", b"new", IfNoneMatch="*")
    with odd_store.having(writes.refuses_conditions()):
        assert code_of(put, client, "key", IfNoneMatch="*") == "NotImplemented"
        put(client, "key")


def test_a_deletion_does_nothing(client: Any, odd_store: OddStore) -> None:
    put(client, "key")
    odd_store.add(writes.deletes_nothing())
    client.delete_object(Bucket=BUCKET, Key="key")
    odd_store.add(writes.deletes_nothing(404))
    assert code_of(client.delete_object, Bucket=BUCKET, Key="key") in ("", "404")
    assert listed(client) == ["key"]


def test_locked_objects_stay(client: Any, odd_store: OddStore) -> None:
    put(client, "key")
    odd_store.add(writes.locks_objects())
    assert code_of(client.delete_object, Bucket=BUCKET, Key="key") == "AccessDenied"


# -- listings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quirk", "shown"),
    [
        (listings.encodes_twice, ["a%2Bb", "a%20c"]),
        (listings.encodes_no_plus, ["a b", "a c"]),  # botocore takes `+` for a blank
        (listings.encodes_blanks_as_plus, ["a+b", "a c"]),
        (listings.encodes_without_saying, ["a%2Bb", "a%20c"]),
        (listings.ignores_encoding_type, ["a+b", "a c"]),
        (listings.hides_from_listings(lambda key: key == "a+b"), ["a c"]),
    ],
)
def test_keys_are_listed_otherwise(client: Any, odd_store: OddStore, quirk: Quirk, shown: list[str]) -> None:
    put(client, "a+b")
    put(client, "a c")
    odd_store.add(quirk)
    assert sorted(listed(client)) == sorted(shown)


def test_ends_of_pages_are_odd(client: Any, odd_store: OddStore) -> None:
    for key in "abc":
        put(client, key)
    odd_store.add(listings.pages_of(2))
    with odd_store.having(listings.lists_without_is_truncated):
        assert "IsTruncated" not in client.list_objects_v2(Bucket=BUCKET)
    with odd_store.having(listings.lists_without_token):
        page = client.list_objects_v2(Bucket=BUCKET)
        assert page["IsTruncated"]
        assert "NextContinuationToken" not in page
    with odd_store.having(listings.lists_as_version_1):
        assert "NextContinuationToken" not in client.list_objects_v2(Bucket=BUCKET)
        assert listed(client, ContinuationToken="x") == ["a", "b"]
    with odd_store.having(listings.lists_an_empty_page_at_the_end):
        last = client.list_objects_v2(Bucket=BUCKET, StartAfter="b")
        assert last["IsTruncated"]
        assert listed(client, ContinuationToken=last["NextContinuationToken"]) == []


def test_start_after_is_included_or_ignored(client: Any, odd_store: OddStore) -> None:
    for key in "abc":
        put(client, key)
    with odd_store.having(listings.lists_start_after_itself):
        assert listed(client, StartAfter="b") == ["b", "c"]
    with odd_store.having(listings.ignores_start_after):
        assert listed(client, StartAfter="b") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("quirk", "order"),
    [
        (listings.lists_in_utf_16_order, ["B", "a", "\U0001f600", "\uff21"]),
        (listings.lists_in_order_without_case, ["a", "B", "\uff21", "\U0001f600"]),
    ],
)
def test_keys_are_listed_in_another_order(client: Any, odd_store: OddStore, quirk: Quirk, order: list[str]) -> None:
    for key in order:
        put(client, key)
    odd_store.add(listings.pages_of(3), quirk)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    assert [entry["Key"] for page in pages for entry in page["Contents"]] == order


# -- uploads -------------------------------------------------------------------------------------------------------


def test_a_ghost_upload_is_listed_and_has_no_parts(client: Any, odd_store: OddStore) -> None:
    odd_store.add(uploads.lists_a_ghost_upload("key"))
    (upload,) = client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    assert upload["Key"] == "key"
    assert code_of(client.list_parts, Bucket=BUCKET, Key="key", UploadId=upload["UploadId"]) == "NoSuchUpload"


def test_listings_of_uploads_are_odd(client: Any, odd_store: OddStore) -> None:
    client.create_multipart_upload(Bucket=BUCKET, Key="key")
    with odd_store.having(uploads.lists_no_uploads):
        assert "Uploads" not in client.list_multipart_uploads(Bucket=BUCKET)
    with odd_store.having(uploads.lists_uploads_without_markers):
        page = client.list_multipart_uploads(Bucket=BUCKET)
        assert page["IsTruncated"]
        assert "NextKeyMarker" not in page
    with odd_store.having(on("ListMultipartUploads")(responses.refuses(501, "NotImplemented"))):
        assert code_of(client.list_multipart_uploads, Bucket=BUCKET) == "NotImplemented"


def test_a_completion_fails_inside_a_200(client: Any, odd_store: OddStore) -> None:
    odd_store.add(uploads.complete_fails())
    assert code_of(put_parts, client, BUCKET, "key", [b"x"]) == "InternalError"
    put_parts(client, BUCKET, "key", [b"x"])


def test_a_completion_is_unreadable(client: Any, odd_store: OddStore) -> None:
    odd_store.add(uploads.complete_is_unreadable)
    with pytest.raises((ClientError, ResponseParserError)):
        put_parts(client, BUCKET, "key", [b"x"])
    assert listed(client) == ["key"]


def test_uploads_are_forgotten(client: Any, odd_store: OddStore) -> None:
    odd_store.add(uploads.forgets_uploads)
    assert code_of(put_parts, client, BUCKET, "key", [b"x"]) == "NoSuchUpload"


def test_sizes_are_limited(client: Any, odd_store: OddStore) -> None:
    odd_store.add(uploads.limits_sizes(object_max=3, part_min=2, part_max=4, parts_max=2))
    assert code_of(put, client, "key", b"four") == "EntityTooLarge"
    assert code_of(put_parts, client, BUCKET, "key", [b"12345"]) == "EntityTooLarge"
    assert code_of(put_parts, client, BUCKET, "key", [b"1", b"2"]) == "EntityTooSmall"
    assert code_of(put_parts, client, BUCKET, "key", [b"12", b"34", b"5"]) == "InvalidArgument"
    put_parts(client, BUCKET, "key", [b"12", b"3"])


# -- responses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quirk", [responses.writes_unescaped_xml, responses.writes_bare_ampersands])
def test_xml_is_not_escaped(client: Any, odd_store: OddStore, quirk: Quirk) -> None:
    put(client, "a&b")
    odd_store.add(listings.ignores_encoding_type, quirk)
    with pytest.raises((ClientError, ResponseParserError)):
        client.list_objects_v2(Bucket=BUCKET)


@pytest.mark.parametrize("form", responses.NOT_FOUND)
def test_a_404_has_many_forms(client: Any, odd_store: OddStore, form: str) -> None:
    with odd_store.having(responses.missing_keys_are(form)):
        assert (code_of(get, client, "key") == "NoSuchKey") is (form == "xml")
    with odd_store.having(responses.bucket_is_gone(form)):
        assert (code_of(get, client, "key") == "NoSuchBucket") is (form == "xml")


def test_the_requester_pays(client: Any, odd_store: OddStore) -> None:
    odd_store.put(BUCKET, "key", b"body")
    odd_store.add(responses.requester_pays)
    assert code_of(get, client, "key") == "AccessDenied"
    assert client.get_object(Bucket=BUCKET, Key="key", RequestPayer="requester")["Body"].read() == b"body"


def test_a_quirk_can_be_limited(client: Any, odd_store: OddStore) -> None:
    quirk = of_key("a")(times(1)(responses.refuses(500, "InternalError")))
    with odd_store.having(quirk):
        put(client, "b")
        assert code_of(put, client, "a") == "InternalError"
        put(client, "a")
    assert odd_store.count("PutObject", "a") == 2


def test_a_page_of_html_is_no_response_of_s3(client: Any, odd_store: OddStore) -> None:
    odd_store.add(responses.responds(200, "<html>maintenance</html>"))
    assert "IsTruncated" not in client.list_objects_v2(Bucket=BUCKET)


def test_the_function_copies_to_it(odd: Rig, odd_store: OddStore) -> None:
    odd.put("key", b"body", Tagging="a=b")
    assert odd.sync("key").actions == {"key": "copy"}
    assert odd_store.objects.buckets[TARGET]["key"].tags == {"a": "b"}
    with odd_store.having(writes.quota()):
        odd.put("key", b"newer")
        assert odd.sync("key").actions != {"key": "update"}
