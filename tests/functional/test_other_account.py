"""A source bucket of another account: each request names the owner, and a role may be assumed for it."""

from __future__ import annotations

import json

import pytest
from tests.functional.command import run
from tests.functional.harness import SOURCE, TARGET, Rig, boto3_only
from tests.functional.proxy import Exchange, Request, refuse

from s3_syncer.cli.sweeps import local_sweep
from s3_syncer.stores import credentials

OWNER = "210987654321"
ROLE = f"arn:aws:iam::{OWNER}:role/reader"

#: The beginning of the reason for a denial that may be about the owner.
DENIED = f"Either the bucket does not belong to the account {OWNER}, or its policy denies s3:ListBucket"


@pytest.fixture(autouse=True)
def _owner(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_EXPECTED_BUCKET_OWNER", OWNER)


@pytest.fixture(params=["crt", "boto3"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "boto3":
        monkeypatch.setattr(local_sweep, "crt_transports", boto3_only)
    way: str = request.param
    return way


def to_s3(requests: list[Request]) -> list[Request]:
    return [request for request in requests if "/s3/aws4_request" in request.headers["authorization"]]


def operations(requests: list[Request]) -> set[str]:
    """Return the method, the place and the parameters of each kind of request to S3."""
    return {" ".join([each.method, "object" if each.key else "bucket", *sorted(each.query)]) for each in requests}


def fill(rig: Rig) -> None:
    rig.put("small", b"body", Metadata={"a": "b"})
    rig.put("large", bytes(9 * 1024 * 1024))
    rig.put_parts("parts", bytes(5 * 1024 * 1024), b"end")
    rig.put("archived", b"body", StorageClass="GLACIER")
    rig.tag("small", {"a": "b"})


@pytest.mark.usefixtures("way")
def test_every_request_of_the_command_to_the_source_names_its_owner(rig: Rig) -> None:
    fill(rig)
    rig.target.put_object(Bucket=TARGET, Key="gone", Body=b"body")
    run("migrate", "--delete", "--restore", "bulk", "--source-role-arn", ROLE)
    run("check", "--full")
    rig.put("small", b"other")
    run("sync", "small", "parts", "gone", "never")
    run("doctor", "--queue-url", rig.queue_url)
    assert rig.target_keys() == ["large", "parts", "small"]
    requests = to_s3(rig.source_proxy.requests)
    seen = operations(requests)
    assert {"HEAD object", "GET object", "GET object tagging", "POST object restore", "GET bucket notification"} <= seen
    assert any(each.startswith("GET bucket") and "list-type" in each for each in seen)
    assert [r.path for r in requests if r.headers.get("x-amz-expected-bucket-owner") != OWNER] == []
    assert not any("x-amz-expected-bucket-owner" in request.headers for request in rig.target_proxy.requests)


def test_a_list_of_keys_in_another_bucket_may_belong_to_another_account(rig: Rig) -> None:
    """It is mostly in a bucket of the operator, and S3 would deny a request with another owner."""
    rig.put("small", b"body")
    rig.source.create_bucket(Bucket="lists")
    for bucket in (SOURCE, "lists"):
        rig.source.put_object(Bucket=bucket, Key="names", Body=b"small\n")
        assert run("check", "--files-from", f"s3://{bucket}/names").named == {
            "small": "missing: absent from the target"
        }
    owners = {
        r.path: r.headers.get("x-amz-expected-bucket-owner") for r in rig.source_proxy.requests if r.key == "names"
    }
    assert sorted(map(str, owners.values())) == sorted([OWNER, "None"])


@pytest.mark.usefixtures("each_way")
def test_every_request_of_the_function_to_the_source_names_its_owner(rig: Rig) -> None:
    fill(rig)
    rig.target.put_object(Bucket=TARGET, Key="gone", Body=b"body")
    delivery = rig.sync("small", "large", "parts", "gone")
    assert delivery.actions == {"small": "copy", "large": "copy", "parts": "copy", "gone": "delete"}
    requests = to_s3(rig.source_proxy.requests)
    assert len(requests) > 4
    assert [r.path for r in requests if r.headers.get("x-amz-expected-bucket-owner") != OWNER] == []


def deny(rig: Rig, key: str | None = None) -> None:
    """Deny the requests to the source, as S3 does for another owner, or only those about a key."""

    def denied(exchange: Exchange) -> None:
        if "/s3/aws4_request" in exchange.request.headers["authorization"]:
            refuse(403, "AccessDenied", "Access Denied")(exchange)
        else:
            exchange.forward()

    rig.source_proxy.when(denied, times=1e9, **({} if key is None else {"key": key}))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("arguments", [("migrate", "--delete"), ("check",), ("sync", "gone"), ("sync", "small")])
def test_bucket_of_another_owner_is_unusable_and_nothing_is_deleted(rig: Rig, arguments: tuple[str, ...]) -> None:
    rig.put("small", b"body")
    rig.target.put_object(Bucket=TARGET, Key="gone", Body=b"body")
    deny(rig)
    ended = run(*arguments)
    assert (ended.code, ended.out) == (3, "")
    assert DENIED in ended.err
    assert rig.target_keys() == ["gone"]


@pytest.mark.usefixtures("each_way")
def test_function_returns_every_message_for_a_bucket_of_another_owner(rig: Rig) -> None:
    rig.target.put_object(Bucket=TARGET, Key="gone", Body=b"body")
    deny(rig)
    delivery = rig.sync("gone", "small")
    assert delivery.actions == {"gone": "retry", "small": "retry"}
    assert all(DENIED in reason for reason in delivery.reasons.values())
    assert rig.target_keys() == ["gone"]
    assert len(delivery.returned) == 2


@pytest.mark.usefixtures("way")
def test_denied_key_of_the_right_owner_is_one_failed_key(rig: Rig) -> None:
    """The bucket serves a listing, so its owner is the expected one."""
    rig.put("denied", b"body")
    rig.put("small", b"body")
    deny(rig, "denied")
    ended = run("migrate")
    assert ended.code == 1
    assert set(ended.named) == {"denied"}
    assert "access denied" in ended.named["denied"]
    assert rig.target_keys() == ["small"]


def doctor(*arguments: str) -> tuple[int, str]:
    """Return the exit code, and each check as one line."""
    ended = run("doctor", "--json", *arguments)
    checks = json.loads(ended.out)["checks"]
    return ended.code, "\n".join(f"{each['check']} {each['status']} {each['finding']}" for each in checks)


def test_doctor_names_the_owner(rig: Rig) -> None:
    rig.put("small", b"body")
    assert f"bucket owner ok account {OWNER}" in doctor()[1]
    deny(rig)
    code, said = doctor()
    assert code != 0
    assert DENIED in said


def test_doctor_names_a_role_that_cannot_be_assumed(rig: Rig) -> None:
    rig.source_proxy.when(refuse(403, "AccessDenied", "not allowed"), "POST", key="", times=1e9)
    code, said = doctor("--source-role-arn", ROLE)
    assert code == 3
    assert f"the role {ROLE} cannot be assumed" in said


@pytest.mark.usefixtures("rig")
def test_doctor_names_the_role() -> None:
    assert f"sts:AssumeRole ok allowed: {ROLE}" in doctor("--source-role-arn", ROLE)[1]


# -- the role in the function ------------------------------------------------------------------------------------------


def access_keys(rig: Rig) -> list[str]:
    return [request.access_key_id for request in to_s3(rig.source_proxy.requests)]


@pytest.mark.usefixtures("each_way")
def test_function_uses_the_role_for_the_source_alone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_ROLE_ARN", ROLE)
    rig.put("small", b"body")
    assert rig.sync("small").actions == {"small": "copy"}
    assert rig.aws.access_key_id not in access_keys(rig)
    others = [request for request in rig.source_proxy.requests if request.operation]
    assert {request.access_key_id for request in others} == {rig.aws.access_key_id}, "the secret needs no role"


@pytest.mark.usefixtures("each_way")
def test_expired_session_of_the_role_is_replaced_in_the_next_invocation(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An administrator has revoked the sessions of the role, or the process was frozen for long."""
    monkeypatch.setenv("SOURCE_ROLE_ARN", ROLE)
    rig.put("small", b"body")
    assert rig.sync("small").actions == {"small": "copy"}
    (old,) = set(access_keys(rig))
    rig.clear()

    def expire(exchange: Exchange) -> None:
        if exchange.request.access_key_id == old and not exchange.request.operation:
            refuse(400, "ExpiredToken")(exchange)
        else:
            exchange.forward()

    rig.source_proxy.when(expire, times=1e9)
    rig.put("small", b"newer")
    monkeypatch.setattr(credentials, "ROLE_FRESH_S", 0.0)
    assert rig.sync("small").actions == {"small": "update"}
    assert rig.target_body("small") == b"newer"
