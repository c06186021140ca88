"""Evaluate metric filters and alarms over log lines, as CloudWatch documents it.

The local cloud (`alarm_patches`) and the tests use this. It knows the part of JSON patterns that the Terraform module
uses, and raises ValueError for any other.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
"""

from __future__ import annotations

import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

Line = Mapping[str, Any]
Condition = Callable[[Line], bool]

#: Seconds after the end of a period until an alarm has its data points. Metric filters report once a minute; AWS states
#: no bound.
DELAY_S = 60

_TOKENS = re.compile(r'\s*(\(|\)|\|\||&&|!=|>=|<=|=|>|<|\$(?:\.[A-Za-z0-9_-]+)+|"[^"]*"|[A-Za-z0-9_.+*-]+)')

#: The statistics that an alarm can have.
STATISTICS: dict[str, Callable[[list[float]], float]] = {"Maximum": max, "Sum": sum}

_COMPARISONS = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}


@cache
def compile_pattern(pattern: str) -> Condition:
    """Return the condition of a JSON pattern. Raises ValueError if this module does not know it."""
    text = pattern.strip()
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError(f"not a JSON pattern: {pattern}")
    parser = _Parser(list(_tokens(text[1:-1])))
    condition = parser.alternatives()
    if parser.left:
        raise ValueError(f"unexpected {parser.left[0]!r} in {pattern}")
    return condition


def _tokens(text: str) -> Iterator[str]:
    position, text = 0, text.rstrip()
    while position < len(text):
        found = _TOKENS.match(text, position)
        if found is None:
            raise ValueError(f"unknown syntax: {text[position:]}")
        yield found.group(1)
        position = found.end()


class _Parser:
    """A recursive-descent parser: `&&` binds more tightly than `||`."""

    def __init__(self, tokens: list[str]) -> None:
        self.left = tokens

    def alternatives(self) -> Condition:
        conditions = [self._all()]
        while self._take("||"):
            conditions.append(self._all())
        return lambda line: any(condition(line) for condition in conditions)

    def _all(self) -> Condition:
        conditions = [self._one()]
        while self._take("&&"):
            conditions.append(self._one())
        return lambda line: all(condition(line) for condition in conditions)

    def _one(self) -> Condition:
        if self._take("("):
            condition = self.alternatives()
            if not self._take(")"):
                raise ValueError("a parenthesis is not closed")
            return condition
        path = self._next()
        if not path.startswith("$."):
            raise ValueError(f"not a selector: {path}")
        return _comparison(path, self._next(), self._next())

    def _take(self, token: str) -> bool:
        if self.left and self.left[0] == token:
            del self.left[0]
            return True
        return False

    def _next(self) -> str:
        if not self.left:
            raise ValueError("the pattern ends too early")
        return self.left.pop(0)


def _comparison(path: str, comparison: str, operand: str) -> Condition:
    """Return the condition of one comparison. A field that is missing or no plain value matches none."""
    if (comparison, operand) in (("IS", "TRUE"), ("IS", "FALSE")):
        return lambda line: _value(line, path) is (operand == "TRUE")
    if comparison in _COMPARISONS:
        compare, number = _COMPARISONS[comparison], float(operand)
        return lambda line: _is_number(value := _value(line, path)) and compare(value, number)
    if comparison in ("=", "!=") and operand.startswith('"') and "*" not in operand:
        text = operand.strip('"')
        return lambda line: isinstance(value := _value(line, path), str) and (value == text) == (comparison == "=")
    raise ValueError(f"unknown comparison: {path} {comparison} {operand}")


def _value(line: Line, path: str) -> Any:
    value: Any = line
    for name in path.removeprefix("$.").split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True)
class MetricFilter:
    """A metric filter. `value` is a number, or the selector of a field."""

    pattern: str
    value: str

    def values(self, lines: Iterable[Line]) -> Iterator[float]:
        """Yield the value of each line that matches. Raises ValueError if the pattern does not name the field."""
        matches = compile_pattern(self.pattern)
        if self.value.startswith("$") and self.value not in self.pattern.split():
            raise ValueError(f"the pattern {self.pattern} does not name {self.value}")
        for line in lines:
            if matches(line):
                yield float(_value(line, self.value) if self.value.startswith("$") else self.value)


@dataclass(frozen=True)
class Alarm:
    """An alarm that treats missing data as not breaching. It goes off above the threshold."""

    statistic: str
    threshold: float
    period_s: int
    evaluation_periods: int
    datapoints_to_alarm: int

    def is_on(self, points: Sequence[tuple[float, float]], now: float) -> bool:
        """Return True if the alarm is in state ALARM at that time. `points` are times in seconds, and values."""
        aggregate = STATISTICS[self.statistic]
        end = int((now - DELAY_S) // self.period_s)
        window = range(end - self.evaluation_periods, end)
        values: defaultdict[int, list[float]] = defaultdict(list)
        for time, value in points:
            if (period := int(time // self.period_s)) in window:
                values[period].append(value)
        return sum(aggregate(each) > self.threshold for each in values.values()) >= self.datapoints_to_alarm

    def changes(self, points: Sequence[tuple[float, float]], start: float, end: float) -> list[tuple[float, bool]]:
        """Return the times of the changes between OK and ALARM, with True for ALARM; evaluated once a minute."""
        found: list[tuple[float, bool]] = []
        for now in range(int(start), int(end) + 1, 60):
            state = self.is_on(points, now)
            if state != (found[-1][1] if found else False):
                found.append((float(now), state))
        return found
