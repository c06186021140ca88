"""`rclone serve s3` as the target: it checks signatures and Content-MD5, and lacks much else.

Its multipart ETags differ from those of AWS. It has no tags and no raw Expires, it refuses some keys, and `a` and
`a/b` cannot both exist. Supported objects arrive; each unsupported one has a clear reason.
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
from s3_syncer.stores.rejections import FIRST_RUN

pytestmark = pytest.mark.usefixtures("each_way")

#: Keys that rclone refuses with InvalidArgument.
REFUSED = ("a//b", "/slash in front", "..", "../up", "down/../and/./up", "last/.")

#: Properties that it drops, or that are too large for it.
TOO_MUCH = {"expires", "expires that is no date", "expires as a number", "much metadata"}


def same(rig: Rig, key: str) -> bool:
    """Return True if bytes, headers and metadata are equal."""
    sides = []
    for client, bucket in ((rig.source, SOURCE), (rig.target, TARGET)):
        response: Mapping[str, Any] = client.get_object(Bucket=bucket, Key=key)
        metadata = {
            name.lower(): value for name, value in response["Metadata"].items() if name.lower() != verify.ETAG_MARKER
        }
        headers = {name: response[name] for name in verify.MIRRORED_HEADERS if response.get(name)}
        sides.append((hashlib.sha256(response["Body"].read()).hexdigest(), headers, metadata))
    return sides[0] == sides[1]


def test_supported_objects_are_copied_once(lesser: Rig) -> None:
    kept = {name: properties for name, properties in PROPERTIES.items() if name not in TOO_MUCH}
    for name, properties in kept.items():
        lesser.put(name, name.encode(), **properties)
    assert lesser.deliver(notification(*kept)).actions == dict.fromkeys(kept, "copy")
    assert [name for name in kept if not same(lesser, name)] == []
    lesser.clear()
    assert lesser.deliver(notification(*kept)).actions == dict.fromkeys(kept, "unchanged")
    assert lesser.target_proxy.writes() == []


def test_metadata_that_is_too_large_for_it_goes_to_the_dead_letter_queue(lesser: Rig) -> None:
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


def test_multipart_objects_are_recognized_by_the_marker(lesser: Rig) -> None:
    parts = [random.randbytes(5 * MIB), random.randbytes(5 * MIB), random.randbytes(17)]
    lesser.put_parts("parts", *parts, Metadata={"a": "b"}, ContentType="video/mp4")
    lesser.put("kms", b"body", ServerSideEncryption="aws:kms")
    assert lesser.sync("parts", "kms").actions == {"parts": "copy", "kms": "copy"}
    assert same(lesser, "parts")
    lesser.clear()
    assert lesser.sync("parts", "kms").actions == {"parts": "unchanged", "kms": "unchanged"}
    assert lesser.target_proxy.writes() == []


def test_refused_keys_go_to_the_dead_letter_queue_with_the_reason(lesser: Rig) -> None:
    for key in ("served", *REFUSED):
        lesser.put(key, b"body")
    assert lesser.sync("served").actions == {"served": "copy"}
    delivery = lesser.sync(*REFUSED)
    assert delivery.actions == dict.fromkeys(REFUSED, "dead-letter")
    assert delivery.returned == []
    letters = lesser.dead_letters()
    assert sorted(letter.key for letter in letters) == sorted(REFUSED)
    assert all("unsupported characters" in letter.error for letter in letters)


def test_refused_keys_return_while_the_store_has_accepted_no_key(lesser: Rig) -> None:
    """A store that has accepted no key may refuse all keys: see `stores/rejections.py`."""
    for key in ("served", *REFUSED):
        lesser.put(key, b"body")
    delivery = lesser.sync(*REFUSED)
    returned = [key for key, action in delivery.actions.items() if action == "retry"]
    assert len(returned) == len(delivery.returned) == len(REFUSED) - (FIRST_RUN - 1)
    assert all("unsupported characters" in delivery.reasons[key] for key in REFUSED)
    assert lesser.sync("served").actions == {"served": "copy"}
    assert lesser.deliver(*delivery.returned).actions == dict.fromkeys(returned, "dead-letter")
    assert sorted(letter.key for letter in lesser.dead_letters()) == sorted(REFUSED)


def test_other_strange_keys_are_copied_and_deleted(lesser: Rig) -> None:
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


def test_a_header_that_it_drops_is_a_dead_letter_after_two_copies(lesser: Rig) -> None:
    lesser.put("key", b"body", RawExpires="0")
    delivery = lesser.sync("key")
    assert delivery.returned == []
    assert delivery.actions == {"key": "dead-letter"}
    finding = "the target does not keep Expires: the source has '0', the target has nothing"
    assert delivery.reasons == {"key": finding}
    assert [letter.error for letter in lesser.dead_letters()] == [finding]
    assert len(lesser.target_proxy.writes()) == 2
    assert lesser.target_body("key") == b"body"


@pytest.mark.parametrize("body", [b"text", b"", b"<xml/>"], ids=["text", "empty", "XML"])
def test_unsupported_tags_never_become_the_object(lesser: Rig, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """With tag sync on, this store reads, writes and deletes the object itself for `?tagging`."""
    monkeypatch.setenv("SYNC_TAGS", "true")
    lesser.put("key", body)
    assert lesser.sync("key").actions == {"key": "copy"}
    for tags in ({"a": "b"}, {"a": "c"}):
        lesser.tag("key", tags)
        delivery = lesser.sync("key")
        assert delivery.actions == {"key": "dead-letter"}
        assert "the object has tags, and the-target has none" in delivery.reasons["key"]
        assert lesser.target_body("key") == body
    lesser.tag("key", {})
    assert lesser.sync("key").actions == {"key": "unchanged"}
    assert lesser.target_body("key") == body


def test_faults_leave_no_partial_object(lesser: Rig) -> None:
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
    """Put the limited store on both sides. It supports keys with line ends, unlike moto."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", lesser.other.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", lesser.other.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", lesser.other.secret_access_key)
    lesser.target.create_bucket(Bucket=SOURCE)
    return lesser


def test_keys_with_line_ends_are_copied(both_lesser: Rig) -> None:
    keys = ("two\nlines", "end\n", "\r\n both")
    for key in keys:
        both_lesser.target.put_object(Bucket=SOURCE, Key=key, Body=key.encode(), Metadata={"a": "b"})
    assert both_lesser.sync(*keys).actions == dict.fromkeys(keys, "copy")
    assert sorted(both_lesser.target_keys()) == sorted(keys)
    assert [both_lesser.target_body(key) for key in keys] == [key.encode() for key in keys]
    assert both_lesser.sync(*keys).actions == dict.fromkeys(keys, "unchanged")


def test_a_source_that_does_not_return_its_part_sizes(both_lesser: Rig) -> None:
    body = [random.randbytes(5 * MIB), random.randbytes(100)]
    put_parts(both_lesser.target, SOURCE, "key", body)
    assert both_lesser.sync("key").actions == {"key": "copy"}
    assert both_lesser.target_body("key") == b"".join(body)
    assert both_lesser.sync("key").actions == {"key": "unchanged"}


def test_small_and_large_objects_are_read_from_it(both_lesser: Rig) -> None:
    sizes = {"empty": 0, "few": INLINE_BODY_MAX, "many": INLINE_BODY_MAX + 1}
    for key, size in sizes.items():
        both_lesser.target.put_object(Bucket=SOURCE, Key=key, Body=b"." * size)
    assert both_lesser.sync(*sizes).actions == dict.fromkeys(sizes, "copy")
    assert {key: len(both_lesser.target_body(key)) for key in both_lesser.target_keys()} == sizes
