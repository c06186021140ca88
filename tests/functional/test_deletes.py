"""Deletions, the dangerous half: only a key that a working source lacks is deleted."""

from __future__ import annotations

from math import inf

import pytest
from tests.functional.harness import SOURCE, TARGET, Rig, notification
from tests.functional.proxy import Exchange, Fault, lose_answer, refuse

pytestmark = [pytest.mark.usefixtures("each_way"), pytest.mark.real_store]

KEY = "key"


@pytest.fixture
def orphaned(rig: Rig) -> Rig:
    """Return a rig with a key that only the target has: it was mirrored, then deleted from the source."""
    rig.put(KEY, b"precious")
    rig.target.put_object(Bucket=TARGET, Key=KEY, Body=b"precious")
    rig.source.delete_object(Bucket=SOURCE, Key=KEY)
    return rig


def test_a_key_deleted_from_the_source_is_deleted(orphaned: Rig) -> None:
    delivery = orphaned.deliver(notification(KEY, event="ObjectRemoved:Delete"))
    assert delivery.actions == {KEY: "delete"}
    assert orphaned.target_keys() == []
    orphaned.clear()
    assert orphaned.sync(KEY).actions == {KEY: "unchanged"}
    assert orphaned.target_proxy.writes() == []


def test_a_deletion_event_for_an_existing_object_deletes_nothing(rig: Rig) -> None:
    rig.put("key", b"precious")
    for _ in range(2):
        rig.deliver(notification("key", event="ObjectRemoved:Delete"))
        assert rig.differences() == []


def test_nothing_is_deleted_when_deletes_are_off(orphaned: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_DELETE", "false")
    assert orphaned.sync(KEY).actions == {KEY: "kept"}
    assert orphaned.target_keys() == [KEY]
    assert orphaned.target_proxy.writes() == []


def _page(exchange: Exchange) -> None:
    """Respond as a web server or a proxy that does not know S3."""
    exchange.reply(404, "<html>There is nothing here.</html>", {"Content-Type": "text/html"})


@pytest.mark.parametrize(
    ("fault", "action"),
    [
        (refuse(403, "AccessDenied"), "retry"),
        (refuse(404, "NoSuchBucket"), "retry"),
        (refuse(400, "InvalidRequest"), "dead-letter"),
        (refuse(301, "PermanentRedirect"), "retry"),
        (refuse(500, "InternalError"), "retry"),
        (refuse(503, "SlowDown"), "retry"),
        (_page, "retry"),
    ],
    ids=["access denied", "no bucket", "invalid", "redirect", "error", "slow down", "some web page"],
)
def test_nothing_is_deleted_unless_the_404_of_the_source_names_the_key(
    orphaned: Rig, fault: Fault, action: str
) -> None:
    orphaned.source_proxy.when(fault, "HEAD", times=inf)
    orphaned.source_proxy.when(fault, "GET", times=inf)
    assert orphaned.sync(KEY).actions == {KEY: action}
    assert orphaned.target_keys() == [KEY]
    assert orphaned.target_proxy.writes() == []


@pytest.mark.parametrize(
    ("status", "code", "action"),
    [(403, "AccessDenied", "retry"), (503, "SlowDown", "retry"), (404, "NoSuchBucket", "retry")],
)
def test_a_404_of_a_head_is_confirmed(orphaned: Rig, status: int, code: str, action: str) -> None:
    """A response to HEAD has no body, so its 404 may mean a missing bucket, or come from a proxy."""
    orphaned.source_proxy.when(refuse(status, code), "GET", times=inf)
    assert orphaned.sync(KEY).actions == {KEY: action}
    assert orphaned.target_keys() == [KEY]


@pytest.mark.parametrize("key", [KEY, "control \x01"])
@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_listing_confirms_a_404_that_names_no_key(rig: Rig, key: str, status: int) -> None:
    """XML cannot contain the second key, so no store names it in an error."""
    rig.target.put_object(Bucket=TARGET, Key=key, Body=b"precious")
    rig.source_proxy.when(_page, "GET", key=key, times=inf)
    rig.source_proxy.when(refuse(status, "AnyCode"), "GET", key="", times=inf)
    assert rig.sync(key).actions == {key: "retry"}
    assert rig.target_keys() == [key]
    rig.clear()
    rig.source_proxy.when(_page, "GET", key=key, times=inf)
    assert rig.sync(key).actions == {key: "delete"}
    assert rig.target_keys() == []


def test_an_object_that_is_listed_is_not_deleted_after_a_404_that_names_no_key(rig: Rig) -> None:
    rig.put(KEY, b"body")
    rig.sync(KEY)
    for method in ("HEAD", "GET"):
        rig.source_proxy.when(_page, method, key=KEY, times=inf)
    assert rig.sync(KEY).actions[KEY] != "delete"
    assert rig.target_keys() == [KEY]


@pytest.mark.parametrize("fault", [refuse(404, "NoSuchBucket"), _page], ids=["no bucket", "some web page"])
def test_a_404_of_the_target_acknowledges_no_deletion(orphaned: Rig, fault: Fault) -> None:
    """Without a confirmation the key would count as absent on both sides, and no event would come."""
    for method in ("HEAD", "GET", "DELETE"):
        orphaned.target_proxy.when(fault, method, times=inf)
    delivery = orphaned.deliver(notification(KEY, event="ObjectRemoved:Delete"))
    assert delivery.actions == {KEY: "retry"}
    assert len(delivery.returned) == 1
    orphaned.clear()
    assert orphaned.sync(KEY).actions == {KEY: "delete"}
    assert orphaned.target_keys() == []


def _pretend(exchange: Exchange) -> None:
    exchange.reply(204, "")


@pytest.mark.parametrize("fault", [_page, _pretend], ids=["some web page", "nothing deleted"])
def test_a_response_is_no_deletion_while_the_object_is_still_there(orphaned: Rig, fault: Fault) -> None:
    orphaned.target_proxy.when(fault, "DELETE", key=KEY, times=inf)
    delivery = orphaned.sync(KEY)
    assert delivery.actions == {KEY: "retry"}
    assert len(delivery.returned) == 1
    orphaned.clear()
    assert orphaned.sync(KEY).actions == {KEY: "delete"}
    assert orphaned.target_keys() == []


@pytest.mark.parametrize("key", ["key", "control \x01"])
def test_nothing_is_deleted_if_the_source_bucket_does_not_exist(rig: Rig, key: str) -> None:
    rig.put(key, b"precious")
    rig.sync(key)
    rig.source.delete_object(Bucket=SOURCE, Key=key)
    rig.source.delete_bucket(Bucket=SOURCE)
    delivery = rig.sync(key)
    assert delivery.actions == {key: "retry"}
    assert "the bucket" in delivery.reasons[key]
    assert "does not exist" in delivery.reasons[key]
    assert len(delivery.returned) == 1
    assert rig.target_keys() == [key]


def test_a_key_that_comes_back_at_the_last_moment_stays(orphaned: Rig) -> None:
    def back(exchange: Exchange) -> None:
        orphaned.put(KEY, b"precious again")
        exchange.forward()

    orphaned.source_proxy.when(back, "GET", key=KEY)
    assert orphaned.sync(KEY).actions == {KEY: "update"}
    assert orphaned.differences() == []


def test_a_key_that_comes_back_during_the_deletion_is_copied_again(orphaned: Rig) -> None:
    def back(exchange: Exchange) -> None:
        orphaned.put(KEY, b"precious again")
        exchange.forward()

    orphaned.target_proxy.when(back, "DELETE", key=KEY)
    assert orphaned.sync(KEY).actions == {KEY: "copy"}
    assert orphaned.differences() == []


@pytest.mark.parametrize("fault", [lose_answer, refuse(404, "NoSuchKey"), refuse(503, "SlowDown"), _page])
def test_a_deletion_is_retried_until_it_succeeds(orphaned: Rig, fault: Fault) -> None:
    orphaned.target_proxy.when(fault, "DELETE", key=KEY, times=2)
    delivery = orphaned.sync(KEY)
    assert delivery.returned == []
    assert orphaned.target_keys() == []


def test_a_versioned_source_is_mirrored_by_its_current_version(rig: Rig) -> None:
    rig.source.put_bucket_versioning(Bucket=SOURCE, VersioningConfiguration={"Status": "Enabled"})
    versions = [
        rig.source.put_object(Bucket=SOURCE, Key="key", Body=body, Metadata={"body": body.decode()})["VersionId"]
        for body in (b"one", b"two")
    ]
    assert rig.sync("key").actions == {"key": "copy"}
    assert rig.target_body("key") == b"two"

    rig.source.delete_object(Bucket=SOURCE, Key="key", VersionId=versions[0])
    rig.clear()
    assert rig.deliver(notification("key", event="ObjectRemoved:Delete")).actions == {"key": "unchanged"}
    assert rig.target_proxy.writes() == []

    marker = rig.source.delete_object(Bucket=SOURCE, Key="key")["VersionId"]
    assert rig.deliver(notification("key", event="ObjectRemoved:DeleteMarkerCreated")).actions == {"key": "delete"}
    assert rig.target_keys() == []

    rig.source.delete_object(Bucket=SOURCE, Key="key", VersionId=marker)
    assert rig.deliver(notification("key", event="ObjectRemoved:Delete")).actions == {"key": "copy"}
    assert rig.differences() == []

    rig.put("key", b"three")
    rig.sync("key")
    current = rig.source.head_object(Bucket=SOURCE, Key="key")["VersionId"]
    rig.source.delete_object(Bucket=SOURCE, Key="key", VersionId=current)
    assert rig.deliver(notification("key", event="ObjectRemoved:Delete")).actions == {"key": "update"}
    assert rig.target_body("key") == b"two"
    assert rig.differences() == []


def test_a_versioned_target_shows_the_same_objects_as_the_source(rig: Rig) -> None:
    rig.target.put_bucket_versioning(Bucket=TARGET, VersioningConfiguration={"Status": "Enabled"})
    rig.put("key", b"one")
    rig.sync("key")
    rig.source.delete_object(Bucket=SOURCE, Key="key")
    assert rig.sync("key").actions == {"key": "delete"}
    assert rig.sync("key").actions == {"key": "unchanged"}
    rig.put("key", b"two")
    assert rig.sync("key").actions == {"key": "copy"}
    assert rig.differences() == []
