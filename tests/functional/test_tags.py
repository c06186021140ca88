"""Tags at stores that have none, do not count them, or answer in their own way."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from tests.functional.command import run
from tests.functional.harness import MIB, SOURCE, TARGET, Rig, put_parts
from tests.functional.proxy import Exchange, refuse
from tests.support.odd_requests import Quirk, Request, Response, Store
from tests.support.odd_store import OddStore
from tests.support.quirks.tags import has_no_empty_tag_set, has_no_tags, leaves_out_an_empty_tag_set
from tests.support.quirks.writes import demands_md5

from s3_syncer.cli.sweeps import local_sweep
from s3_syncer.sync.context import Transports

RED = {"colour": "red"}


@pytest.fixture(params=["boto3", "crt"])
def command_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the commands with each transport."""
    if request.param == "boto3":
        monkeypatch.setattr(local_sweep, "crt_transports", lambda *_, **__: Transports())


@pytest.fixture
def odd_source(odd: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[OddStore]:
    """Yield a second odd store, which is the source of `odd`."""
    with OddStore() as store:
        store.objects.buckets[SOURCE] = {}
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.endpoint)
        yield store


def tags(store: OddStore, key: str, bucket: str = TARGET) -> dict[str, str]:
    return store.objects.buckets[bucket][key].tags


def fill(rig: Rig) -> None:
    rig.put("tagged", b"1", Tagging="colour=red")
    for number in range(3):
        rig.put(f"untagged {number}", b"1")


#: Responses of a store without tags that no failing store sends, and none that denies access.
CLEAR = ["501 NotImplemented", "405 MethodNotAllowed", "400 InvalidRequest", "200 of the object"]
HEADER = ["501 NotImplemented", "400 InvalidArgument", "ignored"]


@pytest.mark.parametrize("header", HEADER)
@pytest.mark.parametrize("operations", CLEAR)
def test_in_a_target_without_tags_only_tagged_objects_fail_each_time(
    odd: Rig, odd_store: OddStore, operations: str, header: str
) -> None:
    odd_store.add(has_no_tags(operations, header))
    fill(odd)
    for _ in range(2):  # the second plain run finds the key missing
        ended = run("migrate")
        assert (ended.code, list(ended.named)) == (1, ["tagged"])
        assert "set sync.tags = false (--no-tags) to copy it without" in ended.named["tagged"]
        assert odd_store.keys(TARGET) == ["untagged 0", "untagged 1", "untagged 2"]
    assert run("migrate", "--no-tags").code == 0
    assert "tagged" in odd_store.keys(TARGET)


@pytest.mark.parametrize("operations", ["500 InternalError", "403 AccessDenied", "404 without a code"])
def test_a_response_that_says_nothing_about_tags_is_not_taken_for_a_store_without(
    odd: Rig, odd_store: OddStore, operations: str
) -> None:
    odd_store.add(has_no_tags(operations, "501 NotImplemented"))
    fill(odd)
    for _ in range(2):
        ended = run("migrate")
        assert ended.code == 1
        assert "tagged" in ended.named
    assert "tagged" not in odd_store.keys(TARGET)
    assert run("sync", "untagged 0").code == 1


def test_a_denied_write_of_tags_is_named_by_each_plain_run(rig: Rig) -> None:
    """AWS refuses the whole PUT if the caller may not write the tags that come with it."""

    def deny(exchange: Exchange) -> None:
        if "x-amz-tagging" in {name.lower() for name in exchange.request.headers}:
            refuse(403, "AccessDenied")(exchange)
        else:
            exchange.forward()

    rig.put("key", Tagging="a=b")
    rig.target_proxy.when(deny, "PUT", times=1e9)
    rig.target_proxy.when(refuse(403, "AccessDenied"), "PUT", query="tagging", times=1e9)
    for _ in range(2):
        ended = run("migrate")
        assert (ended.code, list(ended.named)) == (1, ["key"])
    rig.target_proxy.clear()
    assert run("migrate").code == 0
    assert rig.differences() == []


def test_tags_that_the_target_ignores_and_denies_are_named_by_each_plain_run(odd: Rig, odd_store: OddStore) -> None:
    odd_store.add(has_no_tags("403 AccessDenied", "ignored"))
    fill(odd)
    for _ in range(2):
        ended = run("migrate")
        assert ended.code == 1
        assert "The copy was removed again" in ended.named["tagged"]


@pytest.mark.usefixtures("command_way")
@pytest.mark.parametrize("operations", CLEAR)
def test_two_stores_without_tags_need_no_option(
    odd: Rig, odd_store: OddStore, odd_source: OddStore, operations: str
) -> None:
    odd_store.add(has_no_tags(operations))
    odd_source.add(has_no_tags(operations))
    for number in range(30):
        odd_source.put(SOURCE, f"key {number:02}", b"1")
    ended = run("migrate")
    assert (ended.code, ended.named) == (0, {})
    assert odd_store.keys(TARGET) == odd_source.keys(SOURCE)
    assert run("check", "--full").code == 0
    assert run("migrate", "--full").code == 0


def test_the_source_is_asked_for_tags_once(odd: Rig, odd_store: OddStore, odd_source: OddStore) -> None:
    odd_source.add(has_no_tags("501 NotImplemented"))
    keys = [f"key {number}" for number in range(5)]
    for key in keys:
        odd_source.put(SOURCE, key, b"1")
    delivery = odd.sync(*keys)
    assert delivery.actions == dict.fromkeys(keys, "copy")
    assert [line["message"] for line in delivery.log if "has no object tags" in line["message"]] == [
        f"{SOURCE} has no object tags: objects without tags are not affected"
    ]
    odd_source.clear()
    assert odd.sync(*keys).actions == dict.fromkeys(keys, "unchanged")
    assert odd_source.count("GetObjectTagging") == 0


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("quirk", [has_no_empty_tag_set, leaves_out_an_empty_tag_set])
def test_an_object_without_a_tag_set_has_no_tags(odd: Rig, odd_store: OddStore, quirk: Quirk) -> None:
    odd_store.add(quirk)
    fill(odd)
    for action in ("copy", "unchanged"):
        assert odd.sync("tagged", "untagged 0").actions == dict.fromkeys(("tagged", "untagged 0"), action)
    odd.tag("tagged", {})
    odd.tag("untagged 0", RED)
    assert odd.sync("tagged", "untagged 0").actions == dict.fromkeys(("tagged", "untagged 0"), "tags")
    assert (tags(odd_store, "tagged"), tags(odd_store, "untagged 0")) == ({}, RED)
    assert run("migrate").code == 0
    assert run("check", "--full").code == 0


def without_counts(request: Request, store: Store) -> Response:
    """Keep tags, and never return their number, as OVHcloud does."""
    response = store(request)
    kept = tuple((name, value) for name, value in response.headers if name.lower() != "x-amz-tagging-count")
    return Response(response.status, kept, response.body) if kept != response.headers else response


@pytest.mark.usefixtures("each_way")
def test_a_source_that_never_counts_its_tags_loses_none(odd: Rig, odd_store: OddStore, odd_source: OddStore) -> None:
    odd_source.add(without_counts)
    keys = [f"key {number}" for number in range(10)]
    for number, key in enumerate(keys):
        odd_source.put(SOURCE, key, b"1", tags=RED if number % 2 else {})
    assert odd.sync(*keys).actions == dict.fromkeys(keys, "copy")
    assert [tags(odd_store, key) for key in keys] == [{}, RED] * 5


def test_a_source_that_counts_its_tags_for_get_only_loses_none(
    odd: Rig, odd_store: OddStore, odd_source: OddStore
) -> None:
    """Without quirks, the odd store is such a store. The later events read the source with HEAD."""
    keys = [f"key {number}" for number in range(10)]
    for key in keys:
        odd_source.put(SOURCE, key, b"1")
    odd_source.put(SOURCE, "tagged", b"1", tags=RED)
    odd.sync("tagged", *keys)
    for key in keys:
        odd_source.objects.buckets[SOURCE][key].tags = dict(RED)
    assert odd.sync(*keys).actions == dict.fromkeys(keys, "tags")
    assert [tags(odd_store, key) for key in keys] == [RED] * 10


def test_untagged_objects_need_no_tag_request_once_tags_were_counted(rig: Rig) -> None:
    rig.put("tagged", b"1", Tagging="colour=red")
    assert rig.sync("tagged").actions == {"tagged": "copy"}
    rig.put("key", b"1")
    before = len(rig.source_proxy.requests)
    assert rig.sync("key").actions == {"key": "copy"}
    assert [request.method for request in rig.source_proxy.requests[before:]] == ["GET", "HEAD"]


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("sizes", [[10], [6 * MIB, 6 * MIB]], ids=["whole", "in parts"])
def test_content_md5_goes_with_every_body(odd: Rig, odd_store: OddStore, sizes: list[int]) -> None:
    """A streamed part has no MD5 in advance. A store that demands one gets the part again, with it."""
    odd_store.add(demands_md5)
    if len(sizes) == 1:
        odd.put("key", b"x" * sizes[0])
    else:
        put_parts(odd.source, SOURCE, "key", [b"x" * size for size in sizes])
    assert odd.sync("key").actions == {"key": "copy"}
    odd.tag("key", RED)
    assert odd.sync("key").actions == {"key": "tags"}
    sent = [request for request in odd_store.requests if request.body]
    without = {request.operation for request in sent if "content-md5" not in request.headers}
    assert without <= {"UploadPart"}
    assert not any("x-amz-checksum-crc32" in request.headers for request in sent)
