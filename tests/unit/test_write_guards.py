"""Writes without tag sync keep the target's tags, on stores with and without conditional writes."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from tests.support.in_memory_store import MemoryBucket, Stored, stored

from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import Changed, Permanent
from s3_syncer.core.headers import written
from s3_syncer.core.model import WriteGuard
from s3_syncer.core.multipart import Limits
from s3_syncer.core.units import MIB
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.converge import converge
from s3_syncer.sync.outcome import Outcome
from s3_syncer.sync.transfer import Transfer

KEY, RED = "key", {"colour": "red"}
NEW, OLD = stored(b"new"), stored(b"old", tags=RED)
IN_PARTS = stored(b"new ", b"one")

Conditions = Literal["honoured", "ignored", "refused", "never met"]
ALL_CONDITIONS: list[Conditions] = ["honoured", "ignored", "refused", "never met"]


class Sides:
    def __init__(self, source: Stored, target: Stored | None = None, conditions: Conditions = "honoured") -> None:
        self.source = MemoryBucket({KEY: source})
        self.target = MemoryBucket({KEY: target} if target else {})
        self.target.conditions = conditions
        self.source.with_tags = self.target.with_tags = lambda key, state: state  # type: ignore[method-assign]
        self.transfer = Transfer(self.source, self.target, memory=MIB, threads=1, tags=False, limits=Limits(min_part=1))

    def converge(self) -> Outcome:
        pair = BucketPair(self.source, self.target, self.transfer, capabilities=self.transfer.capabilities)
        return converge(pair, KEY, Deadline())

    @property
    def there(self) -> Stored:
        return self.target.objects[KEY]


@pytest.mark.parametrize("conditions", ALL_CONDITIONS)
@pytest.mark.parametrize("source", [NEW, IN_PARTS], ids=["in one piece", "in parts"])
def test_the_tags_that_the_target_has_are_kept(source: Stored, conditions: Conditions) -> None:
    sides = Sides(source, OLD, conditions)
    assert sides.converge().action == "update"
    assert (sides.there.body, sides.there.tags) == (source.body, RED)


@pytest.mark.parametrize("conditions", ALL_CONDITIONS)
@pytest.mark.parametrize("source", [NEW, IN_PARTS], ids=["in one piece", "in parts"])
def test_a_key_that_the_target_lacks_is_copied(source: Stored, conditions: Conditions) -> None:
    sides = Sides(source, None, conditions)
    assert sides.converge().action == "copy"
    assert sides.there.body == source.body


@pytest.mark.parametrize("before", [None, stored(b"old")], ids=["absent", "older"])
@pytest.mark.parametrize("source", [NEW, IN_PARTS], ids=["in one piece", "in parts"])
def test_a_copy_that_another_worker_makes_meanwhile_keeps_its_tags(source: Stored, before: Stored | None) -> None:
    sides, write = Sides(source, before), "put" if source is NEW else "complete_upload"

    def copied_meanwhile(operation: str, key: str) -> None:
        if operation == write:
            sides.target.on_call = lambda operation, key: None
            sides.target.objects[KEY] = replace(source, tags=RED)

    sides.target.on_call = copied_meanwhile
    sides.converge()
    assert (sides.there.body, sides.there.tags) == (source.body, RED)


@pytest.mark.parametrize("before", [None, stored(b"old")], ids=["absent", "older"])
def test_an_object_without_tags_needs_no_further_request(before: Stored | None) -> None:
    sides = Sides(NEW, before)
    sides.converge()
    with_tags = Sides(NEW, before)
    with_tags.transfer = Transfer(with_tags.source, with_tags.target, memory=MIB, threads=1)
    with_tags.converge()
    assert sides.target.calls == with_tags.target.calls
    assert "tags" not in sides.target.calls


@pytest.mark.parametrize("conditions", ["refused", "never met"])
def test_a_store_that_refuses_conditions_is_asked_once(conditions: Conditions) -> None:
    sides = Sides(NEW, None, conditions)
    sides.converge()
    for _ in range(3):
        del sides.target.objects[KEY]
        sides.target.calls.clear()
        sides.converge()
        assert sides.target.calls.count("put") == 1


def test_an_error_for_another_reason_says_nothing_about_conditions() -> None:
    sides = Sides(NEW)

    def refuse(operation: str, key: str) -> None:
        if operation == "put":
            raise Permanent("access denied", "AccessDenied")

    sides.target.on_call = refuse
    with pytest.raises(Permanent):
        sides.converge()
    assert sides.transfer.capabilities.conditional_writes


def test_an_object_that_always_changes_ends_the_completion() -> None:
    sides = Sides(IN_PARTS)
    number = 0

    def change(operation: str, key: str) -> None:
        nonlocal number
        if operation == "complete_upload":
            number += 1
            sides.target.objects[KEY] = stored(f"another {number}".encode())

    sides.target.on_call = change
    with pytest.raises(Changed):
        sides.transfer.copy(KEY, IN_PARTS.look(), Deadline())
    assert sides.target.under_way == {}


@pytest.mark.parametrize(
    ("guard", "headers"),
    [
        (None, {}),
        (WriteGuard(None), {"if-none-match": "*"}),
        (WriteGuard("e"), {"if-match": '"e"'}),
        (WriteGuard("e", {"a b": "c/d&é"}, conditional=False), {"x-amz-tagging": "a%20b=c%2Fd%26%C3%A9"}),
    ],
)
def test_the_headers_of_a_guard(guard: WriteGuard | None, headers: dict[str, str]) -> None:
    assert written(NEW.look(), None, guard) == headers
