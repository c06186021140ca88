"""The sessions of a profile and of a role, and the client that renews the session of a role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import BotoCoreError, ClientError

from s3_syncer.core.errors import StoreUnusable, Transient
from s3_syncer.settings import NO_SOURCE_OPTIONS, AwsChain, Connection, Credentials
from s3_syncer.stores.clients import source_client, target_client
from s3_syncer.stores.credentials import ROLE_FRESH_S, Lease, RoleClient, SigningKeys
from s3_syncer.stores.request_errors import as_sync_error
from s3_syncer.stores.sessions import ROLE_SESSION_NAME

ROLE = "arn:aws:iam::210987654321:role/reader"

PROFILES = """
[profile other]
region = eu-west-1
endpoint_url = https://s3.eu-west-1.example.com
[profile assuming]
role_arn = arn:aws:iam::210987654321:role/reader
source_profile = base
"""
KEYS = """
[other]
aws_access_key_id = other-id
aws_secret_access_key = other-secret
[base]
aws_access_key_id = base-id
aws_secret_access_key = base-secret
"""


@pytest.fixture(autouse=True)
def profiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, text in (("AWS_CONFIG_FILE", PROFILES), ("AWS_SHARED_CREDENTIALS_FILE", KEYS)):
        (tmp_path / name).write_text(text)
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "default-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "default-secret")


class Sts:
    """A stand-in for STS: each request for a role gives new credentials."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.assumed: list[str] = []
        self.error: Mapping[str, Any] | None = None
        self.lifetime_s = 3600.0
        monkeypatch.setattr(boto3.Session, "client", self._client(boto3.Session.client))

    def _client(self, build: Callable[..., Any]) -> Callable[..., Any]:
        def client(session: boto3.Session, service: str, **options: Any) -> Any:
            built = build(session, service, **options)
            if service == "sts":
                built.meta.events.register_first("before-send.sts", self._respond)
            return built

        return client

    def _respond(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        self.assumed.append(str(request.headers["Authorization"]).partition("Credential=")[2].partition("/")[0])
        assert f"RoleArn={ROLE}" in _text(request)
        assert f"RoleSessionName={ROLE_SESSION_NAME}" in _text(request)
        number, end = len(self.assumed), datetime.now(UTC) + timedelta(seconds=self.lifetime_s)
        if self.error is not None:
            return _response(request, self.error["status"], _ERROR.format(**self.error))
        return _response(request, 200, _ASSUMED.format(number=number, end=end.isoformat()))


_ERROR = "<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
_ASSUMED = (
    "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>role-{number}</AccessKeyId>"
    "<SecretAccessKey>secret-{number}</SecretAccessKey><SessionToken>token-{number}</SessionToken>"
    "<Expiration>{end}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
)


def _text(request: AWSPreparedRequest) -> str:
    return unquote(str(request.body))


def _response(request: AWSPreparedRequest, status: int, text: str) -> AWSResponse:
    class Raw:
        def stream(self, *_: object, **__: object) -> list[bytes]:
            return [text.encode()]

    return AWSResponse(request.url, status, {"content-type": "text/xml"}, Raw())


@pytest.fixture
def sts(monkeypatch: pytest.MonkeyPatch) -> Sts:
    return Sts(monkeypatch)


def source(credentials: Credentials | AwsChain, **connection: str) -> Any:
    return source_client(1, NO_SOURCE_OPTIONS, Connection(credentials=credentials, **connection))


def test_profile_gives_the_credentials_the_region_and_the_endpoint() -> None:
    lease = source(AwsChain("other")).lease()
    assert lease.signing_keys() == SigningKeys("other-id", "other-secret")
    assert lease.client.meta.region_name == "eu-west-1"
    assert lease.client.meta.endpoint_url == "https://s3.eu-west-1.example.com"


def test_endpoint_and_region_of_the_options_win_over_those_of_the_profile() -> None:
    meta = source(AwsChain("other"), endpoint="https://s3.example.org", region="us-west-2").lease().client.meta
    assert (meta.endpoint_url, meta.region_name) == ("https://s3.example.org", "us-west-2")


def test_access_key_of_the_source_is_not_that_of_the_environment() -> None:
    assert source(Credentials("id", "secret")).lease().signing_keys() == SigningKeys("id", "secret")
    assert source(AwsChain()).lease().signing_keys() == SigningKeys("default-id", "default-secret")


def test_profile_gives_the_target_its_credentials_alone() -> None:
    lease = target_client("https://s3.example.org", "eu-1", AwsChain("other"), 1).lease()
    assert lease.signing_keys() == SigningKeys("other-id", "other-secret")
    assert (lease.client.meta.endpoint_url, lease.client.meta.region_name) == ("https://s3.example.org", "eu-1")


@pytest.mark.parametrize("connect", [source, lambda chain: target_client("https://s3.example.org", "eu-1", chain, 1)])
def test_missing_profile_is_named_with_those_that_exist(connect: Callable[[AwsChain], Any]) -> None:
    with pytest.raises(StoreUnusable, match=r"the AWS profile 'no-such' does not exist: write one of .*other"):
        connect(AwsChain("no-such"))


@pytest.mark.parametrize(("profile", "assumed_by"), [("", "default-id"), ("other", "other-id")])
def test_role_is_assumed_once_at_the_first_request(sts: Sts, profile: str, assumed_by: str) -> None:
    clients = source(AwsChain(profile, ROLE))
    assert sts.assumed == []
    assert clients.lease().signing_keys() == SigningKeys("role-1", "secret-1", "token-1")
    assert clients.lease().signing_keys().access_key_id == "role-1"
    assert sts.assumed == [assumed_by]


def test_boto3_signs_with_the_role(sts: Sts) -> None:
    client, sent = source(AwsChain("", ROLE)).lease().client, list[Any]()

    def note(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        sent.append(request.headers)
        return _response(request, 200, "")

    client.meta.events.register_first("before-send.s3.HeadObject", note)
    client.head_object(Bucket="bucket", Key="key")
    assert b"role-1" in sent[0]["Authorization"]
    assert sent[0]["X-Amz-Security-Token"] in ("token-1", b"token-1")


def test_role_is_assumed_again_before_its_credentials_expire(sts: Sts) -> None:
    """A worker may be frozen for hours: the time decides at each request."""
    clients = source(AwsChain("", ROLE))
    sts.lifetime_s = 60.0  # less than the 10 minutes within which boto3 renews before it signs
    names = [clients.lease().signing_keys().access_key_id for _ in range(3)]
    assert names == ["role-1", "role-2", "role-3"]


def test_refused_session_is_replaced_by_a_new_one(sts: Sts) -> None:
    """An administrator may revoke the sessions of a role before they expire."""
    now = 1000.0
    built = iter("abc")

    def build() -> tuple[Any, Any]:
        return next(built), boto3.Session("id", "secret")

    clients = RoleClient(build, clock=lambda: now)
    refused = clients.lease()
    assert clients.renew(refused) is None, "its session is new"
    now += ROLE_FRESH_S
    renewed = clients.renew(refused)
    assert renewed is not None
    assert (renewed.client, clients.lease()) == ("b", renewed)
    assert clients.renew(refused) == renewed, "another thread has renewed it"
    assert clients.renew(renewed) is None


def test_new_session_of_a_role_has_new_credentials(sts: Sts) -> None:
    clients = source(AwsChain("", ROLE))
    clients._clock = lambda: float("inf")
    first = clients.lease()
    assert first.signing_keys().access_key_id == "role-1"
    renewed = clients.renew(first)
    assert renewed.signing_keys().access_key_id == "role-2"


def failure(lease: Lease) -> Exception:
    with pytest.raises((ClientError, BotoCoreError)) as raised:
        lease.client.head_object(Bucket="bucket", Key="key")
    return as_sync_error("head_object", "bucket", raised.value)


DENIED = {"status": 403, "code": "AccessDenied", "message": f"not authorized to perform sts:AssumeRole on {ROLE}"}


def test_role_that_cannot_be_assumed_is_no_denial_of_a_key(sts: Sts) -> None:
    sts.error = DENIED
    lease = source(AwsChain("", ROLE)).lease()
    error = failure(lease)
    assert isinstance(error, StoreUnusable)
    assert f"the role {ROLE} cannot be assumed: not authorized to perform sts:AssumeRole" in str(error)
    assert "Allow sts:AssumeRole in the trust policy of the role" in str(error)
    with pytest.raises(StoreUnusable, match="cannot be assumed"):
        lease.signing_keys()


def test_role_of_a_profile_that_cannot_be_assumed_is_no_denial_of_a_key() -> None:
    """boto3 itself assumes this role, as a part of the request to the store."""
    error = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "AssumeRole")
    found = as_sync_error("head_object", "bucket", error)
    assert isinstance(found, StoreUnusable)
    assert "no credentials" in str(found)


def test_busy_sts_is_asked_again_later(sts: Sts, monkeypatch: pytest.MonkeyPatch) -> None:
    sts.error = {"status": 503, "code": "ServiceUnavailable", "message": "busy"}
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0.0)
    lease = source(AwsChain("", ROLE)).lease()
    assert isinstance(failure(lease), Transient)
    with pytest.raises(Transient):
        lease.signing_keys()
