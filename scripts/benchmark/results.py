"""Runs into medians, ratios and tables. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmark.measure import Usage

OURS = "s3-syncer"

#: The last two are ours against the client of the row: times the objects a second, and times the CPU.
COLUMNS = ("client", "s", "objects/s", "MB/s", "CPU s", "CPU ms/object", "peak MiB", "our speed", "our CPU")


@dataclass(frozen=True)
class Run:
    """One client, one round. `wrong` tells what was the matter; what took no time to do wrong counts for nothing."""

    client: str
    round: int
    usage: Usage = field(default_factory=Usage)
    wrong: str = ""


@dataclass(frozen=True)
class Row:
    """A client's rounds in one: medians, and medians of the ratios to ours in the same round."""

    client: str
    usage: Usage
    #: Ours against this one: how many times the objects a second, and what part of the CPU. None without both.
    speed: float | None
    cpu: float | None
    wrong: str = ""


def rows(runs: Sequence[Run]) -> Iterator[Row]:
    """A row per client, in the order in which they come."""
    ours = {run.round: run.usage for run in runs if run.client == OURS and not run.wrong}
    for name in dict.fromkeys(run.client for run in runs):
        its = [run for run in runs if run.client == name]
        wrong = next((run.wrong for run in its if run.wrong), "")
        good = [run for run in its if not run.wrong]
        pairs = [(ours[run.round], run.usage) for run in good if run.round in ours]
        yield Row(
            name,
            middle([run.usage for run in good]),
            median(theirs.wall_s / own.wall_s for own, theirs in pairs) if pairs else None,
            median(own.cpu_s / theirs.cpu_s for own, theirs in pairs) if pairs else None,
            wrong,
        )


def middle(usages: Sequence[Usage]) -> Usage:
    if not usages:
        return Usage()
    return Usage(
        median(usage.wall_s for usage in usages),
        median(usage.cpu_s for usage in usages),
        round(median(usage.peak_bytes for usage in usages)),
    )


def cells(row: Row, count: int, size: int | None) -> tuple[str, ...]:
    """A row in the words of COLUMNS; a client that was wrong once has no figures. No size: nothing was moved."""
    if row.wrong:
        return (row.client, "WRONG", *[""] * (len(COLUMNS) - 2))
    usage = row.usage
    ratios = ("", "") if row.client == OURS else (_times(row.speed), _times(row.cpu))
    return (
        row.client,
        f"{usage.wall_s:.2f}",
        f"{count / usage.wall_s:,.0f}",
        "" if size is None else f"{size / usage.wall_s / 1e6:,.1f}",
        f"{usage.cpu_s:.2f}",
        f"{usage.cpu_s / count * 1000:.3f}",
        f"{usage.peak_bytes / 2**20:,.0f}",
        *ratios,
    )


def markdown(table: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """A table of which the first column is words and the others are figures."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *table]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}x"
