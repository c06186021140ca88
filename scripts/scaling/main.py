"""`scripts/scale`: prints what a migration takes, and keeps the tables of docs/capacity-planning.md in step."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from devtools.bootstrap import ROOT
from scaling.figures import FIGURES, Figure, Kind
from scaling.model import Data, Driver, Values, estimate, function, migrate, service

DOCUMENT = ROOT / "docs" / "capacity-planning.md"
BEGIN, END = "<!-- BEGIN scripts/scale -->", "<!-- END scripts/scale -->"

DATA = (
    Data("1 M objects of 100 kB", 1e6, 100e3),
    Data("100 M objects of 100 kB", 100e6, 100e3),
    Data("10 G objects of 100 kB", 10e9, 100e3),
    Data("1 PB in objects of 100 MB", 10e6, 100e6),
)

DRIVERS = (function(50), function(1000), service(20), migrate())

KINDS: dict[Kind, str] = {
    "measured": "Measured, on this project's own machine",
    "assumed": "Assumed: nobody has measured it on AWS",
    "limit": "Limits on the way",
    "price": "Prices",
}


class Setting(click.ParamType[tuple[str, float]]):
    """`NAME=VALUE` for a figure."""

    name = "name=value"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        name, _, number = str(value).partition("=")
        if name not in FIGURES:
            self.fail(f"there is no figure {name!r}: --figures shows them all", param, ctx)
        try:
            return name, float(number)
        except ValueError:
            self.fail(f"write {name}=NUMBER, in {FIGURES[name].unit}", param, ctx)


@click.command(context_settings={"show_default": True})
@click.option("--set", "settings", multiple=True, type=Setting(), help="Another value for a figure. Repeatable.")
@click.option("--figures", is_flag=True, help="Show all figures and where they come from instead.")
@click.option(
    "--objects", type=click.FloatRange(1), help="So many objects, instead of those of docs/capacity-planning.md."
)
@click.option("--size", default=100e3, type=click.FloatRange(0), help="Bytes of each of them.")
@click.option("--prefixes", type=click.IntRange(1), help="Partitions that S3 has made of the source, if not enough.")
@click.option("--write", is_flag=True, help="Write the tables into docs/capacity-planning.md.")
@click.option(
    "--check", is_flag=True, help="Write nothing; exit 1 if docs/capacity-planning.md is not what the model says."
)
def main(
    settings: Sequence[tuple[str, float]],
    figures: bool,
    objects: float | None,
    size: float,
    prefixes: int | None,
    write: bool,
    check: bool,
) -> None:
    """Time and cost of a migration, by who does it: function, service, or one task."""
    values = {name: figure.value for name, figure in FIGURES.items()} | dict(settings)
    if write or check:
        if settings or objects or prefixes:
            raise click.UsageError(
                "docs/capacity-planning.md has the figures as they are: leave out --set, --objects, --prefixes"
            )
        keep(DOCUMENT, check=check)
        return
    if figures:
        click.echo("\n".join(figure_tables()))
        return
    data = DATA if objects is None else (Data(f"{objects:,.0f} objects of {size:,.0f} B", objects, size),)
    click.echo("\n".join(result_tables(data, DRIVERS, values, prefixes or math.inf)))


def keep(document: Path, *, check: bool) -> None:
    """Writes the tables into the document, or only compares."""
    old = document.read_text()
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"scripts/scale: {document.name} needs a line {BEGIN} and, below it, a line {END}")
    values = {name: figure.value for name, figure in FIGURES.items()}
    tables = "\n".join([*result_tables(DATA, DRIVERS, values), "", *figure_tables()])
    new = f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"
    if not check:
        document.write_text(new)
    elif old != new:
        sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), str(document), "model"))
        sys.exit("scripts/scale: docs/capacity-planning.md is out of date: run scripts/scale --write and commit it")


def result_tables(
    data: Sequence[Data], drivers: Sequence[Driver], values: Values, prefixes: float = math.inf
) -> Iterator[str]:
    pairs = [(each, driver) for each in data for driver in drivers]
    yield from ("### A migration, everything to be copied", "")
    head = ("", "by", "time", "objects/s", "bound by", "time on one prefix")
    costs = ("S3 requests", "compute", "queue, logs", "sum", "egress, besides")
    yield from table((*head, *costs), [migration(*pair, values, prefixes) for pair in pairs])
    yield from ("", "### A look at both sides that finds nothing, as `reconcile` takes", "")
    yield from table(("", "by", "time", "keys/s", "sum"), [look(*pair, values, prefixes) for pair in pairs])
    yield from ("", "### What a migration asks of others at full speed", "")
    in_flight = f"messages in flight, of {values['sqs_in_flight']:,.0f}"
    yield from table(
        ("", "by", "source requests/s", "S3 prefixes needed", "target requests/s", "Gbit/s", in_flight),
        [demand(each, driver, values) for each in dict.fromkeys((data[0], data[-1])) for driver in drivers],
    )


def migration(data: Data, driver: Driver, values: Values, prefixes: float) -> tuple[str, ...]:
    found = estimate(data, driver, values, prefixes=prefixes)
    alone = estimate(data, driver, values, prefixes=1)
    return (
        *(data.name, driver.name, duration(found.seconds), f"{found.objects_per_s:,.0f}", found.bound_by),
        *(duration(alone.seconds), dollars(found.costs["S3 requests"]), dollars(found.costs["compute"])),
        *(dollars(found.costs["queue"] + found.costs["logs"]), dollars(found.cost), dollars(found.egress)),
    )


def look(data: Data, driver: Driver, values: Values, prefixes: float) -> tuple[str, ...]:
    found = estimate(data, driver, values, prefixes=prefixes, copies=False)
    return (data.name, driver.name, duration(found.seconds), f"{found.objects_per_s:,.0f}", dollars(found.cost))


def demand(data: Data, driver: Driver, values: Values) -> tuple[str, ...]:
    found = estimate(data, driver, values)
    needed = max(1, math.ceil(found.reads_per_s / values["s3_reads_per_prefix"]))
    return (
        *(data.name, driver.name, f"{found.reads_per_s:,.0f}", f"{needed:,}", f"{found.writes_per_s:,.0f}"),
        *(f"{found.gbit_per_s:,.1f}", f"{found.in_flight:,.0f}"),
    )


def figure_tables() -> Iterator[str]:
    for kind, title in KINDS.items():
        yield f"### {title}"
        yield ""
        chosen = {name: figure for name, figure in FIGURES.items() if figure.kind == kind}
        yield from table(("", "value", "", "where it comes from"), [cells(*each) for each in chosen.items()])
        if kind != "price":
            yield ""


def cells(name: str, figure: Figure) -> tuple[str, ...]:
    value = f"{figure.value:.10f}".rstrip("0").rstrip(".") if figure.value < 1 else f"{figure.value:,g}"
    return f"`{name}`", value if figure.value < 1000 else f"{figure.value:,.0f}", figure.unit, figure.source


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def duration(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.0f} s"


def dollars(amount: float) -> str:
    return f"${amount:,.2f}" if amount < 100 else f"${amount:,.0f}"


if __name__ == "__main__":
    main(prog_name="scripts/scale")
