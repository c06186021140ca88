"""The interpreter of queries follows the documents of CloudWatch Logs Insights."""

from __future__ import annotations

import pytest

from localcloud import logs_insights

LINES = [
    {"action": "retry", "key": "a", "reason": "busy", "ms": 3},
    {"action": "copy", "key": "b", "ms": None},
    {"action": "retry", "key": "c", "reason": "busy", "ms": 7},
    {"action": "retry", "key": "c", "reason": "denied", "ms": 5},
    {"message": "started"},
]


def test_source_names_the_log_groups_and_leaves_the_lines() -> None:
    query = "SOURCE '/aws/lambda/one'\n| SOURCE '/aws/ecs/two'\n| limit 2"
    assert logs_insights.sources(query) == ["/aws/lambda/one", "/aws/ecs/two"]
    assert logs_insights.run(query, LINES) == LINES[:2]


def test_filter_keeps_the_lines_with_one_of_the_values() -> None:
    assert logs_insights.run('filter action in ["copy", "delete"]', LINES) == [LINES[1]]


def test_fields_leaves_out_what_a_line_does_not_have() -> None:
    assert logs_insights.run("fields key, ms\n| limit 2", LINES) == [{"key": "a", "ms": 3}, {"key": "b"}]


def test_sort_puts_lines_without_the_field_last() -> None:
    query = "fields key, ms\n| sort ms desc\n| limit 3"
    assert [row.get("ms") for row in logs_insights.run(query, LINES)] == [7, 5, 3]


def test_stats_groups_and_counts() -> None:
    query = (
        'filter action in ["retry"]\n'
        "| stats count(*) as times, count_distinct(key) as keys, latest(key) as example by action, reason\n"
        "| sort times desc"
    )
    assert logs_insights.run(query, LINES) == [
        {"action": "retry", "reason": "busy", "times": 2, "keys": 2, "example": "c"},
        {"action": "retry", "reason": "denied", "times": 1, "keys": 1, "example": "c"},
    ]


@pytest.mark.parametrize("query", ["parse @message 'x'", "stats pct(ms, 50) as median by key", "filter key like /a/"])
def test_unknown_command_is_an_error(query: str) -> None:
    with pytest.raises(ValueError, match="unknown"):
        logs_insights.run(query, LINES)
