"""The lock of an object: read from headers, written as headers, and compared."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from s3_syncer.core import object_lock
from s3_syncer.core.compare import compare, not_kept
from s3_syncer.core.headers import parameters, written
from s3_syncer.core.model import NO_LOCK, ObjectLock, ObjectState, Retention

NOW = "Mon, 30 Nov 2026 12:00:00 GMT"
DAY = datetime(2026, 12, 1, tzinfo=UTC)
LATER = datetime(2027, 12, 1, tzinfo=UTC)

WEAK, STRONG = Retention("GOVERNANCE", DAY), Retention("COMPLIANCE", LATER)


def headers(**lock: str) -> dict[str, str]:
    names = {f"x-amz-object-lock-{name.replace('_', '-')}": value for name, value in lock.items()}
    return {"date": NOW, **names}


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        ("2026-12-01T00:00:00Z", DAY),
        ("2026-12-01T00:00:00.123Z", DAY),
        ("2026-12-01T01:00:00+01:00", DAY),
        ("2026-11-30T11:59:59Z", None),  # it has ended
        ("2026-11-30T12:00:59Z", None),  # it ends before a write
        ("2026-11-30T12:01:01Z", datetime(2026, 11, 30, 12, 1, 1, tzinfo=UTC)),
        ("nonsense", None),
    ],
)
def test_retention_is_read_until_it_ends(until: str, expected: datetime | None) -> None:
    found = object_lock.read(headers(mode="COMPLIANCE", retain_until_date=until))
    assert found == (NO_LOCK if expected is None else ObjectLock(Retention("COMPLIANCE", expected)))


def test_retention_counts_without_a_clock_of_the_store() -> None:
    lock = headers(mode="governance", retain_until_date="2020-01-01T00:00:00Z")
    del lock["date"]
    assert object_lock.read(lock).retention == Retention("GOVERNANCE", datetime(2020, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(("status", "expected"), [("ON", True), ("OFF", False), ("", None), ("maybe", None)])
def test_legal_hold_is_read(status: str, expected: bool | None) -> None:
    assert object_lock.read(headers(legal_hold=status)).legal_hold is expected


def test_unknown_mode_is_no_retention() -> None:
    assert object_lock.read(headers(mode="FOREVER", retain_until_date="2030-01-01T00:00:00Z")) == NO_LOCK


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (None, None, None),
        (None, STRONG, None),  # the default retention of the bucket
        (WEAK, None, WEAK),
        (WEAK, WEAK, None),
        (WEAK, STRONG, None),
        (STRONG, WEAK, STRONG),
        (Retention("GOVERNANCE", LATER), WEAK, Retention("GOVERNANCE", LATER)),
        (Retention("COMPLIANCE", DAY), WEAK, Retention("COMPLIANCE", DAY)),
        # The later end and the stronger mode of both, so that nothing is shortened or weakened.
        (Retention("GOVERNANCE", LATER), Retention("COMPLIANCE", DAY), STRONG),
        (Retention("COMPLIANCE", DAY), Retention("GOVERNANCE", LATER), STRONG),
    ],
)
def test_retention_is_never_shortened_or_weakened(
    source: Retention | None, target: Retention | None, expected: Retention | None
) -> None:
    assert object_lock.retention_to_write(ObjectLock(source), ObjectLock(target)) == expected
    assert object_lock.differs(ObjectLock(source), ObjectLock(target)) is (expected is not None)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (True, None, True),
        (True, False, True),
        (True, True, False),
        (False, True, True),
        (False, None, False),
        # The user may not read it, perhaps: nothing is released without a word of the source.
        (None, True, False),
        (None, None, False),
    ],
)
def test_legal_hold_follows_what_the_source_says(source: bool | None, target: bool | None, expected: bool) -> None:
    assert object_lock.differs(ObjectLock(None, source), ObjectLock(None, target)) is expected


def state(lock: ObjectLock, **properties: object) -> ObjectState:
    return ObjectState(1, "0" * 32, None, lock=lock, **properties)  # type: ignore[arg-type]


def test_lock_is_compared_behind_the_tags() -> None:
    source, target = state(ObjectLock(WEAK), tags={"a": "b"}), state(NO_LOCK)
    assert compare(source, target).reason == "tags"  # type: ignore[union-attr]
    difference = compare(state(ObjectLock(WEAK)), target)
    assert difference is not None
    assert (difference.reason, difference.body, difference.lock) == ("Object Lock", False, True)
    assert not_kept(difference, state(ObjectLock(WEAK)), target) == (
        "the target does not keep the Object Lock: the source has {'x-amz-object-lock-mode': 'GOVERNANCE', "
        "'x-amz-object-lock-retain-until-date': '2026-12-01T00:00:00Z'}, the target has nothing"
    )


def test_lock_is_written_with_the_object() -> None:
    sent = written(state(ObjectLock(WEAK, legal_hold=True)), None)
    assert sent == {
        "x-amz-object-lock-legal-hold": "ON",
        "x-amz-object-lock-mode": "GOVERNANCE",
        "x-amz-object-lock-retain-until-date": "2026-12-01T00:00:00Z",
    }
    assert parameters(sent) == {
        "Metadata": {},
        "ObjectLockLegalHoldStatus": "ON",
        "ObjectLockMode": "GOVERNANCE",
        "ObjectLockRetainUntilDate": "2026-12-01T00:00:00Z",
    }
    assert written(state(ObjectLock(None, legal_hold=False)), None) == {}
