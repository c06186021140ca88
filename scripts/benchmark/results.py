"""Medians, ratios and tables of the runs. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from benchmark.measure import Usage

OURS = "s3-syncer"

#: The client with several settings, each with a name that begins with this one.
PEER = "rclone"

#: The last two compare s3-syncer with the client of the row: objects a second, and CPU.
COLUMNS = (
    *("client", "s", "objects/s", "MB/s", "CPU s", "CPU ms/object", "stores' CPU s", "peak MiB"),
    *("our speed", "our CPU"),
)


#: The roles of the servers, and the columns of the shares of the processors' time.
SERVERS = ("source", "target", "relays")
SHARES = ("client", "its own", *SERVERS, "idle")


@dataclass(frozen=True)
class Run:
    """One client in one round. `wrong` is the reason why the run does not count, or empty."""

    client: str
    round: int
    usage: Usage = field(default_factory=Usage)
    wrong: str = ""


@dataclass(frozen=True)
class Row:
    """The medians of a client's rounds, and the medians of the ratios to s3-syncer in the same round."""

    client: str
    usage: Usage
    #: s3-syncer divided by this client: objects a second, and CPU. None if either has no run without a mistake.
    speed: float | None
    cpu: float | None
    wrong: str = ""


def rows(runs: Sequence[Run]) -> Iterator[Row]:
    """Return a row for each client, in the order of the runs."""
    ours = {run.round: run.usage for run in runs if run.client == OURS and not run.wrong}
    for name in dict.fromkeys(run.client for run in runs):
        own = [run for run in runs if run.client == name]
        wrong = next((run.wrong for run in own if run.wrong), "")
        good = [run for run in own if not run.wrong]
        pairs = [(ours[run.round], run.usage) for run in good if run.round in ours]
        yield Row(
            name,
            middle([run.usage for run in good]),
            median(theirs.wall_s / mine.wall_s for mine, theirs in pairs) if pairs else None,
            median(mine.cpu_s / theirs.cpu_s for mine, theirs in pairs) if pairs else None,
            wrong,
        )


def mark_best(rows: Sequence[Row], family: str) -> list[Row]:
    """Mark the fastest setting of a client that runs with several: the one that a comparison is about."""
    of_family = [row for row in rows if row.client.startswith(f"{family}-") and not row.wrong]
    if len(of_family) < 2:
        return list(rows)
    best = min(of_family, key=lambda row: row.usage.wall_s)
    return [replace(row, client=f"{row.client} (best)") if row is best else row for row in rows]


def middle(usages: Sequence[Usage]) -> Usage:
    if not usages:
        return Usage()
    return Usage(
        median(usage.wall_s for usage in usages),
        median(usage.cpu_s for usage in usages),
        round(median(usage.peak_bytes for usage in usages)),
        {role: median(usage.servers[role] for usage in usages) for role in usages[0].servers},
    )


def cells(row: Row, count: int, size: int | None) -> tuple[str, ...]:
    """Return the cells of a row, in the order of COLUMNS.

    A client with one wrong run has no figures. `size` is None if the case moves no data.
    """
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
        f"{usage.servers_cpu_s:.2f}",
        f"{usage.peak_bytes / 2**20:,.0f}",
        *ratios,
    )


def shares(row: Row, processors: int) -> tuple[str, ...]:
    """Return the cells of a row in the order of SHARES, in percent of the time of all processors."""
    if row.wrong:
        return (row.client, "WRONG", *[""] * (len(SHARES) - 2))
    usage = row.usage
    used = [usage.cpu_s, *(usage.servers.get(role, 0.0) for role in SERVERS)]
    all_s = usage.wall_s * processors
    return (row.client, *(f"{seconds / all_s:.0%}" for seconds in (*used, all_s - sum(used))))


def markdown(table: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Return a Markdown table with words in the first column and figures in the rest."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *table]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}x"
