"""The target's credentials come from the secret, and a rotation needs neither a deployment nor a new process."""

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
    """A refusal is worth another look at the secret, however recent the last one is."""
    monkeypatch.setattr(credentials, "SECRET_FRESH_S", 0.0)


def rotate(rig: Rig, account: Account) -> None:
    """The other cloud knows this key from now on, and no other."""
    rig.target_proxy.clear()
    rig.target_proxy.when(admit(account.access_key_id), times=inf)
    rig.secrets.put_secret_value(SecretId=SECRET, SecretString=secret(account))


def reads(rig: Rig) -> int:
    return sum(request.operation == "GetSecretValue" for request in rig.source_proxy.requests)


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken"])
def test_a_rotated_secret_is_read_when_the_old_key_is_refused(rig: Rig, code: str) -> None:
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
    assert asked_with == [rig.other.access_key_id] + [fresh.access_key_id] * (len(asked_with) - 1)
    assert rig.differences() == []


@pytest.mark.usefixtures("_at_once", "each_way")
def test_many_refusals_at_once_read_the_secret_once(rig: Rig) -> None:
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
def test_messages_wait_until_the_secret_is_right(rig: Rig, code: str) -> None:
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
def test_a_policy_that_denies_is_no_matter_of_waiting(rig: Rig) -> None:
    rig.put("key", b"body")
    rig.target_proxy.when(refuse(403, "AccessDenied", "no writing here"), "PUT", times=inf)
    delivery = rig.sync("key")
    assert delivery.actions == {"key": "dead-letter"}
    assert delivery.returned == []
    assert reads(rig) == 2, "the secret was read afresh before the judgement"
    (letter,) = rig.dead_letters()
    assert letter.body == json.dumps(json.loads(letter.body))
    assert "AccessDenied" in letter.error
    assert "no writing here" in letter.error
    assert (letter.key, letter.bucket) == ("key", SOURCE)


def test_the_target_alone_is_asked_with_the_fresh_key_once(rig: Rig) -> None:
    """A secret that was read a moment ago is not read again for every refusal."""
    rig.put("key", b"body")
    rig.target_proxy.when(refuse(403, "AccessDenied"), "PUT", times=inf)
    rig.sync("key")
    assert reads(rig) == 1
    assert len(rig.target_proxy.writes()) == 1


def test_a_secret_is_read_again_when_its_time_has_passed(rig: Rig) -> None:
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
def test_a_secret_that_holds_no_credentials_says_what_it_should_hold(rig: Rig, content: str) -> None:
    rig.put("key", b"body")
    rig.secrets.put_secret_value(SecretId=SECRET, SecretString=content)
    delivery = rig.sync("key")
    assert delivery.actions == {"key": "retry"}
    assert '{"access_key_id": "...", "secret_access_key": "..."}' in delivery.reasons["key"]
    assert "hunter2" not in json.dumps(delivery.log)


@pytest.mark.usefixtures("each_way")
def test_the_older_form_of_the_secret_is_understood(rig: Rig) -> None:
    rig.put("key", b"body")
    older = {"lc_access_key": "older-key", "lc_secret_key": "older-secret", "lc_endpoint_url": "https://example.com"}
    rig.secrets.put_secret_value(SecretId=SECRET, SecretString=json.dumps(older))
    assert rig.sync("key").actions == {"key": "copy"}
    assert {request.access_key_id for request in rig.target_proxy.requests} == {"older-key"}


@pytest.mark.usefixtures("each_way")
def test_a_secret_that_cannot_be_read_is_waited_for(rig: Rig) -> None:
    rig.put("key", b"body")
    rig.source_proxy.when(refuse(400, "AccessDeniedException"), operation="GetSecretValue", times=inf)
    delivery = rig.sync("key")
    assert delivery.actions == {"key": "retry"}
    assert "cannot be read" in delivery.reasons["key"]
    rig.clear()
    assert rig.deliver(*delivery.returned).actions == {"key": "copy"}


@pytest.mark.usefixtures("each_way")
def test_a_store_that_checks_signatures_takes_only_the_right_secret(lesser: Rig) -> None:
    """Nothing is injected here: the lesser store verifies every signature."""
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
def test_nothing_of_the_target_comes_from_the_environment(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda's own keys and session token must never be shown to another cloud."""
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
    """With `log_level = "DEBUG"` Lambda's runtime logs whatever any library has to say, and botocore says it all."""
    caplog.set_level(logging.DEBUG)
    log_json("DEBUG")
    rig.put("key", b"body")
    assert rig.sync("key").actions == {"key": "copy"}
    assert reads(rig) == 1
    assert rig.other.secret_access_key not in caplog.text


@pytest.mark.parametrize("form", ["json", "html"])
def test_the_command_tells_no_secret_that_is_refused(lesser: Rig, tmp_path: Path, form: str) -> None:
    """Neither one from the secret nor one from the environment, in what is printed or in a report."""
    lesser.put("key", b"body")
    wrong = Account(lesser.other.endpoint, lesser.other.access_key_id)
    lesser.secrets.put_secret_value(SecretId=SECRET, SecretString=secret(wrong))
    given = {"TARGET_ACCESS_KEY_ID": wrong.access_key_id, "TARGET_SECRET_ACCESS_KEY": wrong.secret_access_key}
    for environment in ({}, {**given, "TARGET_SECRET_ARN": None}):
        report = tmp_path / f"report.{form}"
        ended = run("migrate", "--report", str(report), S3_SYNCER_LOG_FORMAT="json", **environment)
        assert ended.code == 1
        assert "SignatureDoesNotMatch" in ended.out + ended.err
        assert wrong.secret_access_key not in ended.out + ended.err + report.read_text()
