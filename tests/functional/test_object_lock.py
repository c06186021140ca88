"""Retention and legal holds, which `--object-lock` mirrors. tests/real_store tests Ceph RGW."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.functional.command import run
from tests.functional.harness import MIB, SOURCE, TARGET, Rig

NOW = datetime.now(UTC).replace(microsecond=0)
SOON, LATER = NOW + timedelta(days=1), NOW + timedelta(days=30)


@pytest.fixture
def locked(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Return a rig with Object Lock on both sides, and with the option on."""
    for client, bucket in ((rig.source, SOURCE), (rig.target, TARGET)):
        client.delete_bucket(Bucket=bucket)
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    monkeypatch.setenv("SYNC_OBJECT_LOCK", "true")
    return rig


def protect(rig: Rig, key: str, mode: str = "GOVERNANCE", until: datetime = LATER) -> None:
    retention: Any = {"Mode": mode, "RetainUntilDate": until}
    rig.source.put_object_retention(Bucket=SOURCE, Key=key, Retention=retention)


def hold(rig: Rig, key: str, status: Any = "ON") -> None:
    rig.source.put_object_legal_hold(Bucket=SOURCE, Key=key, LegalHold={"Status": status})


def lock_of(rig: Rig, key: str) -> tuple[str | None, datetime | None, str | None]:
    """Return the mode, the end of the retention and the legal hold of an object in the target."""
    head = rig.target.head_object(Bucket=TARGET, Key=key)
    until = head.get("ObjectLockRetainUntilDate")
    return head.get("ObjectLockMode"), until and until.replace(microsecond=0), head.get("ObjectLockLegalHoldStatus")


def put(rig: Rig) -> None:
    rig.put("key", b"body", Tagging="a=b")


def put_large(rig: Rig) -> None:
    rig.put_parts("key", b"x" * 5 * MIB, b"y" * MIB)


@pytest.mark.parametrize("prepare", [put, put_large])
@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_event_copies_the_lock_with_the_object(locked: Rig, prepare: Callable[[Rig], None], mode: str) -> None:
    prepare(locked)
    protect(locked, "key", mode, SOON)
    hold(locked, "key")
    assert locked.sync("key").actions == {"key": "copy"}
    assert lock_of(locked, "key") == (mode, SOON, "ON")
    assert locked.sync("key").actions == {"key": "unchanged"}


def test_object_without_a_lock_costs_no_request(locked: Rig) -> None:
    locked.put("key", b"body")
    locked.sync("key")
    assert lock_of(locked, "key")[0] is None
    operations = [request for request in locked.target_proxy.requests if "object-lock" in request.query]
    assert operations == []


def test_sweep_copies_locks(locked: Rig) -> None:
    for number in range(5):
        locked.put(f"{number}", b"body")
    protect(locked, "1", "COMPLIANCE", SOON)
    hold(locked, "2")
    assert run("migrate", "--object-lock").code == 0
    assert lock_of(locked, "0")[0] is None
    assert lock_of(locked, "1")[:2] == ("COMPLIANCE", SOON)
    assert lock_of(locked, "2")[2] == "ON"
    checked = run("check", "--full", "--object-lock")
    assert checked.code == 0, checked


def test_full_sweep_finds_a_lock_that_changed_alone(locked: Rig) -> None:
    """S3 sends no event for a change of a retention or a legal hold, and no listing shows it."""
    for key in ("held", "extended", "tagged"):
        locked.put(key, b"body", Tagging="a=b")
    protect(locked, "extended", until=SOON)
    assert run("migrate", "--object-lock").code == 0
    hold(locked, "held")
    protect(locked, "extended", until=LATER)
    hold(locked, "tagged")
    locked.tag("tagged", {"c": "d"})
    assert run("check", "--object-lock").code == 0
    found = run("check", "--full", "--object-lock")
    assert found.code == 1
    assert found.named == {
        "held": "differs: Object Lock",
        "extended": "differs: Object Lock",
        "tagged": "differs: tags",
    }
    repaired = run("migrate", "--full", "--object-lock")
    assert repaired.code == 0, repaired
    assert "2 locked" in repaired.err
    assert "1 tagged" in repaired.err
    assert lock_of(locked, "held")[2] == lock_of(locked, "tagged")[2] == "ON"
    assert lock_of(locked, "extended")[1] == LATER
    assert run("check", "--full", "--object-lock").code == 0


def test_event_of_another_change_repairs_the_lock(locked: Rig) -> None:
    locked.put("key", b"body")
    locked.sync("key")
    protect(locked, "key")
    assert locked.sync("key").actions == {"key": "lock"}
    assert lock_of(locked, "key")[:2] == ("GOVERNANCE", LATER)


def test_legal_hold_ends_with_that_of_the_source(locked: Rig) -> None:
    locked.put("key", b"body")
    hold(locked, "key")
    locked.sync("key")
    hold(locked, "key", "OFF")
    assert locked.sync("key").actions == {"key": "lock"}
    assert lock_of(locked, "key")[2] in (None, "OFF")


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_retention_is_never_shortened(locked: Rig, mode: str) -> None:
    """A target may protect its objects longer, for example with the default retention of its bucket."""
    locked.put("key", b"body")
    protect(locked, "key", "GOVERNANCE", SOON)
    retention: Any = {"Mode": mode, "RetainUntilDate": LATER}
    locked.sync("key")
    locked.target.put_object_retention(Bucket=TARGET, Key="key", Retention=retention)
    assert locked.sync("key").actions == {"key": "unchanged"}
    assert run("check", "--full", "--object-lock").code == 0
    assert lock_of(locked, "key")[:2] == (mode, LATER)


@pytest.mark.parametrize("command", [True, False], ids=["sweep", "events"])
def test_default_retention_of_the_target_is_only_extended(locked: Rig, command: bool) -> None:
    """The default may protect from ransomware. A retention that comes with an object would replace it."""
    rule: Any = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 10}}
    locked.target.put_object_lock_configuration(
        Bucket=TARGET, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    keys = ("shorter", "longer", "longer-large", "longer-parts", "longer-again", "none")
    for key in keys[:2] + keys[4:]:
        locked.put(key, b"body")
    locked.put("longer-large", b"x" * 3 * MIB)
    locked.put_parts("longer-parts", b"x" * 5 * MIB, b"y")
    for key in keys[:-1]:
        protect(locked, key, "GOVERNANCE", SOON if key == "shorter" else LATER)
    if command:
        assert run("migrate", "--object-lock").code == 0
        assert run("check", "--full", "--object-lock").code == 0
    else:
        assert locked.sync(*keys).actions == dict.fromkeys(keys, "copy")
    ends = {key: lock_of(locked, key)[1] for key in keys}
    assert {key for key, end in ends.items() if end == LATER} == set(keys[1:-1])
    ten_days = timedelta(days=9), timedelta(days=11)
    for key in ("shorter", "none"):
        end = ends[key]
        assert end is not None
        assert ten_days[0] < end - NOW < ten_days[1]


def test_locked_object_is_overwritten_and_deleted(locked: Rig) -> None:
    """The target keeps the locked versions, and gets a new version and a delete marker."""
    locked.put("key", b"body")
    protect(locked, "key", "COMPLIANCE", SOON)
    locked.sync("key")
    locked.put("key", b"another")
    assert locked.sync("key").actions == {"key": "update"}
    assert lock_of(locked, "key")[0] is None
    locked.source.delete_object(Bucket=SOURCE, Key="key")
    assert locked.sync("key").actions == {"key": "delete"}
    assert locked.target_keys() == []
    versions = locked.target.list_object_versions(Bucket=TARGET)
    assert len(versions["Versions"]) == 2


def test_locks_are_ignored_without_the_option(locked: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNC_OBJECT_LOCK")
    locked.put("key", b"body")
    hold(locked, "key")
    assert locked.sync("key").actions == {"key": "copy"}
    assert lock_of(locked, "key")[2] in (None, "OFF")
    assert run("check", "--full").code == 0
    assert not [request for request in locked.target_proxy.requests if "object-lock" in request.query]


@pytest.fixture
def unlocked_target(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    rig.source.delete_bucket(Bucket=SOURCE)
    rig.source.create_bucket(Bucket=SOURCE, ObjectLockEnabledForBucket=True)
    monkeypatch.setenv("SYNC_OBJECT_LOCK", "true")
    for key in ("one", "two"):
        rig.put(key, b"body")
        protect(rig, key, until=SOON)
    return rig


def test_target_without_object_lock_is_one_finding(unlocked_target: Rig) -> None:
    ended = run("migrate", "--object-lock", "--processes", "1")
    assert ended.code == 0, ended
    assert "2 copied" in ended.err
    assert ended.err.count("the target has no Object Lock") == 1
    asked = [request for request in unlocked_target.target_proxy.requests if "object-lock" in request.query]
    assert len(asked) == 1
    assert run("check", "--full", "--object-lock").code == 0


def test_worker_logs_a_target_without_object_lock_once(unlocked_target: Rig) -> None:
    delivery = unlocked_target.sync("one", "two")
    assert delivery.actions == {"one": "copy", "two": "copy"}
    assert [line["message"] for line in delivery.log if "has no Object Lock" in line["message"]]
    assert delivery.returned == []


def test_doctor_names_a_target_without_object_lock(unlocked_target: Rig) -> None:
    ended = run("doctor", "--object-lock")
    assert ended.code == 1, ended
    assert "the target has no Object Lock" in ended.out


def test_doctor_accepts_a_target_with_object_lock(locked: Rig) -> None:
    ended = run("doctor", "--object-lock")
    assert "the target has no Object Lock" not in ended.out
