"""Objects in parts: the source's part plan, bounded memory, and no upload left behind."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from math import inf

import pytest
from tests.functional.harness import MIB, SOURCE, TARGET, Rig, notification
from tests.functional.proxy import (
    Exchange,
    Fault,
    answering,
    cut,
    lose_answer,
    meanwhile,
    refuse,
    reset,
    shorten,
    without,
)
from tests.support.clock import OffsetClock

from s3_syncer import lambda_handler

pytestmark = pytest.mark.real_store

PART = 5 * MIB
MARKER = "s3-syncer-source-etag"


def body_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def parts_of(count: int, last: int = 1000) -> list[bytes]:
    return [body_of(PART + number)[:PART] for number in range(count - 1)] + [body_of(last)]


def test_the_part_plan_is_reproduced_so_the_etags_are_equal(rig: Rig) -> None:
    layouts = {
        "three": [body_of(PART), body_of(PART), body_of(7)],
        "exact": [body_of(PART), body_of(PART)],
        "large": [body_of(7 * MIB), body_of(3)],
        "one": [body_of(1000)],
    }
    etags = {
        key: rig.put_parts(key, *parts, ContentType="video/mp4", Metadata={"a": "b"}, RawExpires="never")
        for key, parts in layouts.items()
    }
    assert rig.sync(*layouts).actions == dict.fromkeys(layouts, "copy")
    assert rig.differences() == []
    assert {key: rig.target_head(key)["ETag"].strip('"') for key in layouts} == etags
    assert rig.uploads() == []
    for write in rig.target_proxy.writes():
        assert write.method != "PUT" or write.headers["content-md5"]
    rig.clear()
    assert rig.sync(*layouts).actions == dict.fromkeys(layouts, "unchanged")
    assert rig.target_proxy.writes() == []


def test_a_copy_with_another_part_plan_gets_the_marker(rig: Rig) -> None:
    etag = rig.put_parts("uneven", body_of(6 * MIB), body_of(PART), body_of(10))
    rig.put_parts("empty", b"")
    assert rig.sync("uneven", "empty").actions == {"uneven": "copy", "empty": "copy"}
    assert rig.differences() == []
    assert rig.target_head("uneven")["Metadata"] == {MARKER: etag}
    rig.clear()
    assert rig.sync("uneven", "empty").actions == {"uneven": "unchanged", "empty": "unchanged"}
    assert rig.target_proxy.writes() == []
    rig.put_parts("uneven", body_of(6 * MIB), body_of(PART), body_of(11)[:10])
    assert rig.sync("uneven").actions == {"uneven": "update"}
    assert rig.differences() == []


def test_a_large_object_of_a_single_put_is_copied_in_parts(rig: Rig) -> None:
    etag = rig.put("large", body_of(64 * MIB + 1), Metadata={"a": "b"})
    assert rig.sync("large").actions == {"large": "copy"}
    assert rig.differences() == []
    head = rig.target_head("large")
    assert head["ETag"].endswith('-4"')
    assert head["Metadata"] == {"a": "b", MARKER: etag}
    rig.clear()
    assert rig.sync("large").actions == {"large": "unchanged"}
    assert rig.target_proxy.writes() == []


def test_a_change_of_metadata_alone_is_copied(rig: Rig) -> None:
    rig.put_parts("key", *parts_of(2), Metadata={"a": "1"})
    rig.sync("key")
    rig.put_parts("key", *parts_of(2), Metadata={"a": "2"})
    assert rig.sync("key").actions == {"key": "update"}
    assert rig.differences() == []


def test_an_object_encrypted_with_kms_is_compared_by_the_marker(rig: Rig) -> None:
    """Its ETag has the form of an MD5 and is none."""
    rig.put("key", b"body", ServerSideEncryption="aws:kms")
    etag = "0123456789abcdef0123456789abcdef"

    def as_aws(exchange: Exchange) -> None:
        exchange.forward(without="If-Match", headers={"ETag": f'"{etag}"'})

    rig.source_proxy.when(as_aws, "HEAD", key="key", times=inf)
    rig.source_proxy.when(as_aws, "GET", key="key", query="", times=inf)
    assert rig.sync("key").actions == {"key": "copy"}
    assert rig.target_head("key")["Metadata"] == {MARKER: etag}
    assert rig.differences() == []
    rig.target_proxy.clear()
    assert rig.sync("key").actions == {"key": "unchanged"}
    assert rig.target_proxy.writes() == []


def test_metadata_that_leaves_no_room_for_the_marker(rig: Rig) -> None:
    """Equal ETags need no marker. If only a marker proves equality, every event copies the object again."""
    full = {"name": "v" * (2048 - len("name"))}
    rig.put_parts("equal layout", *parts_of(2), Metadata=full)
    rig.put_parts("other layout", body_of(6 * MIB), body_of(PART), body_of(10), Metadata=full)
    keys = ("equal layout", "other layout")
    assert rig.sync(*keys).actions == dict.fromkeys(keys, "copy")
    assert rig.differences() == []
    rig.clear()
    assert rig.sync(*keys).actions == {"equal layout": "unchanged", "other layout": "update"}
    assert [write.key for write in rig.target_proxy.writes()] == ["other layout"]
    assert rig.differences() == []


def test_a_target_with_other_etags_gets_markers(rig: Rig) -> None:
    rig.target_proxy.when(answering(ETag='"its-own-affair"'), times=inf)
    etags = {key: rig.put(key, key.encode()) for key in ("first", "second")}
    for key in etags:
        rig.sync(key)
    assert {key: rig.target_head(key)["Metadata"] for key in etags} == {k: {MARKER: etags[k]} for k in etags}
    assert rig.differences() == []
    assert [write.key for write in rig.target_proxy.writes()] == ["first", "second"]
    rig.target_proxy.requests.clear()
    assert rig.sync(*etags).actions == dict.fromkeys(etags, "unchanged")
    assert rig.target_proxy.writes() == []


def test_a_target_that_stops_giving_md5s_is_detected(rig: Rig) -> None:
    etags = {key: rig.put(key, key.encode()) for key in ("first", "second", "third", "fourth")}
    rig.sync("first")
    rig.sync("second")
    rig.target_proxy.when(answering(ETag='"its-own-affair"'), times=inf)
    rig.sync("third")
    rig.sync("fourth")
    marked = [key for key in etags if rig.target_head(key)["Metadata"]]
    assert marked == ["first", "third", "fourth"], "the first, because the store was still unknown"
    assert [write.key for write in rig.target_proxy.writes()] == ["first", "second", "third", "third", "fourth"]


@pytest.mark.parametrize(
    ("side", "fault", "query", "method"),
    [
        ("target", refuse(503, "SlowDown"), "partNumber", "PUT"),
        ("target", refuse(500, "InternalError"), "uploadId", "POST"),
        ("target", reset, "partNumber", "PUT"),
        ("target", reset, "uploadId", "POST"),
        ("source", refuse(503, "SlowDown"), "", "GET"),
        ("source", reset, "", "GET"),
        ("source", cut(100), "", "GET"),
        ("source", shorten(100), "", "GET"),
        ("source", refuse(412, "PreconditionFailed"), "", "GET"),
        ("target", refuse(400, "BadDigest"), "partNumber", "PUT"),
        ("target", refuse(400, "EntityTooLarge"), "partNumber", "PUT"),
        ("target", refuse(403, "AccessDenied"), "uploadId", "POST"),
    ],
    ids=lambda value: getattr(value, "__qualname__", value).partition(".")[0] or "body",
)
def test_no_upload_is_left_behind(rig: Rig, side: str, fault: Fault, query: str, method: str) -> None:
    rig.put_parts("key", *parts_of(2))
    proxy = {"source": rig.source_proxy, "target": rig.target_proxy}[side]
    proxy.when(fault, method, key="key", query=query, skip=1 if query != "uploadId" else 0, times=inf)
    delivery = rig.sync("key")
    assert rig.target_keys() == []
    assert rig.uploads() == []
    if delivery.actions == {"key": "dead-letter"}:
        assert len(rig.dead_letters()) == 1
    else:
        assert delivery.actions == {"key": "retry"}
        assert len(delivery.returned) == 1
        rig.clear()
        assert rig.deliver(*delivery.returned).actions == {"key": "copy"}
        assert rig.differences() == []


@pytest.mark.parametrize("status", [200, 503], ids=["inside a 200", "503"])
def test_a_completion_that_fails_at_first_is_retried(rig: Rig, status: int) -> None:
    rig.put_parts("key", *parts_of(2))
    rig.target_proxy.when(refuse(status, "InternalError"), "POST", key="key", query="uploadId", times=2)
    assert rig.sync("key").actions == {"key": "copy"}
    assert rig.differences() == []
    assert rig.uploads() == []


def test_a_completion_with_a_lost_response_counts(rig: Rig) -> None:
    rig.put_parts("key", *parts_of(2))
    rig.target_proxy.when(lose_answer, "POST", key="key", query="uploadId")
    delivery = rig.sync("key")
    assert delivery.returned == []
    assert rig.differences() == []
    assert rig.uploads() == []


@pytest.mark.parametrize("store", ["with If-Match", "that ignores If-Match"])
def test_a_source_overwritten_during_the_copy_ends_equal(rig: Rig, store: str) -> None:
    rig.put_parts("key", *parts_of(3))
    fresh = [part[::-1] for part in parts_of(3)]
    change: Callable[[], object] = lambda: rig.put_parts("key", *fresh, Metadata={"new": "yes"})  # noqa: E731
    rig.source_proxy.when(meanwhile(change), "GET", key="key", query="", skip=1)
    if store == "that ignores If-Match":
        rig.source_proxy.when(without("If-Match"), "GET", key="key", query="", times=inf)
    assert rig.sync("key").returned == []
    assert rig.target_body("key") == b"".join(fresh)
    assert rig.differences() == []
    assert rig.uploads() == []


def test_a_source_deleted_during_the_copy_is_deleted(rig: Rig) -> None:
    rig.put_parts("key", *parts_of(2))
    delete = meanwhile(lambda: rig.source.delete_object(Bucket=SOURCE, Key="key"))
    rig.source_proxy.when(delete, "GET", key="key", query="", skip=1)
    delivery = rig.sync("key")
    assert delivery.returned == []
    assert rig.target_keys() == []
    assert rig.uploads() == []


def test_the_deadline_aborts_a_copy(rig: Rig, monkeypatch: pytest.MonkeyPatch, clock: OffsetClock) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")  # six parts at a time
    monkeypatch.setattr(lambda_handler, "RESERVE_S", 200.0)  # the deadline is at 700 s, and the fence closes at 800 s
    rig.put_parts("key", *parts_of(8))
    rig.target_proxy.when(meanwhile(lambda: clock.advance(700)), "PUT", key="key", query="partNumber")
    delivery = rig.sync("key", remaining_s=900)
    assert delivery.actions == {"key": "retry"}
    assert len(delivery.returned) == 1
    assert len(rig.receive(1)) == 1, "it is visible again at once"
    assert rig.uploads() == []
    assert rig.target_keys() == []


_MEASURED = """
import json, sys
from s3_syncer import lambda_handler

class Context:
    def get_remaining_time_in_millis(self):
        return 120_000

response = lambda_handler.handler(json.loads(sys.argv[1]), Context())
assert response == {"batchItemFailures": []}, response
# Not ru_maxrss, which a child process inherits from its parent.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) // 1024, file=sys.stderr)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the peak")
def test_the_function_stays_within_its_memory(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in a separate process, so that only the function counts."""
    memory_mb = 256
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", str(memory_mb))
    body = body_of(60 * MIB)
    rig.put("one", body)
    rig.put("two", body)
    event = {
        "Records": [
            {"messageId": "1", "receiptHandle": "1", "body": body, "attributes": {"ApproximateReceiveCount": "1"}}
            for body in [notification("one", "two")]
        ]
    }
    measured = subprocess.run(
        [sys.executable, "-c", _MEASURED, json.dumps(event)], capture_output=True, text=True, check=True, timeout=480
    )
    assert int(measured.stderr.split()[-1]) < memory_mb
    assert rig.target_head("one")["ContentLength"] == len(body)
    assert rig.target_body("two") == body


def test_the_target_never_shows_half_an_object(rig: Rig) -> None:
    old = rig.put_parts("key", *parts_of(2))
    rig.sync("key")
    rig.put_parts("key", *[part[::-1] for part in parts_of(2)])
    rig.target_proxy.when(refuse(503, "SlowDown"), "PUT", key="key", query="partNumber", skip=1, times=inf)
    assert rig.sync("key").actions == {"key": "retry"}
    assert rig.target.head_object(Bucket=TARGET, Key="key")["ETag"] == f'"{old}"'
