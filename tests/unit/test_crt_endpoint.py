"""Test that the transports use the endpoint of boto3's own requests, and which one that is."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from awscrt import http
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from s3_syncer.core.errors import StoreUnusable, SyncError, Transient
from s3_syncer.core.multipart import Part
from s3_syncer.crt.factory import crt_transports
from s3_syncer.settings import AWS, AwsChain, Connection, Credentials
from s3_syncer.stores.clients import aws_address, source_client, target_client
from s3_syncer.stores.credentials import FixedClient, Lease
from s3_syncer.stores.protocols import BucketLocation
from s3_syncer.sync.context import Transports
from s3_syncer.transport.endpoint import OnlyBoto3Error, bucket_endpoint
from s3_syncer.transport.factory import plain_transports

KEYS = {"AWS_ACCESS_KEY_ID": "access-key", "AWS_SECRET_ACCESS_KEY": "secret-key"}
FIPS, DUAL_STACK = {"AWS_USE_FIPS_ENDPOINT": "true"}, {"AWS_USE_DUALSTACK_ENDPOINT": "true"}
GLOBAL, REGIONAL = ({"AWS_S3_US_EAST_1_REGIONAL_ENDPOINT": value} for value in ("legacy", "regional"))
VPCE = "https://bucket.vpce-1a2b3c4d-5e6f.s3.eu-west-1.vpce.amazonaws.com"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of the caller, and the session that has read them."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    for name in ("AWS_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", *FIPS, *DUAL_STACK, *GLOBAL):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def source(monkeypatch: pytest.MonkeyPatch, region: str, settings: Mapping[str, str]) -> FixedClient:
    for name, value in {"AWS_DEFAULT_REGION": region, **settings}.items():
        monkeypatch.setenv(name, value)
    return source_client(connections=1)


def sent(client: Any, bucket: str) -> str:
    """Return the address of a GetObject request of boto3, without the key."""
    addresses: list[str] = []

    def note(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        addresses.append(str(request.url))
        return AWSResponse(request.url, 200, {}, None)

    client.meta.events.register_first("before-send.s3.GetObject", note)
    client.get_object(Bucket=bucket, Key="key")
    return addresses[0].removesuffix("/key")


@pytest.mark.parametrize(
    ("region", "settings", "bucket", "url"),
    [
        ("us-east-1", {}, "the-bucket", "https://the-bucket.s3.us-east-1.amazonaws.com"),
        ("eu-west-1", {}, "the-bucket", "https://the-bucket.s3.eu-west-1.amazonaws.com"),
        ("eu-south-1", {}, "the-bucket", "https://the-bucket.s3.eu-south-1.amazonaws.com"),
        ("cn-north-1", {}, "the-bucket", "https://the-bucket.s3.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", {}, "the-bucket", "https://the-bucket.s3.us-gov-west-1.amazonaws.com"),
        ("us-east-1", FIPS, "the-bucket", "https://the-bucket.s3-fips.us-east-1.amazonaws.com"),
        ("eu-west-1", FIPS, "the-bucket", "https://the-bucket.s3-fips.eu-west-1.amazonaws.com"),
        ("eu-south-1", FIPS, "the-bucket", "https://the-bucket.s3-fips.eu-south-1.amazonaws.com"),
        ("us-gov-west-1", FIPS, "the-bucket", "https://the-bucket.s3-fips.us-gov-west-1.amazonaws.com"),
        ("us-east-1", DUAL_STACK, "the-bucket", "https://the-bucket.s3.dualstack.us-east-1.amazonaws.com"),
        ("eu-west-1", DUAL_STACK, "the-bucket", "https://the-bucket.s3.dualstack.eu-west-1.amazonaws.com"),
        ("eu-south-1", DUAL_STACK, "the-bucket", "https://the-bucket.s3.dualstack.eu-south-1.amazonaws.com"),
        ("cn-north-1", DUAL_STACK, "the-bucket", "https://the-bucket.s3.dualstack.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", DUAL_STACK, "the-bucket", "https://the-bucket.s3.dualstack.us-gov-west-1.amazonaws.com"),
        ("us-east-1", FIPS | DUAL_STACK, "b-b", "https://b-b.s3-fips.dualstack.us-east-1.amazonaws.com"),
        ("us-gov-west-1", FIPS | DUAL_STACK, "b-b", "https://b-b.s3-fips.dualstack.us-gov-west-1.amazonaws.com"),
        ("us-east-1", {}, "the.bucket", "https://s3.us-east-1.amazonaws.com/the.bucket"),
        ("us-east-1", FIPS, "the.bucket", "https://s3-fips.us-east-1.amazonaws.com/the.bucket"),
        ("us-east-1", DUAL_STACK, "the.bucket", "https://s3.dualstack.us-east-1.amazonaws.com/the.bucket"),
        ("us-east-1", REGIONAL, "the-bucket", "https://the-bucket.s3.us-east-1.amazonaws.com"),
        ("us-east-1", GLOBAL, "the-bucket", "https://the-bucket.s3.amazonaws.com"),
        ("us-east-1", GLOBAL, "the.bucket", "https://s3.amazonaws.com/the.bucket"),
        ("us-east-1", {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000"}, "b-b", "http://127.0.0.1:9000/b-b"),
        ("eu-south-1", {}, "the.bucket", "https://s3.eu-south-1.amazonaws.com/the.bucket"),
        ("cn-north-1", {}, "the.bucket", "https://s3.cn-north-1.amazonaws.com.cn/the.bucket"),
        ("eu-west-1", FIPS, "the.bucket", "https://s3-fips.eu-west-1.amazonaws.com/the.bucket"),
        ("eu-west-1", {"AWS_ENDPOINT_URL_S3": VPCE}, "the-bucket", f"{VPCE}/the-bucket"),
        ("eu-west-1", {"AWS_ENDPOINT_URL": VPCE}, "the.bucket", f"{VPCE}/the.bucket"),
        ("eu-west-1", {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000"}, "b-b", "http://127.0.0.1:9000/b-b"),
        ("eu-west-1", {"AWS_ENDPOINT_URL_S3": "https://s3.example.com/api"}, "b-b", "https://s3.example.com/api/b-b"),
    ],
)
def test_endpoint_of_the_source_is_that_of_boto3(
    monkeypatch: pytest.MonkeyPatch, region: str, settings: Mapping[str, str], bucket: str, url: str
) -> None:
    clients = source(monkeypatch, region, settings)
    endpoint = bucket_endpoint(BucketLocation(bucket, "", clients))
    assert (endpoint.url, endpoint.region) == (url, region)
    assert sent(clients.lease().client, bucket) == url


@pytest.mark.parametrize("transports", [plain_transports, partial(crt_transports, concurrency=1)])
@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({}, "the-bucket.s3.us-east-1.amazonaws.com"),
        (FIPS, "the-bucket.s3-fips.us-east-1.amazonaws.com"),
        (DUAL_STACK, "the-bucket.s3.dualstack.us-east-1.amazonaws.com"),
        (FIPS | DUAL_STACK, "the-bucket.s3-fips.dualstack.us-east-1.amazonaws.com"),
        (GLOBAL, "the-bucket.s3.amazonaws.com"),
    ],
)
def test_both_transports_connect_to_that_endpoint(
    monkeypatch: pytest.MonkeyPatch, transports: Callable[..., Transports], settings: Mapping[str, str], host: str
) -> None:
    """The global name, the-bucket.s3.amazonaws.com, is not served by interface endpoints."""
    connected: list[str] = []

    def refuse(host: str) -> None:
        connected.append(host)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", lambda address, *_, **__: refuse(address[0]))
    monkeypatch.setattr(http.HttpClientConnection, "new", lambda host_name, *_, **__: refuse(host_name))
    location = BucketLocation("the-bucket", "", source(monkeypatch, "us-east-1", settings))
    transport = transports(location, location).source
    assert transport is not None
    assert transport.try_call("head_object", {"Bucket": "the-bucket", "Key": "key"}) is None
    assert set(connected) == {host}


@pytest.mark.parametrize(
    ("profile", "host"),
    [
        ("", "s3.us-east-1.amazonaws.com"),
        ("s3_us_east_1_regional_endpoint = legacy", "s3.amazonaws.com"),
        ("s3 =\n  us_east_1_regional_endpoint = legacy", "s3.amazonaws.com"),
        ("s3 =\n  addressing_style = path", "s3.us-east-1.amazonaws.com"),
    ],
)
@pytest.mark.parametrize("chain", [None, AwsChain("other"), AwsChain(role_arn="arn:aws:iam::123456789012:role/r")])
def test_every_client_of_aws_uses_the_regional_endpoint_unless_a_profile_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chain: AwsChain | None, profile: str, host: str
) -> None:
    """The source of each kind of credentials, and AWS itself as the target."""
    config = tmp_path / "config"
    lines = f"region = us-east-1\n{profile}\n"
    config.write_text(f"[default]\n{lines}\n[profile other]\n{lines}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    clients = source_client(1, connection=Connection(credentials=chain) if chain else AWS)
    assert clients.lease().client.meta.endpoint_url == f"https://{host}"
    assert aws_address(chain or AwsChain(), "") == (f"https://{host}", "us-east-1")


def test_requests_after_the_question_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request that asks for the address is not sent, and changes no other request of the client."""
    clients = source(monkeypatch, "eu-west-1", {})
    first = bucket_endpoint(BucketLocation("the-bucket", "", clients))
    assert bucket_endpoint(BucketLocation("the-bucket", "", clients)) == first
    assert bucket_endpoint(BucketLocation("other", "", clients)).url == "https://other.s3.eu-west-1.amazonaws.com"


def test_signatures_name_the_region_of_the_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """`aws-global` is a name of the endpoint, and no region that a signature can name."""
    clients = source(monkeypatch, "aws-global", {})
    assert bucket_endpoint(BucketLocation("the-bucket", "", clients)).region == "us-east-1"


@pytest.mark.parametrize("endpoint", ["https://s3.eu-1.example.com", "http://127.0.0.1:9000"])
def test_endpoint_of_the_target_has_the_bucket_in_the_path(endpoint: str) -> None:
    clients = target_client(endpoint, "eu-1", Credentials("access-key", "secret-key"), connections=1)
    found = bucket_endpoint(BucketLocation("the.bucket", "out/", clients))
    assert (found.url, found.region) == (f"{endpoint}/the.bucket", "eu-1")


@pytest.mark.parametrize("bucket", ["arn:aws:s3:eu-west-1:123456789012:accesspoint/a", "one--euw1-az1--x-s3"])
def test_only_boto3_reaches_buckets_with_other_signatures(monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    with pytest.raises(OnlyBoto3Error):
        bucket_endpoint(BucketLocation(bucket, "", source(monkeypatch, "eu-west-1", {})))


def test_there_is_no_endpoint_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreUnusable):
        bucket_endpoint(BucketLocation("the-bucket", "", source(monkeypatch, "eu-west-1", {})))


PROXY = "http://proxy.example.com:3128"
PROXY_VARIABLES = [
    each for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for each in (name, name.lower())
]


@pytest.mark.parametrize(
    ("settings", "proxied"),
    [
        ({}, False),
        ({"HTTPS_PROXY": PROXY}, True),
        ({"https_proxy": PROXY}, True),
        ({"HTTP_PROXY": PROXY}, False),
        ({"ALL_PROXY": PROXY}, False),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "s3.eu-west-1.amazonaws.com"}, False),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": ".amazonaws.com"}, False),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "localhost, amazonaws.com"}, False),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, False),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": ".example.com"}, True),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "the-bucket.s3.eu-west-1.amazonaws.com"}, True),
    ],
)
def test_only_boto3_goes_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, str], *, proxied: bool
) -> None:
    """A task behind a proxy cannot connect to the store past it: each request would wait for its timeout."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    clients = source(monkeypatch, "eu-west-1", settings)
    boto3_proxy = clients.lease().client._endpoint.http_session._proxy_config.proxy_url_for("https://the-bucket.s3")
    assert (boto3_proxy is not None) == proxied
    with pytest.raises(OnlyBoto3Error) if proxied else nullcontext():
        bucket_endpoint(BucketLocation("the-bucket", "", clients))


def test_a_proxy_of_one_store_leaves_its_requests_and_all_copies_to_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small objects and streams need both stores."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    clients = source(monkeypatch, "eu-west-1", {"HTTPS_PROXY": PROXY, "NO_PROXY": ".amazonaws.com"})
    keys = Credentials("access-key", "secret-key")
    target = BucketLocation("the-mirror", "", target_client("https://s3.example.com", "eu-1", keys, connections=1))
    found = crt_transports(BucketLocation("the-bucket", "", clients), target, concurrency=1)
    assert (found.small_object_copier, found.stream_copier) == (None, None)
    assert found.source is not None
    assert found.source.try_call("head_object", {"Bucket": "the-bucket", "Key": "key"}) is None


class NoCredentials:
    """The clients of a store without credentials for now."""

    def __init__(self, error: SyncError) -> None:
        self._error = error

    def lease(self) -> Lease:
        raise self._error

    def renew(self, refused: Lease) -> Lease | None:
        raise self._error


@pytest.mark.parametrize("error", [StoreUnusable("no such secret"), Transient("Secrets Manager is busy")])
def test_a_start_without_credentials_leaves_the_requests_to_boto3(error: SyncError) -> None:
    """The start itself does not fail. The error of boto3 then says what is wrong."""
    location = BucketLocation("the-bucket", "", NoCredentials(error))
    found = crt_transports(location, location, concurrency=1)
    assert found.source is not None
    assert found.source.try_call("head_object", {"Bucket": "the-bucket", "Key": "key"}) is None
    assert found.stream_copier is not None
    assert found.stream_copier.part("key", "etag", "upload", Part(1, 0, 1), lambda: True) is None
