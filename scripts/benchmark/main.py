"""`scripts/bench`: run every client on the same work, in turns, and print a table of the figures."""

from __future__ import annotations

import compileall
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from benchmark import lambda_bench, measure, objects, results, stores
from benchmark.cases import CASES, Case, Distance, Work
from benchmark.clients import CLIENTS, Client, Route, baseline_step, environment
from benchmark.measure import Failed, Usage
from benchmark.objects import Object
from benchmark.results import Run
from devtools import signals
from devtools.bootstrap import ROOT
from localcloud import servers
from localcloud.servers import Identity, Server

#: The cases about the function and the service come last. Other clients have no such case.
NAMES = (*CASES, *lambda_bench.SETTINGS)

#: Events of each kind in a case about the function or the service, and their minimum.
EVENTS, MIN_EVENTS = 300, 10

#: Seconds between filling the source and the first copy. The command checks objects of the last two seconds twice
#: (see `crt/small_object_copy.py`), and the objects of a real migration are rarely that new.
REST_S = 3.0

#: Above any round trip on Earth.
MAX_LATENCY_MS = 2_000


def _distance(_context: click.Context, _option: click.Parameter, value: str | None) -> Distance | None:
    if value is None:
        return None
    try:
        source_ms, target_ms = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"write two numbers with a comma, such as 4,50, instead of {value!r}") from None
    if not (0 <= source_ms <= MAX_LATENCY_MS and 0 <= target_ms <= MAX_LATENCY_MS):
        raise click.BadParameter(f"a round trip is 0 to {MAX_LATENCY_MS} ms")
    return Distance(source_ms, target_ms)


@click.command(context_settings={"show_default": True})
@click.option("--case", "cases", multiple=True, type=click.Choice(NAMES), help="Run only this one; repeatable.")
@click.option(
    "--client", "clients", multiple=True, type=click.Choice(list(CLIENTS)), help="Run only this one. Repeatable."
)
@click.option("--rounds", default=3, type=click.IntRange(1), help="Runs of each client; the table shows medians.")
@click.option(
    "--scale",
    default=1.0,
    type=click.FloatRange(0, min_open=True),
    help="Objects, as a multiple of those of the case: 0.1 for a quick run.",
)
@click.option(
    "--latency",
    "distance",
    metavar="SOURCE_MS,TARGET_MS",
    callback=_distance,
    help="Round trips to the stores in milliseconds, such as 4,50, instead of those of the case.",
)
@click.option(
    "--tls", is_flag=True, help="Use HTTPS for the stores, except those like AWS, and for the function and the service."
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write all runs to this file as JSON."
)
@click.option("--shares", is_flag=True, help="Also print the shares of the processors' time by process.")
@click.option("--markdown", is_flag=True, help="Print the tables as Markdown.")
@click.argument("extra", nargs=-1, metavar="[-- ARGUMENTS]")
def main(
    cases: tuple[str, ...],
    clients: tuple[str, ...],
    rounds: int,
    scale: float,
    distance: Distance | None,
    tls: bool,
    json_file: Path | None,
    shares: bool,
    markdown: bool,
    extra: tuple[str, ...],
) -> None:
    """Measure s3-syncer and other S3 clients against servers that run on this machine.

    ARGUMENTS are added to the command of s3-syncer. Every run ends with a comparison of all keys. A client is
    marked WRONG if the target is not equal to the source afterwards, and the exit code is 1.
    """
    signals.interrupt_on_termination()
    # As pip does with an installed package: a process that may not write bytecode would compile the modules each time.
    compileall.compile_dir(ROOT / "lambda" / "s3_syncer", quiet=1)
    measured: list[dict[str, Any]] = []
    for name in cases or NAMES:
        if name in lambda_bench.SETTINGS:
            measured.append(measure_events(name, max(MIN_EVENTS, round(EVENTS * scale)), rounds, markdown=markdown))
            continue
        case = CASES[name] if distance is None else replace(CASES[name], distance=distance)
        chosen = [CLIENTS[client] for client in case.clients if not clients or client in clients]
        count = case.number(scale)
        made = case.objects(count)
        size = sum(o.size for o in made)
        secure = tls and not case.like_aws
        runs = measure_case(case, count, made, chosen, rounds, extra, tls=secure)
        table_rows = results.mark_best(list(results.rows(runs)), results.PEER)
        table = [results.cells(row, count, size if case.work is Work.COPY else None) for row in table_rows]
        conditions = (f"{count:,} {case.about}", str(case.distance), "over HTTPS" if secure else "")
        title = f"{name}: {', '.join(filter(None, conditions))}"
        show(title, results.COLUMNS, table, markdown=markdown)
        if shares:
            parts = [results.shares(row, os.cpu_count() or 1) for row in table_rows]
            show(f"{name}: time of the processors", results.SHARES, parts, markdown=markdown)
        measured.append({"case": name, "objects": count, "bytes": size, "runs": [asdict(run) for run in runs]})
    if json_file:
        json_file.write_text(json.dumps({**about(rounds, scale, extra, tls=tls), "cases": measured}, indent=2) + "\n")
    if any(run.get("wrong") for case in measured for run in case["runs"]):
        sys.exit(1)


def measure_case(
    case: Case,
    count: int,
    made: Sequence[Object],
    clients: Sequence[Client],
    rounds: int,
    extra: tuple[str, ...],
    *,
    tls: bool,
) -> list[Run]:
    """Run each client in each round. The order rotates, so that no client always follows the same one."""
    bench = Bench(case, count, made, extra, tls=tls)
    runs = []
    with bench:
        for number in range(rounds):
            turn = number % len(clients) if clients else 0
            for client in (*clients[turn:], *clients[:turn]):
                say(f"{case.name}: round {number + 1} of {rounds}, {client.name}")
                runs.append(bench.run(client, number))
    order = [client.name for client in clients]
    return sorted(runs, key=lambda run: (order.index(run.client), run.round))


class Bench:
    """The servers of one case, and a folder for all files of the runs."""

    def __init__(self, case: Case, count: int, made: Sequence[Object], extra: tuple[str, ...], *, tls: bool) -> None:
        self._case, self._count, self._made, self._extra, self._tls = case, count, made, extra, tls
        self._identity: Identity | None = None
        #: The roles of the servers: see `results.SERVERS`.
        self._servers: dict[Server, str] = {}
        self._cleanup = ExitStack()

    def __enter__(self) -> Bench:
        local = ROOT / ".local"
        local.mkdir(exist_ok=True)
        self._folder = Path(self._cleanup.enter_context(TemporaryDirectory(prefix="bench-", dir=local)))
        self._list = self._folder / "objects.json"
        objects.write(self._made, self._list)
        try:
            self._prepare()
        except BaseException:
            self._cleanup.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with signals.held():
            self._cleanup.close()

    def _prepare(self) -> None:
        if self._tls:
            self._identity = stores.identity(self._folder)
        if self._case.work is Work.LIST:
            program = stores.fake_store(self._count, self._identity)
            source, target = (
                self._cleanup.enter_context(servers.running(program, self._folder / side))
                for side in ("source", "target")
            )
            self._source = self._cleanup.enter_context(self._far_source(source))
            self._target = self._cleanup.enter_context(self._far_target(target))
            self._servers = {self._source: "relays", self._target: "relays", source: "source", target: "target"}
            return
        source = self._cleanup.enter_context(self._empty(self._folder / "source"))
        self._source = self._cleanup.enter_context(self._far_source(source))
        self._servers = {self._source: "relays", source: "source"}
        say(f"{self._case.name}: filling the source")
        if self._case.in_parts:
            stores.fill_in_parts(source, self._made)
        else:
            step = baseline_step("fill", self._route(source.endpoint))
            measure.run(step.command, environment(self._folder, step.environment), self._folder / "log")
        self._wanted = stores.expected(self._made)
        if wrong := stores.mistakes(self._wanted, stores.content(source)):
            raise click.ClickException(f"the source was not filled correctly: {wrong}")
        time.sleep(REST_S)

    def _empty(self, folder: Path) -> AbstractContextManager[Server]:
        """Return the server of a new store."""
        return stores.empty_like_aws(folder) if self._case.like_aws else stores.empty(folder, self._identity)

    def _far_source(self, server: Server) -> AbstractContextManager[Server]:
        return stores.far(server, self._case.distance.source_ms, self._folder / "source")

    def _far_target(self, server: Server) -> AbstractContextManager[Server]:
        return stores.far(server, self._case.distance.target_ms, self._folder / "target")

    def run(self, client: Client, number: int) -> Run:
        """Run one client with a new, empty target."""
        if self._case.work is Work.LIST:
            return self._measured(client, number, self._target.endpoint, self._servers)
        with self._empty(self._folder / "target") as target:
            with self._far_target(target) as far_target:
                servers = self._servers | {far_target: "relays", target: "target"}
                run = self._measured(client, number, far_target.endpoint, servers)
            wrong = run.wrong or stores.mistakes(self._wanted, stores.content(target))
        return Run(run.client, run.round, run.usage, wrong)

    def _measured(self, client: Client, number: int, target: str, servers: Mapping[Server, str]) -> Run:
        usage, log = Usage(), self._folder / "log"
        route = self._route(target)
        shutil.rmtree(route.folder, ignore_errors=True)
        route.folder.mkdir()
        try:
            for step in client.steps(route):
                usage += measure.run(
                    step.command,
                    environment(self._folder, step.environment),
                    log,
                    says=step.says,
                    servers={server.pid: role for server, role in servers.items()},
                )
        except Failed as error:
            say(f"{client.name}: {error}")
            return Run(client.name, number, usage, str(error))
        return Run(client.name, number, usage)

    def _route(self, target: str) -> Route:
        return Route(
            self._case.work,
            self._source.endpoint,
            target,
            self._count,
            self._list,
            self._folder / "through",
            str(self._identity.authority) if self._identity else "",
            self._case.tags,
            self._extra,
        )


def measure_events(name: str, events: int, rounds: int, *, markdown: bool) -> dict[str, Any]:
    setting = lambda_bench.SETTINGS[name]
    say(f"{name}: {rounds} processes")
    try:
        runs = lambda_bench.measure(setting, events, rounds)
    except Failed as error:
        raise click.ClickException(f"{name}: {error}") from error
    concurrency = lambda_bench.CONCURRENCY[setting.driver]
    title = f"{name}: {events} events of each kind, {concurrency} at the same time, {setting.about}"
    show(title, lambda_bench.COLUMNS, lambda_bench.table(runs, events), markdown=markdown)
    return {"case": name, "events": events, "runs": runs}


def show(title: str, columns: Sequence[str], table: Sequence[Sequence[str]], *, markdown: bool) -> None:
    if markdown:
        click.echo(f"**{title}**\n\n{results.markdown(table, columns)}")
        return
    drawn = Table(box=box.SIMPLE_HEAD, title=title)
    for column in columns:
        drawn.add_column(column, justify="left" if column == columns[0] else "right")
    for line in table:
        drawn.add_row(*line)
    Console(width=120).print(drawn)


def about(rounds: int, scale: float, extra: tuple[str, ...], *, tls: bool) -> dict[str, Any]:
    """Return the conditions that the figures depend on, apart from the code."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "processor": _processor(), "system": platform.platform()},
        "python": platform.python_version(),
        "rounds": rounds,
        "scale": scale,
        "tls": tls,
        "arguments": list(extra),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main(prog_name="scripts/bench")
