"""Run a query of CloudWatch Logs Insights over log lines, as CloudWatch documents it.

The emulator returns rows with empty fields. This module knows the part of the language that the dashboard uses, and
raises ValueError for any other.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Rows = Sequence[Row]

_SOURCE = re.compile(r"SOURCE '([^']+)'")
_FILTER = re.compile(r"filter (\w+) in \[([^]]+)\]")
_FIELDS = re.compile(r"fields (\w+(?:, \w+)*)")
_STATS = re.compile(r"stats (.+) by (\w+(?:, \w+)*)")
_AGGREGATE = re.compile(r"(\w+)\((\*|\w+)\) as (\w+)")
_SORT = re.compile(r"sort (\w+) (asc|desc)")
_LIMIT = re.compile(r"limit (\d+)")

#: Each gets the values of the field in a group of lines, in the order of their times.
_AGGREGATES: Mapping[str, Callable[[list[Any]], Any]] = {
    "count": len,
    "count_distinct": lambda values: len(set(values)),
    "latest": lambda values: values[-1],
}


def sources(query: str) -> list[str]:
    """Return the log groups of a query of a dashboard."""
    return _SOURCE.findall(query)


def run(query: str, lines: Iterable[Row]) -> Rows:
    """Return the rows of the query over lines in the order of their times.

    A row has only the fields that are not null.
    """
    rows: Rows = list(lines)
    for command in re.split(r"\n\| ", query):
        if not _SOURCE.fullmatch(command):
            rows = _apply(command, rows)
    return rows


def _apply(command: str, rows: Rows) -> Rows:
    if found := _FILTER.fullmatch(command):
        values = [value.strip().strip('"') for value in found[2].split(",")]
        return [row for row in rows if row.get(found[1]) in values]
    if found := _FIELDS.fullmatch(command):
        return [_chosen(row, found[1].split(", ")) for row in rows]
    if found := _STATS.fullmatch(command):
        return _grouped(found[1], found[2].split(", "), rows)
    if found := _SORT.fullmatch(command):
        field, down = found[1], found[2] == "desc"
        known = [row for row in rows if field in row]
        return [*sorted(known, key=lambda row: row[field], reverse=down), *(row for row in rows if field not in row)]
    if found := _LIMIT.fullmatch(command):
        return rows[: int(found[1])]
    raise ValueError(f"unknown command: {command}")


def _grouped(aggregates: str, names: Sequence[str], rows: Rows) -> Rows:
    """Return one row for each combination of values of the named fields."""
    parts = [_AGGREGATE.fullmatch(part) for part in re.split(r", (?=\w+\()", aggregates)]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    found: list[Row] = []
    for group, members in groups.items():
        result: dict[str, Any] = {name: value for name, value in zip(names, group, strict=True) if value is not None}
        for part in parts:
            if part is None or part[1] not in _AGGREGATES:
                raise ValueError(f"unknown function: {aggregates}")
            function, field, name = part.groups()
            values = members if field == "*" else [row[field] for row in members if row.get(field) is not None]
            if values:
                result[name] = _AGGREGATES[function](values)
        found.append(result)
    return found


def _chosen(row: Row, names: Sequence[str]) -> Row:
    return {name: row[name] for name in names if row.get(name) is not None}
