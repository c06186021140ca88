"""The verdict of a run, and the table of what was done and survived."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from localcloud.chaos.tally import Tally
from localcloud.chaos.worker_logs import Decisions
from localcloud.verify import Difference

MIB = 1024 * 1024


@dataclass(frozen=True)
class Verdict:
    """The state of both sides after the last fault."""

    objects: int
    #: Seconds from the last fault and the last change until both listings were equal, and until the queue was empty.
    equal_after_s: float | None
    drained_after_s: float | None
    #: Differences outside the prefix of the migrations, or anywhere after the last migration.
    differences: Sequence[Difference]
    #: Differences below the prefix of the migrations, before the last migration repaired them.
    repaired: int
    last_migration: int
    dead_letters: Sequence[str]
    uploads: int

    @property
    def is_good(self) -> bool:
        return (
            self.drained_after_s is not None
            and not self.differences
            and not self.dead_letters
            and self.last_migration == 0
        )


def rows(tally: Tally, decisions: Decisions, verdict: Verdict, minutes: float) -> Iterator[tuple[str, str]]:
    """Return the rows of the table; a row with an empty value is a heading."""
    changes = tally.below("changes/")
    yield f"Changes of the source in {minutes:g} minutes", ""
    yield "changes", f"{sum(changes.values()):,}"
    yield from ((f"  {name}", f"{number:,}") for name, number in changes.items())
    yield "objects written", f"{tally['objects written']:,}"
    yield "MiB written", f"{tally['bytes written'] / MIB:,.0f}"
    yield "Work", ""
    yield "invocations of the function", f"{tally['invocations']:,}"
    yield "  ended by the timeout", f"{tally['invocations ended by the timeout']:,}"
    yield from ((f"decision in the log: {name}", f"{number:,}") for name, number in decisions.actions.most_common())
    yield from ((name, f"{number:,}") for name, number in tally.below("sweeps/").items())
    yield from ((f"migrations with {name}", f"{number:,}") for name, number in tally.below("migrations/").items())
    yield "Workers killed and frozen", ""
    yield from ((name, f"{number:,}") for name, number in tally.below("kills/").items())
    yield from (
        (f"service ended by itself, {name}", f"{number:,}")
        for name, number in tally.below("services that ended by themselves/").items()
    )
    yield "services killed because they did not stop", f"{tally['services killed because they did not stop']:,}"
    for kind in ("freezes of a service", "freezes of a Lambda environment", "freezes between invocations"):
        yield kind, _spans(tally.durations(kind))
    yield "Faults of the stores and the network", ""
    for name, spans in tally.all_durations("outages of the "):
        yield f"outages of the {name}", _spans(spans)
    yield from ((f"requests to the {name}", f"{number:,}") for name, number in tally.below("requests/").items())
    yield from (
        (f"requests during an outage of the {name}", f"{number:,}")
        for name, number in tally.below("requests in an outage/").items()
    )
    yield from ((name, f"{number:,}") for name, number in tally.below("faults/").items())
    yield "After the last fault", ""
    yield "both listings equal after", _seconds(verdict.equal_after_s)
    yield "queue empty after", _seconds(verdict.drained_after_s)
    yield "largest lag of an event", f"{decisions.largest_lag_s:,.0f} s, for {decisions.lag_key!r}"
    yield "objects in the source", f"{verdict.objects:,}"
    yield "dead letters", f"{len(verdict.dead_letters):,}"
    yield "uploads that killed workers left in the target", f"{verdict.uploads:,}"
    yield "differences that the last migration repaired", f"{verdict.repaired:,}"
    yield "exit code of the last migration", f"{verdict.last_migration}"
    yield "differences in bytes, headers, metadata and tags", f"{len(verdict.differences):,}"
    yield "result", "both buckets are equal" if verdict.is_good else "NOT equal, or messages are left"


def table(rows: Iterator[tuple[str, str]]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, show_header=False)
    shown.add_column("what")
    shown.add_column("value", justify="right")
    for name, value in rows:
        if value:
            shown.add_row(name, value)
        else:
            shown.add_section()
            shown.add_row(f"[bold]{name}[/bold]", "")
    return shown


def _spans(seconds: Sequence[float]) -> str:
    if not seconds:
        return "0"
    return f"{len(seconds):,}, {sum(seconds):,.0f} s in all, longest {max(seconds):.0f} s"


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:,.0f} s"
