"""Options of the target for each way of a write: storage class, encryption, ACL and limits."""

from __future__ import annotations

import pytest
from tests.functional.command import run
from tests.functional.harness import MIB, SOURCE, TARGET, Rig
from tests.functional.proxy import Request

OPTIONS = {
    "TARGET_STORAGE_CLASS": "STANDARD_IA",
    "TARGET_SERVER_SIDE_ENCRYPTION": "aws:kms",
    "TARGET_SSE_KMS_KEY_ID": "arn:aws:kms:eu-west-1:123456789012:key/k",
    "TARGET_ACL": "bucket-owner-full-control",
}

HEADERS = {
    "x-amz-storage-class": "STANDARD_IA",
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:eu-west-1:123456789012:key/k",
    "x-amz-acl": "bucket-owner-full-control",
}


@pytest.fixture(autouse=True)
def options(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OPTIONS.items():
        monkeypatch.setenv(name, value)


def fill(rig: Rig) -> None:
    """Give the source one object for each way of a copy: small, large, in parts, and over another object."""
    rig.put("small", b"body", Metadata={"a": "b"})
    rig.put("streamed whole", bytes(9 * MIB))
    rig.put_parts("in parts", bytes(5 * MIB), b"end")
    rig.put("over another", b"new")
    rig.target.put_object(Bucket=TARGET, Key="over another", Body=b"old")
    rig.tag("small", {"t": "1"})


def creates(request: Request) -> bool:
    parameters = request.query.keys() - {"x-id"}
    return (request.method == "PUT" and not parameters) or (request.method == "POST" and parameters == {"uploads"})


def check(rig: Rig) -> None:
    """Check each request, and the objects that the store has then."""
    rig.target_proxy.settle()
    created = [request for request in rig.target_proxy.requests if creates(request)]
    assert {request.key for request in created} == set(rig.source_keys())
    for request in created:
        assert {name: request.headers.get(name) for name in HEADERS} == HEADERS, request
        signed = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        assert HEADERS.keys() <= set(signed)
    others = [request for request in rig.target_proxy.requests if not creates(request)]
    assert [request for request in others if HEADERS.keys() & request.headers.keys()] == []
    for key in rig.source_keys():
        head = rig.target_head(key)
        assert (head["StorageClass"], head["ServerSideEncryption"]) == ("STANDARD_IA", "aws:kms")
    assert rig.differences() == []


def test_the_function_creates_objects_with_the_options(rig: Rig, each_way: str) -> None:
    fill(rig)
    rig.target_proxy.clear()
    rig.sync(*rig.source_keys())
    check(rig)
    rig.target_proxy.clear()
    assert set(rig.sync(*rig.source_keys()).actions.values()) == {"unchanged"}
    assert rig.target_proxy.writes() == []


def test_the_command_creates_objects_with_the_options(rig: Rig) -> None:
    fill(rig)
    ended = run("migrate")
    assert ended.code == 0, ended
    check(rig)
    rig.target_proxy.clear()
    assert run("migrate", "--full").code == 0
    assert rig.target_proxy.writes() == []


def test_the_function_keeps_to_the_limits_of_the_target(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, each_way: str
) -> None:
    monkeypatch.setenv("TARGET_MAX_OBJECT_MB", "20")
    monkeypatch.setenv("TARGET_MAX_PART_MB", "7")
    rig.put("whole", bytes(7 * MIB))
    rig.put("too large for one upload", bytes(15 * MIB))
    rig.put("too large", bytes(20 * MIB + 1))
    actions = rig.sync(*rig.source_keys()).actions
    assert actions == {"whole": "copy", "too large for one upload": "copy", "too large": "dead-letter"}
    (letter,) = rig.dead_letters()
    assert "the target takes at most 20971520; if it takes more, set target.limits.max_object_mb" in letter.error
    sizes = [int(r.headers["content-length"]) for r in rig.target_proxy.writes() if r.method == "PUT"]
    assert max(sizes) == 7 * MIB
    assert len([size for size in sizes if size > MIB]) == 1 + 3


def test_the_command_keeps_to_the_limits_of_the_target(rig: Rig) -> None:
    rig.put_parts("parts of the source are too large", bytes(9 * MIB), b"end")
    rig.put("too large for one upload", bytes(15 * MIB))
    ended = run("migrate", "--target-max-part-mb=7")
    assert ended.code == 0, ended
    assert {
        key: rig.target_body(key) == rig.source.get_object(Bucket=SOURCE, Key=key)["Body"].read()
        for key in rig.source_keys()
    } == dict.fromkeys(rig.source_keys(), True)
    sizes = [int(r.headers["content-length"]) for r in rig.target_proxy.writes() if r.method == "PUT"]
    assert max(sizes) <= 7 * MIB
