"""`s3-syncer restore --object-lock`, with emulated clouds only: Ceph RGW keeps locked objects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.functional.command import run
from tests.functional.harness import MIB, SOURCE, TARGET, Rig

NEW = "the-new-bucket"

NOW = datetime.now(UTC).replace(microsecond=0)
SOON, LATER = NOW + timedelta(days=1), NOW + timedelta(days=30)


@pytest.fixture
def locked(rig: Rig) -> Rig:
    """Return a rig with Object Lock on both sides."""
    for client, bucket in ((rig.source, SOURCE), (rig.target, TARGET)):
        client.delete_bucket(Bucket=bucket)
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    return rig


def protect(client: Any, bucket: str, key: str, mode: str = "GOVERNANCE", until: datetime = LATER) -> None:
    client.put_object_retention(Bucket=bucket, Key=key, Retention={"Mode": mode, "RetainUntilDate": until})


def hold(client: Any, bucket: str, key: str, status: str = "ON") -> None:
    client.put_object_legal_hold(Bucket=bucket, Key=key, LegalHold={"Status": status})


def lock_of(rig: Rig, key: str, bucket: str = SOURCE) -> tuple[str | None, datetime | None, str | None]:
    """Return the mode, the end of the retention and the legal hold of an object in the bucket."""
    head = rig.source.head_object(Bucket=bucket, Key=key)
    until = head.get("ObjectLockRetainUntilDate")
    return head.get("ObjectLockMode"), until and until.replace(microsecond=0), head.get("ObjectLockLegalHoldStatus")


def lose(rig: Rig) -> None:
    """Put a delete marker over each object, which is all that Object Lock allows."""
    for key in rig.source_keys():
        rig.source.delete_object(Bucket=SOURCE, Key=key)


def fill_locked(rig: Rig) -> None:
    for key in ("free", "held", "kept"):
        rig.put(key, key.encode(), Tagging="a=b")
    rig.put("large", b"5" * (3 * MIB))
    rig.put_parts("parts", b"1" * 5 * MIB, b"2" * 100)
    for key in ("kept", "large", "parts"):
        protect(rig.source, SOURCE, key, "COMPLIANCE" if key == "large" else "GOVERNANCE")
    hold(rig.source, SOURCE, "held")
    assert run("migrate", "--object-lock").code == 0


def test_locks_come_back_if_asked_for(locked: Rig, way: str) -> None:
    fill_locked(locked)
    lose(locked)
    ended = run("restore", "--object-lock")
    assert (ended.code, ended.out) == (0, "")
    assert "5 restored" in ended.err
    assert lock_of(locked, "free") == (None, None, None)
    assert lock_of(locked, "held")[2] == "ON"
    assert lock_of(locked, "kept")[:2] == lock_of(locked, "parts")[:2] == ("GOVERNANCE", LATER)
    assert lock_of(locked, "large")[:2] == ("COMPLIANCE", LATER)
    locked.clear()
    assert run("restore", "--object-lock", "--full").code == run("check", "--object-lock", "--full").code == 0
    assert [request for request in locked.source_proxy.writes() if not request.operation] == []


def test_no_lock_comes_back_without_the_option(locked: Rig) -> None:
    fill_locked(locked)
    lose(locked)
    assert run("restore").code == 0
    assert all(lock_of(locked, key)[:2] == (None, None) for key in ("held", "kept", "large", "parts"))


def test_a_default_retention_of_the_bucket_is_only_extended(locked: Rig, way: str) -> None:
    for key in ("shorter", "longer", "none"):
        locked.put(key, b"body")
    protect(locked.source, SOURCE, "shorter", until=SOON)
    protect(locked.source, SOURCE, "longer")
    assert run("migrate", "--object-lock").code == 0
    locked.source.create_bucket(Bucket=NEW, ObjectLockEnabledForBucket=True)
    rule: Any = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 10}}
    locked.source.put_object_lock_configuration(
        Bucket=NEW, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    ended = run("restore", "--object-lock", "--to-bucket", NEW)
    assert (ended.code, ended.out) == (0, "")
    ends = {key: lock_of(locked, key, NEW)[1] for key in ("shorter", "longer", "none")}
    assert ends["longer"] == LATER
    assert all(SOON < end < LATER for key, end in ends.items() if key != "longer" and end is not None)
    assert None not in ends.values()


def test_a_lock_that_differs_alone_is_listed_and_extended_with_overwrite(locked: Rig) -> None:
    """No object is written again, and the bucket's longer retention and its hold stay."""
    for key in ("longer", "held", "weaker", "unheld"):
        locked.put(key, b"body")
    for key in ("longer", "weaker"):
        protect(locked.source, SOURCE, key, until=SOON)
    hold(locked.source, SOURCE, "unheld")
    assert run("migrate", "--object-lock").code == 0
    protect(locked.source, SOURCE, "longer", "COMPLIANCE")
    hold(locked.target, TARGET, "unheld", "OFF")
    protect(locked.target, TARGET, "weaker")
    hold(locked.target, TARGET, "held")
    for planned in ([], ["--dry-run"]):
        found = run("restore", "--full", "--object-lock", *planned)
        assert found.named == {"held": "differs: Object Lock", "weaker": "differs: Object Lock"}
    locked.clear()
    ended = run("restore", "--full", "--object-lock", "--overwrite")
    assert (ended.code, ended.out) == (0, "")
    assert "2 locked" in ended.err
    assert lock_of(locked, "held")[2] == lock_of(locked, "unheld")[2] == "ON"
    assert lock_of(locked, "weaker")[:2] == ("GOVERNANCE", LATER)
    assert lock_of(locked, "longer")[:2] == ("COMPLIANCE", LATER)
    queries = {tuple(request.query) for request in locked.source_proxy.writes() if not request.operation}
    assert queries == {("legal-hold",), ("retention",)}


def test_a_bucket_without_object_lock_is_one_note(rig: Rig) -> None:
    rig.target.delete_bucket(Bucket=TARGET)
    rig.target.create_bucket(Bucket=TARGET, ObjectLockEnabledForBucket=True)
    rig.target.put_object(Bucket=TARGET, Key="key", Body=b"body")
    hold(rig.target, TARGET, "key")
    ended = run("restore", "--object-lock")
    assert (ended.code, rig.source_keys()) == (0, ["key"])
    assert "note: the bucket has no Object Lock, so no retention and no legal hold is copied" in ended.err
