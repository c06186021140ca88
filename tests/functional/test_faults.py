"""After a fault of a network or a store, the request or the message is repeated."""

from __future__ import annotations

import hashlib
from math import inf
from typing import NamedTuple

import pytest
from tests.functional.harness import SOURCE, TARGET, Rig, notification
from tests.functional.proxy import (
    Exchange,
    Fault,
    Proxy,
    answering,
    cut,
    lose_answer,
    meanwhile,
    refuse,
    reset,
    shorten,
)

from s3_syncer.core.fence import LATE_WRITE_S
from s3_syncer.core.model import INLINE_BODY_MAX

pytestmark = pytest.mark.usefixtures("each_way")

BODY = b"a body of some length" * 100

#: These take more than 4 KB in a header. So they are not sent with the object, but in a second request.
LONG_TAGS = {str(number): "ü" * 256 for number in range(3)}


class Trouble(NamedTuple):
    """A fault at one store, for requests with a method and a query."""

    side: str
    fault: Fault
    method: str
    query: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """The tags of an object that the fault concerns: a fault of PutObjectTagging needs such a request."""
        return LONG_TAGS if self.query == "tagging" else {"a": "b"}

    def arm(self, rig: Rig, key: str, times: float) -> None:
        self._proxy(rig).when(self.fault, self.method, key=key, query=self.query, times=times)

    def sent(self, rig: Rig, key: str) -> int:
        """Return the number of requests that this fault is for."""
        queries = [
            "".join(request.query.keys() - {"x-id"})
            for request in self._proxy(rig).requests
            if (request.method, request.key) == (self.method, key)
        ]
        return queries.count(self.query)

    def _proxy(self, rig: Rig) -> Proxy:
        return rig.source_proxy if self.side == "source" else rig.target_proxy


def too_much(exchange: Exchange) -> None:
    """Respond with a longer body than requested, with the right ETag."""
    with exchange.ask() as answer:
        exchange.reply(206, answer.read().decode() + "more", {"ETag": answer.headers["ETag"]})


PASSING = {
    "source throttles HEAD": Trouble("source", refuse(503, "SlowDown"), "HEAD"),
    "source throttles GET": Trouble("source", refuse(503, "SlowDown"), "GET"),
    "source fails at GET": Trouble("source", refuse(500, "InternalError"), "GET"),
    "source resets HEAD": Trouble("source", reset, "HEAD"),
    "source resets GET": Trouble("source", reset, "GET"),
    "source fails at tags": Trouble("source", refuse(500, "InternalError"), "GET", "tagging"),
    "target throttles HEAD": Trouble("target", refuse(503, "SlowDown"), "HEAD"),
    "target throttles PUT": Trouble("target", refuse(503, "SlowDown"), "PUT"),
    "target fails at PUT": Trouble("target", refuse(500, "InternalError"), "PUT"),
    "target throttles HEAD with 429": Trouble("target", refuse(429, "TooManyRequests"), "HEAD"),
    "target throttles PUT with 429": Trouble("target", refuse(429, "TooManyRequests"), "PUT"),
    "target resets HEAD": Trouble("target", reset, "HEAD"),
    "target resets PUT": Trouble("target", reset, "PUT"),
    "target loses the response to PUT": Trouble("target", lose_answer, "PUT"),
    "target fails at tags": Trouble("target", refuse(503, "SlowDown"), "PUT", "tagging"),
    "target loses the response to tags": Trouble("target", lose_answer, "PUT", "tagging"),
}

LASTING = {
    **{name: trouble for name, trouble in PASSING.items() if "loses" not in name},
    "source breaks in the middle of a body": Trouble("source", cut(100), "GET"),
    "source sends too little": Trouble("source", shorten(100), "GET"),
    "source sends too much": Trouble("source", too_much, "GET"),
    "source reports a changed object": Trouble("source", refuse(412, "PreconditionFailed"), "GET"),
    "target received other bytes": Trouble("target", refuse(400, "BadDigest"), "PUT"),
    "target has no bucket": Trouble("target", refuse(404, "NoSuchBucket"), "PUT"),
}
#: In these cases the target has the bytes. Only the tags are missing, or the check after the copy.
WRITTEN = {"target fails at tags", "source throttles HEAD", "source resets HEAD"}


def test_short_faults_are_retried_within_the_invocation(rig: Rig) -> None:
    for name, trouble in PASSING.items():
        rig.put(name, BODY, Metadata={"a": "b"})
        rig.tag(name, trouble.tags)
        trouble.arm(rig, name, times=2)
    delivery = rig.deliver(notification(*PASSING))
    assert delivery.returned == []
    assert delivery.actions == dict.fromkeys(PASSING, "copy")
    assert rig.differences() == []
    for name, trouble in PASSING.items():
        assert trouble.sent(rig, name) >= 3, "two attempts failed, and a third one was made"


def test_lasting_faults_return_the_message_to_the_queue(rig: Rig) -> None:
    for name, trouble in LASTING.items():
        rig.put(name, BODY)
        rig.tag(name, trouble.tags)
        trouble.arm(rig, name, times=inf)
    bodies = [notification(name) for name in LASTING]
    delivery = rig.deliver(*bodies)
    assert delivery.actions == dict.fromkeys(LASTING, "retry")
    assert sorted(delivery.returned) == sorted(bodies)
    assert rig.target_keys() == sorted(WRITTEN)
    assert len(rig.delays()) == len(bodies)
    *soon, late = sorted(rig.delays())
    assert all(1 <= delay <= 2 for delay in soon)
    assert late == LATE_WRITE_S, "the target may have received a PUT without a response"
    rig.clear()
    again = rig.deliver(*delivery.returned)
    assert (again.returned, rig.dead_letters()) == ([], [])
    assert rig.differences() == []


def test_a_body_with_another_etag_than_the_head_is_not_copied(rig: Rig) -> None:
    """A smaller object has no HEAD: its state comes with its bytes."""
    before, after = b"1" * (INLINE_BODY_MAX + 1), b"2" * (INLINE_BODY_MAX + 1)
    rig.put("key", before)
    rig.sync("key")
    rig.put("key", after)
    rig.source_proxy.when(answering(ETag='"another"'), "GET", key="key", query="", times=inf)
    assert rig.sync("key").actions == {"key": "retry"}
    assert rig.target_body("key") == before


def test_a_failed_overwrite_leaves_the_old_object_complete(rig: Rig) -> None:
    rig.put("key", BODY, Metadata={"version": "1"})
    rig.tag("key", {"version": "1"})
    rig.sync("key")
    before = rig.target_head("key")["ETag"]
    rig.put("key", BODY[::-1], Metadata={"version": "2"})
    rig.target_proxy.when(refuse(503, "SlowDown"), "PUT", key="key", times=inf)
    assert rig.sync("key").actions == {"key": "retry"}
    assert rig.target_head("key")["ETag"] == before
    assert rig.target_head("key")["Metadata"]["version"] == "1"


def test_a_failed_message_is_delivered_again_before_its_visibility_timeout(rig: Rig) -> None:
    """The backoff is seconds; the visibility timeout of the queue is minutes."""
    rig.put("key", BODY)
    rig.target_proxy.when(refuse(503, "SlowDown"), "PUT", times=7)  # more than the attempts of the SDK
    assert rig.sync("key").actions == {"key": "retry"}
    assert not rig.queue_is_empty()
    (message,) = rig.receive(1, wait_s=5)
    assert message["Attributes"]["ApproximateReceiveCount"] == "2"
    assert rig.invoke([message]).actions == {"key": "copy"}
    assert rig.queue_is_empty()
    assert rig.differences() == []


def test_the_backoff_grows_with_each_delivery(rig: Rig) -> None:
    rig.put("key", BODY)
    rig.target_proxy.when(refuse(503, "SlowDown"), "PUT", times=inf)
    rig.sqs.send_message(QueueUrl=rig.queue_url, MessageBody=notification("key"))
    (message,) = rig.receive(1)
    for count, longest in ((1, 2), (4, 16), (8, 256), (50, 900)):
        rig.source_proxy.requests.clear()
        again = {**message, "Attributes": {**message["Attributes"], "ApproximateReceiveCount": str(count)}}
        assert rig.invoke([again]).log[0]["attempts"] == count
        (delay,) = rig.delays()
        assert longest / 2 <= delay <= longest


@pytest.mark.parametrize("ignored", ["", "If-Match"], ids=["with If-Match", "that ignores If-Match"])
def test_a_source_overwritten_between_head_and_get_ends_equal(rig: Rig, ignored: str) -> None:
    rig.put("key", BODY)

    def overwritten(exchange: Exchange) -> None:
        rig.put("key", BODY[::-1], ContentType="text/new")
        exchange.forward(without=ignored)

    rig.source_proxy.when(overwritten, "GET", key="key", query="")
    assert rig.sync("key").returned == []
    assert rig.target_body("key") == BODY[::-1]
    assert rig.differences() == []


def test_a_source_overwritten_after_the_copy_is_copied_again(rig: Rig) -> None:
    """The check after the copy finds it: no event of the overwrite was delivered yet."""
    rig.put("key", BODY)
    rig.target_proxy.when(meanwhile(lambda: rig.put("key", BODY[::-1])), "PUT", key="key", query="")
    assert rig.sync("key").actions == {"key": "update"}
    assert rig.target_body("key") == BODY[::-1]


def test_tags_changed_during_the_copy_end_equal(rig: Rig) -> None:
    """The tags are written after the copy and belong to it, so the log line is that of a copy."""
    rig.put("key", BODY)
    rig.target_proxy.when(meanwhile(lambda: rig.tag("key", {"late": "yes"})), "PUT", key="key", query="")
    (line,) = rig.sync("key").log
    assert (line["action"], line["bytes"]) == ("copy", len(BODY))
    assert [list(write.query.keys() - {"x-id"}) for write in rig.target_proxy.writes()] == [[], ["tagging"]]
    assert rig.differences() == []


def test_a_source_that_keeps_changing_returns_to_the_queue(rig: Rig) -> None:
    rig.put("key", BODY)
    numbers = iter(range(100))
    change = meanwhile(lambda: rig.put("key", str(next(numbers)).encode()))
    rig.target_proxy.when(change, "PUT", key="key", query="", times=inf)
    delivery = rig.sync("key")
    assert delivery.actions == {"key": "retry"}
    assert "the source kept changing: gave up after 5 attempts" in delivery.reasons["key"]
    rig.clear()
    assert rig.sync("key").actions == {"key": "update"}
    assert rig.differences() == []


def test_damaged_bytes_are_never_written_to_the_target(rig: Rig) -> None:
    """The ETag of the source is the MD5 of the bytes, so the MD5 of the bytes read must equal it."""
    rig.put("key", BODY)
    etag = hashlib.md5(BODY, usedforsecurity=False).hexdigest()

    def damaged(exchange: Exchange) -> None:
        headers = {"ETag": f'"{etag}"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        exchange.reply(206, "x" * len(BODY), {**headers, "Content-Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"})

    rig.source_proxy.when(damaged, "GET", key="key", query="")
    delivery = rig.sync("key")
    assert delivery.actions == {"key": "retry"}
    assert "the MD5 of the bytes read is not" in delivery.reasons["key"]
    assert rig.target_keys() == []


def test_responses_that_are_not_from_s3_are_retried(rig: Rig) -> None:
    """A proxy sends its own page. The page may contain secrets, so no log line quotes it."""
    rig.put("key", BODY)
    rig.put_parts("parts", BODY)

    def some_page(exchange: Exchange) -> None:
        exchange.reply(200, "<html>hunter2<br></html>", {"ETag": '"x"'})

    rig.source_proxy.when(some_page, "GET", key="key", query="tagging", times=inf)
    rig.target_proxy.when(some_page, "POST", key="parts", times=inf)
    delivery = rig.sync("key", "parts")
    assert delivery.actions == {"key": "retry", "parts": "retry"}
    assert "hunter2" not in str(delivery.log)
    assert not any("exception" in line for line in delivery.log)
    rig.clear()
    assert rig.deliver(*delivery.returned).returned == []
    assert rig.differences() == []


def test_an_unreachable_store_returns_the_message_to_the_queue(rig: Rig) -> None:
    rig.put("key", BODY)
    rig.target_proxy.close()
    delivery = rig.sync("key")
    assert delivery.actions == {"key": "retry"}
    assert "does not respond" in delivery.reasons["key"]
    assert delivery.seconds < 60


def test_a_missing_target_bucket_returns_the_message_to_the_queue(rig: Rig) -> None:
    rig.put("key", BODY)
    rig.target.delete_bucket(Bucket=TARGET)
    delivery = rig.sync("key")
    assert delivery.actions == {"key": "retry"}
    assert "the bucket does not exist" in delivery.reasons["key"]
    rig.target.create_bucket(Bucket=TARGET)
    assert rig.sync("key").actions == {"key": "copy"}
    assert rig.source.head_object(Bucket=SOURCE, Key="key")["ETag"] == rig.target_head("key")["ETag"]
