"""The decision about archived objects: which requests they take, and which restores are requested."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.support.in_memory_store import at

from s3_syncer.core.compare import KeyDiff
from s3_syncer.core.errors import Permanent, Refused, Retryable, SyncError
from s3_syncer.core.model import Archive, ListEntry, ObjectState
from s3_syncer.sync.archived_objects import ArchivedObjects, RestoreOptions

ETAG, OTHER = "0" * 32, "1" * 32

BULK = RestoreOptions("Bulk", 3)


class Store:
    """A source of which each object is in the archive that `head` shows."""

    def __init__(self, found: Archive | None = None, *, lists_restores: bool = False) -> None:
        self.found, self.lists_restores = found, lists_restores
        self.refusal: SyncError | None = None
        self.heads: list[str] = []
        self.restored: dict[str, Mapping[str, Any]] = {}
        self._lock = threading.Lock()

    def head(self, key: str, *, confirm_missing: bool = False, tags: bool = True) -> ObjectState | None:
        assert not tags
        self.heads.append(key)
        archived = self.found.storage_class if self.found else None
        return ObjectState(5, ETAG, at(0), archived=archived, is_restoring=bool(self.found and self.found.is_restoring))

    def restore(self, key: str, request: Mapping[str, Any]) -> None:
        if self.refusal is not None:
            raise self.refusal
        with self._lock:
            assert key not in self.restored
            self.restored[key] = request


def cold(
    key: str = "key", size: int = 5, *, restoring: bool | None = None, kind: str = "GLACIER", target: int | None = None
) -> KeyDiff:
    copy = None if target is None else ListEntry(key, target, OTHER, at(0))
    return KeyDiff(ListEntry(key, size, ETAG, at(0), Archive(kind, restoring)), copy)


def decide(
    store: Store, diff: KeyDiff, restore: RestoreOptions | None = None, *, dry_run: bool = False
) -> tuple[str, str] | None:
    outcome = ArchivedObjects(store, restore, dry_run=dry_run).outcome(diff, md5s=False)
    return outcome and (outcome.action, outcome.reason)


def test_a_store_that_lists_restores_gets_no_request() -> None:
    store = Store(lists_restores=True)
    expected = ("archived", "the object is in GLACIER: restore it, then copy it again")
    assert decide(store, cold()) == expected
    assert decide(store, cold(target=4)) == expected
    assert decide(store, cold(restoring=True), BULK) == (
        "archived",
        "the object is in GLACIER, and its restore is in progress",
    )
    assert store.heads == []
    assert store.restored == {}


def test_another_store_gets_one_request() -> None:
    store = Store(Archive("GLACIER"))
    assert decide(store, cold()) == ("archived", "the object is in GLACIER: restore it, then copy it again")
    assert store.heads == ["key"]


def test_an_object_that_is_restored_or_was_deleted_is_an_ordinary_one() -> None:
    assert decide(Store(None), cold(), BULK) is None


def test_an_object_that_may_be_equal_is_compared_first() -> None:
    store = Store(lists_restores=True)
    assert decide(store, cold(target=5), BULK) is None
    assert decide(store, KeyDiff(ListEntry("key", 5, ETAG, at(0)), None), BULK) is None
    assert decide(store, KeyDiff(None, ListEntry("key", 5, ETAG, at(0))), BULK) is None
    assert store.restored == {}


@pytest.mark.parametrize("kind", ["GLACIER", "DEEP_ARCHIVE"])
def test_a_restore_names_the_tier_and_the_days(kind: str) -> None:
    store = Store(lists_restores=True)
    assert decide(store, cold(kind=kind), BULK) == ("restore", f"the object is in {kind}: bulk restore")
    assert store.restored == {"key": {"Days": 3, "GlacierJobParameters": {"Tier": "Bulk"}}}


@pytest.mark.parametrize("kind", ["ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS"])
def test_a_restore_from_intelligent_tiering_has_no_days(kind: str) -> None:
    store, diff = Store(Archive(kind)), cold()
    archived = ArchivedObjects(store, BULK, dry_run=False)
    assert diff.source is not None
    assert archived.unreadable(diff.source, None).action == "restore"
    assert store.restored == {"key": {"GlacierJobParameters": {"Tier": "Bulk"}}}
    assert store.heads == ["key"]


def test_a_copy_that_finds_an_archive_needs_no_request_without_restores() -> None:
    store, diff = Store(Archive("GLACIER")), cold()
    assert diff.source is not None
    found = ArchivedObjects(store, None, dry_run=False).unreadable(diff.source, None)
    assert (found.action, found.size) == ("archived", 5)
    assert store.heads == []


def test_deep_archive_has_no_expedited_restores() -> None:
    store, expedited = Store(lists_restores=True), RestoreOptions("Expedited", 1)
    found = decide(store, cold(kind="DEEP_ARCHIVE"), expedited)
    assert found == ("archived", "the object is in DEEP_ARCHIVE, which has no expedited restores")
    assert decide(store, cold(), expedited) == ("restore", "the object is in GLACIER: expedited restore")


def test_the_limit_is_exact_also_between_threads() -> None:
    store = Store(lists_restores=True)
    archived = ArchivedObjects(store, RestoreOptions("Bulk", 1, max_bytes=1000), dry_run=False)
    with ThreadPoolExecutor(8) as pool:
        diffs = [cold(f"key {number:03}", size=10) for number in range(150)]
        outcomes = list(pool.map(lambda diff: archived.outcome(diff, md5s=False), diffs))
    actions = [outcome.action for outcome in outcomes if outcome]
    assert (actions.count("restore"), actions.count("archived")) == (100, 50)
    assert len(store.restored) == 100
    assert archived.outcome(cold("empty", size=0), md5s=False).action == "restore"  # type: ignore[union-attr]


def test_an_object_above_the_rest_of_the_limit_leaves_it_to_smaller_ones() -> None:
    archived = ArchivedObjects(Store(lists_restores=True), RestoreOptions("Bulk", 1, max_bytes=10), dry_run=False)
    found = [archived.outcome(cold(f"key {size}", size=size), md5s=False) for size in (6, 5, 4, 1)]
    assert [outcome and outcome.action for outcome in found] == ["restore", "archived", "restore", "archived"]
    assert found[1] is not None
    assert "the limit of 1e-08 GB to restore is reached" in found[1].reason


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (Refused("access denied", "AccessDenied"), False),
        (Permanent("no", "InvalidArgument"), False),
        (Retryable("the connection broke", "ConnectionBroke"), True),
    ],
)
def test_a_failed_request_counts_unless_it_was_certainly_not_served(error: SyncError, counts: bool) -> None:
    store = Store(lists_restores=True)
    archived = ArchivedObjects(store, RestoreOptions("Bulk", 1, max_bytes=5), dry_run=False)
    store.refusal = error
    with pytest.raises(type(error)):
        archived.outcome(cold(), md5s=False)
    store.refusal = None
    found = archived.outcome(cold("other"), md5s=False)
    assert found is not None
    assert found.action == ("archived" if counts else "restore")


def test_a_restore_in_progress_counts_because_an_earlier_attempt_may_have_begun_it() -> None:
    store = Store(lists_restores=True)
    archived = ArchivedObjects(store, RestoreOptions("Bulk", 1, max_bytes=5), dry_run=False)
    store.refusal = Retryable("in progress", "RestoreAlreadyInProgress")
    found = archived.outcome(cold(), md5s=False)
    assert found is not None
    assert (found.action, found.reason) == ("archived", "the object is in GLACIER, and its restore is in progress")
    store.refusal = None
    assert archived.outcome(cold("other"), md5s=False).action == "archived"  # type: ignore[union-attr]


def test_a_dry_run_keeps_to_the_limit_and_requests_nothing() -> None:
    store = Store(lists_restores=True)
    archived = ArchivedObjects(store, RestoreOptions("Bulk", 1, max_bytes=5), dry_run=True)
    found = [archived.outcome(cold(f"key {number}"), md5s=False) for number in range(2)]
    assert [outcome and outcome.action for outcome in found] == ["restore", "archived"]
    assert store.restored == {}
