"""A restart, a quota, a suspended user, versions, locks, and the doctor at Ceph RGW."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.functional.command import run, started
from tests.functional.harness import MIB, SOURCE, TARGET, Account, Rig

from localcloud.ceph import Ceph

pytestmark = pytest.mark.real_store


@pytest.fixture
def filled(rig: Rig) -> Rig:
    for number in range(300):
        rig.put(f"{number:03}", b"x" * number)
    rig.put_parts("parts", b"x" * 5 * MIB, b"y" * 3 * MIB)
    return rig


@contextmanager
def without_gateway(cluster: Ceph) -> Iterator[None]:
    cluster.stop_gateway()
    try:
        yield
    finally:
        cluster.start_gateway()


def test_a_migration_waits_while_the_gateway_restarts(filled: Rig, ceph_cluster: Ceph) -> None:
    with without_gateway(ceph_cluster):
        assert run("check", "--outage-timeout", "0").code == 3
        migration = started("migrate")
        with migration as process:
            assert process.running
            ceph_cluster.start_gateway()
            ended = process.ended()
    assert ended.code == 0, ended
    assert filled.differences() == []
    assert run("check", "--full").code == 0


def test_an_event_of_an_outage_arrives_after_it(rig: Rig, ceph_cluster: Ceph) -> None:
    rig.put("key", b"body")
    with without_gateway(ceph_cluster):
        delivery = rig.sync("key")
        assert (delivery.actions, len(delivery.returned)) == ({"key": "retry"}, 1)
    assert rig.sync("key").actions == {"key": "copy"}
    rig.source.delete_object(Bucket="the-source", Key="key")
    with without_gateway(ceph_cluster):
        assert rig.sync("key").actions == {"key": "retry"}
    assert rig.sync("key").actions == {"key": "delete"}
    assert rig.target_keys() == []


def test_messages_wait_while_the_user_is_suspended(rig: Rig, ceph_cluster: Ceph) -> None:
    rig.put("key", b"body")
    user = f"--uid={ceph_cluster.access_key_id}"
    ceph_cluster.admin("user", "suspend", user)
    try:
        delivery = rig.sync("key")
    finally:
        ceph_cluster.admin("user", "enable", user)
    assert (delivery.actions, rig.dead_letters()) == ({"key": "retry"}, [])
    assert rig.sync("key").actions == {"key": "copy"}


def test_messages_wait_while_the_quota_is_used_up(rig: Rig, ceph_cluster: Ceph) -> None:
    keys = [f"{number}" for number in range(5)]
    for key in keys:
        rig.put(key, b"body")
    rig.sync(keys[0])  # the gateway counts with a delay, so the quota is used up before it is set
    rig.clear()
    quota = ("--quota-scope=bucket", f"--bucket={TARGET}", f"--uid={ceph_cluster.access_key_id}")
    ceph_cluster.admin("quota", "set", *quota, "--max-objects=1")
    ceph_cluster.admin("quota", "enable", *quota)
    try:
        delivery = rig.sync(*keys[1:])
    finally:
        ceph_cluster.admin("quota", "disable", *quota)
    assert (delivery.actions, rig.dead_letters()) == (dict.fromkeys(keys[1:], "retry"), [])
    rig.end_delays()
    while messages := rig.receive(10):
        rig.invoke(messages)
    assert rig.differences() == []


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_a_versioned_target_ends_equal(filled: Rig, status: Any) -> None:
    filled.target.put_bucket_versioning(Bucket=TARGET, VersioningConfiguration={"Status": status})
    assert run("migrate").code == 0
    filled.put("000", b"newer")
    filled.source.delete_object(Bucket="the-source", Key="001")
    filled.source.delete_object(Bucket="the-source", Key="parts")
    assert filled.sync("000", "001", "parts").actions == {"000": "update", "001": "delete", "parts": "delete"}
    assert filled.sync("000", "001", "parts").actions == dict.fromkeys(("000", "001", "parts"), "unchanged")
    assert filled.differences() == []
    markers = filled.target.list_object_versions(Bucket=TARGET, Prefix="001").get("DeleteMarkers", [])
    assert len(markers) == 1


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_a_locked_target_ends_equal_and_keeps_the_versions(aws: Account, rig: Rig, mode: Any) -> None:
    locked = f"locked-{mode.lower()}"
    rig.target.create_bucket(Bucket=locked, ObjectLockEnabledForBucket=True)
    retention: Any = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": mode, "Days": 1}}}
    rig.target.put_object_lock_configuration(Bucket=locked, ObjectLockConfiguration=retention)
    rig.put("small", b"body")
    rig.put_parts("parts", b"x" * 5 * MIB, b"y")
    target = ("--target-bucket", locked)
    secret = {"TARGET_ACCESS_KEY_ID": rig.other.access_key_id, "TARGET_SECRET_ACCESS_KEY": rig.other.secret_access_key}
    assert run("migrate", *target, **secret).code == 0
    rig.put("small", b"newer")
    rig.source.delete_object(Bucket="the-source", Key="parts")
    assert run("migrate", "--delete", *target, **secret).code == 0
    assert run("check", "--full", *target, **secret).code == 0
    versions = rig.target.list_object_versions(Bucket=locked)
    assert sorted(entry["Key"] for entry in versions["Versions"]) == ["parts", "small", "small"]
    assert [entry["Key"] for entry in versions["DeleteMarkers"]] == ["parts"]
    head = rig.target.head_object(Bucket=locked, Key="small")
    assert head["ObjectLockMode"] == mode


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_locks_are_mirrored(rig: Rig, mode: Any) -> None:
    mirror = f"mirrored-locks-{mode.lower()}"
    rig.target.create_bucket(Bucket=mirror, ObjectLockEnabledForBucket=True)
    rig.source.delete_bucket(Bucket=SOURCE)
    rig.source.create_bucket(Bucket=SOURCE, ObjectLockEnabledForBucket=True)
    now = datetime.now(UTC).replace(microsecond=0)
    soon, later = now + timedelta(days=1), now + timedelta(days=2)

    def protect(key: str, until: datetime) -> None:
        rig.source.put_object_retention(Bucket=SOURCE, Key=key, Retention={"Mode": mode, "RetainUntilDate": until})

    def hold(key: str, status: Any) -> None:
        rig.source.put_object_legal_hold(Bucket=SOURCE, Key=key, LegalHold={"Status": status})

    def lock_of(key: str) -> tuple[str | None, datetime | None, str | None]:
        head = rig.target.head_object(Bucket=mirror, Key=key)
        until = head.get("ObjectLockRetainUntilDate")
        return head.get("ObjectLockMode"), until and until.replace(microsecond=0), head.get("ObjectLockLegalHoldStatus")

    rig.put("free", b"body")
    rig.put("small", b"body")
    rig.put_parts("parts", b"x" * 5 * MIB, b"y")
    for key in ("small", "parts"):
        protect(key, soon)
        hold(key, "ON")
    options = ("--target-bucket", mirror, "--object-lock")
    secret = {"TARGET_ACCESS_KEY_ID": rig.other.access_key_id, "TARGET_SECRET_ACCESS_KEY": rig.other.secret_access_key}
    copied = run("migrate", *options, **secret)
    assert copied.code == 0, copied
    assert lock_of("free")[0] is None
    assert lock_of("small") == lock_of("parts") == (mode, soon, "ON")

    protect("small", later)
    hold("small", "OFF")
    hold("free", "ON")
    found = run("check", "--full", *options, **secret)
    assert found.named == dict.fromkeys(("free", "small"), "differs: Object Lock")
    repaired = run("migrate", "--full", *options, **secret)
    assert repaired.code == 0, repaired
    assert lock_of("small") == (mode, later, "OFF")
    assert lock_of("free")[2] == "ON"
    assert run("check", "--full", *options, **secret).code == 0


def test_target_without_object_lock_is_one_finding(rig: Rig) -> None:
    rig.source.delete_bucket(Bucket=SOURCE)
    rig.source.create_bucket(Bucket=SOURCE, ObjectLockEnabledForBucket=True)
    for key in ("one", "two"):
        rig.put(key, b"body")
        rig.source.put_object_legal_hold(Bucket=SOURCE, Key=key, LegalHold={"Status": "ON"})
    secret = {"TARGET_ACCESS_KEY_ID": rig.other.access_key_id, "TARGET_SECRET_ACCESS_KEY": rig.other.secret_access_key}
    ended = run("migrate", "--object-lock", **secret)
    assert (ended.code, ended.err.count("the target has no Object Lock")) == (0, 1), ended


def test_the_doctor_finds_what_is_known_of_ceph(rig: Rig) -> None:
    rig.put("key", b"body")
    secret = {"TARGET_ACCESS_KEY_ID": rig.other.access_key_id, "TARGET_SECRET_ACCESS_KEY": rig.other.secret_access_key}
    ended = run("doctor", "--json", "--queue-url", "", **secret)
    report = json.loads(ended.out)
    assert report["complete"]
    assert [check for check in report["checks"] if check["status"] == "skipped"] == []
    target = report["target"]
    assert (target["tags"], target["md5_etags"], target["md5_multipart_etags"]) == (True, True, True)
    assert "metadata with underscores" in target["changed_properties"]
    assert rig.target_keys() == []
