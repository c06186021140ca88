"""Refuse a source and a target that overlap in one bucket: nothing is copied or deleted."""

from __future__ import annotations

import pytest
from tests.functional.command import run
from tests.functional.harness import SOURCE, Rig, notification

from s3_syncer.core.errors import StoreUnusable
from s3_syncer.stores.clients import namespace

KEYS = ["0", "a/1", "a/b/2", "ab/3"]
OVERLAPS = [("", ""), ("a/", "a/"), ("", "a/"), ("a/", ""), ("a/", "a/b/"), ("a", "ab"), ("ab", "a")]


@pytest.fixture
def one_bucket(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Let the target be the bucket of the source, at the same endpoint but for its form."""
    for key in KEYS:
        rig.put(key, key.encode())
    monkeypatch.setenv("TARGET_ENDPOINT", rig.source_proxy.endpoint.replace("http://", "HTTP://") + "/")
    monkeypatch.setenv("TARGET_BUCKET", SOURCE)
    monkeypatch.delenv("TARGET_SECRET_ARN")
    monkeypatch.setenv("TARGET_ACCESS_KEY_ID", rig.aws.access_key_id)
    monkeypatch.setenv("TARGET_SECRET_ACCESS_KEY", rig.aws.secret_access_key)
    return rig


@pytest.mark.parametrize(("source", "target"), OVERLAPS)
def test_prefixes_that_overlap_in_one_bucket_are_refused(one_bucket: Rig, source: str, target: str) -> None:
    prefixes = {"SOURCE_PREFIX": source, "TARGET_PREFIX": target}
    for command in (["migrate", "--delete"], ["check"], ["sync", f"{source}key"], ["restore"], ["doctor"]):
        ended = run(*command, **prefixes)
        assert (ended.code, "overlap in the bucket the-source" in ended.err) == (3, True), command
        assert "Traceback" not in ended.err
    assert one_bucket.source_keys() == KEYS


def test_the_function_refuses_them_and_returns_its_messages(one_bucket: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TARGET_SECRET_ARN", "unread")
    monkeypatch.setenv("TARGET_PREFIX", "mirror/")
    with pytest.raises(StoreUnusable, match="overlap"):
        one_bucket.deliver(notification("0"))
    assert one_bucket.source_keys() == KEYS


def test_prefixes_beside_each_other_in_one_bucket_are_synced(one_bucket: Rig) -> None:
    assert run("migrate", "--delete", SOURCE_PREFIX="a/", TARGET_PREFIX="mirror/").code == 0
    assert one_bucket.source_keys() == [*KEYS, "mirror/1", "mirror/b/2"]


def test_a_bucket_of_the_same_name_at_another_store_is_another_bucket(rig: Rig) -> None:
    rig.put("key", b"body")
    rig.target.create_bucket(Bucket=SOURCE)
    assert run("migrate", TARGET_BUCKET=SOURCE).code == 0


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("https://s3.eu-west-1.amazonaws.com", "https://s3.amazonaws.com", True),
        ("https://s3.dualstack.eu-west-1.amazonaws.com", "https://s3.us-east-1.api.aws", True),
        ("https://s3.eu-west-1.amazonaws.com", "https://S3-FIPS.us-east-1.amazonaws.com/", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", "https://s3.eu-west-1.amazonaws.com", False),
        ("https://s3.us-gov-west-1.amazonaws.com", "https://s3.us-west-1.amazonaws.com", False),
        ("https://s3.example.com", "https://s3.example.com:443/", True),
        ("http://s3.example.com", "http://S3.EXAMPLE.COM:80", True),
        ("https://s3.example.com/a", "https://s3.example.com/b", False),
        ("https://s3.example.com:9000", "https://s3.example.com:9001", False),
        ("https://s3.example.com", "https://s3.amazonaws.com", False),
        ("http://[::1]:9000", "http://[::1]:9000/", True),
    ],
)
def test_endpoints_of_one_namespace(one: str, other: str, is_same: bool) -> None:
    assert (namespace(one) == namespace(other)) == is_same
