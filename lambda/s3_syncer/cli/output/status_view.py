"""The display of a module's status on a terminal or as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...operations.status import DeadLetterGroup, Failure, Lag, Status, Sweep, counted, format_span
from .stats import printable

#: Reasons that are shown for failures, and for dead letters.
_REASONS = 8


def status_view(status: Status, program: str) -> RenderableType:
    """Return the status with its problems first. `program` begins the command lines that it names."""
    return Group(
        _heading(status),
        *_problems(status, program),
        Text(),
        _indented(_queues(status), 2),
        Text(),
        _indented(_facts(status), 2),
        *(Text(f"  note: {printable(note)}", style="dim") for note in status.notes),
    )


def _heading(status: Status) -> Text:
    healthy = not status.problems
    colour = "bold white on green" if healthy else "bold white on red"
    return Text.assemble(
        (" HEALTHY " if healthy else " FAILING ", colour),
        (f"  {status.name}", "bold"),
        (f"  {datetime.fromtimestamp(status.at, UTC):%Y-%m-%d %H:%M:%S} UTC\n", "dim"),
        f"  {printable(status.source)} to {printable(status.target)}",
    )


def _problems(status: Status, program: str) -> Iterator[RenderableType]:
    for problem in status.problems:
        own = problem.command.startswith("s3-syncer ")
        command = problem.command.replace("s3-syncer", program, 1) if own else problem.command
        with_sign = Table.grid(padding=(0, 1, 0, 0))
        with_sign.add_row("!", printable(problem.text), style="bold red")
        yield _indented(with_sign, 2)
        yield _indented(Text(printable(command), style="cyan"), 6)


def _indented(text: RenderableType, columns: int) -> Padding:
    return Padding(text, (0, 0, 0, columns), expand=False)


def _queues(status: Status) -> Table:
    table = _table("queue", "visible", "in flight", "delayed", "oldest")
    for queue in status.queues:
        counts = queue.counts
        numbers = [f"{number:,}" for number in (counts.visible, counts.in_flight, counts.delayed)]
        age = "" if not counts.total else "unknown" if queue.oldest_s is None else format_span(queue.oldest_s)
        table.add_row(queue.name, *numbers, age)
    return table


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first)
    for title in numbers:
        table.add_column(title, justify="right")
    return table


def _facts(status: Status) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("lag", _lag(status.lag, status.log_s))
    _add_rows(table, "failing", map(_failure, status.failures))
    _add_rows(table, "dead letters", (_letters(group, status.at) for group in status.dead_letters))
    table.add_row("last sweep", _sweep(status.sweep, status))
    table.add_row("function", _function(status))
    table.add_row("service", _service(status))
    table.add_row("alarms", ", ".join(status.alarms) or "none is on")
    return table


def _add_rows(table: Table, title: str, texts: Iterable[str]) -> None:
    for index, text in enumerate(islice(texts, _REASONS)):
        table.add_row(title if not index else "", text)


def _lag(lag: Lag | None, searched_s: float) -> str:
    if lag is None:
        return f"no change in {format_span(searched_s)}"
    changes = f"{counted(lag.changes, 'change')} in {format_span(searched_s)}"
    return f"median {lag.median_s:.1f} s, 95 % within {lag.p95_s:.1f} s, longest {lag.max_s:.1f} s: {changes}"


def _failure(failure: Failure) -> str:
    example = f", such as {printable(failure.example)}" if failure.example else ""
    return f"{counted(failure.keys, 'key')}{example}: {printable(failure.reason)}"


def _letters(group: DeadLetterGroup, now: float) -> str:
    number = counted(group.letters, "letter")
    oldest = format_span(now - group.oldest_at)
    return f"{number}, the oldest from {oldest} ago: {printable(group.reason)}; one is {printable(group.example)}"


def _sweep(sweep: Sweep | None, status: Status) -> str:
    if sweep is None:
        return f"none in {format_span(status.sweep_log_s)}"
    return (
        f"{format_span(status.at - sweep.ended_at)} ago: {counted(sweep.keys, 'key')} compared, "
        f"{sweep.changed:,} changed, {sweep.deleted:,} deleted, {sweep.failed:,} failed"
    )


def _function(status: Status) -> str:
    function = status.function
    if function is None:
        return "unknown"
    mappings = ", ".join(f"{queue} {state.lower()}" for queue, state in sorted(function.mappings.items()))
    return f"{function.name}: {function.state}; event source mappings: {mappings or 'none'}"


def _service(status: Status) -> str:
    service = status.service
    if service is None:
        return "none"
    rollout = f", deployment {service.rollout.lower().replace('_', ' ')}" if service.rollout else ""
    return f"{service.name}: {service.running} of {service.desired} tasks run{rollout}"
