"""The evaluation of metric filters and alarms follows the documents of CloudWatch."""

from __future__ import annotations

from typing import Any

import pytest

from localcloud.cloudwatch import DELAY_S, Alarm, MetricFilter, compile_pattern

LINE: dict[str, Any] = {
    "action": "retry",
    "attempts": 7,
    "lag_ms": None,
    "share": 0.5,
    "unusable": True,
    "user": {"id": 1, "email": "a@example.com"},
    "keys": [1],
}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ('{ $.action = "retry" }', True),
        ('{ $.action = "copy" }', False),
        ('{ $.action != "copy" }', True),
        ('{ $.action != "retry" }', False),
        ("{ $.attempts > 6 }", True),
        ("{ $.attempts > 7 }", False),
        ("{ $.attempts >= 7 && $.attempts <= 7 }", True),
        ("{ $.attempts < 7.5 }", True),
        ("{ $.share > 5e-1 }", False),
        ("{ $.unusable IS TRUE }", True),
        ("{ $.unusable IS FALSE }", False),
        ("{ $.unusable >= 0 }", False),
        ("{ $.lag_ms >= 0 }", False),
        ("{ $.missing >= 0 }", False),
        ('{ $.missing != "x" }', False),
        ("{ $.missing IS TRUE }", False),
        ('{ $.user.email = "a@example.com" }', True),
        ("{ $.user.id.more >= 0 }", False),
        ("{ $.keys >= 0 }", False),
        ('{ ($.user.id >= 2 && $.action = "no") || $.attempts >= 7 }', True),
        ('{ $.action = "retry" || $.user.id >= 2 && $.attempts >= 9 }', True),
        ('{ ($.action = "retry" || $.user.id >= 2) && $.attempts >= 9 }', False),
    ],
)
def test_a_pattern_matches_as_documented(pattern: str, expected: bool) -> None:
    assert compile_pattern(pattern)(LINE) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "ERROR",
        "{ }",
        "{ $.a }",
        "{ $.a = * }",
        "{ $.a = 1 }",
        '{ $.a = "x*" }',
        "{ $.a NOT EXISTS }",
        "{ $.a[0] > 1 }",
        "{ ($.a > 1 }",
        "{ $.a > 1 ) }",
        "{ $.a > one }",
        '{ a = "b" }',
    ],
)
def test_a_pattern_that_is_not_known_is_an_error(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        compile_pattern(pattern)


def test_a_metric_has_the_value_of_a_field_or_a_constant() -> None:
    lines = [{"lag_ms": 5}, {"lag_ms": None}, {}, {"lag_ms": 7}]
    assert list(MetricFilter("{ $.lag_ms >= 0 }", "$.lag_ms").values(lines)) == [5, 7]
    assert list(MetricFilter("{ $.lag_ms >= 0 }", "1").values(lines)) == [1, 1]


def test_the_pattern_must_name_the_field_of_the_value() -> None:
    with pytest.raises(ValueError, match="does not name"):
        list(MetricFilter('{ $.action = "range" }', "$.keys").values([{"action": "range", "keys": 3}]))


def test_an_alarm_goes_off_at_the_first_minute_and_ends_after_its_window() -> None:
    alarm = Alarm("Maximum", 10, period_s=60, evaluation_periods=5, datapoints_to_alarm=1)
    assert alarm.changes([(30, 11)], 0, 3600) == [(60 + DELAY_S, True), (60 + DELAY_S + 5 * 60, False)]
    assert alarm.changes([(30, 10)], 0, 3600) == []
    assert alarm.changes([], 0, 3600) == []


def test_an_alarm_counts_minutes_and_not_data_points() -> None:
    alarm = Alarm("Sum", 2, period_s=60, evaluation_periods=3, datapoints_to_alarm=2)
    assert alarm.changes([(0, 2), (1, 2), (2, 2)], 0, 3600) == []
    assert alarm.changes([(0, 3), (70, 1), (71, 1), (130, 3)], 0, 600) == [
        (180 + DELAY_S, True),
        (240 + DELAY_S, False),
    ]
