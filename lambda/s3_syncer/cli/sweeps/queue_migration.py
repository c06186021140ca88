"""Migrate by the workers of a queue: send one range, follow the work, and compare both buckets."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError
from rich.console import Console

from ...core.deadline import Deadline, OutOfTime
from ...core.errors import Changed, Retryable, StoreUnusable, SyncError, classify
from ...core.headers import moment
from ...core.work_items import RangeWork
from ...operations.status import counted
from ...queue.message_counts import QueueCounts, queue_counts
from ...stores.clients import aws_client, queue_client
from ...sync.key_sweep import SweepOptions
from ...wiring import build_notify, build_sync_context
from ..output.progress import format_bytes, format_duration
from ..output.stats import SweepStats, print_row
from ..signals import handle_signals
from .display import print_line, show_progress
from .job import SweepJob
from .queue_progress import Line, QueueProgress, wait_until_done
from .run import check_source_prefix, ended, run

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

logger = logging.getLogger(__name__)

#: Maximum seconds between two checks. A check costs one request to SQS, and one to CloudWatch Logs for each log page.
INTERVAL_S = 10.0

#: Maximum number of log pages that one check reads. The next check continues with the next page.
MAX_PAGES = 20

#: Milliseconds until CloudWatch Logs finds a new line. Lines of that age are read again, and skipped if already seen.
LOG_DELAY_MS = 60_000

#: Filter of the log lines. The lines of single keys are left out: a range logs its totals in one line.
PATTERN = (
    '{ ($.action = "range") || ($.action = "dead-letter") || ($.action = "part") || ($.action = "complete")'
    " || ($.lag_ms IS NULL) }"
)

WORKERS_CONTINUE = "The workers continue with the messages on the queue. `s3-syncer check` compares both buckets."


@dataclass(frozen=True, slots=True)
class QueueMigrationConfig:
    """The queues and log groups of the workers."""

    queue_url: str
    dead_letter_queue_url: str = ""
    log_groups: tuple[str, ...] = ()
    #: Seconds for which the queue must be empty, because its counts are approximate.
    idle_timeout_s: float = 60.0


class QueueMonitor:
    """The workers of a queue, seen through the queue and the logs; a `queue_progress.WorkerActivity`."""

    def __init__(self, config: QueueMigrationConfig, *, sqs: SQSClient, logs: Any, began_ms: int = 0) -> None:
        """Observe the lines of the log since `began_ms`, in milliseconds since 1970."""
        self._config, self._sqs, self._logs = config, sqs, logs
        self._began_ms = dict.fromkeys(config.log_groups, began_ms)
        self._next_token: dict[str, str] = {}
        self._seen: dict[str, int] = {}

    def begin(self) -> None:
        """Observe the lines from now on, by the clock of AWS.

        If the clock of this computer is ahead, the log would lack the lines about the first ranges.
        """
        response = self._call(
            lambda: self._sqs.get_queue_attributes(QueueUrl=self._config.queue_url, AttributeNames=["QueueArn"])
        )
        at = moment(response["ResponseMetadata"]["HTTPHeaders"].get("date", ""))
        began_ms = round(1000 * (time.time() if at is None else at.timestamp()))
        self._began_ms = dict.fromkeys(self._config.log_groups, began_ms)

    def send(self, work: RangeWork) -> None:
        """Send the work to the queue."""
        self._call(lambda: self._sqs.send_message(QueueUrl=self._config.queue_url, MessageBody=work.to_json()))

    def backlog(self) -> int:
        return self._count(self._config.queue_url)

    def dead_letters(self) -> int | None:
        """Return the number of dead letters, or None if the dead-letter queue is not configured."""
        return self._count(self._config.dead_letter_queue_url) if self._config.dead_letter_queue_url else None

    def lines(self) -> Iterator[Line]:
        for group in self._config.log_groups:
            for event in self._new_events(group):
                try:
                    line = json.loads(event["message"])
                except ValueError:
                    continue
                if isinstance(line, dict):
                    yield line

    def wait(self, progress: QueueProgress, deadline: Deadline, *, outage_timeout_s: float) -> None:
        """Wait until the work is done, and read the log to its end.

        Raises OutOfTime at the deadline, and StoreUnusable.
        """
        interval_s = min(INTERVAL_S, self._config.idle_timeout_s / 4)
        wait_until_done(self, progress, deadline, interval_s=interval_s, outage_timeout_s=outage_timeout_s)
        progress.read(self.lines())

    def _new_events(self, group: str) -> Iterator[Any]:
        """Yield the events of the log group that were not yielded before."""
        for _ in range(MAX_PAGES):
            page = {"nextToken": self._next_token.pop(group)} if group in self._next_token else {}
            request = {"logGroupName": group, "startTime": self._began_ms[group], "filterPattern": PATTERN, **page}
            response = self._call(partial(self._logs.filter_log_events, **request))
            for event in response["events"]:
                if event["eventId"] not in self._seen:
                    self._seen[event["eventId"]] = event["timestamp"]
                    yield event
            if not response.get("nextToken"):
                newest = max((event["timestamp"] for event in response["events"]), default=0)
                self._began_ms[group] = max(self._began_ms[group], newest - LOG_DELAY_MS)
                oldest = min(self._began_ms.values())
                self._seen = {id: at for id, at in self._seen.items() if at >= oldest}
                return
            self._next_token[group] = response["nextToken"]

    def _count(self, url: str) -> int:
        counts: QueueCounts = self._call(lambda: queue_counts(self._sqs, url))
        return counts.total

    def _call(self, request: Callable[[], Any]) -> Any:
        """Return the response. Raises Retryable if a later request may succeed, otherwise StoreUnusable."""
        try:
            return request()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            found = classify(code, status, "")
            if isinstance(found, Retryable) and not isinstance(found, (Changed, StoreUnusable)):
                raise Retryable(str(error)) from error
            raise StoreUnusable(f"cannot use the queue or the log group: {error}") from error
        except (HTTPClientError, BotoConnectionError) as error:
            raise Retryable(str(error)) from error
        except BotoCoreError as error:
            raise StoreUnusable(f"cannot use the queue or the log group: {error}") from error


def migrate_by_queue(job: SweepJob, config: QueueMigrationConfig, console: Console) -> int:
    """Let the workers do the job, then compare both buckets. Return the exit code of the comparison.

    Raises a SyncError if the job cannot finish, and OSError if a report cannot be written.
    """
    monitor = connect(config)
    context = build_sync_context(job.settings, threads=job.threads)
    for bucket in (context.source, context.target):  # an error of the comparison at the end must show before the start
        next(iter(bucket.listing()), None)
    check_source_prefix(job, context.source, context.target)
    letters_before, stats, deadline = monitor.dead_letters(), SweepStats(), Deadline()
    options = job.sweep_options
    filters = job.settings.filters
    monitor.send(RangeWork(delete=options.delete, max_delete=options.max_delete, full=options.full, filters=filters))
    progress = QueueProgress(stats, idle_s=config.idle_timeout_s)
    try:
        with (
            handle_signals(deadline, grace_s=job.stop_grace_s) as stop,
            show_progress(job, stats, console, context.source, deadline),
        ):
            monitor.wait(progress, deadline, outage_timeout_s=job.outage_timeout_s)
    except OutOfTime:
        _print(job, console, f"stopped: {WORKERS_CONTINUE}")
        build_notify(job.settings)(ended(job, stats, "stopped"))
        return stop.exit_code
    except SyncError as error:
        _print(job, console, WORKERS_CONTINUE)
        build_notify(job.settings)(ended(job, stats, "failed", str(error)))
        raise
    letters = None if letters_before is None else max(0, (monitor.dead_letters() or 0) - letters_before)
    for line in _summary(job, stats, letters, all_swept=progress.all_swept or not config.log_groups):
        _print(job, console, line)
    comparison = SweepOptions(dry_run=True, one_way=options.one_way, full=options.full)
    return run(replace(job, command="check", sweep_options=comparison, have_responded=True), console)


def connect(config: QueueMigrationConfig) -> QueueMonitor:
    """Return the monitor, after one request of each kind that it needs. Raises a SyncError."""
    monitor = QueueMonitor(config, sqs=queue_client(1), logs=aws_client("logs"))
    monitor.begin()
    monitor.backlog()
    list(monitor.lines())
    return monitor


def _summary(job: SweepJob, stats: SweepStats, letters: int | None, *, all_swept: bool) -> Iterator[str]:
    """Print the dead letters, and yield lines about the work as far as the log and the queue show it."""
    if job.list_findings:
        for finding in stats.failures:
            print_row("dead-letter", finding.key, finding.text)
    deleted = stats.actions["delete"]
    done = [f"{counted(stats.keys, 'key')} compared", f"{stats.changed - deleted:,} copied", f"{deleted:,} deleted"]
    done += [] if letters is None else [counted(letters, "new dead letter")]
    done += [f"{format_bytes(stats.bytes)} sent", format_duration(stats.elapsed_s)]
    yield f"The workers are done: {', '.join(done)}."
    if stats.backlog:
        yield f"note: messages on the queue: {stats.backlog:,}. Live sync sent them, or they fail again and again."
    if not all_swept:
        yield "note: the log does not show that every range was swept"


def _print(job: SweepJob, console: Console, text: str) -> None:
    if job.log:
        logger.info("%s", text)
    else:
        print_line(console, text)
