"""Unit tests of the status of a module: what the log says, and what counts as a problem."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from s3_syncer.operations.log_lines import LogLine
from s3_syncer.operations.status import (
    FAILING,
    HEALTHY,
    Failure,
    FunctionState,
    Lag,
    QueueState,
    ServiceState,
    Status,
    Sweep,
    failures_of,
    format_span,
    lag_of,
    last_sweep,
)
from s3_syncer.queue.message_counts import QueueCounts


def line(at: float, action: str, **fields: Any) -> LogLine:
    return LogLine(at, "/aws/lambda/mirror", {"action": action, **fields}, "")


def queue(name: str, visible: int = 0, oldest_s: float | None = None) -> QueueState:
    return QueueState(name, f"https://sqs/{name}", QueueCounts(visible), oldest_s)


HEALTHY_STATUS = Status(
    at=1000.0,
    name="mirror",
    source="s3://a/",
    target="https://b/c/",
    paused=False,
    max_lag_s=600,
    queues=[queue("events"), queue("bulk"), queue("dead letters")],
    dead_letters=[],
    lag=Lag(10, 0.5, 1.0, 2.0),
    failures=[],
    sweep=None,
    log_s=1200,
    sweep_log_s=90000,
    function=FunctionState("mirror", "Active", {"mirror": "Enabled", "mirror-bulk": "Enabled"}),
    service=None,
    alarms=[],
)


def test_quiet_module_is_healthy() -> None:
    assert HEALTHY_STATUS.problems == []
    assert HEALTHY_STATUS.exit_code == HEALTHY


DISABLED = FunctionState("mirror", "Active", {"mirror": "Disabled", "mirror-bulk": "Disabled"})


@pytest.mark.parametrize(
    ("changes", "text", "command"),
    [
        ({"paused": True}, "the module is paused", "set paused = false"),
        (
            {"function": FunctionState("mirror", "Failed", {"mirror": "Enabled"}, "the key is disabled")},
            "the function is Failed: the key is disabled",
            "aws lambda get-function",
        ),
        ({"function": DISABLED}, "event source mappings are not enabled", "aws lambda list-event-source-mappings"),
        (
            {"service": ServiceState("mirror-service", 1, 2, "IN_PROGRESS")},
            "the service runs 1 of 2 tasks",
            "s3-syncer image push",
        ),
        (
            {"service": ServiceState("mirror-service", 2, 2, "FAILED", "tasks failed to start")},
            "2 of 2 tasks: tasks failed to start",
            "s3-syncer image push",
        ),
        (
            {"failures": [Failure("no response", 3, "a", 999, unusable=True)]},
            "no key can be mirrored: no response",
            "s3-syncer doctor",
        ),
        (
            {"failures": [Failure("the source kept changing", 1, "it's", 999)]},
            "1 key will be tried again: the source kept changing",
            "s3-syncer explain",
        ),
        ({"queues": [queue("events", 5, 601)]}, "a change has waited for 10 min", "raise sync.max_concurrency"),
        ({"lag": Lag(10, 1.0, 601.0, 700.0)}, "5 % of them took longer than 10 min", "raise sync.max_concurrency"),
        (
            {"queues": [queue("dead letters", 2, 11 * 86400)]},
            "the oldest message of the queue dead letters is 11 days old",
            "s3-syncer dead-letters redrive",
        ),
        (
            {"queues": [queue("bulk", 2, 11 * 86400)]},
            "the oldest message of the queue bulk is 11 days old",
            "let the workers receive it",
        ),
        ({"queues": [queue("held deletions", 2)]}, "2 deletions are held", "s3-syncer deletions status"),
        ({"queues": [queue("dead letters", 1)]}, "1 dead letter: these changes", "s3-syncer dead-letters list"),
        ({"alarms": ["mirror-errors"]}, "the alarm mirror-errors is on", "docs/operations.md"),
    ],
)
def test_problem_names_the_command_that_helps(changes: dict[str, Any], text: str, command: str) -> None:
    status = replace(HEALTHY_STATUS, **changes)
    found = [problem for problem in status.problems if text in problem.text]
    assert len(found) == 1
    assert command in found[0].command
    assert status.exit_code == FAILING
    assert status.as_json()["healthy"] is False


def test_a_pause_needs_no_faster_workers() -> None:
    """The old messages of a pause stay a problem, because SQS removes them."""
    paused = replace(HEALTHY_STATUS, paused=True, queues=[queue("events", 5, 11 * 86400)])
    assert [problem.command for problem in paused.problems] == [
        "set paused = false and apply",
        "let the workers receive it: enable them, or end the pause",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"function": FunctionState("mirror", "Inactive", {"mirror": "Enabled"})},
        {"function": DISABLED, "service": ServiceState("mirror-service", 0, 0, "COMPLETED")},
        {"queues": [queue("events", 1_000_000, 599), queue("bulk", 5, 9 * 86400)]},
        {"max_lag_s": None, "lag": Lag(10, 1.0, 1800.0, 2000.0)},
        {"lag": None, "function": None},
    ],
    ids=["an idle function", "a service without work", "a backlog that moves", "no limit", "unknown parts"],
)
def test_state_that_needs_no_operator_is_healthy(changes: dict[str, Any]) -> None:
    assert replace(HEALTHY_STATUS, **changes).problems == []


def test_paused_module_is_one_problem() -> None:
    assert len(replace(HEALTHY_STATUS, paused=True, function=DISABLED).problems) == 1


def test_lag_is_that_of_mirrored_changes_only() -> None:
    lines = [line(n, "copy", lag_ms=1000 * n) for n in range(1, 101)]
    others = [line(1, "retry", lag_ms=9_000_000), line(2, "copy", lag_ms=None), line(3, "unchanged", lag_ms=9_000_000)]
    assert lag_of([*lines, *others]) == Lag(100, 50.0, 95.0, 100.0)
    assert lag_of(others) is None


def test_failure_ends_with_a_later_line_about_its_key() -> None:
    lines = [
        line(1, "retry", key="a", reason="slow"),
        line(2, "retry", key="b", reason="slow"),
        line(3, "copy", key="a"),
        line(4, "retry", key="c", reason="denied"),
        line(5, "dead-letter", key="c", reason="denied"),
        line(6, "retry", key="d", reason="slow"),
    ]
    assert failures_of(lines) == [Failure("slow", 2, "b", 6)]


@pytest.mark.parametrize("end", [line(2, "copy", key="a"), line(2, "circuit-closed")])
def test_failure_without_a_key_ends_with_the_next_change(end: LogLine) -> None:
    failed = line(1, "circuit-open", reason="no response")
    assert failures_of([failed]) == [Failure("no response", 0, "", 1, unusable=True)]
    assert failures_of([failed, end]) == []


def test_store_is_usable_again_with_a_later_change() -> None:
    failed = line(1, "retry", key="a", reason="no response", unusable=True)
    assert failures_of([failed])[0].unusable
    assert not failures_of([failed, line(2, "copy", key="b")])[0].unusable


def test_further_attempt_does_not_end_a_failure() -> None:
    lines = [line(1, "retry", key="a", reason="slow"), line(2, "waiting", key="a", idle_s=60, lag_ms=9000)]
    assert failures_of(lines) == [Failure("slow", 1, "a", 1)]


def test_failures_of_a_whole_store_come_first() -> None:
    lines = [
        *(line(1, "retry", key=key, reason="kept changing") for key in "abc"),
        line(2, "retry", key="d", reason="no response", unusable=True),
    ]
    assert [failure.reason for failure in failures_of(lines)] == ["no response", "kept changing"]


def test_last_sweep_has_the_ranges_without_a_long_pause_between_them() -> None:
    lines = [
        line(0, "range", keys=1000, changed=7, failed=1),
        line(5000, "range", keys=10, changed=1, deleted=2, failed=0),
        line(5100, "copy"),
        line(8000, "range", keys=20, changed=3, failed=4),
    ]
    assert last_sweep(lines, pause_s=3600) == Sweep(8000, 2, keys=30, changed=4, deleted=2, failed=4)
    assert last_sweep(lines[2:3], pause_s=3600) is None


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (3 * 86400, "3 days")],
)
def test_span_is_shown_in_its_largest_unit(seconds: float, shown: str) -> None:
    assert format_span(seconds) == shown
