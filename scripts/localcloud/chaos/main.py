"""Disturb s3-syncer in every way while the source changes, and prove that both buckets end equal.

Services, execution environments of the Lambda function and migrations run as real processes between an emulated AWS and
another store. They are killed and frozen, connections break, requests are delayed, repeated and refused, and the stores
stop for up to a minute. Then the faults end, and the buckets are compared byte by byte.

The exit code is 0 only if both buckets are equal, the queue is empty, and no message is in the dead-letter queue.
"""

from __future__ import annotations

import math
import secrets
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import click
from rich.console import Console

from devtools import signals
from localcloud import verify
from localcloud.chaos import report, worker_logs
from localcloud.chaos.chance import seeded
from localcloud.chaos.cloud import Cloud
from localcloud.chaos.disturbances import Disturbances
from localcloud.chaos.proxy import HOLD_MAX_S
from localcloud.chaos.sweeps import Sweeper
from localcloud.chaos.tally import Tally
from localcloud.chaos.workers import LambdaEnvironment, Service, Worker
from localcloud.chaos.writers import LARGE_INTERVAL_S, SWEPT_PREFIX, BurstWriter, LargeWriter, Writer
from localcloud.stack import DIRECTORY
from s3_syncer.core.fence import LATE_WRITE_S

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: The writers that share `--changes-per-second`. One more writes large objects.
WRITERS = (Writer, Writer, BurstWriter, BurstWriter)

#: Seconds between two lines of progress.
PROGRESS_S = 30.0

#: Seconds after which a queue that is not empty counts as a failure. The delay of a message grows to 15 minutes, and
#: the message of a killed invocation returns after 3.
DRAIN_TIMEOUT_S = 3600.0

#: The counts of a queue are approximate, so they must be zero this many times in a row.
EMPTY_COUNTS = 5

#: Attempts of the last migration, which must end without a difference.
LAST_MIGRATIONS = 3

DIFFERENCES_SHOWN = 50

#: Columns of the output, also in a file.
WIDTH = 120

console = Console(highlight=False, soft_wrap=True, width=WIDTH)


@dataclass(frozen=True)
class Options:
    minutes: float
    seed: int
    changes_per_s: float
    services: int
    environments: int
    late_write_s: int


class Run:
    """A run: its cloud, its workers, and everything that disturbs them."""

    def __init__(self, options: Options, directory: Path, exits: ExitStack) -> None:
        """Start the cloud; `exits` stops everything."""
        self._options, self._directory = options, directory
        self.tally = Tally()
        self._cloud = cloud = Cloud.started(directory, self._chance("proxies"), self.tally, exits)
        self._logs = [directory / "logs" / f"service-{n}.log" for n in range(options.services)]
        self._logs += [directory / "logs" / f"lambda-{n}.log" for n in range(options.environments)]
        self._services = [
            Service(cloud.environment, log, self.tally, options.late_write_s) for log in self._logs[: options.services]
        ]
        self._environments = [
            LambdaEnvironment(
                cloud.environment,
                log,
                connect=cloud.connect_to_queue,
                queue_urls=(cloud.queue_url, cloud.bulk_queue_url),
                chance=self._chance(log.stem),
                tally=self.tally,
                late_write_s=options.late_write_s,
            )
            for log in self._logs[options.services :]
        ]
        self._workers: Sequence[Worker] = [*self._services, *self._environments]
        self._sweeper = Sweeper(
            cloud.environment,
            directory / "logs" / "migrations.log",
            sqs=cloud.connect_to_queue(),
            queue_url=cloud.bulk_queue_url,
            chance=self._chance("sweeps"),
            tally=self.tally,
        )
        self._writers = [
            kind(
                cloud.source,
                cloud.source_bucket,
                self._chance(f"writer {n}"),
                self.tally,
                len(WRITERS) / options.changes_per_s,
            )
            for n, kind in enumerate(WRITERS)
        ]
        large = LargeWriter(cloud.source, cloud.source_bucket, self._chance("large"), self.tally, LARGE_INTERVAL_S)
        self._writers.append(large)
        self._disturbances = Disturbances(self._workers, cloud.proxies, self._chance("disturbances"), self.tally)
        exits.callback(self._close)

    def disturb(self) -> None:
        """Change the source and disturb the workers until the time is over."""
        for worker in self._workers:
            worker.start()
        for writer in self._writers:
            writer.background.start()
        self._sweeper.background.start()
        self._disturbances.start()
        end = time.monotonic() + self._options.minutes * 60
        while (left_s := end - time.monotonic()) > 0:
            self._watch(min(left_s, PROGRESS_S))
            console.print(f"{_clock()}  {max(0.0, end - time.monotonic()):,.0f} s left, {self._progress()}")

    def settle(self) -> report.Verdict:
        """End all faults and changes, wait until the workers are done, and compare both buckets."""
        for writer in self._writers:
            writer.background.stop()
        self._disturbances.stop()
        self._sweeper.background.stop()
        for environment in self._environments:
            environment.is_patient = False
        console.print(f"{_clock()}  the last fault is over, {self._cloud.messages():,} messages are on the queue")
        equal_after_s, drained_after_s = self._drain()
        self._stop_workers()
        cloud = self._cloud
        for proxy in cloud.proxies:
            proxy.wait_until_idle(DRAIN_TIMEOUT_S)
        console.print(f"{_clock()}  comparing every byte of both buckets ...")
        first = self._differences()
        repaired = [each for each in first if each.key.startswith(SWEPT_PREFIX)]
        unequal = [each for each in first if not each.key.startswith(SWEPT_PREFIX)]
        code = self._migrate_to_the_end()
        return report.Verdict(
            objects=len(_listing(cloud.source, cloud.source_bucket)),
            equal_after_s=equal_after_s,
            drained_after_s=drained_after_s,
            differences=[*unequal, *(each for each in self._differences() if each.key.startswith(SWEPT_PREFIX))],
            repaired=len({each.key for each in repaired}),
            last_migration=code,
            dead_letters=cloud.dead_letters(),
            uploads=len(cloud.uploads()),
        )

    def decisions(self) -> worker_logs.Decisions:
        return worker_logs.read(self._logs)

    def _drain(self) -> tuple[float | None, float | None]:
        """Return the seconds until both listings were equal, and until the queue was empty; None is never."""
        began, equal_after_s, empty = time.monotonic(), None, 0
        next_line = began + PROGRESS_S
        while (passed_s := time.monotonic() - began) < DRAIN_TIMEOUT_S:
            if equal_after_s is None and self._listings_are_equal():
                equal_after_s = passed_s
            empty = 0 if self._cloud.messages() else empty + 1
            if empty == EMPTY_COUNTS:
                return equal_after_s, passed_s
            self._watch(1.0)
            if time.monotonic() > next_line:
                next_line += PROGRESS_S
                console.print(f"{_clock()}  {passed_s:,.0f} s after the last fault, {self._progress()}")
        return equal_after_s, None

    def _watch(self, seconds: float) -> None:
        """Wait some seconds, start workers that ended by themselves, and raise failures of this program."""
        end = time.monotonic() + seconds
        while True:
            for worker in self._workers:
                worker.keep_running()
            for background in (*(writer.background for writer in self._writers), self._sweeper.background):
                background.check()
            self._disturbances.check()
            left_s = end - time.monotonic()
            if left_s <= 0:
                return
            time.sleep(min(left_s, 1.0))

    def _migrate_to_the_end(self) -> int:
        """Repeat the migrations that were stopped, and return the exit code of the last one."""
        code = 0
        for _ in range(LAST_MIGRATIONS):
            code = self._sweeper.migrate("--full", "--delete")
            if code == 0:
                break
        return code

    def _differences(self) -> list[verify.Difference]:
        cloud = self._cloud
        source = verify.read_bucket(cloud.source, cloud.source_bucket)
        target = verify.read_bucket(cloud.target, cloud.target_bucket)
        return list(verify.differences(source, target))

    def _listings_are_equal(self) -> bool:
        cloud = self._cloud
        source = _listing(cloud.source, cloud.source_bucket)
        target = _listing(cloud.target, cloud.target_bucket)
        return source.keys() == target.keys() and all(_may_be_equal(source[key], target[key]) for key in source)

    def _progress(self) -> str:
        changes = sum(self.tally.below("changes/").values())
        kills = sum(self.tally.below("kills/").values())
        faults = sum(self.tally.below("faults/").values())
        return (
            f"{changes:,} changes, {kills} kills, {faults:,} faults, {self._cloud.messages():,} messages on the queue"
        )

    def _chance(self, name: str) -> Random:
        """Return the source of chance of one part of the run. It depends only on the seed."""
        return seeded(f"{self._options.seed}/{name}")

    def _stop_workers(self) -> None:
        """Stop all workers at the same time, because a service waits up to 20 seconds for its last poll."""
        with ThreadPoolExecutor(len(self._workers)) as pool:
            list(pool.map(lambda worker: worker.close(), self._workers))

    def _close(self) -> None:
        """Stop every thread and process of the run."""
        with signals.held():
            for writer in self._writers:
                writer.background.stop()
            self._disturbances.stop()
            self._sweeper.close()
            self._stop_workers()


def _listing(client: S3Client, bucket: str) -> dict[str, tuple[int, str]]:
    """Return the size and the ETag of each object."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    entries = [entry for page in pages for entry in page.get("Contents", [])]
    return {each["Key"]: (each["Size"], each["ETag"]) for each in entries}


def _may_be_equal(source: tuple[int, str], target: tuple[int, str]) -> bool:
    """Compare sizes and ETags of two listings. The ETag of a multipart upload is no hash of the bytes."""
    return source == target or (source[0] == target[0] and ("-" in source[1] or "-" in target[1]))


def _clock() -> str:
    return time.strftime("%H:%M:%S", time.gmtime())


@click.command(help=__doc__)
@click.option("--minutes", default=10.0, show_default=True, type=click.FloatRange(min=0.1), help="Minutes with faults.")
@click.option("--seed", type=int, help="Seed of all choices, but not of the times. Default: a random one.")
@click.option(
    "--changes-per-second", default=5.0, show_default=True, type=click.FloatRange(min=0.1), help="Rate of the writers."
)
@click.option(
    "--services", default=2, show_default=True, type=click.IntRange(min=0), help="`s3-syncer serve` processes."
)
@click.option(
    "--environments", default=2, show_default=True, type=click.IntRange(min=0), help="Lambda execution environments."
)
@click.option(
    "--late-write-seconds",
    default=60,
    show_default=True,
    type=click.IntRange(math.ceil(HOLD_MAX_S) + 1, LATE_WRITE_S),
    help=f"Seconds until a key with a write that may land late is compared again; {LATE_WRITE_S} in the product.",
)
def main(
    minutes: float,
    seed: int | None,
    changes_per_second: float,
    services: int,
    environments: int,
    late_write_seconds: int,
) -> None:
    if not services and not environments:
        raise click.UsageError("write at least 1 for --services or --environments")
    signals.interrupt_on_termination()
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    options = Options(minutes, seed, changes_per_second, services, environments, late_write_seconds)
    directory = DIRECTORY / "chaos" / time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    directory.mkdir(parents=True)
    console.print(f"scripts/chaos --minutes {minutes:g} --seed {seed}; the logs are in {directory}")
    with ExitStack() as exits:
        run = Run(options, directory, exits)
        run.disturb()
        verdict = run.settle()
    console.print(report.table(report.rows(run.tally, run.decisions(), verdict, minutes)))
    for difference in verdict.differences[:DIFFERENCES_SHOWN]:
        console.print(str(difference), markup=False)
    for letter in verdict.dead_letters:
        console.print(f"dead letter: {letter}", markup=False)
    console.print(f"The logs of the workers and the proxies are in {directory}")
    sys.exit(0 if verdict.is_good else 1)


if __name__ == "__main__":
    main(prog_name="scripts/chaos")
