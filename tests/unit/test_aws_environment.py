"""Variables of boto3 with an unusable value end in one error that names them, and no request is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import HTTPClientError

from s3_syncer.core.errors import Retryable, StoreUnusable
from s3_syncer.settings import Connection, Credentials
from s3_syncer.stores.clients import aws_client, queue_client, source_client, target_client
from s3_syncer.stores.request_errors import as_sync_error

KEYS = "write it without them into AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
PROXY = "is not the address of an HTTP proxy: write http://HOST:PORT"
ENDPOINT = "write a URL such as https://s3.example.com into AWS_ENDPOINT_URL"
SECRET = "not-for-a-log"

#: Variables with the error that they cause.
UNUSABLE = {
    "line end in the access key": ({"AWS_ACCESS_KEY_ID": "AK\nIA"}, f"the access key has control .*: {KEYS}"),
    "access key beyond ASCII": ({"AWS_ACCESS_KEY_ID": "AKIÄ"}, f"the access key has control .*: {KEYS}"),
    "line end in the secret": ({"AWS_SECRET_ACCESS_KEY": f"{SECRET}\n1"}, f"the access key has control .*: {KEYS}"),
    "line end in the token": ({"AWS_SESSION_TOKEN": f"{SECRET}\n1"}, f"the session token has control .*: {KEYS}"),
    "token beyond ASCII": ({"AWS_SESSION_TOKEN": f"{SECRET}Ä"}, f"the session token has control .*: {KEYS}"),
    "proxy without an end": ({"HTTPS_PROXY": f"http://a:{SECRET}@[bad"}, f"^HTTPS_PROXY {PROXY}"),
    "proxy with a word for a port": ({"https_proxy": f"http://a:{SECRET}@host:port"}, f"^https_proxy {PROXY}"),
    "proxy without a host": ({"HTTPS_PROXY": "http://"}, f"^HTTPS_PROXY {PROXY}"),
    "proxy that is no HTTP": ({"HTTPS_PROXY": f"socks5://{SECRET}:1"}, f"^HTTPS_PROXY {PROXY}"),
    "CA bundle that does not exist": (
        {"AWS_CA_BUNDLE": "/no/such/file"},
        "^AWS_CA_BUNDLE does not name certificates in PEM: '/no/such/file': No such file",
    ),
    "CA bundle without a certificate": ({"REQUESTS_CA_BUNDLE": __file__}, "^REQUESTS_CA_BUNDLE does not name"),
    "region": ({"AWS_DEFAULT_REGION": "a region!"}, "write a Region such as eu-west-1 into AWS_DEFAULT_REGION"),
    "region with a line end": ({"AWS_DEFAULT_REGION": "a\nb"}, "write a Region such as .* into AWS_DEFAULT_REGION"),
    "endpoint": ({"AWS_ENDPOINT_URL": "localhost:9000"}, f"{ENDPOINT}$"),
    "endpoint with a word for a port": ({"AWS_ENDPOINT_URL": "http://host:port"}, f"{ENDPOINT}$"),
    "endpoint without an end": ({"AWS_ENDPOINT_URL": "http://[bad"}, f"{ENDPOINT}$"),
    "profile": ({"AWS_PROFILE": "unknown"}, "write the name of a profile into AWS_PROFILE"),
    "configuration": ({"AWS_CONFIG_FILE": "MALFORMED"}, "write the path of a file with sections .* AWS_CONFIG_FILE"),
    "token file": (
        {
            **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ""),
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/no/such/file",
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/reader",
        },
        "^AWS_WEB_IDENTITY_TOKEN_FILE must be the path of a file, not '/no/such/file'",
    ),
    "time of the metadata": (
        {"AWS_METADATA_SERVICE_TIMEOUT": "soon"},
        "write a whole number into AWS_METADATA_SERVICE_TIMEOUT",
    ),
}

CLIENTS: dict[str, Callable[[], Any]] = {
    "source": lambda: source_client(1),
    "queue": lambda: queue_client(1),
    "log": lambda: aws_client("logs"),
    "secret": lambda: target_client("https://store.example.com", "us-east-1", "secret", 1).lease(),
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    for name in ("NO_PROXY", "no_proxy", "HTTPS_PROXY", "https_proxy", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_PROFILE", "REQUESTS_CA_BUNDLE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"ACCESS_KEY_ID": "id", "SECRET_ACCESS_KEY": "key", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_variable_is_named(name: str, client: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    variables, message = UNUSABLE[name]
    malformed = tmp_path / "config"
    malformed.write_text("[default\n")
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value.replace("MALFORMED", str(malformed)))
    with pytest.raises(StoreUnusable, match=message) as raised:
        CLIENTS[client]()
    assert SECRET not in str(raised.value)


def test_keys_of_the_environment_that_no_client_uses_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK\nIA")
    source_client(1, connection=Connection(credentials=Credentials("id", "key")))


def test_a_proxy_that_no_client_uses_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://")
    monkeypatch.setenv("NO_PROXY", "amazonaws.com")
    source_client(1)


@pytest.mark.parametrize("proxy", ["http://proxy:3128", "proxy:3128", "//proxy:3128/", "https://u:p@proxy", "proxy"])
def test_a_proxy_that_boto3_can_use_is_no_error(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    source_client(1)


def test_a_header_that_cannot_be_sent_is_not_shown() -> None:
    error = HTTPClientError(error=ValueError(f"Invalid header value b'{SECRET}\\n'"))
    found = as_sync_error("head_object", "bucket", error)
    assert isinstance(found, Retryable)
    assert SECRET not in str(found)
