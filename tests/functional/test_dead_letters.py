"""A message that can never succeed goes to the dead-letter queue at once, with its reason."""

from __future__ import annotations

import json
from math import inf
from urllib.parse import unquote

import pytest
from tests.functional.harness import SOURCE, Rig, notification
from tests.functional.proxy import answering, refuse


@pytest.fixture
def _without_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn tags off: unlike AWS, the emulator does not return the tags of an archived object."""
    monkeypatch.setenv("SYNC_TAGS", "false")


@pytest.mark.usefixtures("_without_tags")
@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_dead_letter_of_an_archived_object_says_to_restore_it(rig: Rig, storage_class: str) -> None:
    rig.put("key", b"body", StorageClass=storage_class)
    assert rig.sync("key").actions == {"key": "dead-letter"}
    (letter,) = rig.dead_letters()
    assert storage_class in letter.error
    assert "restore" in letter.error
    assert (letter.key, letter.bucket) == ("key", SOURCE)
    assert rig.target_proxy.writes() == []
    assert rig.queue_is_empty()


def test_an_object_archived_by_intelligent_tiering_is_a_dead_letter(rig: Rig) -> None:
    rig.put("key", b"body", StorageClass="INTELLIGENT_TIERING")
    rig.source_proxy.when(refuse(403, "InvalidObjectState"), "GET", key="key", query="", times=inf)
    rig.source_proxy.when(answering(X_Amz_Archive_Status="DEEP_ARCHIVE_ACCESS"), "HEAD", times=inf)
    delivery = rig.sync("key")
    assert delivery.actions == {"key": "dead-letter"}
    assert "DEEP_ARCHIVE_ACCESS" in delivery.reasons["key"]


def test_a_restored_object_is_copied(rig: Rig) -> None:
    rig.put("key", b"body", StorageClass="GLACIER")
    rig.source.restore_object(Bucket=SOURCE, Key="key", RestoreRequest={"Days": 1})
    assert rig.sync("key").actions == {"key": "copy"}
    assert rig.differences() == []


@pytest.mark.usefixtures("_without_tags")
def test_a_copy_made_before_the_source_was_archived_is_unchanged(rig: Rig) -> None:
    rig.put("key", b"body")
    rig.sync("key")
    rig.put("key", b"body", StorageClass="GLACIER")
    assert rig.sync("key").actions == {"key": "unchanged"}
    assert rig.dead_letters() == []


def test_dead_letter_of_an_object_encrypted_with_a_customer_key_has_the_reason_of_s3(rig: Rig) -> None:
    """S3 responds to a HEAD of such an object with 400 and no reason; only the response to a GET has one."""
    rig.put("key", b"body")
    rig.source_proxy.when(refuse(400, "InvalidRequest"), "HEAD", times=inf)
    reason = "The object was stored using a form of Server Side Encryption."
    rig.source_proxy.when(refuse(400, "InvalidRequest", reason), "GET", times=inf)
    assert rig.sync("key").actions == {"key": "dead-letter"}
    (letter,) = rig.dead_letters()
    assert reason in letter.error


def test_a_key_too_long_with_the_target_prefix_is_a_dead_letter(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target rejects the HEAD as well, without a reason."""
    monkeypatch.setenv("TARGET_PREFIX", "copies/")
    rig.put("x" * 1024, b"body")
    rig.target_proxy.when(refuse(400, "KeyTooLongError"), key="copies/" + "x" * 1024, times=inf)
    delivery = rig.sync("x" * 1024)
    assert delivery.actions == {"x" * 1024: "dead-letter"}
    (letter,) = rig.dead_letters()
    assert "KeyTooLong" in letter.error
    assert letter.key == "x" * 1024


MALFORMED = {
    "no JSON": "hello",
    "nothing": " ",
    "no object": "[]",
    "unknown JSON": "{}",
    "no records": '{"Records": []}',
    "invalid records": '{"Records": [{"s3": {}}]}',
    "another bucket": notification("key", bucket="another-bucket"),
    "no work": '{"s3-syncer": {}}',
    "unknown work": '{"s3-syncer": {"work": "miracles"}}',
    "no keys": '{"s3-syncer": {"work": "keys", "keys": []}}',
    "keys that are no text": '{"s3-syncer": {"work": "keys", "keys": ["a", 1]}}',
    "half a character": '{"s3-syncer": {"work": "keys", "keys": ["\\ud800"]}}',
    "half a character in an event": json.dumps(
        {
            "source": "aws.s3",
            "time": "2026-01-01T00:00:00Z",
            "detail": {"bucket": {"name": SOURCE}, "object": {"key": "\udfff"}},
        }
    ),
    "no UTF-8": notification("key").replace('"key": "key"', '"key": "%ff"'),
    "no key": notification("key").replace('"key": "key"', '"name": "key"'),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_message_is_a_dead_letter_with_its_body(rig: Rig, body: str) -> None:
    rig.put("key", b"body")
    delivery = rig.deliver(body, notification("key"))
    assert delivery.returned == []
    assert delivery.actions == {"": "dead-letter", "key": "copy"}
    (letter,) = rig.dead_letters()
    assert letter.body == body
    assert letter.error
    assert letter.bucket == SOURCE
    assert rig.queue_is_empty()


@pytest.mark.parametrize(
    "key",
    ["control \x00\x01\x1f", "noncharacter \ufffe\uffff", "tab\tnew\nline", "🪣", "x" * 1024],
    ids=["control", "noncharacter", "white space", "astral", "long"],
)
def test_a_dead_letter_can_name_any_key(rig: Rig, key: str) -> None:
    for method in ("HEAD", "GET"):
        rig.source_proxy.when(refuse(400, "InvalidArgument", "not for you"), method, times=inf)
    body = notification(key)
    delivery = rig.deliver(body)
    assert delivery.actions == {key: "dead-letter"}
    assert delivery.returned == []
    (letter,) = rig.dead_letters()
    assert letter.body == body
    assert "InvalidArgument" in letter.error
    assert unquote(letter.key) == key


def test_one_failed_key_of_several_makes_the_message_a_dead_letter(rig: Rig) -> None:
    """The other keys of the message are copied first."""
    keys = ("archived", "fine", "also fine")
    for key in keys:
        rig.put(key, b"body", StorageClass="GLACIER" if key == "archived" else "STANDARD")
    delivery = rig.deliver(notification(*keys))
    assert delivery.actions == {"archived": "dead-letter", "fine": "copy", "also fine": "copy"}
    (letter,) = rig.dead_letters()
    assert letter.key == "archived"
    assert rig.target_keys() == ["also fine", "fine"]


def test_a_message_with_a_retryable_key_is_no_dead_letter_yet(rig: Rig) -> None:
    rig.put("archived", b"body", StorageClass="GLACIER")
    rig.put("unlucky", b"body")
    rig.target_proxy.when(refuse(503, "SlowDown"), "PUT", times=inf)
    delivery = rig.deliver(notification("archived", "unlucky"))
    assert len(delivery.returned) == 1
    assert rig.dead_letters() == []
    rig.clear()
    assert rig.deliver(*delivery.returned).actions == {"archived": "dead-letter", "unlucky": "copy"}
    assert len(rig.dead_letters()) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "KeyTooLongError"),
        (400, "EntityTooLarge"),
        (400, "InvalidArgument"),
        (400, "MetadataTooLarge"),
        (501, "NotImplemented"),
        (405, "MethodNotAllowed"),
    ],
)
def test_a_permanent_error_of_the_target_is_a_dead_letter_after_one_attempt(
    rig: Rig, each_way: str, status: int, code: str
) -> None:
    """A transport judges no error, so boto3 makes the request once more."""
    rig.put("key", b"body")
    rig.target_proxy.when(refuse(status, code, "so it is"), "PUT", times=inf)
    assert rig.sync("key").actions == {"key": "dead-letter"}
    (letter,) = rig.dead_letters()
    assert code in letter.error
    assert "so it is" in letter.error
    assert len(rig.target_proxy.writes()) == (1 if each_way == "boto3" else 2), "no second attempt"


@pytest.mark.parametrize(
    "code", ["AccessDenied", "QuotaExceeded", "SecondLevelDomainForbidden", "SignatureDoesNotMatch"]
)
def test_no_event_is_a_dead_letter_while_the_target_denies_every_key(rig: Rig, code: str) -> None:
    keys = [f"key {number}" for number in range(6)]
    for key in keys:
        rig.put(key, b"body")
    rig.target_proxy.when(refuse(403, code, "so it is"), "PUT", times=inf)
    first = rig.deliver(*map(notification, keys))
    second = rig.deliver(*first.returned)
    assert len(second.returned) == len(keys)
    assert rig.dead_letters() == []
    rig.clear()
    assert rig.deliver(*second.returned).returned == []
    assert rig.target_keys() == keys


@pytest.mark.parametrize("code", ["AccessDenied", "SignatureDoesNotMatch"])
def test_a_key_that_is_denied_while_the_target_takes_others_is_a_dead_letter(rig: Rig, code: str) -> None:
    for key in ("denied", "before", "between"):
        rig.put(key, b"body")
    rig.target_proxy.when(refuse(403, code, "so it is"), "PUT", key="denied", times=inf)
    assert rig.sync("before").actions == {"before": "copy"}
    first = rig.deliver(notification("denied"))
    assert len(first.returned) == 1, "the quota may have been reached since the last success"
    rig.sync("between")
    assert rig.deliver(*first.returned).actions == {"denied": "dead-letter"}
    (letter,) = rig.dead_letters()
    assert code in letter.error
