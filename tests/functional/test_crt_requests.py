"""The requests of an event: the same over boto3 and over the CRT transport, and none over both."""

from __future__ import annotations

from math import inf

import pytest
from tests.functional.harness import SOURCE, Rig
from tests.functional.proxy import Exchange, answering, refuse, reset

from s3_syncer.stores import bucket_requests
from s3_syncer.transport import pauses

#: Requests to the source and to the target for each kind of change, without and with tag sync.
COSTS = {
    "new": (["GET", "HEAD"], ["HEAD", "PUT"]),
    "again": (["GET"], ["HEAD"]),
    "overwritten": (["GET", "HEAD"], ["HEAD", "PUT"]),
    "deleted": (["GET", "GET"], ["HEAD", "DELETE", "GET"]),
}
WITH_TAGS = {
    "new": (["GET", "GET tags", "HEAD", "GET tags"], ["HEAD", "PUT"]),
    "again": (["GET", "GET tags"], ["HEAD", "GET tags"]),
    "overwritten": (["GET", "GET tags", "HEAD", "GET tags"], ["HEAD", "PUT"]),
    "deleted": (["GET", "GET"], ["HEAD", "DELETE", "GET"]),
}


@pytest.fixture
def by_boto3(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list to which each request of boto3 about a key is added."""
    made: list[str] = []
    request = bucket_requests.send_request

    def noted(client: object, operation: str, parameters: dict[str, object]) -> dict[str, object]:
        made.append(operation)
        return request(client, operation, parameters)  # type: ignore[arg-type]

    monkeypatch.setattr(bucket_requests, "send_request", noted)
    return made


@pytest.mark.parametrize(("tags", "costs"), [("false", COSTS), ("true", WITH_TAGS)], ids=["tags off", "tags on"])
def test_an_event_takes_the_same_requests_over_both_transports(
    rig: Rig,
    each_way: str,
    by_boto3: list[str],
    tags: str,
    costs: dict[str, tuple[list[str], list[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SYNC_TAGS", tags)
    changes = {
        "new": lambda: rig.put("key", b"one", Metadata={"a": "b"}),
        "again": lambda: None,
        "overwritten": lambda: rig.put("key", b"second"),
        "deleted": lambda: rig.source.delete_object(Bucket=SOURCE, Key="key"),
    }
    # The first write of a process costs one more HEAD of the target. The first deletion of a key with a `/` shows that
    # directories do not respond like objects: see `core/key_folding.py`.
    rig.put("folder/earlier", b"earlier", Metadata={"a": "b"})
    assert rig.sync("folder/earlier").returned == []
    rig.source.delete_object(Bucket=SOURCE, Key="folder/earlier")
    assert rig.sync("folder/earlier").returned == []
    for name, change in changes.items():
        change()
        rig.clear()
        by_boto3.clear()
        assert rig.sync("key").returned == []
        made = [
            [r.method + (" tags" if "tagging" in r.query else "") for r in side.requests if r.key == "key"]
            for side in (rig.source_proxy, rig.target_proxy)
        ]
        assert (made[0], made[1]) == costs[name], name
        assert len(by_boto3) == (0 if each_way != "boto3" else sum(map(len, made))), name
    assert rig.source_keys() == rig.target_keys() == []


def test_the_first_write_of_a_process_costs_one_more_head_of_the_target(rig: Rig, each_way: str) -> None:
    for key in ("first", "second"):
        rig.put(key, b"body", Metadata={"a": "b"})
    made = {}
    for key in ("first", "second"):
        rig.clear()
        assert rig.sync(key).actions == {key: "copy"}
        made[key] = [request.method for request in rig.target_proxy.requests]
    twin = ["GET", "HEAD"]  # does the target have "FIRST" too? See `core/key_folding.py`
    assert made == {"first": ["HEAD", "PUT", "HEAD", *twin], "second": ["HEAD", "PUT"]}


def test_a_key_without_a_directory_is_listed_before_its_deletion(
    rig: Rig, each_way: str, by_boto3: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a deletion of a key with a `/`, the object may be a directory that responds: docs/limits.md."""
    monkeypatch.setenv("SYNC_TAGS", "false")

    def requests_for_deletion(key: str) -> list[str]:
        rig.put(key, b"body")
        assert rig.sync(key).actions == {key: "copy"}
        rig.source.delete_object(Bucket=SOURCE, Key=key)
        rig.clear()
        by_boto3.clear()
        assert rig.sync(key).actions == {key: "delete"}
        if each_way != "boto3":  # the transport sends no listing of one key
            assert by_boto3 == ["list_objects_v2"] * sum("list-type" in r.query for r in rig.target_proxy.requests)
        return ["LIST" if "list-type" in r.query else r.method for r in rig.target_proxy.requests]

    assert requests_for_deletion("key") == ["HEAD", "LIST", "DELETE", "GET"]
    assert requests_for_deletion("other") == ["HEAD", "LIST", "DELETE", "GET"]
    twin = ["GET", "HEAD"]  # does "folder" respond?
    assert requests_for_deletion("folder/key") == ["HEAD", *twin, "DELETE", "GET"]
    assert requests_for_deletion("key") == ["HEAD", "DELETE", "GET"]


@pytest.mark.parametrize("text", ["Zürich", 'attachment; filename="Ã¼"'])
def test_a_header_in_another_encoding_arrives_the_same(rig: Rig, each_way: str, text: str) -> None:
    """awscrt cannot decode text that is not UTF-8."""
    rig.put("key", b"body")
    for method in ("GET", "HEAD"):
        rig.source_proxy.when(answering(Content_Disposition=text), method, key="key", times=inf)
    assert rig.sync("key").actions == {"key": "copy"}
    raw = text.encode("latin-1")
    expected = text if raw.decode(errors="replace").encode() != raw else raw.decode()
    kept = rig.target_head("key")["ContentDisposition"]
    assert kept.encode("latin-1").decode() == expected
    assert rig.sync("key").actions == {"key": "unchanged"}


def test_boto3_makes_all_requests_after_the_transport_failed(
    rig: Rig, each_way: str, by_boto3: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_TAGS", "false")
    monkeypatch.setattr(pauses, "PAUSE_S", 3600.0)
    failing = [f"a{number}" for number in range(pauses.FAILURES_IN_A_ROW)]
    for key in (*failing, "b"):
        rig.put(key, b"body")
    for key in failing:
        rig.target_proxy.when(reset, "PUT", key=key)
        rig.target_proxy.when(refuse(500, "InternalError"), "HEAD", key=key)
        assert rig.sync(key).actions == {key: "copy"}
    rig.clear()
    by_boto3.clear()
    assert rig.sync("b").actions == {"b": "copy"}
    assert [request.method for request in rig.target_proxy.requests] == ["HEAD", "PUT"]
    assert "put_object" in by_boto3
    assert rig.differences() == []


def test_boto3_follows_a_redirect_to_another_region(rig: Rig, each_way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transport keeps to its region, so it must not make each request for nothing."""
    monkeypatch.setattr(pauses, "PAUSE_S", 3600.0)
    refused: list[str] = []

    def of_another_region(exchange: Exchange) -> None:
        if "/eu-west-1/s3/" in exchange.request.headers["authorization"]:
            exchange.forward()
            return
        refused.append(exchange.request.method)
        error = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>eu-west-1</Region></Error>"
        exchange.reply(400, error, {"x-amz-bucket-region": "eu-west-1"})

    keys = [f"key {number}" for number in range(5)]
    for key in keys:
        rig.put(key, b"body")
    for method in ("HEAD", "GET"):
        rig.source_proxy.when(of_another_region, method, times=inf)
    for key in keys:
        assert rig.sync(key).actions == {key: "copy"}
    assert len(refused) == (1 if each_way == "boto3" else 2), "one by boto3, which remembers the region"
    assert rig.differences() == []


def test_a_transport_without_credentials_is_built_later(
    rig: Rig, each_way: str, by_boto3: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The secret may get its value after the service has started."""
    monkeypatch.setattr(pauses, "PAUSE_S", 0.0)
    rig.put("key", b"body")
    rig.source_proxy.when(refuse(400, "AccessDeniedException"), operation="GetSecretValue", times=inf)
    delivery = rig.sync("key")
    assert delivery.actions == {"key": "retry"}
    rig.clear()
    by_boto3.clear()
    assert rig.deliver(*delivery.returned).actions == {"key": "copy"}
    assert (by_boto3 == []) is (each_way != "boto3")
