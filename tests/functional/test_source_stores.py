"""A source that is not AWS, or belongs to another account: its endpoint, profile, role and access key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.functional.command import Ended, run
from tests.functional.harness import SOURCE, TARGET, Account, Rig, boto3_only
from tests.functional.proxy import Proxy, in_front_of

from s3_syncer.cli.sweeps import local_sweep

ROLE = "arn:aws:iam::210987654321:role/reader"


@pytest.fixture(params=["crt", "boto3"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "boto3":
        monkeypatch.setattr(local_sweep, "crt_transports", boto3_only)
    way: str = request.param
    return way


@pytest.fixture
def store(rclone: Account) -> Iterator[Proxy]:
    """Yield a proxy in front of a source that is not AWS. It has five objects, of which one is large."""
    rclone.empty()
    client = rclone.client("s3")
    client.create_bucket(Bucket=SOURCE)
    for number in range(4):
        client.put_object(Bucket=SOURCE, Key=f"in/{number}", Body=b"%d" % number, ContentType="text/x")
    client.put_object(Bucket=SOURCE, Key="in/large", Body=bytes(6_000_000))
    with in_front_of(rclone.endpoint) as proxy:
        yield proxy
    rclone.empty()


def profile(path: Path, account: Account, name: str = "other") -> dict[str, str]:
    """Write a profile with the access key of the account, and return the variables that name its file."""
    keys = f"aws_access_key_id = {account.access_key_id}\naws_secret_access_key = {account.secret_access_key}\n"
    (path / "credentials").write_text(f"[{name}]\n{keys}")
    return {"AWS_SHARED_CREDENTIALS_FILE": str(path / "credentials"), "AWS_CONFIG_FILE": "/nowhere"}


def access_keys(proxy: Proxy) -> set[str]:
    return {request.access_key_id for request in proxy.requests}


def is_copied(rig: Rig, ended: Ended) -> bool:
    assert ended.code == 0, ended.err + ended.out
    assert rig.target_keys() == ["in/0", "in/1", "in/2", "in/3", "in/large"]
    assert rig.target.head_object(Bucket=TARGET, Key="in/0")["ContentType"] == "text/x"
    return rig.target_body("in/3") == b"3" and len(rig.target_body("in/large")) == 6_000_000


def test_source_is_another_store_with_an_access_key_of_its_own(rig: Rig, rclone: Account, store: Proxy) -> None:
    keys = {"SOURCE_ACCESS_KEY_ID": rclone.access_key_id, "SOURCE_SECRET_ACCESS_KEY": rclone.secret_access_key}
    where = ("--source-endpoint", store.endpoint, "--source-addressing-style", "path", "--no-tags")
    assert is_copied(rig, run("migrate", *where, **keys))
    assert access_keys(store) == {rclone.access_key_id}
    assert run("check", *where, **keys).code == 0
    assert rclone.access_key_id not in access_keys(rig.target_proxy)


def test_checksum_of_the_whole_object_is_no_damage_of_a_range(rig: Rig, rclone: Account, store: Proxy) -> None:
    """rclone sends the checksum of the object with each range of it, and AWS sends none with a range."""
    keys = {"SOURCE_ACCESS_KEY_ID": rclone.access_key_id, "SOURCE_SECRET_ACCESS_KEY": rclone.secret_access_key}
    rclone.client("s3").put_object(Bucket=SOURCE, Key="in/0", Body=b"several bytes", ChecksumAlgorithm="CRC32")
    for where in ({"SOURCE_ENDPOINT": store.endpoint}, {"AWS_ENDPOINT_URL_S3": store.endpoint}):
        checks = json.loads(run("doctor", "--json", "--no-tags", **where, **keys).out)["checks"]
        found = {each["check"]: each["status"] for each in checks if each["group"] == "Source"}
        assert found["s3:GetObject"] == "ok"
    assert rig.target_keys() == []


def test_profiles_of_both_stores_are_kept_apart(rig: Rig, rclone: Account, store: Proxy, tmp_path: Path) -> None:
    """Neither store gets the access key of the other, nor that of the environment."""
    variables = profile(tmp_path, rclone, "a")
    own = f"aws_access_key_id = {rig.other.access_key_id}\naws_secret_access_key = {rig.other.secret_access_key}\n"
    with (tmp_path / "credentials").open("a") as file:
        file.write(f"[b]\n{own}")
    ended = run(
        *("migrate", "--source-endpoint", store.endpoint, "--source-profile", "a", "--target-profile", "b"),
        "--no-tags",
        AWS_ACCESS_KEY_ID="of-the-environment",
        TARGET_SECRET_ARN=None,
        **variables,
    )
    assert is_copied(rig, ended)
    assert access_keys(store) == {rclone.access_key_id}
    assert access_keys(rig.target_proxy) == {rig.other.access_key_id}


def fill(rig: Rig) -> None:
    for number in range(4):
        rig.put(f"in/{number}", b"%d" % number, ContentType="text/x")
    rig.put("in/large", bytes(6_000_000))


def about_objects(proxy: Proxy) -> list[Mapping[str, str]]:
    """Return the headers of the requests to S3."""
    return [request.headers for request in proxy.requests if "/s3/aws4_request" in request.headers["authorization"]]


def test_all_requests_to_the_source_are_signed_with_its_role(rig: Rig) -> None:
    fill(rig)
    assert is_copied(rig, run("migrate", "--source-role-arn", ROLE))
    assert run("check", "--full", SOURCE_ROLE_ARN=ROLE).code == 0
    headers = about_objects(rig.source_proxy)
    assert len(headers) > 6
    for each in headers:
        assert "x-amz-security-token" in each
        assert rig.aws.access_key_id not in each["authorization"]
    assert all("x-amz-security-token" not in each for each in about_objects(rig.target_proxy))


@pytest.mark.parametrize("arguments", [("migrate",), ("check",), ("sync", "in/0"), ("doctor",)])
def test_missing_profile_is_one_clear_line(rig: Rig, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended = run(*arguments, "--source-profile", "no-such", **profile(tmp_path, rig.other))
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == (
        "s3-syncer: the AWS profile 'no-such' does not exist: write one of other, or add it with "
        "`aws configure --profile no-such`\n"
    )


def test_named_stores_are_copied_in_one_line(rig: Rig, rclone: Account, store: Proxy, tmp_path: Path) -> None:
    """The environment of the rig names other buckets and another secret: the locations replace them."""
    file = tmp_path / "config.toml"
    file.touch(mode=0o600)
    file.write_text(
        f"""
        [stores.old]
        endpoint = "{store.endpoint}"
        access_key_id = "{rclone.access_key_id}"
        secret_access_key = "{rclone.secret_access_key}"
        [stores.new]
        endpoint = "{rig.target_proxy.endpoint}"
        bucket = "{TARGET}"
        access_key_id = "{rig.other.access_key_id}"
        secret_access_key = "{rig.other.secret_access_key}"
        """
    )
    environment = {"S3_SYNCER_CONFIG": str(file), "SOURCE_BUCKET": "no-such", "TARGET_SECRET_ARN": "no-such"}
    assert is_copied(rig, run("migrate", f"old:{SOURCE}/in", f"new:{TARGET}/in", "--no-tags", **environment))
    assert run("check", f"old:{SOURCE}", "new:", "--no-tags", **environment).code == 0
    assert run("doctor", f"old:{SOURCE}", "new", "--no-tags", "--json", **environment).code in (0, 1)
    assert run("sync", "--source", f"old:{SOURCE}", "--target", "new", "in/0", "--no-tags", **environment).code == 0
    assert access_keys(store) == {rclone.access_key_id}
    assert access_keys(rig.target_proxy) == {rig.other.access_key_id}


def test_target_on_aws_has_the_credentials_of_the_environment(rig: Rig, rclone: Account, store: Proxy) -> None:
    keys = {"SOURCE_ACCESS_KEY_ID": rclone.access_key_id, "SOURCE_SECRET_ACCESS_KEY": rclone.secret_access_key}
    rig.source.create_bucket(Bucket="back")
    arguments = ("migrate", "--target", "s3://back", "--source-endpoint", store.endpoint, "--no-tags")
    ended = run(*arguments, TARGET_SECRET_ARN="no-such", **keys)
    assert ended.code == 0, ended.err
    listed = rig.source.list_objects_v2(Bucket="back")["Contents"]
    assert [entry["Key"] for entry in listed] == ["in/0", "in/1", "in/2", "in/3", "in/large"]
    assert rig.aws.access_key_id in access_keys(rig.source_proxy)
    assert rclone.access_key_id not in access_keys(rig.source_proxy)
