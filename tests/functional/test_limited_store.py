"""`rclone serve s3` as the target: signatures and Content-MD5 are checked, and much else is missing.

Its multipart ETags are not AWS's, it has no tags and no raw Expires, it refuses some keys, and `a` and `a/b` cannot
both be there. What it can keep arrives; what it cannot keep is said clearly.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import Any

import boto3
import pytest
from tests.functional.harness import MIB, SOURCE, TARGET, Rig, notification, put_parts
from tests.functional.proxy import cut, refuse, reset
from tests.functional.test_fidelity import PROPERTIES, STRANGE_KEYS

from localcloud import verify
from s3_syncer.core.model import INLINE_BODY_MAX

pytestmark = pytest.mark.usefixtures("each_way")

#: What rclone answers InvalidArgument to.
REFUSED = ("a//b", "/slash in front", "..", "../up", "down/../and/./up", "last/.")

#: What it forgets, or finds too large.
TOO_MUCH = {"expires", "expires that is no date", "expires as a number", "much metadata"}


def same(rig: Rig, key: str) -> bool:
    """Whether bytes, headers and metadata are equal."""
    sides = []
    for client, bucket in ((rig.source, SOURCE), (rig.target, TARGET)):
        answer: Mapping[str, Any] = client.get_object(Bucket=bucket, Key=key)
        metadata = {
            name.lower(): value for name, value in answer["Metadata"].items() if name.lower() != verify.OWN_NOTE
        }
        headers = {name: answer[name] for name in verify.HEADERS if answer.get(name)}
        sides.append((hashlib.sha256(answer["Body"].read()).hexdigest(), headers, metadata))
    return sides[0] == sides[1]


def test_what_it_can_keep_arrives_and_stays(lesser: Rig) -> None:
    kept = {name: properties for name, properties in PROPERTIES.items() if name not in TOO_MUCH}
    for name, properties in kept.items():
        lesser.put(name, name.encode(), **properties)
    assert lesser.deliver(notification(*kept)).actions == dict.fromkeys(kept, "copy")
    assert [name for name in kept if not same(lesser, name)] == []
    lesser.clear()
    assert lesser.deliver(notification(*kept)).actions == dict.fromkeys(kept, "unchanged")
    assert lesser.target_proxy.writes() == []


def test_metadata_that_it_finds_too_large_is_no_matter_of_waiting(lesser: Rig) -> None:
    lesser.put("key", b"body", **PROPERTIES["much metadata"])
    delivery = lesser.sync("key")
    assert delivery.actions == {"key": "dead-letter"}
    assert "MetadataTooLarge" in delivery.reasons["key"]


def test_overwrites_and_deletes_arrive(lesser: Rig) -> None:
    lesser.put("key", b"one", ContentType="text/plain", Metadata={"a": "1"})
    lesser.sync("key")
    lesser.put("key", b"two", ContentType="text/html", Metadata={"b": "2"})
    assert lesser.sync("key").actions == {"key": "update"}
    assert same(lesser, "key")
    lesser.source.copy_object(
        Bucket=SOURCE,
        Key="key",
        CopySource={"Bucket": SOURCE, "Key": "key"},
        MetadataDirective="REPLACE",
        Metadata={"c": "3"},
    )
    assert lesser.sync("key").actions == {"key": "update"}
    assert same(lesser, "key")
    lesser.source.delete_object(Bucket=SOURCE, Key="key")
    assert lesser.sync("key").actions == {"key": "delete"}
    assert lesser.sync("key").actions == {"key": "unchanged"}


def test_parts_arrive_and_are_known_again_by_the_marker(lesser: Rig) -> None:
    parts = [random.randbytes(5 * MIB), random.randbytes(5 * MIB), random.randbytes(17)]
    lesser.put_parts("parts", *parts, Metadata={"a": "b"}, ContentType="video/mp4")
    lesser.put("kms", b"body", ServerSideEncryption="aws:kms")
    assert lesser.sync("parts", "kms").actions == {"parts": "copy", "kms": "copy"}
    assert same(lesser, "parts")
    lesser.clear()
    assert lesser.sync("parts", "kms").actions == {"parts": "unchanged", "kms": "unchanged"}
    assert lesser.target_proxy.writes() == []


def test_keys_that_it_refuses_are_buried_with_its_reason(lesser: Rig) -> None:
    for key in REFUSED:
        lesser.put(key, b"body")
    delivery = lesser.sync(*REFUSED)
    assert delivery.actions == dict.fromkeys(REFUSED, "dead-letter")
    assert delivery.returned == []
    letters = lesser.dead_letters()
    assert sorted(letter.key for letter in letters) == sorted(REFUSED)
    assert all("unsupported characters" in letter.error for letter in letters)


def test_other_strange_keys_are_ordinary_keys(lesser: Rig) -> None:
    segments = [key.split("/") for key in STRANGE_KEYS]
    folders = {"/".join(parts[:n]) for parts in segments for n in range(1, len(parts))}
    keys = [
        key
        for key, parts in zip(STRANGE_KEYS, segments, strict=True)
        if not {"", ".", ".."} & set(parts) and key not in folders
    ]
    assert len(keys) > 20
    for key in keys:
        lesser.put(key, key.encode())
    assert lesser.deliver(notification(*keys)).actions == dict.fromkeys(keys, "copy")
    assert [key for key in keys if not same(lesser, key)] == []
    for key in keys:
        lesser.source.delete_object(Bucket=SOURCE, Key=key)
    assert lesser.deliver(notification(*keys)).actions == dict.fromkeys(keys, "delete")
    assert lesser.target_keys() == []


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a")])
def test_a_key_below_another_fails_clearly_and_harms_nothing(lesser: Rig, first: str, second: str) -> None:
    lesser.put(first, b"first")
    lesser.put(second, b"second")
    lesser.sync(first)
    delivery = lesser.sync(second)
    assert delivery.actions[second] in ("dead-letter", "retry")
    assert delivery.reasons[second].startswith("put_object in the-target: ")
    assert lesser.target_body(first) == b"first"


def test_a_header_that_it_forgets_is_written_once_for_each_event(lesser: Rig) -> None:
    """A difference that no copy can mend: the copy is made, nobody is stuck, and nothing goes round in circles."""
    lesser.put("key", b"body", RawExpires="0")
    assert lesser.sync("key").actions == {"key": "copy"}
    lesser.clear()
    delivery = lesser.sync("key")
    assert delivery.actions == {"key": "update"}
    assert delivery.reasons == {"key": "header Expires"}
    assert len(lesser.target_proxy.writes()) == 1


@pytest.mark.parametrize(
    ("body", "action", "reason"),
    [
        (b"text", "retry", "get_object_tagging"),  # the SDK makes a 500 of it
        (b"", "dead-letter", "the store does not support object tags"),
        (b"<xml/>", "dead-letter", "the store does not support object tags"),
    ],
    ids=["text", "empty", "XML"],
)
def test_tags_that_it_cannot_keep_never_become_the_object(
    lesser: Rig, monkeypatch: pytest.MonkeyPatch, body: bytes, action: str, reason: str
) -> None:
    """With tag sync left on: this store takes `?tagging` for the object itself, to read, to write and to delete."""
    monkeypatch.setenv("SYNC_TAGS", "true")
    lesser.put("key", body)
    for tags in ({"a": "b"}, {"a": "c"}, {}):
        lesser.tag("key", tags)
        delivery = lesser.sync("key")
        assert delivery.actions == {"key": action}
        assert reason in delivery.reasons["key"]
        assert lesser.target_body("key") == body


def test_faults_leave_nothing_half_done(lesser: Rig) -> None:
    faults: dict[str, Any] = {"busy": refuse(503, "SlowDown"), "reset": reset, "cut": cut(10)}
    for key, fault in faults.items():
        lesser.put(key, b"body" * 100)
        proxy, method = (lesser.source_proxy, "GET") if key == "cut" else (lesser.target_proxy, "PUT")
        proxy.when(fault, method, key=key, times=99)
    delivery = lesser.sync(*faults)
    assert delivery.actions == dict.fromkeys(faults, "retry")
    assert lesser.target_keys() == []
    lesser.clear()
    assert lesser.deliver(*delivery.returned).actions == dict.fromkeys(faults, "copy")
    assert all(same(lesser, key) for key in faults)


@pytest.fixture
def both_lesser(lesser: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """The lesser store on both sides: it holds keys with line ends, which the source's emulator does not."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", lesser.other.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", lesser.other.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", lesser.other.secret_access_key)
    lesser.target.create_bucket(Bucket=SOURCE)
    return lesser


def test_line_ends_are_ordinary_characters_of_a_key(both_lesser: Rig) -> None:
    keys = ("two\nlines", "end\n", "\r\n both")
    for key in keys:
        both_lesser.target.put_object(Bucket=SOURCE, Key=key, Body=key.encode(), Metadata={"a": "b"})
    assert both_lesser.sync(*keys).actions == dict.fromkeys(keys, "copy")
    assert sorted(both_lesser.target_keys()) == sorted(keys)
    assert [both_lesser.target_body(key) for key in keys] == [key.encode() for key in keys]
    assert both_lesser.sync(*keys).actions == dict.fromkeys(keys, "unchanged")


def test_a_source_whose_layout_cannot_be_known(both_lesser: Rig) -> None:
    body = [random.randbytes(5 * MIB), random.randbytes(100)]
    put_parts(both_lesser.target, SOURCE, "key", body)
    assert both_lesser.sync("key").actions == {"key": "copy"}
    assert both_lesser.target_body("key") == b"".join(body)
    assert both_lesser.sync("key").actions == {"key": "unchanged"}


def test_few_bytes_and_many_are_read_from_it(both_lesser: Rig) -> None:
    sizes = {"empty": 0, "few": INLINE_BODY_MAX, "many": INLINE_BODY_MAX + 1}
    for key, size in sizes.items():
        both_lesser.target.put_object(Bucket=SOURCE, Key=key, Body=b"." * size)
    assert both_lesser.sync(*sizes).actions == dict.fromkeys(sizes, "copy")
    assert {key: len(both_lesser.target_body(key)) for key in both_lesser.target_keys()} == sizes
