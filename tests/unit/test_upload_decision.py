"""The next step for a large object: a table of the uploads that its key has and the decision for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.in_memory_store import md5_hex, stored

from s3_syncer.core.model import Upload
from s3_syncer.core.multipart import Limits, PartPlan, UploadedPart, own_plan
from s3_syncer.core.units import MIB
from s3_syncer.core.upload_history import UploadHistory
from s3_syncer.sync.upload_decision import (
    ABANDONED_AFTER_S,
    MAX_UPLOAD_ATTEMPTS,
    Abort,
    ActiveUpload,
    Adopt,
    AlreadyEqual,
    CheckTarget,
    Create,
    Decision,
    GiveUp,
    Verify,
    Wait,
    decide,
    first_upload,
)

#: An object of three parts in the source's plan, which is no plan of this project.
OBJECT = stored(b"aaa", b"bbb", b"c").look()
PLAN = PartPlan(7, 3)

OLD = ABANDONED_AFTER_S


def upload(id: str, *sizes: int, age_s: float = OLD) -> ActiveUpload:
    """An upload with parts of these sizes, numbered from 1; the upload and its parts have the same age."""
    parts = {number: UploadedPart(size, md5_hex(b"."), age_s) for number, size in enumerate(sizes, 1)}
    return ActiveUpload(Upload(id, age_s), parts)


#: Two uploads with parts of the plan's sizes, one with another size, one without parts.
ONE, TWO, OTHER, EMPTY = upload("1", 3), upload("2", 3, 3), upload("3", 2), upload("4")
FRESH = upload("5", 3, age_s=OLD - 1)
NEW = upload("6", age_s=0)


#: The history after the last upload that is allowed, with progress since the last recheck, and without.
SPENT = UploadHistory(MAX_UPLOAD_ATTEMPTS)
STALLED = UploadHistory(MAX_UPLOAD_ATTEMPTS, waited_s=30)
#: The history of a key that was rechecked for long, and nothing changed.
WAITED = UploadHistory(waited_s=int(OLD))


def decision(*uploads: ActiveUpload, **known: Any) -> Decision:
    facts: dict[str, Any] = {"verified": {}, "is_equal": None, "history": UploadHistory(), **known}
    return decide(facts.pop("state", OBJECT), facts.pop("plan", PLAN), uploads, **facts)


@pytest.mark.parametrize(
    ("uploads", "known", "expected"),
    [
        # another worker is active
        ([FRESH], {}, Wait()),
        ([NEW], {}, Wait()),
        ([ONE, FRESH], {"verified": {"1": True}}, Wait()),
        # an abandoned upload of this object
        ([ONE], {}, Verify(ONE)),
        ([ONE], {"verified": {"1": True}}, Adopt(ONE)),
        ([ONE], {"verified": {"1": False}}, Abort(ONE)),
        # several: the first that matches continues, and the rest are aborted
        ([ONE, TWO], {"verified": {"1": True}}, Abort(TWO)),
        ([ONE, TWO], {"verified": {"1": False}}, Abort(ONE)),
        ([OTHER, ONE], {}, Abort(OTHER)),
        ([TWO], {"verified": {"1": False}}, Verify(TWO)),
        # not provably of this object
        ([OTHER], {}, Abort(OTHER)),
        ([EMPTY], {}, Abort(EMPTY)),
        # no upload is left
        ([], {}, CheckTarget()),
        ([], {"is_equal": True}, AlreadyEqual()),
        ([], {"is_equal": False}, Create()),
        ([], {"is_equal": False, "history": UploadHistory(MAX_UPLOAD_ATTEMPTS - 1)}, Create()),
        ([], {"is_equal": False, "history": SPENT}, GiveUp()),
        # attempts limit creations, and continuations without progress
        ([], {"is_equal": True, "history": SPENT}, AlreadyEqual()),
        ([ONE], {"verified": {"1": True}, "history": SPENT}, Adopt(ONE)),
        ([FRESH], {"history": SPENT}, Wait()),
        ([ONE], {"verified": {"1": True}, "history": STALLED}, Abort(ONE)),
        ([], {"is_equal": False, "history": STALLED}, GiveUp()),
        # the times of the store are wrong
        ([FRESH], {"history": replace(WAITED, waited_s=int(OLD) - 1)}, Wait()),
        ([FRESH], {"history": WAITED}, Verify(FRESH)),
        ([NEW], {"history": WAITED}, Abort(NEW)),
    ],
)
def test_the_decision_follows_from_the_uploads(
    uploads: list[ActiveUpload], known: dict[str, Any], expected: Decision
) -> None:
    assert decision(*uploads, **known) == expected


def test_an_upload_is_never_adopted_if_the_sources_etag_cannot_prove_its_parts() -> None:
    kms = stored(b"aaabbbc", etag="k1-3", kms=True).look()
    assert decision(ONE, state=kms, verified={"1": True}) == Abort(ONE)
    own = own_plan(100 * MIB, largest_part=64 * MIB, limits=Limits())
    mine = upload("1", own.part_size)
    assert decision(mine, plan=own, verified={"1": True}) == Abort(mine)


def test_the_age_of_an_upload_is_that_of_its_youngest_part() -> None:
    parts = {1: UploadedPart(3, "e", OLD), 2: UploadedPart(3, "e", 5.0)}
    assert ActiveUpload(Upload("1", OLD), parts).idle_s == 5.0
    assert ActiveUpload(Upload("1", 7.0), {}).idle_s == 7.0


@pytest.mark.parametrize(
    ("ages", "first"),
    [({"a": 1.0, "b": 2.0}, "b"), ({"a": 1.0, "b": 1.0}, "b"), ({"b": 0.5, "a": 0.6}, "a"), ({}, "created")],
)
def test_all_workers_choose_the_same_of_several_uploads(ages: dict[str, float], first: str) -> None:
    uploads = [Upload(id, age_s) for id, age_s in ages.items()]
    assert first_upload(uploads, Upload("created", 0.0)).id == first
    assert first_upload(uploads[::-1], Upload("created", 0.0)).id == first
