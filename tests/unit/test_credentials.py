"""The client of the target, and the secret that it is built from."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from s3_syncer.core.errors import StoreUnusable
from s3_syncer.stores import clients
from s3_syncer.stores.credentials import SECRET_FRESH_S, SECRET_TTL_S, Credentials, RotatingClient, parse_secret

OLD, NEW = Credentials("old", "1"), Credentials("new", "2")


class Secret:
    """A secret, a clock, and a rotating client. Its S3 clients are the credentials themselves."""

    def __init__(self) -> None:
        self.value, self.now, self.reads = OLD, 1000.0, 0
        self.client = RotatingClient(self._read, self._build, clock=lambda: self.now)

    def _read(self) -> Credentials:
        self.reads += 1
        return self.value

    @staticmethod
    def _build(credentials: Credentials) -> Any:
        return [credentials]


@pytest.fixture
def secret() -> Secret:
    return Secret()


@pytest.mark.parametrize(
    ("secret", "region"),
    [
        ("arn:aws:secretsmanager:eu-central-1:123456789012:secret:other-AbCdEf", "eu-central-1"),
        ("arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:other-AbCdEf", "cn-north-1"),
        ("by-name", "eu-west-1"),
    ],
)
def test_a_secret_is_read_in_its_region(secret: str, region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another Region, Secrets Manager responds that it has no secret with this ARN."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    read: list[str] = []

    def note(client: Any, secret: str) -> Credentials:
        read.append(client.meta.region_name)
        return Credentials("key", "secret")

    monkeypatch.setattr(clients, "read_secret", note)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    _ = clients.target_client("https://s3.example.com", "us-east-1", secret, 1).lease()
    assert read == [region]


def test_a_refused_request_reads_the_secret_again(secret: Secret) -> None:
    refused = secret.client.lease()
    secret.value, secret.now = NEW, secret.now + SECRET_FRESH_S
    renewed = secret.client.renew(refused)
    assert renewed is not None
    assert renewed.credentials == NEW


def test_a_request_that_began_before_a_reload_reads_the_secret_again_too(secret: Secret) -> None:
    """The reload found the same credentials, and so gave a new lease of the same client."""
    refused = secret.client.lease()
    secret.now += SECRET_TTL_S
    assert secret.client.lease() is not refused
    secret.value, secret.now = NEW, secret.now + SECRET_FRESH_S
    renewed = secret.client.renew(refused)
    assert renewed is not None
    assert renewed.credentials == NEW


def test_requests_that_are_refused_together_read_the_secret_once(secret: Secret) -> None:
    refused = secret.client.lease()
    secret.value, secret.now = NEW, secret.now + SECRET_FRESH_S
    assert secret.client.renew(refused) is secret.client.renew(refused)
    assert secret.reads == 2


def test_a_secret_that_has_just_been_read_is_not_read_again(secret: Secret) -> None:
    refused = secret.client.lease()
    secret.now += SECRET_TTL_S
    secret.client.lease()
    assert secret.client.renew(refused) is None
    assert secret.reads == 2


def test_credentials_that_have_not_changed_are_no_newer_ones(secret: Secret) -> None:
    refused = secret.client.lease()
    secret.now += SECRET_FRESH_S
    assert secret.client.renew(refused) is None
    assert secret.reads == 2


@pytest.mark.parametrize(
    ("key_id", "key"),
    [(" ", "b"), ("a", "\n"), ("a\nb", "c"), ("a", "b\rc"), ("ü", "b"), ("a", "\ud800"), ("a\0", "b")],
)
def test_a_secret_with_a_key_that_cannot_sign_is_named(key_id: str, key: str) -> None:
    text = json.dumps({"access_key_id": key_id, "secret_access_key": key})
    with pytest.raises(StoreUnusable, match="the secret name has an access key that is empty, or has control"):
        parse_secret(text, "name")


def test_blanks_and_line_ends_around_a_key_are_no_part_of_it() -> None:
    assert parse_secret('{"access_key_id": " a\\n", "secret_access_key": "b c\\r\\n"}', "name") == Credentials(
        "a", "b c"
    )


def test_a_secret_from_a_file_of_windows_may_begin_with_a_byte_order_mark() -> None:
    text = '\ufeff{"access_key_id": "a",\r\n"secret_access_key": "b"}\r\n'
    assert parse_secret(text, "name") == Credentials("a", "b")


def test_temporary_credentials_are_refused_and_not_used_without_their_token() -> None:
    text = '{"access_key_id": "a", "secret_access_key": "b", "session_token": "the-token"}'
    with pytest.raises(StoreUnusable, match="has a session_token, so its access key expires") as caught:
        parse_secret(text, "name")
    assert "the-token" not in str(caught.value)
