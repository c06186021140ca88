"""The state of a page: the progress of each key, and the work that a listing of the page calls for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.in_memory_store import at

from s3_syncer.core.compare import KeyDiff
from s3_syncer.core.model import ListEntry
from s3_syncer.sync.key_sweep import SweepOptions
from s3_syncer.sync.outcome import Outcome
from s3_syncer.sync.page_state import KeyProgress, PagePlan, PageRound, PageState, needs_recheck

SOURCE = ListEntry("key", 1, "0" * 32, at(1))
NEWER = replace(SOURCE, etag="1" * 32, last_modified=at(3))
IN_SYNC = KeyDiff(SOURCE, replace(SOURCE, last_modified=at(2)))
ABSENT = KeyDiff(SOURCE, None)
REWRITTEN = KeyDiff(NEWER, IN_SYNC.target)

EQUAL, MISSING, LARGE = Outcome("unchanged", "equal"), Outcome("missing", "absent"), Outcome("large", "too large")
COPY, KEPT = Outcome("copy", "absent from the target", 1), Outcome("kept", "deletes are off")


def state(**known: object) -> PageState:
    return PageState(SweepOptions().needs_check, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("known", "diff", "progress"),
    [
        ({}, IN_SYNC, KeyProgress.EQUAL),
        ({}, ABSENT, KeyProgress.NEW),
        ({"failed": {"key"}}, ABSENT, KeyProgress.FAILED),
        ({"failed": {"key"}}, IN_SYNC, KeyProgress.FAILED),
        ({"outcomes": {ABSENT: MISSING}}, ABSENT, KeyProgress.SETTLED),
        ({"outcomes": {ABSENT: MISSING}}, REWRITTEN, KeyProgress.NEW),
        ({"expected_listing": {"key": SOURCE}}, IN_SYNC, KeyProgress.EQUAL),
        ({"expected_listing": {"key": SOURCE}}, ABSENT, KeyProgress.COPIED),
        ({"expected_listing": {"key": NEWER}}, IN_SYNC, KeyProgress.COPIED),
        ({"expected_listing": {"key": None}}, IN_SYNC, KeyProgress.COPIED),
        ({"expected_listing": {"key": None}, "outcomes": {IN_SYNC: EQUAL}}, IN_SYNC, KeyProgress.SETTLED),
    ],
)
def test_progress_follows_from_the_listing_and_the_earlier_rounds(
    known: dict[str, object], diff: KeyDiff, progress: KeyProgress
) -> None:
    assert state(**known).progress(diff) is progress


@pytest.mark.parametrize(
    ("known", "by_listing", "plan"),
    [
        ({}, None, PagePlan([ABSENT], {}, [ABSENT], [ABSENT])),
        ({}, MISSING, PagePlan([ABSENT], {ABSENT: MISSING}, [], [])),
        ({"outcomes": {ABSENT: MISSING}}, MISSING, PagePlan([ABSENT], {}, [], [])),
        ({"expected_listing": {"key": SOURCE}}, None, PagePlan([ABSENT], {}, [ABSENT], [])),
        ({"failed": {"key"}}, None, PagePlan([], {}, [], [])),
    ],
    ids=["new", "decided by the listing", "settled", "copied but not listed", "failed"],
)
def test_the_plan_has_the_work_that_a_listing_calls_for(
    known: dict[str, object], by_listing: Outcome | None, plan: PagePlan
) -> None:
    assert state(**known).plan([ABSENT], lambda diff: by_listing) == plan


@pytest.mark.parametrize(
    ("reported", "copied", "checked", "settled", "unconfirmed"),
    [
        ({}, {}, {}, True, []),
        ({}, {}, {ABSENT: EQUAL}, True, []),
        ({}, {}, {ABSENT: COPY}, False, []),
        ({}, {}, {ABSENT: KEPT}, False, []),
        ({}, {}, {ABSENT: MISSING}, False, []),
        ({ABSENT: MISSING}, {}, {}, False, [ABSENT]),
        ({ABSENT: LARGE}, {}, {}, False, []),
        ({}, {"key": SOURCE}, {}, False, [ABSENT]),
    ],
    ids=["nothing", "equal", "written", "gone from the source", "different", "reported", "large", "copied"],
)
def test_a_round_is_settled_if_another_listing_has_nothing_to_confirm(
    reported: dict[KeyDiff, Outcome],
    copied: dict[str, ListEntry | None],
    checked: dict[KeyDiff, Outcome],
    settled: bool,
    unconfirmed: list[KeyDiff],
) -> None:
    done = PageRound(PagePlan([ABSENT], reported, [], []), copied, checked)
    assert done.is_settled is settled
    assert done.unconfirmed == unconfirmed


def test_a_round_settles_what_was_reported_or_found_equal_but_not_what_was_written() -> None:
    known = state()
    known.advance(PageRound(PagePlan([], {ABSENT: MISSING}, [], []), {"copied": SOURCE}, {REWRITTEN: COPY}))
    known.advance(PageRound(PagePlan([], {}, [], []), {}, {IN_SYNC: EQUAL}))
    assert known.outcomes == {ABSENT: MISSING, IN_SYNC: EQUAL}
    assert known.expected_listing == {"copied": SOURCE}


@pytest.mark.parametrize(
    ("action", "again"), [("copy", True), ("delete", True), ("kept", True), ("unchanged", False), ("differs", False)]
)
def test_a_key_needs_a_recheck_if_it_was_written_or_has_gone(action: str, again: bool) -> None:
    assert needs_recheck(Outcome(action, "")) is again
