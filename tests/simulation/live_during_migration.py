"""Measure how long live changes take beside a migration by the workers of the queue.

The product runs on simulated stores, SQS and Lambda, in simulated time: every request takes 25 ms and no CPU. So the
figures show what waits for what, and not how busy the machine is.

    PYTHONPATH=. python -m tests.simulation.live_during_migration
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median, quantiles
from unittest.mock import patch

import click

from s3_syncer.core.work_items import RangeWork

from . import client, sqs
from .processes import BULK, DEAD_LETTERS, DELETIONS, QUEUE, SETTINGS, LambdaService, World
from .scheduler import Scheduler
from .sqs import Sqs
from .store import Store
from .threads import running, simulated

OBJECTS, CHANGES = 20_000, 200

#: Seconds of each request, and between two changes.
LATENCY_S, PACE_S = 0.025, 0.25

#: Invocations at a time for each queue: the default of `bulk.max_concurrency`.
CONCURRENCY = 10

#: Seconds from the start of the migration to the first change. By then its ranges have been cut, and run in parallel.
LEAD_S = 70.0


@dataclass(frozen=True, slots=True)
class Figures:
    """The arrival times of the changes in seconds, and what the migration copied in the same time."""

    arrivals_s: Sequence[float]
    copied: int

    @property
    def median_s(self) -> float:
        return median(self.arrivals_s)

    @property
    def p95_s(self) -> float:
        return quantiles(self.arrivals_s, n=20)[-1]


def measure(
    *, objects: int, changes: int = CHANGES, concurrency: int = CONCURRENCY, has_bulk_queue: bool = True
) -> Figures:
    """Return the figures of `changes` beside a migration of `objects`, or without one for 0."""
    with simulated(), _fixed_latency():
        scheduler = Scheduler(0, max_steps=10**9)
        with running(scheduler):
            try:
                run = _Run(scheduler, objects, changes, concurrency, has_bulk_queue=has_bulk_queue)
                main = scheduler.spawn(run.run, name="application", group="application")
                scheduler.run(until=lambda: main.done)
                return run.figures
            finally:
                scheduler.close()


@contextmanager
def _fixed_latency() -> Iterator[None]:
    with patch.object(client, "LATENCIES_S", (LATENCY_S,)), patch.object(sqs, "EVENT_DELAYS_S", (0.0,)):
        yield


class _Run:
    def __init__(
        self, scheduler: Scheduler, objects: int, changes: int, concurrency: int, *, has_bulk_queue: bool
    ) -> None:
        self._scheduler, self._objects, self._concurrency = scheduler, objects, concurrency
        self._keys = [f"live/{number:04}" for number in range(changes)]
        self._sent: dict[str, float] = {}
        self._arrived: dict[str, float] = {}
        self._copied = 0
        self._bulk = BULK if has_bulk_queue else QUEUE
        queues = Sqs(scheduler)
        queues.create(DEAD_LETTERS)
        for queue in (QUEUE, BULK, DELETIONS):
            queues.create(queue, dead_letter_url=DEAD_LETTERS)
        source = Store("source", scheduler)
        target = Store("target", scheduler, on_change=self._on_arrival)
        settings = replace(SETTINGS, bulk_queue_url=BULK if has_bulk_queue else "", tags=False)
        self._world = World(scheduler, source, target, queues, settings=settings)

    def run(self) -> None:
        world, scheduler = self._world, self._scheduler
        for number in range(self._objects):
            world.source.write(f"old/{number:06}", b"x")
        LambdaService(world, concurrency=self._concurrency, timeout_s=900.0, batch_size=10, threads=8).start()
        if self._objects:
            world.sqs.send(self._bulk, RangeWork(after="old/", until="old0").to_json())
        scheduler.sleep(LEAD_S)
        before = self._copied
        for key in self._keys:
            scheduler.sleep(PACE_S)
            self._sent[key] = scheduler.now
            world.source.write(key, b"x")
            world.sqs.notify(QUEUE, "source", key, "ObjectCreated:Put")
        while len(self._arrived) < len(self._keys):
            scheduler.sleep(1.0)
        arrivals_s = [self._arrived[key] - self._sent[key] for key in self._keys]
        self.figures = Figures(arrivals_s, self._copied - before)

    def _on_arrival(self, key: str, event: str) -> None:
        if key in self._sent:
            self._arrived.setdefault(key, self._scheduler.now)
        else:
            self._copied += 1


@click.command(help=__doc__)
@click.option("--objects", default=OBJECTS, show_default=True, help="Objects of the migration.")
@click.option("--concurrency", default=CONCURRENCY, show_default=True, help="Invocations at a time for each queue.")
def main(objects: int, concurrency: int) -> None:
    idle = measure(objects=0, concurrency=concurrency)
    cases = {
        "no migration": idle,
        "migration, two queues": measure(objects=objects, concurrency=concurrency),
        "migration, one queue": measure(objects=objects, concurrency=concurrency, has_bulk_queue=False),
    }
    for name, figures in cases.items():
        ratios = f"{figures.median_s / idle.median_s:.2f} {figures.p95_s / idle.p95_s:.2f}"
        times = f"median {figures.median_s:.3f} s, p95 {figures.p95_s:.3f} s"
        print(f"{name:22} {times}, ratios {ratios}, {figures.copied} objects copied meanwhile")


if __name__ == "__main__":
    main()
