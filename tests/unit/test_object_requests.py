"""Requests about single keys over awscrt: responses in boto3's form, and those left to boto3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.support.clock import FakeClock
from tests.support.in_memory_store import Reply

from s3_syncer.core.deadline import OutOfTime
from s3_syncer.core.fence import Fence, fenced
from s3_syncer.transport.object_requests import MAX_BODY, ObjectRequests
from s3_syncer.transport.pauses import FAILURES_IN_A_ROW, PAUSE_S, Pauses

WHERE = {"Bucket": "bucket", "Key": "in/key"}
RANGE = {**WHERE, "Range": "bytes=0-9"}
HEADERS = {"content-length": "3", "etag": '"e"', "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
BODY = Reply(200, HEADERS, b"abc")
PART = Reply(206, {**HEADERS, "content-range": "bytes 0-2/7"}, b"abc")


def error(status: int, code: str) -> Reply:
    return Reply(status, {"x-amz-request-id": "id"}, f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode())


class CannedResponses:
    """A client that returns `reply` and records its requests."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.requests: list[tuple[str, str | None, str, dict[str, str], bytes]] = []

    def request(
        self,
        method: str,
        key: str | None,
        *,
        query: str = "",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        max_body: float = 0,
    ) -> Reply:
        assert max_body == MAX_BODY
        self.requests.append((method, key, query, dict(headers), body))
        return self.reply


def try_call(operation: str, reply: Reply, **parameters: Any) -> dict[str, Any] | None:
    return ObjectRequests(CannedResponses(reply), Pauses()).try_call(operation, {**WHERE, **parameters})


def test_head_returns_the_headers() -> None:
    store = CannedResponses(Reply(200, HEADERS))
    response = ObjectRequests(store, Pauses()).try_call("head_object", WHERE)
    assert store.requests == [("HEAD", "in/key", "", {}, b"")]
    assert response == {"ResponseMetadata": {"HTTPHeaders": HEADERS}}


@pytest.mark.parametrize("reply", [PART, Reply(200, PART.headers, b"abc")])
def test_a_range_read_returns_content_range(reply: Reply) -> None:
    store = CannedResponses(reply)
    response = ObjectRequests(store, Pauses()).try_call("get_object", {**RANGE, "IfMatch": '"e"'})
    assert store.requests == [("GET", "in/key", "", {"range": "bytes=0-9", "if-match": '"e"'}, b"")]
    assert response is not None
    assert response["Body"].read(99) == b"abc"
    assert response["ResponseMetadata"] == {"HTTPHeaders": PART.headers}


def test_a_put_sends_every_property() -> None:
    store = CannedResponses(Reply(200, {"etag": '"e"'}))
    parameters = {"Body": bytearray(b"abc"), "ContentMD5": "md5", "ContentType": "text/x", "CacheControl": "no-store"}
    parameters |= {"RawExpires": "never", "Metadata": {"one": "1", "two": ""}}
    response = ObjectRequests(store, Pauses()).try_call("put_object", {**WHERE, **parameters})
    assert response == {"ResponseMetadata": {"HTTPHeaders": {"etag": '"e"'}}}
    sent = {"content-md5": "md5", "content-type": "text/x", "cache-control": "no-store", "expires": "never"}
    sent |= {"x-amz-meta-one": "1", "x-amz-meta-two": ""}
    assert store.requests == [("PUT", "in/key", "", sent, b"abc")]


def test_get_tagging_and_delete() -> None:
    body = b"<Tagging xmlns='n'><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    plain = {"ResponseMetadata": {"HTTPHeaders": {}}}
    assert try_call("get_object_tagging", Reply(200, {}, body)) == {**plain, "TagSet": [{"Key": "a", "Value": "b"}]}
    assert try_call("delete_object", Reply(204)) == plain


@pytest.mark.parametrize(
    ("operation", "reply", "code"),
    [
        ("head_object", Reply(404), "404"),
        ("get_object", error(404, "NoSuchKey"), "NoSuchKey"),
        ("get_object", error(412, "PreconditionFailed"), "PreconditionFailed"),
        ("get_object", error(416, "InvalidRange"), "InvalidRange"),
        ("get_object", error(403, "InvalidObjectState"), "InvalidObjectState"),
        ("get_object_tagging", error(404, "NoSuchKey"), "NoSuchKey"),
    ],
)
def test_a_certain_error_is_returned(operation: str, reply: Reply, code: str) -> None:
    response = try_call(operation, reply)
    assert response is not None
    assert response["Error"]["Code"] == code
    assert response["ResponseMetadata"]["HTTPStatusCode"] == reply.status


def without(name: str, reply: Reply = BODY) -> Reply:
    return Reply(reply.status, {key: value for key, value in reply.headers.items() if key != name}, reply.body)


@pytest.mark.parametrize(
    ("operation", "reply"),
    [
        *(("head_object", without(name)) for name in HEADERS),
        *(("get_object", without(name)) for name in HEADERS),
        ("head_object", Reply(200, {**HEADERS, "last-modified": "once"})),
        ("head_object", Reply(200, {**HEADERS, "content-length": "some"})),
        ("get_object", without("content-range", PART)),
        ("get_object", Reply(206, {**HEADERS, "content-range": "bytes 0-2/*"}, b"abc")),
        ("put_object", Reply(200)),
        ("put_object", Reply(200, {"etag": '""'})),
        ("get_object_tagging", Reply(200, {}, b"<Tagging/>")),
    ],
)
def test_a_response_without_a_field_is_read_as_any_other(operation: str, reply: Reply) -> None:
    """`stores/responses.py` decides if the field is needed: boto3 would get the same response."""
    response = try_call(operation, reply, **({"Body": b""} if operation == "put_object" else {}))
    assert response is not None
    assert response["ResponseMetadata"] == {"HTTPHeaders": reply.headers}


@pytest.mark.parametrize(
    ("operation", "reply"),
    [
        ("head_object", Reply(206, HEADERS)),
        ("head_object", Reply(301, HEADERS)),
        ("head_object", Reply(403)),
        ("head_object", Reply(0)),
        ("get_object", Reply(200, HEADERS, b"ab")),
        ("get_object", error(404, "NoSuchBucket")),
        ("get_object", error(404, "")),
        ("get_object", Reply(404, {}, b"<html>")),
        ("get_object", Reply(404)),
        ("get_object", error(403, "NoSuchKey")),
        ("get_object", error(503, "SlowDown")),
        ("put_object", Reply(200, {}, b"<html>")),
        ("put_object", error(400, "BadDigest")),
        ("put_object", error(412, "PreconditionFailed")),
        ("get_object_tagging", Reply(200)),
        ("get_object_tagging", Reply(200, {}, b"<TagSet/>")),
        ("get_object_tagging", Reply(501)),
        ("delete_object", Reply(200)),
        ("delete_object", Reply(404)),
    ],
)
def test_an_unusual_response_is_left_to_boto3(operation: str, reply: Reply) -> None:
    assert try_call(operation, reply, **({"Body": b""} if operation == "put_object" else {})) is None


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("head_object", {"PartNumber": 1}),
        ("head_bucket", {}),
        ("list_objects_v2", {"Prefix": ""}),
        ("upload_part", {"Body": b""}),
        ("put_object_tagging", {"Tagging": {}}),
        ("get_object", {"Range": f"bytes=5-{MAX_BODY + 5}"}),
        ("put_object", {"Body": bytes(MAX_BODY + 1)}),
        ("put_object", {"Body": b"", "Metadata": {"name": "Jürgen"}}),
        ("put_object", {"Body": b"", "Metadata": {"nämé": ""}}),
        ("put_object", {"Body": b"", "ContentDisposition": "Zürich"}),
        ("put_object", {"Body": b"", "ACL": "public-read"}),
    ],
)
def test_an_unusual_request_is_not_sent(operation: str, parameters: dict[str, Any]) -> None:
    store = CannedResponses(Reply(200, {**HEADERS, "etag": '"e"'}))
    assert ObjectRequests(store, Pauses()).try_call(operation, {**WHERE, **parameters}) is None
    assert store.requests == []


@pytest.mark.parametrize(
    ("status", "failures", "rests"),
    [
        (0, FAILURES_IN_A_ROW, True),
        (0, FAILURES_IN_A_ROW - 1, False),
        (500, FAILURES_IN_A_ROW, True),
        (500, FAILURES_IN_A_ROW - 1, False),
        (403, 1, True),
        (301, 1, True),
        (404, 1, False),
        (503, FAILURES_IN_A_ROW, False),
        (429, FAILURES_IN_A_ROW, False),
    ],
)
def test_boto3_makes_all_requests_for_a_while_after_a_store_failed(status: int, failures: int, rests: bool) -> None:
    """A store that is busy has not failed: its limiter slows down the requests of both clients."""
    store, clock = CannedResponses(Reply(status)), FakeClock()
    requests = ObjectRequests(store, Pauses(clock=clock))
    for _ in range(failures):
        requests.try_call("get_object", RANGE)
    store.reply = PART
    clock.now += PAUSE_S - 0.1
    assert (requests.try_call("get_object", RANGE) is None) is rests
    clock.now += 0.2
    assert requests.try_call("get_object", RANGE) is not None


@pytest.mark.parametrize(
    ("operation", "reply"),
    [
        ("get_object", error(400, "AuthorizationHeaderMalformed")),
        ("get_object", error(400, "ExpiredToken")),
        ("get_object", error(404, "NoSuchBucket")),
        ("put_object", error(400, "RequestTimeout")),
    ],
)
def test_a_code_about_the_whole_store_pauses_all_operations(operation: str, reply: Reply) -> None:
    """The status alone could be about one key."""
    store, clock = CannedResponses(reply), FakeClock()
    requests = ObjectRequests(store, Pauses(clock=clock))
    assert requests.try_call(operation, {**WHERE, "Body": b""}) is None
    store.reply = Reply(200, HEADERS)
    assert requests.try_call("head_object", WHERE) is None
    assert len(store.requests) == 1
    clock.now += PAUSE_S
    assert requests.try_call("head_object", WHERE) is not None


@pytest.mark.parametrize(
    ("operation", "unusual", "ordinary"),
    [
        ("head_object", Reply(400), Reply(200, HEADERS)),  # the wrong region, or one key
        ("put_object", error(400, "InvalidArgument"), Reply(200, HEADERS)),
        ("get_object_tagging", error(501, "NotImplemented"), Reply(200, {}, b"<Tagging/>")),
        ("delete_object", Reply(200), Reply(204)),
    ],
)
def test_an_operation_pauses_while_each_of_its_responses_is_unusual(
    operation: str, unusual: Reply, ordinary: Reply
) -> None:
    store, clock = CannedResponses(unusual), FakeClock()
    requests, parameters = ObjectRequests(store, Pauses(clock=clock)), {**WHERE, "Body": b""}
    for _ in range(9):
        assert requests.try_call(operation, parameters) is None
    assert len(store.requests) == 2, "the first response may concern one key only"
    clock.now += PAUSE_S
    for _ in range(9):
        assert requests.try_call(operation, parameters) is None
    assert len(store.requests) == 3, "one trial after a pause"
    store.reply = PART
    assert requests.try_call("get_object", RANGE) is not None, "the store serves other operations"
    clock.now += PAUSE_S
    store.reply = ordinary
    assert requests.try_call(operation, parameters) is not None


def test_failures_between_ordinary_responses_cause_no_pause() -> None:
    store = CannedResponses(PART)
    requests = ObjectRequests(store, Pauses(clock=FakeClock()))
    for reply in (Reply(0), Reply(500), PART) * 9:
        store.reply = reply
        assert (requests.try_call("get_object", RANGE) is None) is (reply is not PART)


def test_unusual_keys_between_ordinary_ones_cause_no_pause() -> None:
    store = CannedResponses(PART)
    requests = ObjectRequests(store, Pauses(clock=FakeClock()))
    for reply in (error(400, "InvalidArgument"), PART) * 3:
        store.reply = reply
        assert (requests.try_call("get_object", RANGE) is None) is (reply is not PART)
    assert len(store.requests) == 6


def test_a_request_of_work_that_was_given_up_is_not_made_and_opens_no_circuit() -> None:
    store = CannedResponses(Reply(0))
    requests, fence = ObjectRequests(store, Pauses()), Fence()
    with fenced(fence):
        assert requests.try_call("tags", WHERE) is None
        fence.close()
        with pytest.raises(OutOfTime):
            requests.try_call("delete_object", WHERE)
    assert store.requests == []
    store.reply = Reply(204)
    assert requests.try_call("delete_object", WHERE) is not None, "the store did not fail"


def test_a_request_that_is_given_up_opens_no_circuit() -> None:
    fence = Fence()

    class GivesUp(CannedResponses):
        def request(self, *arguments: Any, **options: Any) -> Reply:
            fence.close()
            return super().request(*arguments, **options)

    store = GivesUp(Reply(0))
    requests = ObjectRequests(store, Pauses())
    with fenced(fence), pytest.raises(OutOfTime):
        requests.try_call("delete_object", WHERE)
    store.reply = Reply(204)
    assert requests.try_call("delete_object", WHERE) is not None, "the store did not fail"
