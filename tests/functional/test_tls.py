"""Two clouds over HTTPS: the trusted CA bundle, and no request to an untrusted server."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme
from tests.functional.command import run
from tests.functional.harness import MIB, REGION, TARGET, Rig, boto3_only
from tests.functional.proxy import Proxy, in_front_of
from tests.support.patience import PATIENCE_S

from s3_syncer import __version__
from s3_syncer.cli.sweeps import local_sweep
from s3_syncer.core.deadline import OutOfTime
from s3_syncer.core.fence import Fence, carried, fenced
from s3_syncer.crt.http_client import CrtHttpClient
from s3_syncer.settings import Credentials
from s3_syncer.stores import clients
from s3_syncer.stores.bucket import Bucket
from s3_syncer.stores.credentials import SigningKeys
from s3_syncer.transport.endpoint import BucketEndpoint
from s3_syncer.transport.stream_http import StreamingHttpClient


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    """Return a file with the CA certificate that signed those of the stores."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def fronts(rig: Rig, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Proxy, Proxy]]:
    """Put both clouds behind HTTPS, source first. No CA bundle is configured."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with in_front_of(rig.aws.endpoint, tls) as source, in_front_of(rig.other.endpoint, tls) as target:
        monkeypatch.setenv("AWS_ENDPOINT_URL", source.endpoint)
        monkeypatch.setenv("TARGET_ENDPOINT", target.endpoint)
        yield source, target


def test_the_transport_trusts_the_ca_bundle_of_boto3(rig: Rig, fronts: tuple[Proxy, Proxy], bundle: str) -> None:
    fill(rig)
    ended = run("migrate", "--no-tags", AWS_CA_BUNDLE=bundle)
    assert (ended.code, ended.out) == (0, "")
    assert rig.differences() == []
    source, target = fronts
    reads = [request for request in source.requests if request.method == "GET" and request.key]
    puts = [request for request in target.writes() if request.method == "PUT"]
    assert len(puts) == 1 + 1 + 2
    agents = {request.headers.get("user-agent", "") for request in (*reads, *puts)}
    assert {agent.partition(" ")[0] for agent in agents} == {f"s3-syncer/{__version__}"}
    assert [agent for agent in agents if "Boto3" in agent] == []


def clients_of(proxy: Proxy) -> set[str]:
    """Return the names of the clients that the store has seen."""
    return {request.headers["user-agent"].split()[1].partition("/")[0] for request in proxy.requests}


@pytest.mark.parametrize("memfd", [True, False], ids=["memory", "file"])
@pytest.mark.parametrize("form", ["path", "text"])
def test_the_command_trusts_the_ca_certificate_of_the_target(
    rig: Rig,
    fronts: tuple[Proxy, Proxy],
    bundle: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    form: str,
    memfd: bool,
) -> None:
    """The source is trusted by AWS_CA_BUNDLE, which does not have the CA of the target."""
    other = trustme.CA()
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other.issue_cert("127.0.0.1").configure_cert(tls)
    if not memfd:
        monkeypatch.delattr(os, "memfd_create")
    fill(rig)
    value = str(tmp_path / "other.pem") if form == "path" else other.cert_pem.bytes().decode()
    with in_front_of(rig.other.endpoint, tls) as target:
        ended = run("migrate", TARGET_ENDPOINT=target.endpoint, TARGET_CA_CERTIFICATE=value, AWS_CA_BUNDLE=bundle)
        assert (ended.code, ended.out) == (0, ""), ended
        assert clients_of(target) >= {"awscrt", "Python", "Boto3"}, "each client trusts the certificate"
    assert rig.differences() == []


def test_the_function_trusts_the_ca_certificate_of_the_target(
    rig: Rig, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, each_way: str
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    fill(rig)
    with in_front_of(rig.other.endpoint, tls) as target:
        monkeypatch.setenv("TARGET_ENDPOINT", target.endpoint)
        monkeypatch.setenv("TARGET_CA_CERTIFICATE", authority.cert_pem.bytes().decode())
        rig.sync(*rig.source_keys())
        assert clients_of(target) >= {"boto3": {"Boto3"}, "plain": {"Python"}, "crt": {"awscrt"}}[each_way]
        rig.close()
    assert rig.differences() == []


@pytest.mark.parametrize("signing", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("command", [True, False], ids=["command", "function"])
def test_bodies_are_signed_for_a_store_that_wants_it(
    rig: Rig,
    fronts: tuple[Proxy, Proxy],
    bundle: str,
    monkeypatch: pytest.MonkeyPatch,
    each_way: str,
    command: bool,
    signing: bool,
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
    monkeypatch.setenv("TARGET_PAYLOAD_SIGNING", str(signing).lower())
    fill(rig)
    if command:
        assert run("migrate", "--no-tags").code == 0
    else:
        rig.sync(*rig.source_keys())
        rig.close()
    assert rig.differences() == []
    _, target = fronts
    hashes = [request.headers["x-amz-content-sha256"] for request in target.requests if request.method == "PUT"]
    assert len(hashes) == 4
    assert {value == "UNSIGNED-PAYLOAD" for value in hashes} == {not signing}
    others = [request for request in target.requests if request.method != "PUT"]
    assert {request.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD" for request in others} == {False}


def fill(rig: Rig) -> None:
    """Give the source one object for each way of a copy: small, streamed whole, and in parts."""
    rig.put("small", b"body")
    rig.put("streamed whole", bytes(9 * MIB))
    rig.put_parts("in parts", bytes(5 * MIB), b"end")


def test_the_connection_of_work_that_was_given_up_is_broken(
    authority: trustme.CA, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store never responds."""
    monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    fence = Fence()
    with socket.create_server(("127.0.0.1", 0)) as store, ThreadPoolExecutor(1) as pool:
        endpoint = f"https://127.0.0.1:{store.getsockname()[1]}"
        target = Bucket("bucket", "", clients.target_client(endpoint, REGION, Credentials("id", "key"), 1), tags=False)
        with fenced(fence):
            deleting = pool.submit(carried(target.delete), "key")
        accepted, _ = store.accept()
        with tls.wrap_socket(accepted, server_side=True) as connection:
            assert connection.recv(1)
            fence.close()
            assert isinstance(deleting.exception(PATIENCE_S), OutOfTime)
    assert fence.uncertain == {"key"}


@pytest.fixture
def untrusted(rig: Rig, authority: trustme.CA, bundle: str) -> Iterator[list[tuple[Proxy, BucketEndpoint]]]:
    """Return addresses of the target that must get no request, with the CA bundle to trust."""
    unknown, elsewhere = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2))
    trustme.CA().issue_cert("127.0.0.1").configure_cert(unknown)
    authority.issue_cert("store.example.com").configure_cert(elsewhere)
    with in_front_of(rig.other.endpoint, unknown) as one, in_front_of(rig.other.endpoint, elsewhere) as other:
        yield [(proxy, BucketEndpoint(f"{proxy.endpoint}/{TARGET}", REGION, bundle)) for proxy in (one, other)]


def keys() -> SigningKeys:
    return SigningKeys("key", "secret")


def test_no_request_goes_to_an_untrusted_server(untrusted: list[tuple[Proxy, BucketEndpoint]]) -> None:
    proxy, endpoint = untrusted[1]
    # awscrt is slow here: it delays a TLS error by ten seconds and more, against timing attacks.
    assert CrtHttpClient(endpoint, keys).request("GET", "key").status == 0
    assert proxy.requests == []


def test_no_stream_goes_to_an_untrusted_server(untrusted: list[tuple[Proxy, BucketEndpoint]]) -> None:
    for _, endpoint in untrusted:
        with pytest.raises(ssl.SSLCertVerificationError), StreamingHttpClient(endpoint, "", keys).begin("PUT", "key"):
            pass
    assert [proxy.requests for proxy, _ in untrusted] == [[], []]


def test_the_command_names_the_untrusted_store(
    rig: Rig, untrusted: list[tuple[Proxy, BucketEndpoint]], bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_sweep, "crt_transports", boto3_only)
    monkeypatch.setitem(clients._COMMON, "retries", {"mode": "standard", "total_max_attempts": 1})
    rig.put("key", b"body")
    for proxy, _ in untrusted:
        ended = run("migrate", TARGET_ENDPOINT=proxy.endpoint, AWS_CA_BUNDLE=bundle)
        assert ended.code == 3
        assert "the store does not respond: SSL validation failed" in ended.err
        assert proxy.requests == []
