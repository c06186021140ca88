"""Addresses that only some stores have: an endpoint with a path, keys that start with a slash."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from awscrt.http import HttpClientConnection
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SigningCredentials
from tests.functional.command import run
from tests.functional.harness import MIB, REGION, SOURCE, TARGET, Account, Rig
from tests.functional.proxy import Proxy, Request, in_front_of

from s3_syncer.settings import Credentials
from s3_syncer.stores.clients import target_client

BELOW = "/storage/v1/s3"


@pytest.fixture
def below_a_path(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Put the S3 API of the target below a path. Any other path gets a 404 from moto."""

    def path_at_store(_host: str, path: str) -> str:
        return path.removeprefix(BELOW) if path.startswith(f"{BELOW}/") else "/no-such-bucket/key"

    with in_front_of(rig.other.endpoint, path_at_store=path_at_store) as proxy:
        monkeypatch.setenv("TARGET_ENDPOINT", proxy.endpoint + BELOW)
        yield proxy


def fill(rig: Rig) -> None:
    """Give the source one object for each way of a copy: small, streamed whole, and in parts."""
    rig.put("small", b"body")
    rig.put("a b/ü+%", b"body")
    rig.put("streamed whole", bytes(9 * MIB))
    rig.put_parts("in parts", bytes(5 * MIB), b"end")
    rig.target.put_object(Bucket=TARGET, Key="only here", Body=b"body")


def test_the_function_uses_an_endpoint_with_a_path(rig: Rig, below_a_path: Proxy, each_way: str) -> None:
    fill(rig)
    rig.sync(*rig.source_keys(), "only here")
    assert rig.differences() == []
    assert len(below_a_path.writes()) >= 5
    assert [request.path for request in below_a_path.requests if not is_signed(request, rig.other)] == []


def test_the_command_uses_an_endpoint_with_a_path(rig: Rig, below_a_path: Proxy) -> None:
    fill(rig)
    ended = run("migrate", "--delete")
    assert ended.code == 0, ended
    assert rig.differences() == []
    assert [request.path for request in below_a_path.requests if not is_signed(request, rig.other)] == []


def is_signed(request: Request, account: Account) -> bool:
    """Return True if the signature is the one that botocore computes for the request as it was sent."""
    authorization = request.headers["authorization"]
    signed = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    headers = {name: request.headers[name] for name in {*signed, "x-amz-content-sha256"}}
    rebuilt = AWSRequest(request.method, f"http://{request.headers['host']}{request.path}", headers)
    rebuilt.context["timestamp"] = request.headers["x-amz-date"]
    signer = S3SigV4Auth(SigningCredentials(account.access_key_id, account.secret_access_key), "s3", REGION)
    canonical = signer.canonical_request(rebuilt)
    return authorization.endswith(signer.signature(signer.string_to_sign(rebuilt, canonical), rebuilt))


@pytest.fixture
def bucket_in_the_host(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Give the target an address that has the bucket in the host. moto takes the bucket from there."""
    known, connect = socket.getaddrinfo, HttpClientConnection.new

    def local(host: str) -> str:
        return "127.0.0.1" if host.endswith("store.test") else host

    def path_at_store(host: str, path: str) -> str:
        return path if host.startswith(f"{TARGET}.store.test") else "/no-such-bucket/key"

    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *options, **more: known(local(host), *options, **more))
    monkeypatch.setattr(HttpClientConnection, "new", lambda host, *options: connect(local(host), *options))
    with in_front_of(rig.other.endpoint, path_at_store=path_at_store) as proxy:
        monkeypatch.setenv("TARGET_ENDPOINT", proxy.endpoint.replace("127.0.0.1", "store.test"))
        monkeypatch.setenv("TARGET_ADDRESSING_STYLE", "virtual")
        yield proxy


def test_the_function_names_the_bucket_in_the_host(rig: Rig, bucket_in_the_host: Proxy, each_way: str) -> None:
    fill(rig)
    rig.sync(*rig.source_keys(), "only here")
    assert rig.differences() == []
    assert [request.path for request in bucket_in_the_host.requests if not is_signed(request, rig.other)] == []
    rig.close()


def test_the_command_names_the_bucket_in_the_host(rig: Rig, bucket_in_the_host: Proxy) -> None:
    fill(rig)
    ended = run("migrate", "--delete")
    assert ended.code == 0, ended
    assert rig.differences() == []
    agents = {request.headers["user-agent"].split()[1].partition("/")[0] for request in bucket_in_the_host.requests}
    assert agents == {"awscrt", "Python", "Boto3"}, "each client of the target was used"
    assert [request.path for request in bucket_in_the_host.requests if not is_signed(request, rig.other)] == []


@pytest.mark.parametrize("setting", ["use_accelerate_endpoint", "payload_signing_enabled", "addressing_style"])
def test_no_s3_setting_of_the_aws_profile_reaches_the_target(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str
) -> None:
    keys = Credentials(rig.other.access_key_id, rig.other.secret_access_key)
    without = target_client(rig.target_proxy.endpoint, REGION, keys, 1).lease().client
    value = "virtual" if setting == "addressing_style" else "true"
    (tmp_path / "config").write_text(f"[default]\nregion = {REGION}\ns3 =\n  {setting} = {value}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # the next client reads the profile
    client = target_client(rig.target_proxy.endpoint, REGION, keys, 1).lease().client
    assert client.meta.config.s3 == without.meta.config.s3
    rig.target.put_object(Bucket=TARGET, Key="key", Body=b"body")
    assert client.get_object(Bucket=TARGET, Key="key")["Body"].read() == b"body"
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


def test_every_request_to_a_requester_pays_source_agrees_to_pay(rig: Rig) -> None:
    fill(rig)
    ended = run("migrate", "--delete", "--source-requester-pays")
    assert ended.code == 0, ended
    requests = [request for request in rig.source_proxy.requests if not request.operation]
    agents = {request.headers["user-agent"].split()[1].partition("/")[0] for request in requests}
    assert agents == {"awscrt", "Python", "Boto3"}, "each client of the source was used"
    assert [request.path for request in requests if request.headers.get("x-amz-request-payer") != "requester"] == []
    assert [request.path for request in requests if not is_signed(request, rig.aws)] == []
    assert {request.headers.get("x-amz-request-payer") for request in rig.target_proxy.requests} == {None}


def test_the_function_mirrors_a_prefix_that_starts_with_a_slash(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, each_way: str
) -> None:
    monkeypatch.setenv("SOURCE_PREFIX", "/cur/")
    monkeypatch.setenv("TARGET_PREFIX", "/copies//")
    rig.put("/cur/a", b"body")
    rig.put("cur/a", b"the object of another key")
    rig.target.put_object(Bucket=TARGET, Key="/copies//gone", Body=b"body")
    rig.target.put_object(Bucket=TARGET, Key="copies/gone", Body=b"the object of another key")
    rig.sync("/cur/a", "/cur/gone", "cur/a")
    assert rig.target_keys() == ["/copies//a", "copies/gone"]
    assert rig.target_body("/copies//a") == b"body"


@pytest.mark.parametrize(
    ("source_prefix", "target_prefix", "copied"),
    [("/cur/", "", ["a"]), ("cur/", "/to/", ["/to/b"]), ("/", "//", ["//cur/a"])],
)
def test_the_command_mirrors_a_prefix_that_starts_with_a_slash(
    rig: Rig, source_prefix: str, target_prefix: str, copied: list[str]
) -> None:
    rig.put("/cur/a", b"body")
    rig.source.put_object(Bucket=SOURCE, Key="cur/b", Body=b"body")
    options = (f"--source-prefix={source_prefix}", f"--target-prefix={target_prefix}")
    for command in ("migrate", "check"):
        ended = run(command, *options)
        assert (ended.code, ended.out) == (0, ""), ended
    assert rig.target_keys() == copied
