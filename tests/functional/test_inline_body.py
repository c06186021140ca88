"""A look that brings the bytes along: one GET for what the target lacks, whatever the object and the store are like."""

from __future__ import annotations

from math import inf

import pytest
from tests.functional.harness import SOURCE, Rig
from tests.functional.proxy import meanwhile, without

from s3_syncer.core.model import INLINE_BODY_MAX

pytestmark = pytest.mark.usefixtures("each_way")

BODIES = {
    "empty": 0,
    "small": 100,
    "just few": INLINE_BODY_MAX,
    "just many": INLINE_BODY_MAX + 1,
    "many": 5 * INLINE_BODY_MAX,
}


@pytest.mark.parametrize(
    ("size", "asked"),
    [
        (100, ["GET", "HEAD"]),
        (INLINE_BODY_MAX, ["GET", "HEAD"]),
        (INLINE_BODY_MAX + 1, ["GET", "GET", "HEAD"]),
        (0, ["GET", "HEAD", "HEAD"]),
    ],
)
def test_a_new_object_is_asked_for_as_seldom_as_can_be(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, size: int, asked: list[str]
) -> None:
    monkeypatch.setenv("SYNC_TAGS", "false")
    rig.put("key", b"." * size, ContentType="text/plain", Metadata={"a": "b"}, RawExpires="whenever")
    assert rig.sync("key").actions == {"key": "copy"}
    assert [request.method for request in rig.source_proxy.requests if request.key == "key"] == asked
    assert [request.method for request in rig.target_proxy.requests] == ["HEAD", "PUT"]
    assert rig.differences() == []


def test_a_key_that_neither_side_has_is_asked_for_once(rig: Rig) -> None:
    assert rig.sync("key").actions == {"key": "unchanged"}
    assert [request.method for request in rig.source_proxy.requests if request.key == "key"] == ["GET"]


def test_a_store_that_overlooks_the_range_does_not_matter(rig: Rig) -> None:
    for name, size in BODIES.items():
        rig.put(name, b"." * size)
    rig.source_proxy.when(without("Range"), "GET", query="", times=inf)
    delivery = rig.sync(*BODIES)
    assert delivery.actions == dict.fromkeys(BODIES, "copy")
    assert rig.differences() == []


def test_bytes_of_an_object_that_went_away_before_its_tags_were_told_are_forgotten(rig: Rig) -> None:
    rig.put("key", b"first")
    rig.source_proxy.when(
        meanwhile(lambda: rig.source.delete_object(Bucket=SOURCE, Key="key")), "GET", key="key", query="tagging"
    )
    rig.source_proxy.when(meanwhile(lambda: rig.put("key", b"other")), "HEAD", key="key")
    assert rig.sync("key").actions == {"key": "copy"}
    assert rig.target_body("key") == b"other"
    assert rig.differences() == []
