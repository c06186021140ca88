"""`scripts/simulate`: run histories of seeds on all cores, or print the history of one seed."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import click

from .history import Result, product_in_simulation, run_history
from .mutants import MUTANTS

#: Seeds that a process runs before it reports. The garbage collector runs as often, and never within a history.
CHUNK = 50

#: Failed seeds that are listed.
LISTED = 20


@dataclass(slots=True)
class Totals:
    """The results of many histories."""

    histories: int = 0
    steps: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    #: Length of the history, seed and error of each failed seed.
    failed: list[tuple[int, int, str]] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.histories += 1
        self.steps += result.steps
        self.counts.update(result.counts)
        if result.error is not None:
            self.failed.append((len(result.history), result.seed, str(result.error)))

    def __iadd__(self, other: Totals) -> Totals:
        self.histories += other.histories
        self.steps += other.steps
        self.counts += other.counts
        self.failed += other.failed
        return self


@click.command()
@click.option("--seed", type=int, help="Print the history of this seed.")
@click.option("--seeds", default=1000, show_default=True, type=click.IntRange(1), help="Run so many histories.")
@click.option("--first", default=0, show_default=True, help="The first seed of --seeds.")
@click.option("--mutant", type=click.Choice(sorted(MUTANTS)), help="Switch this rule of the product off.")
@click.option("--mutants", is_flag=True, help="Search a seed for each mutant, and print them all.")
@click.option("--processes", default=os.cpu_count(), show_default="one per core", help="Processes for --seeds.")
def main(seed: int | None, seeds: int, first: int, mutant: str | None, mutants: bool, processes: int) -> None:
    """Run the product on simulated stores, queues, clocks and threads, and check its promises.

    A seed decides everything that happens. Exits with 1 if a seed fails, or if a mutant is not found.
    """
    if mutants:
        sys.exit(find_mutants(processes))
    if seed is not None:
        sys.exit(replay(seed, mutant))
    began = time.monotonic()
    totals = run(range(first, first + seeds), processes, mutant)
    report(totals, time.monotonic() - began, processes)
    sys.exit(1 if totals.failed else 0)


def replay(seed: int, mutant: str | None) -> int:
    """Print the history of a seed, and return the exit code."""
    with product():
        result = run_one(seed, mutant)
    for record in result.history:
        print(record)
    print(f"\nseed {seed}: {result.error or 'every promise is kept'}")
    return 1 if result.error else 0


def run_one(seed: int, mutant: str | None) -> Result:
    """Run the history of a seed, with a rule of the product switched off if `mutant` names one."""
    if mutant is None:
        return run_history(seed)
    with MUTANTS[mutant].active():
        return run_history(seed, MUTANTS[mutant].focus)


def find_mutants(processes: int) -> int:
    """Print a seed that finds each mutant, and return the exit code."""
    code = 0
    with multiprocessing.Pool(processes) as pool:
        for mutant, seed in zip(MUTANTS.values(), pool.imap(find_mutant, MUTANTS), strict=True):
            found = "NOT FOUND" if seed is None else f"seed {seed}"
            print(f"{mutant.name:30} {found:>10} of {mutant.seeds:5}  {mutant.rule}")
            code = 1 if seed is None else code
    return code


def find_mutant(name: str) -> int | None:
    """Return the seed that finds a mutant, or None."""
    with product():
        return MUTANTS[name].find()


def run(seeds: range, processes: int, mutant: str | None = None) -> Totals:
    """Run the histories of the seeds in several processes. Ctrl-C ends the run early."""
    chunks = (seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK))
    totals = Totals()
    ignore_ctrl_c = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    with multiprocessing.Pool(processes, ignore_ctrl_c) as pool, suppress(KeyboardInterrupt):
        for each in pool.imap_unordered(partial(run_chunk, mutant=mutant), chunks):
            totals += each
    return totals


def run_chunk(seeds: range, mutant: str | None) -> Totals:
    """Run the histories of some seeds in this process."""
    totals = Totals()
    with product():
        for seed in seeds:
            totals.add(run_one(seed, mutant))
    return totals


@contextmanager
def product() -> Iterator[None]:
    """Prepare the product for simulated histories: without log output, and without the garbage collector.

    A collection may end a generator of the product, at a point that depends on the histories before.
    """
    logging.getLogger("s3_syncer").setLevel(logging.CRITICAL + 1)
    gc.collect()
    gc.disable()
    try:
        with product_in_simulation():
            yield
    finally:
        gc.enable()


def report(totals: Totals, seconds: float, processes: int) -> None:
    """Print the figures, and the failed seeds with the shortest history first."""
    rate, steps = totals.histories / seconds, totals.steps / max(1, totals.histories)
    print(f"{totals.histories:,} histories in {seconds:.0f} s: {rate:.0f} a second in {processes} processes,", end=" ")
    print(f"{steps:.0f} steps each")
    for name, count in sorted(totals.counts.items()):
        print(f"{count:12,} {name.replace('_', ' ')}")
    for length, seed, error in sorted(totals.failed)[:LISTED]:
        print(f"FAILED: seed {seed}, {length} lines: {error}")
    if len(totals.failed) > LISTED:
        print(f"... and {len(totals.failed) - LISTED:,} more failed seeds")
    if totals.failed:
        print("Print the history of a seed with scripts/simulate --seed N.")


if __name__ == "__main__":
    main(prog_name="scripts/simulate")
