"""Targets that fold keys, refuse some or all of them, or are busy: the function and `migrate`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.functional.command import run
from tests.functional.harness import SOURCE, TARGET, Rig, notification
from tests.support.odd_requests import Quirk, Request, Response, Store
from tests.support.odd_store import OddStore
from tests.support.quirks import keys, writes
from tests.support.quirks.scope import of_key, on, times

NOT_LISTED = "the target does not list this key"

FOLDS = {
    "slashes": (keys.folds_slashes, "a", "/a"),
    "slashes inside": (keys.folds_slashes, "d/x", "d//x"),
    "last slash": (keys.folds_last_slash, "d", "d/"),
    "dot segments": (keys.folds_dot_segments, "d/x", "d/./x"),
    "case": (keys.folds_case, "readme", "README"),
    "unicode": (keys.folds_unicode, "\u00e9", "e\u0301"),
    "backslashes": (keys.folds_backslashes, "d/x", "d\\x"),
}


def bodies(store: OddStore) -> dict[str, bytes]:
    return {key: kept.body for key, kept in store.objects.buckets[TARGET].items()}


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize(("fold", "kept", "other"), FOLDS.values(), ids=FOLDS)
def test_an_event_of_a_folded_key_leaves_the_other_key(
    odd: Rig, odd_store: OddStore, fold: Quirk, kept: str, other: str
) -> None:
    odd_store.add(fold)
    odd.put(kept, b"1")
    odd.put(other, b"22")
    assert odd.sync(kept).actions == {kept: "copy"}
    assert odd.sync(other).actions == {other: "dead-letter"}
    odd.source.delete_object(Bucket=SOURCE, Key=other)
    assert odd.sync(other).actions == {other: "unchanged"}
    assert bodies(odd_store) == {kept: b"1"}


@pytest.mark.parametrize(("fold", "kept", "other"), FOLDS.values(), ids=FOLDS)
def test_a_migration_names_a_folded_key(odd: Rig, odd_store: OddStore, fold: Quirk, kept: str, other: str) -> None:
    odd_store.add(fold)
    odd.put(other, b"22")
    alone = run("migrate", "--delete")
    assert alone.code == 1
    assert NOT_LISTED in alone.named[other]
    odd.put(kept, b"1")
    both = run("migrate")
    assert (both.code, both.named.keys()) == (1, {other})
    assert repr(kept) in both.named[other], "the finding names both keys"
    assert bodies(odd_store) == {kept: b"1"}
    assert run("check", "--full").code == 1


TWO_AS_ONE = {
    "folded": (keys.folds_case, "readme", "README"),
    "mixed case": (keys.folds_case, "docs/readme", "Docs/ReadMe"),
    "first": (keys.folds_case_and_keeps_the_first(), "README", "readme"),
    "first of mixed case": (keys.folds_case_and_keeps_the_first(), "ReadMe", "README"),
    "slash": (keys.folds_slashes, "a", "/a"),
    "unicode": (keys.folds_unicode, "\u00e9", "e\u0301"),
}


@pytest.mark.parametrize(("fold", "kept", "other"), TWO_AS_ONE.values(), ids=TWO_AS_ONE)
@pytest.mark.parametrize("same", [True, False], ids=["same bytes", "other bytes"])
def test_two_new_keys_that_are_written_at_once_are_both_named(
    odd: Rig, odd_store: OddStore, fold: Quirk, kept: str, other: str, same: bool
) -> None:
    odd_store.add(fold)
    odd.put(kept, b"1")
    odd.put(other, b"1" if same else b"22")
    odd_store.add(writes_before(kept, b"1", other))
    delivery = odd.sync(other)
    assert delivery.actions == {other: "dead-letter"}
    assert repr(kept) in delivery.reasons[other]
    assert bodies(odd_store) == {kept: b"1"}


def writes_before(kept: str, body: bytes, other: str) -> Quirk:
    """Write `kept` directly before the PUT of `other`: its worker has seen no object either."""

    def quirk(request: Request, store: Store) -> Response:
        store(replace(request, key=kept, body=body, headers={}))
        return store(request)

    return of_key(other)(on("PutObject")(times(1)(quirk)))


@pytest.mark.parametrize("command", [["migrate"], ["migrate", "--full"], ["sync", "README", "ReadMe"]])
def test_two_keys_that_the_target_renames_are_copied_once_and_named(
    odd: Rig, odd_store: OddStore, command: list[str]
) -> None:
    odd_store.add(keys.folds_case)
    odd.put("README", b"1")
    odd.put("ReadMe", b"22")
    for _ in range(2):
        assert run(*command).code == 1
    assert odd_store.count("PutObject") <= 2
    named = run(*command).named
    assert repr("ReadMe") in named["README"]
    assert repr("README") in named["ReadMe"]


@pytest.mark.parametrize("status", [429, 503])
def test_without_waiting_for_outages_a_busy_store_still_gets_every_key(
    odd: Rig, odd_store: OddStore, status: int
) -> None:
    for number in range(10):
        odd.put(f"key {number}", b"body")
    odd_store.add(writes.throttles(90, status))
    ended = run("migrate", "--outage-timeout", "0", "--concurrency", "2")
    assert (ended.code, len(bodies(odd_store))) == (0, 10), ended.out


def test_a_store_over_its_quota_loses_no_event(odd: Rig, odd_store: OddStore) -> None:
    names = [f"key {number}" for number in range(12)]
    for name in names:
        odd.put(name, b"body")
    with odd_store.having(writes.quota()):
        waiting = odd.deliver(*map(notification, names)).returned
        waiting = odd.deliver(*waiting).returned
    assert len(waiting) == len(names)
    assert odd.dead_letters() == []
    assert odd.deliver(*waiting).returned == []
    assert sorted(bodies(odd_store)) == sorted(names)


def test_a_migration_to_a_store_over_its_quota_ends_with_one_line(odd: Rig, odd_store: OddStore) -> None:
    for number in range(100):
        odd.put(f"key {number:03}", b"body")
    odd_store.add(writes.quota())
    ended = run("migrate", "--concurrency", "2")
    assert ended.code == 3
    assert "QuotaExceeded" in ended.err
    assert "refuses each key" in ended.err
    assert odd_store.count("PutObject") < 40


def test_one_signature_that_the_store_refuses_is_one_failed_key(odd: Rig, odd_store: OddStore) -> None:
    names = [f"key {number:03}" for number in range(50)]
    for name in names:
        odd.put(name, name.encode())
    odd_store.add(writes.refuses_signature_of("key 020"))
    ended = run("migrate")
    assert (ended.code, ended.named.keys()) == (1, {"key 020"})
    assert len(bodies(odd_store)) == 49


def test_a_store_that_throttles_most_writes_fails_no_key(odd: Rig, odd_store: OddStore) -> None:
    names = [f"key {number:02}" for number in range(20)]
    for name in names:
        odd.put(name, name.encode())
    odd_store.add(times(150)(writes.throttles(90)))
    ended = run("migrate")
    assert ended.code == 0, ended.err
    assert sorted(bodies(odd_store)) == names
