"""Every property that the documents promise is mirrored, and equal objects are not written again."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from tests.functional.harness import SOURCE, TARGET, Rig, notification
from tests.functional.proxy import answering

from s3_syncer.core.model import INLINE_BODY_MAX

pytestmark = [pytest.mark.usefixtures("each_way"), pytest.mark.real_store]

PROPERTIES: dict[str, dict[str, Any]] = {
    "type": {"ContentType": "text/plain; charset=utf-8"},
    "no type": {},
    "cache control": {"CacheControl": "max-age=31536000, immutable"},
    "disposition": {"ContentDisposition": "attachment; filename=\"a  b.txt\"; filename*=UTF-8''%e2%82%ac.txt"},
    "encoding": {"ContentEncoding": "gzip"},
    "encodings": {"ContentEncoding": "deflate, gzip"},
    "encodings without a space": {"ContentEncoding": "deflate,gzip"},
    "language": {"ContentLanguage": "de-CH, en"},
    "expires": {"RawExpires": "Wed, 21 Oct 2026 07:28:00 GMT"},
    "expires that is no date": {"RawExpires": "never, I hope"},
    "expires as a number": {"RawExpires": "0"},
    "metadata": {"Metadata": {"owner": "Ada", "Mixed-Case": "x", "empty": "", "dots.and-more": "a=b; c"}},
    "metadata with an underscore": {"Metadata": {"a_b": "c"}},
    "encoded metadata": {"Metadata": {"name": "=?UTF-8?B?w6nDqA==?="}},
    "two spaces": {"Metadata": {"text": "a  b"}},
    "much metadata": {"Metadata": {f"name-{n:02}": "v" * 90 for n in range(20)}},
    "storage class": {"StorageClass": "STANDARD_IA"},
    "instant archive": {"StorageClass": "GLACIER_IR"},
    "kms": {"ServerSideEncryption": "aws:kms"},
}

#: Properties and keys that Ceph RGW does not keep: it writes `-` for `_`, and refuses U+0000.
NOT_KEPT_BY_CEPH = {"metadata with an underscore", "control \x00\x01\x1f\x7f\x85"}

STRANGE_KEYS = (
    "with space",
    " space in front",
    "space behind ",
    " ",
    "plus+plus",
    "+",
    "per%cent",
    "%",
    "%%2F%20%252B",
    "a//b",
    "a//",
    "/slash in front",
    "//two in front",
    "/",
    "folder/",
    "folder/sub/",
    "folder",
    ".",
    "..",
    "./here",
    "../up",
    "down/../and/./up",
    "last/..",
    "last/.",
    "trailing.",
    "question?uploads&versionId=null",
    "?",
    "#hash;semicolon=equals,comma:colon@at$dollar!bang",
    "&",
    '*(star)\'quote"quotes"',
    "<xml>&amp;</xml>",
    "back\\slash|pipe^caret~tilde`tick{}[]",
    "ünïcødé/日本語/Ελληνικά/עברית",
    "emoji 🪣➡️🪣 \U0010ffff",
    "composed é",
    "decomposed e\u0301",
    "tab\tcarriage\rreturn",
    "control \x00\x01\x1f\x7f\x85",
    "control \x01\x1f\x7f\x85",
    "zero\u200bwidth \ufffe",
    "x" * 1024,
    "é" * 512,
    "🪣" * 256,
    "deep/" * 204 + "end!",
)


def kept(rig: Rig, names: Iterable[str]) -> list[str]:
    """Return the properties or keys that the target keeps."""
    return [name for name in names if rig.other.is_moto or name not in NOT_KEPT_BY_CEPH]


def test_every_property_is_copied_and_then_compares_as_equal(rig: Rig) -> None:
    names = kept(rig, PROPERTIES)
    for name in names:
        rig.put(name, name.encode(), **PROPERTIES[name])
    assert rig.deliver(notification(*names)).actions == dict.fromkeys(names, "copy")
    assert rig.differences() == []
    rig.clear()
    assert rig.deliver(notification(*names)).actions == dict.fromkeys(names, "unchanged")
    assert rig.target_proxy.writes() == []


def test_all_properties_at_once(rig: Rig) -> None:
    properties = {key: value for name in kept(rig, PROPERTIES) for key, value in PROPERTIES[name].items()}
    rig.put("key", random.randbytes(100_000), **properties)
    rig.tag("key", {"stage": "prod", "with space": "+-=._:/@", "ümlaut": "日本", "empty": ""})
    rig.sync("key")
    assert rig.differences() == []
    rig.clear()
    assert rig.sync("key").actions == {"key": "unchanged"}
    assert rig.target_proxy.writes() == []


def test_headers_that_are_not_ascii_arrive_byte_for_byte(rig: Rig) -> None:
    rig.put("key", b"body", ContentDisposition='attachment; filename="Zürich €.txt"', RawExpires="später")
    rig.sync("key")
    assert rig.differences() == []
    assert rig.sync("key").actions == {"key": "unchanged"}


def test_aws_chunked_is_not_copied_as_a_content_encoding(rig: Rig) -> None:
    codings = {
        "aws-chunked": None,
        "gzip,aws-chunked": "gzip",
        "aws-chunked, br": "br",
        "deflate, gzip": "deflate, gzip",
    }
    for coding in codings:
        rig.put(coding)
        rig.source_proxy.when(answering(Content_Encoding=coding), "HEAD", key=coding, times=99)
    assert rig.sync(*codings).actions == dict.fromkeys(codings, "copy")
    assert {coding: rig.target_head(coding).get("ContentEncoding") for coding in codings} == codings
    assert rig.sync(*codings).actions == dict.fromkeys(codings, "unchanged")


def test_keys_with_special_characters_are_mirrored(rig: Rig) -> None:
    keys = kept(rig, STRANGE_KEYS)
    for key in keys:
        rig.put(key, key.encode(), Metadata={"length": str(len(key))})
    delivery = rig.deliver(*(notification(*keys[n : n + 5]) for n in range(0, len(keys), 5)))
    assert delivery.returned == []
    assert delivery.actions == dict.fromkeys(keys, "copy")
    assert sorted(rig.target_keys()) == sorted(keys)
    assert rig.differences() == []
    for key in keys:
        rig.source.delete_object(Bucket=SOURCE, Key=key)
    delivery = rig.deliver(*(notification(*keys[n : n + 5]) for n in range(0, len(keys), 5)))
    assert delivery.actions == dict.fromkeys(keys, "delete")
    assert rig.target_keys() == []


def test_empty_objects_and_folder_markers(rig: Rig) -> None:
    keys = ("empty", "folder/", "folder/sub/")
    for key in keys:
        rig.put(key, b"", ContentType="application/x-directory", Metadata={"a": "b"})
    assert rig.sync(*keys).actions == dict.fromkeys(keys, "copy")
    assert rig.differences() == []
    rig.clear()
    assert rig.sync(*keys).actions == dict.fromkeys(keys, "unchanged")
    assert rig.target_proxy.writes() == []


def test_an_overwrite_replaces_everything(rig: Rig) -> None:
    rig.put("key", b"first", ContentType="text/plain", Metadata={"old": "1"}, RawExpires="0", CacheControl="no-store")
    rig.tag("key", {"old": "1"})
    rig.sync("key")
    rig.put("key", b"second", ContentType="text/html", Metadata={"new": "2"})
    assert rig.sync("key").actions == {"key": "update"}
    assert rig.differences() == []
    assert rig.target_body("key") == b"second"


def test_a_change_of_metadata_alone_is_copied(rig: Rig) -> None:
    etag = rig.put("key", b"body", Metadata={"a": "1"}, ContentType="text/plain")
    rig.tag("key", {"kept": "yes"})
    rig.sync("key")
    rig.source.copy_object(
        Bucket=SOURCE,
        Key="key",
        CopySource={"Bucket": SOURCE, "Key": "key"},
        MetadataDirective="REPLACE",
        Metadata={"a": "2"},
        ContentType="text/html",
    )
    assert rig.source.head_object(Bucket=SOURCE, Key="key")["ETag"] == f'"{etag}"'
    assert rig.sync("key").actions == {"key": "update"}
    assert rig.differences() == []


def test_a_change_of_tags_alone_is_copied_without_the_bytes(rig: Rig) -> None:
    rig.put("key", bytes(INLINE_BODY_MAX + 1))  # the bytes of a smaller object come with its state
    rig.tag("key", {"a": "1", "b": "2"})
    rig.sync("key")
    rig.clear()
    for tags in ({"a": "3"}, {}):
        rig.tag("key", tags)
        assert rig.sync("key").actions == {"key": "tags"}
        assert rig.differences() == []
    assert [(write.method, "tagging" in write.query) for write in rig.target_proxy.writes()] == [
        ("PUT", True),
        ("DELETE", True),
    ]
    assert [request for request in rig.source_proxy.requests if request.method == "GET" and not request.query] == []


def test_without_the_tags_option_tags_are_neither_read_nor_written(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_TAGS", "false")
    rig.put("key", b"body")
    rig.tag("key", {"a": "1"})
    rig.sync("key")
    assert rig.target.get_object_tagging(Bucket=TARGET, Key="key")["TagSet"] == []
    assert rig.sync("key").actions == {"key": "unchanged"}
    requests = [*rig.source_proxy.requests, *rig.target_proxy.requests]
    assert not any("tagging" in request.query for request in requests)


def test_the_source_prefix_is_replaced_by_the_target_prefix(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_PREFIX", "in/")
    monkeypatch.setenv("TARGET_PREFIX", "out/here-")
    for key in ("in/a b", "in//c", "in/", "other/d", "inside"):
        rig.put(key, key.encode())
    delivery = rig.sync("in/a b", "in//c", "in/", "other/d", "inside")
    assert delivery.returned == []
    assert rig.target_keys() == ["out/here-/c", "out/here-a b"]
    assert rig.target_body("out/here-a b") == b"in/a b"
    assert [delivery.actions[key] for key in ("in/", "other/d", "inside")] == ["ignored"] * 3


def test_an_event_copies_once_what_another_tool_copied_without_a_proof(rig: Rig) -> None:
    rig.put_parts("same", b"0" * 100)  # an ETag that proves nothing about the bytes
    rig.target.put_object(Bucket=TARGET, Key="same", Body=b"0" * 100)
    rig.put("other", b"aaaa")
    rig.target.put_object(Bucket=TARGET, Key="other", Body=b"bbbb")
    assert rig.sync("same", "other").actions == {"same": "update", "other": "update"}
    assert rig.sync("same", "other").actions == {"same": "unchanged", "other": "unchanged"}
    assert rig.differences() == []
