"""Each invariant finds the violation that it is named after, and nothing in a history without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.simulation.invariants import Ending, Verdict, violations
from tests.simulation.scheduler import Scheduler
from tests.simulation.sqs import Queued
from tests.simulation.store import Store

from s3_syncer.core.filters import Filters


def ending(change: Callable[[Store, Store], object] = lambda source, target: None, **properties: Any) -> Ending:
    """Return the end of a history with two equal stores, after a change of them."""
    scheduler = Scheduler(0)
    source, target = Store("source", scheduler), Store("target", scheduler)
    for store in (source, target):
        store.write("k", b"body", {"cache-control": "no-store"}, {"tag": "1"})
    change(source, target)
    return Ending(source=source, target=target, **{"duty": {"k", "other"}, **properties})


LETTER = Queued("m1", "{}", 0.0, {"key": "k", "error": "InvalidRequest: refused"})

GAVE_UP = Queued("m1", "{}", 0.0, {"key": "k", "error": "gave up after 3 multipart uploads of this object: reason"})

BROKEN = {
    "nothing_is_missing": ending(lambda source, target: target.remove("k")),
    "copies_are_equal": ending(lambda source, target: target.write("k", b"BODY")),
    "no_ghost_stays": ending(lambda source, target: source.remove("k")),
    "nothing_of_others_is_gone": ending(before={"old": Store("target", Scheduler(0)).write("old", b"")}, deletes=False),
    "excluded_keys_stay": ending(filters=Filters.of(exclude=["k"])),
    "delete_limits_hold": ending(deletions={"sweep": (2, 1)}),
    "restores_keep_what_is_there": ending(restore_breaches=["k: deleted"]),
    "lost_objects_are_back": ending(
        lambda source, target: source.remove("k"),
        restored={"k": Store("target", Scheduler(0)).write("k", b"body")},
        duty=frozenset(),
    ),
    "verdicts_are_true": ending(
        lambda source, target: target.write("x", b""), verdicts=[Verdict("check", equal=True)], duty=frozenset()
    ),
    "no_upload_stays": ending(lambda source, target: target.known_uploads.add(target.begin_upload("k"))),
    "dead_letters_are_explained": ending(dead_letters=[LETTER]),
    "every_message_ended": ending(queue=[Queued("m1", "{}", 0.0)]),
    "no_request_is_late": ending(lambda source, target: target.apply_later(60.0, dict, "put")),
}


def abandoned(uploads: int) -> Callable[[Store, Store], object]:
    return lambda source, target: target.idle_uploads.update({"k": uploads})


def removed_everywhere(source: Store, target: Store) -> None:
    source.remove("k")
    target.remove("k")


@pytest.mark.parametrize("name", BROKEN)
def test_an_invariant_finds_its_violation(name: str) -> None:
    assert {line.partition(":")[0] for line in violations(BROKEN[name])} == {name}


@pytest.mark.parametrize(
    "end",
    [
        ending(),
        ending(lambda source, target: target.tag("k", {}), tags=False),
        ending(lambda source, target: target.tag("k", {}), findings={"k"}),
        ending(lambda source, target: source.remove("k"), deletes=False),
        ending(lambda source, target: target.remove("k"), dead_letters=[LETTER], explained_errors=["InvalidRequest"]),
        ending(
            lambda source, target: target.write("other", b"", {"x-amz-meta-s3-syncer-source-etag": "e"}), duty={"k"}
        ),
        ending(lambda source, target: target.remove("k"), duty=frozenset()),
        ending(lambda source, target: source.remove("k"), lost={"k"}),
        # Live sync replaced an object of an excluded size by one that it mirrors, and deleted that one again.
        ending(
            removed_everywhere,
            lost={"k"},
            before={"k": Store("target", Scheduler(0)).write("k", b"")},
            filters=Filters.of(min_size=1),
        ),
        ending(lambda source, target: target.remove("k"), filters=Filters.of(exclude=["k"])),
        ending(lambda source, target: source.write("k", b"larger"), filters=Filters.of(max_size=4)),
        ending(abandoned(3), dead_letters=[GAVE_UP]),
    ],
)
def test_no_invariant_finds_what_is_allowed(end: Ending) -> None:
    assert violations(end) == []


def test_two_uploads_without_a_part_explain_no_dead_letter() -> None:
    assert len(violations(ending(abandoned(2), dead_letters=[GAVE_UP]))) == 1


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("change", [{"body": b"x"}, {"headers": {"x-amz-meta-a": "b"}}, {"tags": {"a": "b"}}])
def test_the_body_headers_and_tags_are_compared(side: str, change: dict[str, Any]) -> None:
    written = {"body": b"body", "headers": {"cache-control": "no-store"}, "tags": {"tag": "1"}, **change}
    end = ending(lambda source, target: (source if side == "source" else target).write("k", **written))
    assert len(violations(end)) == 1
