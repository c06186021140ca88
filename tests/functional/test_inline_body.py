"""One GET returns the state and the bytes of an object that the target lacks."""

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
    ("size", "methods"),
    [
        (100, ["GET", "HEAD"]),
        (INLINE_BODY_MAX, ["GET", "HEAD"]),
        (INLINE_BODY_MAX + 1, ["GET", "GET", "HEAD"]),
        (0, ["GET", "HEAD", "HEAD"]),
    ],
)
def test_a_new_object_takes_as_few_requests_as_possible(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, size: int, methods: list[str]
) -> None:
    """The first copy of a process needs a HEAD more, which shows what the target keeps: ADR 0012.

    One GET and one HEAD after it show that the target does not take `FIRST` for `first`: `core/key_folding.py`.
    """
    monkeypatch.setenv("SYNC_TAGS", "false")
    twin = ["GET", "HEAD"]
    for key, of_target in (("first", ["HEAD", "PUT", "HEAD", *twin]), ("key", ["HEAD", "PUT"])):
        rig.clear()
        rig.put(key, b"." * size, ContentType="text/plain", Metadata={"a": "b"}, RawExpires="whenever")
        assert rig.sync(key).actions == {key: "copy"}
        assert [request.method for request in rig.target_proxy.requests] == of_target
    assert [request.method for request in rig.source_proxy.requests if request.key == "key"] == methods
    assert rig.differences() == []


def test_a_key_that_neither_side_has_takes_one_request_each(rig: Rig) -> None:
    assert rig.sync("key").actions == {"key": "unchanged"}
    assert [request.method for request in rig.source_proxy.requests if request.key == "key"] == ["GET"]


def test_a_store_may_ignore_the_range(rig: Rig) -> None:
    for name, size in BODIES.items():
        rig.put(name, b"." * size)
    rig.source_proxy.when(without("Range"), "GET", query="", times=inf)
    delivery = rig.sync(*BODIES)
    assert delivery.actions == dict.fromkeys(BODIES, "copy")
    assert rig.differences() == []


def test_bytes_of_an_object_deleted_before_its_tags_were_read_are_dropped(rig: Rig) -> None:
    rig.put("key", b"first")
    rig.source_proxy.when(
        meanwhile(lambda: rig.source.delete_object(Bucket=SOURCE, Key="key")), "GET", key="key", query="tagging"
    )
    rig.source_proxy.when(meanwhile(lambda: rig.put("key", b"other")), "HEAD", key="key")
    assert rig.sync("key").actions == {"key": "copy"}
    assert rig.target_body("key") == b"other"
    assert rig.differences() == []
