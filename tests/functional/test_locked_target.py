"""A target with versions and Object Lock: docs/security.md names it as protection against ransomware."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.functional.command import run
from tests.functional.harness import MIB, SOURCE, TARGET, Rig, notification
from tests.functional.proxy import refuse

KEY = "key"

#: The message of AWS for the deletion of a version under a retention.
LOCKED = "Access Denied because object protected by object lock."


def with_versions(rig: Rig, status: str) -> None:
    rig.target.put_bucket_versioning(Bucket=TARGET, VersioningConfiguration={"Status": status})  # type: ignore[typeddict-item]


def locked(mode: str) -> Callable[[Rig], None]:
    """Return a function that gives the target Object Lock, with a default retention of 30 days.

    The store then refuses a PUT without Content-MD5 or another checksum.
    """

    def lock(rig: Rig) -> None:
        rig.target.delete_bucket(Bucket=TARGET)
        rig.target.create_bucket(Bucket=TARGET, ObjectLockEnabledForBucket=True)
        rig.target.put_object_lock_configuration(
            Bucket=TARGET,
            ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled",
                "Rule": {"DefaultRetention": {"Mode": mode, "Days": 30}},  # type: ignore[typeddict-item]
            },
        )

    return lock


KINDS = {
    "versions": lambda rig: with_versions(rig, "Enabled"),
    "governance": locked("GOVERNANCE"),
    "compliance": locked("COMPLIANCE"),
}


@pytest.fixture(params=KINDS)
def kept(request: pytest.FixtureRequest, rig: Rig) -> Rig:
    """Return a rig with a target that keeps each version."""
    KINDS[request.param](rig)
    return rig


def versions(rig: Rig) -> tuple[bytes | None, list[bytes], int]:
    """Return the body of the latest version, the other bodies, and the number of other markers.

    The latest body is None for a delete marker.
    """
    listed = rig.target.list_object_versions(Bucket=TARGET, Prefix=KEY)
    latest, others = None, []
    for entry in listed.get("Versions", []):
        body = rig.target.get_object(Bucket=TARGET, Key=KEY, VersionId=entry["VersionId"])["Body"].read()
        if entry["IsLatest"]:
            latest = body
        else:
            others.append(body)
    markers = sum(not entry["IsLatest"] for entry in listed.get("DeleteMarkers", []))
    return latest, sorted(others), markers


@pytest.mark.usefixtures("each_way")
def test_an_overwrite_makes_a_version_and_a_deletion_makes_a_marker(kept: Rig) -> None:
    kept.put(KEY, b"first")
    kept.sync(KEY)
    kept.put(KEY, b"encrypted by an attacker")
    assert kept.sync(KEY).actions == {KEY: "update"}
    assert versions(kept) == (b"encrypted by an attacker", [b"first"], 0)

    kept.source.delete_object(Bucket=SOURCE, Key=KEY)
    assert kept.deliver(notification(KEY, event="ObjectRemoved:Delete")).actions == {KEY: "delete"}

    assert versions(kept) == (None, [b"encrypted by an attacker", b"first"], 0)
    assert kept.differences() == []
    assert kept.dead_letters() == []


def test_equal_keys_get_no_further_version_and_no_further_marker(kept: Rig) -> None:
    kept.put(KEY, b"body", Metadata={"a": "b"}, Tagging="c=d")
    kept.sync(KEY)
    assert kept.sync(KEY).actions == {KEY: "unchanged"}
    assert versions(kept) == (b"body", [], 0)

    kept.source.delete_object(Bucket=SOURCE, Key=KEY)
    kept.sync(KEY)
    assert kept.sync(KEY).actions == {KEY: "unchanged"}
    assert versions(kept) == (None, [b"body"], 0)


def test_a_second_migration_adds_no_version_and_no_marker(kept: Rig) -> None:
    kept.put("stays", b"body")
    kept.target.put_object(Bucket=TARGET, Key=KEY, Body=b"body", ChecksumAlgorithm="CRC32")
    for _ in range(2):
        assert run("migrate", "--full", "--delete").code == 0
    assert versions(kept) == (None, [b"body"], 0)
    assert len(kept.target.list_object_versions(Bucket=TARGET, Prefix="stays")["Versions"]) == 1


def test_an_upload_in_parts_makes_one_version_under_the_retention(kept: Rig) -> None:
    for last in (b"1", b"2"):
        kept.put_parts(KEY, b"x" * 5 * MIB, last)
        kept.sync(KEY)
        assert kept.sync(KEY).actions == {KEY: "unchanged"}
    latest, others, _ = versions(kept)
    assert latest is not None
    assert [body[-1:] for body in (latest, *others)] == [b"2", b"1"]
    assert kept.uploads() == []
    assert kept.differences() == []


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_each_version_has_the_default_retention(rig: Rig, mode: str) -> None:
    locked(mode)(rig)
    rig.put(KEY, b"body")
    rig.sync(KEY)
    copy = rig.target.head_object(Bucket=TARGET, Key=KEY)
    assert copy["ObjectLockMode"] == mode
    with pytest.raises(rig.target.exceptions.ClientError, match="AccessDenied"):
        rig.target.delete_object(Bucket=TARGET, Key=KEY, VersionId=copy["VersionId"])


def test_suspended_versions_are_mirrored_to_as_a_bucket_without_versions(rig: Rig) -> None:
    """Unlike AWS, moto also drops the versions from before the suspension."""
    with_versions(rig, "Enabled")
    rig.put(KEY, b"first")
    rig.sync(KEY)
    with_versions(rig, "Suspended")
    for body in (b"second", b"third"):
        rig.put(KEY, body)
        assert rig.sync(KEY).actions == {KEY: "update"}
    assert versions(rig) == (b"third", [], 0)

    rig.source.delete_object(Bucket=SOURCE, Key=KEY)
    assert rig.sync(KEY).actions == {KEY: "delete"}
    assert rig.sync(KEY).actions == {KEY: "unchanged"}
    assert rig.differences() == []


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize(("method", "operation"), [("PUT", "put_object"), ("DELETE", "delete_object")])
def test_a_refusal_by_object_lock_is_one_clear_dead_letter(rig: Rig, method: str, operation: str) -> None:
    """Some stores lock the key and not the version: no write can succeed before the retention ends."""
    rig.target.put_object(Bucket=TARGET, Key=KEY, Body=b"locked")
    if method == "PUT":
        rig.put(KEY, b"newer")
    rig.target_proxy.when(refuse(403, "AccessDenied", LOCKED), method, times=1e9)

    delivery = rig.sync(KEY)

    assert delivery.returned == []
    (letter,) = rig.dead_letters()
    assert f"{operation} in {TARGET}: AccessDenied: an Object Lock protects the object" in letter.error
    assert rig.target_body(KEY) == b"locked"


@pytest.mark.parametrize(
    ("message", "reason"), [("Access Denied", "access denied (Access Denied)"), (LOCKED, "an Object Lock protects")]
)
def test_deletions_that_the_target_refuses_are_listed_and_the_rest_is_copied(
    rig: Rig, message: str, reason: str
) -> None:
    """As with a policy without s3:DeleteObject, or a store that locks the key and not the version."""
    for key in ("extra/1", "extra/2"):
        rig.target.put_object(Bucket=TARGET, Key=key, Body=b"locked")
    rig.put(KEY)
    rig.target_proxy.when(refuse(403, "AccessDenied", message), "DELETE", times=1e9)

    ended = run("migrate", "--delete")

    assert ended.code == 1
    for key in ("extra/1", "extra/2"):
        assert f"failed\t{key}\tdelete_object in {TARGET}: AccessDenied: {reason}" in ended.out
    assert rig.target_keys() == ["extra/1", "extra/2", KEY]
