"""Measure on the local cloud how long live changes take beside a migration: `scripts/local live`.

The same changes are made three times, at the same pace:

| phase | beside |
|---|---|
| quiet | nothing |
| queue | a migration by the workers of the queue for bulk work |
| command | a migration by the command, which sends nothing to the queues and uses the same processors |

The third phase says if the queues or the processors are the limit. The log lines of the function say it too. If a
message waits in a queue, the time before the work is longer. If the processors are too slow, the work is longer.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localcloud import demo, stack

#: Bytes of an object, of the migration and of a change.
SIZE = 1000

#: Seconds from the start of a migration to the first change: by then its ranges have been cut.
LEAD_S = 20

#: Seconds that a migration may go on after the last change.
STOP_S = 1800


@dataclass(frozen=True)
class Phase:
    """The figures of one phase. Times are in seconds."""

    name: str
    latencies: Sequence[float]
    #: Changes that were made while the migration ran; all of them in the quiet phase.
    beside: int
    changes: int
    #: Of the log lines about the changes: from the event to the end of the work on it, without this work.
    waits: Sequence[float]
    #: Of the log lines about the changes: the work on the key.
    works: Sequence[float]
    #: Share of the time in which the processors were busy.
    busy: float


def measure(
    cloud: stack.Stack,
    objects: int,
    changes: int,
    pace_s: float,
    environment: Mapping[str, str],
    report: Callable[[str], object],
) -> list[Phase]:
    """Run the three phases with a migration of `objects` objects in the second and in the third."""
    actor = demo.Actor(cloud, random.Random(0))  # noqa: S311 - it makes contents, not secrets
    phases = []
    for name, workers in (("quiet", None), ("queue", "queue"), ("command", "local")):
        if workers is not None:
            report(f"{name}: writing {objects} objects without events ...")
            _fill(actor, f"{name}-before/", objects)
        report(f"{name}: {changes} changes, one each {pace_s} s ...")
        with _migrating(workers, f"{name}-before/", environment) as is_migrating:
            phases.append(_phase(actor, name, changes, pace_s, is_migrating))
        demo.wait_until_queues_are_empty(cloud)
    return phases


def _fill(actor: demo.Actor, prefix: str, objects: int) -> None:
    puts = [actor.put(f"{prefix}{number % 7}/{number:06}", SIZE) for number in range(objects)]
    with demo.notifications_off(actor.cloud), ThreadPoolExecutor(demo.WRITERS) as pool:
        list(pool.map(lambda change: change.send(0), puts))


@contextmanager
def _migrating(workers: str | None, prefix: str, environment: Mapping[str, str]) -> Iterator[Callable[[], bool]]:
    """Migrate during the block, and yield a function that returns True while the migration runs."""
    if workers is None:
        yield lambda: True
        return
    only = [f"--include=/{prefix}**"] if workers == "local" else []
    command = [sys.executable, "-m", "s3_syncer", "migrate", "--workers", workers, "--one-way", *only]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
        try:
            time.sleep(LEAD_S)
            yield lambda: process.poll() is None
        finally:
            try:
                process.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                process.terminate()
                process.wait()
            if process.returncode:
                log.seek(0)
                sys.stderr.write(log.read().decode(errors="replace")[-2000:])


def _phase(actor: demo.Actor, name: str, changes: int, pace_s: float, is_migrating: Callable[[], bool]) -> Phase:
    folder = f"{name}-live/"
    actor.watched = folder
    puts = [actor.put(f"{folder}{number:04}", SIZE) for number in range(changes)]
    began, busy_before = time.time(), _busy_and_total()
    beside = 0

    def counted(make: Callable[[], object]) -> Callable[[], object]:
        def make_and_count() -> None:
            nonlocal beside
            beside += is_migrating()
            make()

        return make_and_count

    for change in puts:
        change.make = counted(change.make)
    demo.run(demo.Step(name, puts, writers=1, pace_s=pace_s), actor)
    busy, total = (after - before for after, before in zip(_busy_and_total(), busy_before, strict=True))
    lines = list(_lines(actor.cloud, folder, began))
    return Phase(
        name,
        [change.latency_s for change in puts if change.latency_s is not None],
        beside,
        changes,
        [(line["lag_ms"] - line["duration_ms"]) / 1000 for line in lines],
        [line["duration_ms"] / 1000 for line in lines],
        busy / total if total else 0.0,
    )


def _lines(cloud: stack.Stack, folder: str, since: float) -> Iterator[Mapping[str, float]]:
    """Yield the log lines of the function about the copies below the folder."""
    pages = (
        cloud.client("logs")
        .get_paginator("filter_log_events")
        .paginate(logGroupName=cloud.log_group, startTime=int(since * 1000))
    )
    for page in pages:
        for event in page["events"]:
            if not event["message"].startswith("{"):
                continue
            line = json.loads(event["message"])
            if line.get("action") == "copy" and str(line.get("key")).startswith(folder) and line["lag_ms"] is not None:
                yield line


def _busy_and_total() -> tuple[float, float]:
    """Return the seconds in which the processors of this machine were busy, and all of their seconds."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    ticks = os.sysconf("SC_CLK_TCK")
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / ticks, sum(fields) / ticks


def table(phases: Sequence[Phase]) -> list[str]:
    """Return the figures as lines of a Markdown table, with the ratios to the first phase."""
    columns = ("phase", "beside it", "median s", "p95 s", "ratios", "median wait s", "median work s", "CPU busy")
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    quiet = demo.median_and_p95(phases[0].latencies)
    for phase in phases:
        figures = demo.median_and_p95(phase.latencies)
        ratios = [mine / base if mine and base else None for mine, base in zip(figures, quiet, strict=True)]
        cells = [
            phase.name,
            f"{phase.beside} of {phase.changes}",
            *(_rounded(figure) for figure in figures),
            " and ".join(_rounded(ratio) for ratio in ratios),
            *(_rounded(demo.median_and_p95(values)[0]) for values in (phase.waits, phase.works)),
            f"{phase.busy:.0%}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _rounded(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
