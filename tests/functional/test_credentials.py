"""The target credentials come from the secret. A rotation needs no deployment and no new process."""

from __future__ import annotations

import json
import logging
from math import inf
from pathlib import Path
from unittest.mock import patch

import boto3
import pytest
from tests.functional.command import run
from tests.functional.harness import SECRET, SOURCE, Account, Rig, notification, secret
from tests.functional.proxy import admit, refuse

from s3_syncer.logs import log_json
from s3_syncer.stores import credentials


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the secret again after every refused request, however recent the last read is."""
    monkeypatch.setattr(credentials, "SECRET_FRESH_S", 0.0)


def rotate(rig: Rig, account: Account) -> None:
    """Make the target accept only this key from now on, and write it to the secret."""
    rig.target_proxy.clear()
    rig.target_proxy.when(admit(account.access_key_id), times=inf)
    rig.secrets.put_secret_value(SecretId=SECRET, SecretString=secret(account))


def reads(rig: Rig) -> int:
    return sum(request.operation == "GetSecretValue" for request in rig.source_proxy.requests)


def requests_to_refuse(way: str) -> int:
    """Return how often a request is refused before the secret is read again: a transport adds one."""
    return 1 if way == "boto3" else 2


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken"])
def test_the_secret_is_read_again_after_a_refused_key(rig: Rig, code: str, each_way: str) -> None:
    rig.put("before", b"1")
    rig.put("after", b"2")
    rig.target_proxy.when(admit(rig.other.access_key_id, code=code), times=inf)
    assert rig.sync("before").actions == {"before": "copy"}
    assert reads(rig) == 1
    fresh = Account(rig.other.endpoint)
    rotate(rig, fresh)
    assert rig.sync("after").actions == {"after": "copy"}
    assert reads(rig) == 2
    asked_with = [request.access_key_id for request in rig.target_proxy.requests]
    refused = requests_to_refuse(each_way)
    assert asked_with == [rig.other.access_key_id] * refused + [fresh.access_key_id] * (len(asked_with) - refused)
    assert rig.differences() == []


@pytest.mark.usefixtures("_at_once", "each_way")
def test_many_refused_requests_read_the_secret_once(rig: Rig) -> None:
    keys = [f"key {number}" for number in range(16)]
    for key in keys:
        rig.put(key, key.encode())
    rig.sync(keys[0])
    rotate(rig, Account(rig.other.endpoint))
    rig.source_proxy.clear()
    assert rig.deliver(notification(*keys)).returned == []
    assert reads(rig) == 1
    assert rig.differences() == []


@pytest.mark.usefixtures("_at_once", "each_way")
@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_messages_are_retried_until_the_secret_is_right(rig: Rig, code: str) -> None:
    rig.put("key", b"body")
    right = Account(rig.other.endpoint)
    rig.target_proxy.when(admit(right.access_key_id, code=code), times=inf)
    delivery = rig.sync("key")
    assert delivery.actions == {"key": "retry"}
    assert code in delivery.reasons["key"]
    assert rig.dead_letters() == []
    rotate(rig, right)
    assert rig.deliver(*delivery.returned).actions == {"key": "copy"}
    assert rig.differences() == []


@pytest.mark.usefixtures("_at_once")
def test_a_denying_policy_sends_the_message_to_the_dead_letter_queue(rig: Rig) -> None:
    """The target denies the key again after it has taken another one: the policy concerns this key."""
    rig.put("key", b"body")
    rig.put("other", b"body")
    rig.target_proxy.when(refuse(403, "AccessDenied", "no writing here"), "PUT", key="key", times=inf)
    first = rig.sync("key")
    assert first.actions == {"key": "retry"}
    assert reads(rig) == 2, "the secret was read again before the denial counted"
    assert rig.sync("other").actions == {"other": "copy"}
    delivery = rig.deliver(*first.returned)
    assert delivery.actions == {"key": "dead-letter"}
    assert delivery.returned == []
    assert reads(rig) == 3, "the secret was read again before the message was given up"
    (letter,) = rig.dead_letters()
    assert letter.body == json.dumps(json.loads(letter.body))
    assert "AccessDenied" in letter.error
    assert "no writing here" in letter.error
    assert (letter.key, letter.bucket) == ("key", SOURCE)


def test_a_fresh_secret_is_not_read_again_after_a_refusal(rig: Rig, each_way: str) -> None:
    """A secret that was read a moment ago is not read again for every refused request."""
    rig.put("key", b"body")
    rig.target_proxy.when(refuse(403, "AccessDenied"), "PUT", times=inf)
    rig.sync("key")
    assert reads(rig) == 1
    assert len(rig.target_proxy.writes()) == requests_to_refuse(each_way)


def test_the_secret_is_read_again_after_its_ttl(rig: Rig) -> None:
    rig.put("key", b"body")
    rig.sync("key")
    fresh = Account(rig.other.endpoint)
    rig.secrets.put_secret_value(SecretId=SECRET, SecretString=secret(fresh))
    rig.clear()
    rig.sync("key")
    assert {request.access_key_id for request in rig.target_proxy.requests} == {rig.other.access_key_id}
    rig.clear()
    with patch.object(credentials, "SECRET_TTL_S", 0.0):
        rig.sync("key")
    assert {request.access_key_id for request in rig.target_proxy.requests} == {fresh.access_key_id}


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize(
    "content",
    [
        "hunter2-not-json",
        "{}",
        "[]",
        '{"access_key_id": "", "secret_access_key": "hunter2"}',
        '{"access_key_id": "hunter2"}',
        '{"access_key_id": "hunter2", "secret_access_key": {"hunter2": 1}}',
    ],
)
def test_the_error_for_an_invalid_secret_says_what_to_write(rig: Rig, content: str) -> None:
    rig.put("key", b"body")
    rig.secrets.put_secret_value(SecretId=SECRET, SecretString=content)
    delivery = rig.sync("key")
    assert delivery.actions == {"key": "retry"}
    assert '{"access_key_id": "...", "secret_access_key": "..."}' in delivery.reasons["key"]
    assert "hunter2" not in json.dumps(delivery.log)


@pytest.mark.usefixtures("each_way")
def test_the_older_form_of_the_secret_is_accepted(rig: Rig) -> None:
    rig.put("key", b"body")
    older = {"lc_access_key": "older-key", "lc_secret_key": "older-secret", "lc_endpoint_url": "https://example.com"}
    rig.secrets.put_secret_value(SecretId=SECRET, SecretString=json.dumps(older))
    assert rig.sync("key").actions == {"key": "copy"}
    assert {request.access_key_id for request in rig.target_proxy.requests} == {"older-key"}


@pytest.mark.usefixtures("each_way")
def test_messages_are_retried_while_the_secret_is_unreadable(rig: Rig) -> None:
    rig.put("key", b"body")
    rig.source_proxy.when(refuse(400, "AccessDeniedException"), operation="GetSecretValue", times=inf)
    delivery = rig.sync("key")
    assert delivery.actions == {"key": "retry"}
    assert "cannot be read" in delivery.reasons["key"]
    rig.clear()
    assert rig.deliver(*delivery.returned).actions == {"key": "copy"}


@pytest.mark.usefixtures("each_way")
def test_a_store_that_checks_signatures_accepts_only_the_right_secret(lesser: Rig) -> None:
    """No fault is injected here: the limited store verifies every signature."""
    lesser.put("key ü+%", b"body", ContentDisposition='inline; filename="ü  x"', Metadata={"a": "b  c"})
    wrong = Account(lesser.other.endpoint, lesser.other.access_key_id)
    lesser.secrets.put_secret_value(SecretId=SECRET, SecretString=secret(wrong))
    delivery = lesser.sync("key ü+%")
    assert delivery.actions == {"key ü+%": "retry"}
    lesser.secrets.put_secret_value(SecretId=SECRET, SecretString=secret(lesser.other))
    with patch.object(credentials, "SECRET_FRESH_S", 0.0):
        assert lesser.sync("key ü+%").actions == {"key ü+%": "copy"}
    assert lesser.target_body("key ü+%") == b"body"
    assert wrong.secret_access_key not in json.dumps(delivery.log)


@pytest.mark.usefixtures("each_way")
def test_the_target_gets_nothing_of_the_aws_environment(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys and the session token of Lambda must never be sent to another cloud."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it has read the environment already
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-of-the-role")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", rig.source_proxy.endpoint)
    rig.put("key", b"body")
    assert rig.sync("key").actions == {"key": "copy"}
    assert any("x-amz-security-token" in request.headers for request in rig.source_proxy.requests)
    for request in rig.target_proxy.requests:
        assert request.access_key_id == rig.other.access_key_id
        assert "x-amz-security-token" not in request.headers


@pytest.mark.usefixtures("each_way")
def test_no_library_logs_the_secret(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """At `log_level = "DEBUG"` the Lambda runtime logs the messages of all libraries."""
    caplog.set_level(logging.DEBUG)
    log_json("DEBUG")
    rig.put("key", b"body")
    assert rig.sync("key").actions == {"key": "copy"}
    assert reads(rig) == 1
    assert rig.other.secret_access_key not in caplog.text


@pytest.mark.parametrize("form", ["json", "html"])
def test_the_command_prints_no_refused_secret(lesser: Rig, tmp_path: Path, form: str) -> None:
    """Neither the output nor a report contains a secret key, from the secret or from the environment."""
    lesser.put("key", b"body")
    wrong = Account(lesser.other.endpoint, lesser.other.access_key_id)
    lesser.secrets.put_secret_value(SecretId=SECRET, SecretString=secret(wrong))
    given = {"TARGET_ACCESS_KEY_ID": wrong.access_key_id, "TARGET_SECRET_ACCESS_KEY": wrong.secret_access_key}
    for environment in ({}, {**given, "TARGET_SECRET_ARN": None}):
        report = tmp_path / f"report.{form}"
        ended = run("migrate", "--report", str(report), S3_SYNCER_LOG_FORMAT="json", **environment)
        assert ended.code == 3
        assert "SignatureDoesNotMatch" in ended.out + ended.err
        assert wrong.secret_access_key not in ended.out + ended.err + report.read_text()


COMMANDS = {
    "migrate": ("migrate",),
    "sync": ("sync", "key"),
    "doctor": ("doctor",),
    "deletions": (
        "deletions",
        "list",
        "--held-deletions-queue-url",
        "https://held",
        "--bulk-queue-url",
        "https://bulk",
    ),
    "serve": ("serve",),
    "check": ("check",),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("variable", ["AWS_SESSION_TOKEN", "HTTP_PROXY", "AWS_PROFILE"])
def test_an_unusable_variable_ends_a_command_with_one_line(
    rig: Rig, command: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "other-host")

    ended = run(*COMMANDS[command], **{variable: "http://a\nb:word"})
    assert (ended.code, ended.err.count("\n")) == (3, 1), ended.err
    assert variable in ended.err
