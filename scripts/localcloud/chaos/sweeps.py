"""Sweep the buckets now and then: ranges by the workers of the queue, and migrations as processes.

A range with deletes returns until it is done, so nothing must follow it. A sweep without deletes, and a migration,
cannot finish the work of one that was killed: docs/reliability.md. They sweep only `SWEPT_PREFIX`, and one more
migration of it, at the end of the run, must succeed. No sweep covers the keys before `RANGE_PREFIX`: it would hide a
fault of live sync.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from localcloud.chaos.background import Background
from localcloud.chaos.tally import Tally
from localcloud.chaos.writers import RANGE_PREFIX, SWEPT_PREFIX
from s3_syncer.core.work_items import RangeWork

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

#: A key behind all keys below `SWEPT_PREFIX`, because "0" follows "/".
SWEPT_END = "swept0"

#: Mean number of seconds between the end of a sweep and the next one.
INTERVAL_S = 20.0

#: Seconds after which a migration that was asked to stop, or the last one, has failed.
MIGRATION_TIMEOUT_S = 600

POLL_S = 0.2

#: Share of the migrations that are killed or stopped.
STOPPED_SHARE = 0.5


class Sweeper:
    """Starts sweeps until its thread is stopped."""

    def __init__(
        self,
        environment: Mapping[str, str],
        log: Path,
        *,
        sqs: SQSClient,
        queue_url: str,
        chance: Random,
        tally: Tally,
    ) -> None:
        self._environment = {**environment, "SOURCE_PREFIX": SWEPT_PREFIX, "TARGET_PREFIX": SWEPT_PREFIX}
        self._log = log.open("ab")
        self._sqs, self._queue_url = sqs, queue_url
        self._chance, self._tally = chance, tally
        self.background = Background(self._run)

    def close(self) -> None:
        self.background.stop()
        self._log.close()

    def migrate(self, *options: str) -> int:
        """Run a migration to its end, and return its exit code."""
        return self._wait(self._begin(options), None)

    def _run(self) -> None:
        while not self.background.closing.wait(self._chance.expovariate(1 / INTERVAL_S)):
            if self._chance.random() < 0.5:
                self._send_range(delete=self._chance.random() < 0.5)
            else:
                self._migrate_for_a_while()

    def _send_range(self, *, delete: bool) -> None:
        work = RangeWork(after=RANGE_PREFIX if delete else SWEPT_PREFIX, until=SWEPT_END, delete=delete)
        self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=work.to_json())
        self._tally.count(f"sweeps/range on the queue, {'with' if delete else 'without'} deletes")

    def _migrate_for_a_while(self) -> None:
        options = [option for option in ("--delete", "--full") if self._chance.random() < 0.5]
        process = self._begin(options)
        if self._chance.random() < STOPPED_SHARE:
            number = self._chance.choice((signal.SIGKILL, signal.SIGINT, signal.SIGTERM))
            self._tally.count(f"sweeps/migration stopped by {number.name}")
            self.background.closing.wait(self._chance.uniform(0.5, 10))
            process.send_signal(number)
            self._wait(process, None)
            return
        code = self._wait(process, self.background.closing)
        self._tally.count(f"sweeps/migration {'with' if '--delete' in options else 'without'} deletes")
        self._tally.count(f"migrations/exit code {code}")

    def _begin(self, options: Sequence[str]) -> subprocess.Popen[bytes]:
        command = [str(Path(sys.executable).parent / "s3-syncer"), "migrate", "--processes", "1", "--concurrency", "8"]
        return subprocess.Popen(
            [*command, "--log-format", "json", *options],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _wait(self, process: subprocess.Popen[bytes], closing: threading.Event | None) -> int:
        """Return the exit code of a migration. It is stopped if the event is set."""
        try:
            while closing is not None and process.poll() is None:
                if closing.wait(POLL_S):
                    process.send_signal(signal.SIGINT)
                    break
            return process.wait(MIGRATION_TIMEOUT_S)
        finally:
            process.kill()
            process.wait()
