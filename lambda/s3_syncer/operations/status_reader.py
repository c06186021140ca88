"""Read the state of an applied module from AWS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from ..queue.message_counts import queue_counts
from .dead_letters import DeadLetterQueue, Selection, grouped
from .outputs import Outputs
from .status import (
    DeadLetterGroup,
    FunctionState,
    QueueState,
    ServiceState,
    Status,
    failures_of,
    lag_of,
    last_sweep,
)
from .worker_log import LogPeriod, WorkerLog

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

#: Periods of the log in seconds, the newest first, that are searched for lag and failures, and for the last sweep.
#: A failing message writes a line every 15 minutes.
LOG_PERIODS_S = (60.0, 300.0, 1200.0)
SWEEP_PERIODS_S = (3600.0, 6 * 3600.0, 26 * 3600.0)

#: Pages of the log that each of the two searches reads, at most. A page is one request, without a price.
MAX_PAGES = 20

#: The lines with a lag, and those about failures and recoveries.
_CHANGES_PATTERN = (
    '{ ($.lag_ms >= 0) || ($.action = "retry") || ($.action = "failed") || ($.action = "circuit-open")'
    ' || ($.action = "circuit-closed") || ($.action = "dead-letter") }'
)
_RANGE_PATTERN = '{ $.action = "range" }'

#: Dead letters that are read to name their reasons. Ten of them are one request.
MAX_LETTERS = 100

#: Minutes of CloudWatch metrics that are searched for the newest age of a message.
_AGE_PERIOD_MIN = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Clients:
    """The clients of AWS that the status is read with."""

    sqs: SQSClient
    logs: Any
    cloudwatch: Any
    functions: Any
    ecs: Any


class StatusReader:
    """Reads the status of one module, again and again."""

    def __init__(self, outputs: Outputs, clients: Clients, clock: Callable[[], float]) -> None:
        self._outputs, self._clients, self._clock = outputs, clients, clock
        self._log = WorkerLog(clients.logs, outputs.log_groups)
        self._letters = DeadLetterQueue(
            clients.sqs,
            outputs.dead_letter_queue_url,
            destination_url=outputs.queue_url,
            bucket=outputs.source_bucket,
        )
        #: The groups of the last reading, and the number of dead letters then.
        self._groups: tuple[int, list[DeadLetterGroup]] = (0, [])
        self._notes: list[str] = []

    def read(self) -> Status:
        """Return the status. Raises the errors of boto3 if the queues cannot be read.

        Another part that cannot be read is a note."""
        now, outputs = self._clock(), self._outputs
        self._notes = []
        queues = self._queues(now)
        changes = self._optional("the log", lambda: self._newest(_CHANGES_PATTERN, now, LOG_PERIODS_S))
        ranges = self._optional("the log", lambda: self._newest(_RANGE_PATTERN, now, SWEEP_PERIODS_S))
        return Status(
            at=now,
            name=outputs.name,
            source=outputs.source,
            target=outputs.target,
            paused=outputs.paused,
            max_lag_s=outputs.max_lag_s,
            queues=queues,
            dead_letters=self._groups[1],
            lag=lag_of(changes.lines) if changes else None,
            failures=failures_of(changes.lines) if changes else [],
            sweep=last_sweep(ranges.lines, pause_s=SWEEP_PERIODS_S[0]) if ranges else None,
            log_s=now - changes.since if changes else 0.0,
            sweep_log_s=now - ranges.since if ranges else 0.0,
            function=self._optional("the function", self._function),
            service=self._optional("the service", self._service),
            alarms=self._optional("the alarms", self._alarms) or [],
            notes=tuple(self._notes),
        )

    def _newest(self, pattern: str, now: float, periods_s: Sequence[float]) -> LogPeriod:
        found = self._log.newest(pattern, now, periods_s, max_pages=MAX_PAGES)
        if not found.is_complete:
            self._notes.append(f"the log is long: only its last {now - found.since:,.0f} s were read")
        return found

    def _queues(self, now: float) -> list[QueueState]:
        outputs = self._outputs
        urls = {
            "events": outputs.queue_url,
            "bulk": outputs.bulk_queue_url,
            **({"deletions": outputs.deletions_queue_url} if outputs.deletions_queue_url else {}),
            **({"held deletions": outputs.held_deletions_queue_url} if outputs.held_deletions_queue_url else {}),
            "dead letters": outputs.dead_letter_queue_url,
        }
        counts = {name: queue_counts(self._clients.sqs, url) for name, url in urls.items()}
        ages = self._optional("the age of the oldest messages", lambda: self._ages(list(urls.values()), now)) or {}
        groups = self._dead_letters(counts["dead letters"].total)
        oldest_at = min((group.oldest_at for group in groups), default=None)
        if oldest_at is not None:  # CloudWatch counts from the move to this queue, and SQS from the first arrival
            age_s = ages.get(outputs.dead_letter_queue_url, 0.0)
            ages[outputs.dead_letter_queue_url] = max(age_s, now - oldest_at)
        return [
            QueueState(name, url, counts[name], ages.get(url) if counts[name].total else None)
            for name, url in urls.items()
        ]

    def _ages(self, urls: Sequence[str], now: float) -> dict[str, float]:
        """Return the age of the oldest message in seconds, by URL, as far as CloudWatch knows it."""
        end = datetime.fromtimestamp(now, UTC)
        response = self._clients.cloudwatch.get_metric_data(
            StartTime=end - timedelta(minutes=_AGE_PERIOD_MIN),
            EndTime=end,
            ScanBy="TimestampDescending",
            MetricDataQueries=[
                {
                    "Id": f"age{index}",
                    "MetricStat": {
                        "Metric": {
                            "Namespace": "AWS/SQS",
                            "MetricName": "ApproximateAgeOfOldestMessage",
                            "Dimensions": [{"Name": "QueueName", "Value": url.rpartition("/")[2]}],
                        },
                        "Period": 60,
                        "Stat": "Maximum",
                    },
                }
                for index, url in enumerate(urls)
            ],
        )
        values = {each["Id"]: each["Values"] for each in response["MetricDataResults"]}
        return {url: values[f"age{index}"][0] for index, url in enumerate(urls) if values.get(f"age{index}")}

    def _dead_letters(self, letters: int) -> list[DeadLetterGroup]:
        """Return the groups of the first letters.

        They are read again only if their number has changed, or if the last attempt failed.
        """
        if not letters:
            self._groups = (0, [])
        elif letters != self._groups[0]:
            read = self._optional("the dead letters", lambda: self._letters.read(Selection(), limit=MAX_LETTERS))
            self._groups = (0, []) if read is None else (letters, grouped(read))
        return self._groups[1]

    def _function(self) -> FunctionState:
        name = self._outputs.function_name
        found = self._clients.functions.get_function_configuration(FunctionName=name)
        mappings = self._clients.functions.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
        return FunctionState(
            name,
            found.get("State", "Active"),
            {each["EventSourceArn"].rpartition(":")[2]: each["State"] for each in mappings},
            found.get("StateReason", ""),
        )

    def _service(self) -> ServiceState | None:
        service = self._outputs.service
        if service is None:
            return None
        response = self._clients.ecs.describe_services(cluster=service.cluster_arn, services=[service.name])
        if not response["services"]:
            return ServiceState(service.name, 0, 1, reason="ECS does not know the service")
        found = response["services"][0]
        newest: dict[str, str] = next(iter(found.get("deployments", [])), {})
        return ServiceState(
            service.name,
            found["runningCount"],
            found["desiredCount"],
            newest.get("rolloutState", ""),
            newest.get("rolloutStateReason", "") if newest.get("rolloutState") == "FAILED" else "",
        )

    def _alarms(self) -> list[str]:
        if not self._outputs.alarms:
            return []
        response = self._clients.cloudwatch.describe_alarms(AlarmNames=list(self._outputs.alarms), StateValue="ALARM")
        return sorted(alarm["AlarmName"] for alarm in response["MetricAlarms"])

    def _optional(self, what: str, request: Callable[[], T]) -> T | None:
        """Return the response, or None with a note if AWS denies it or does not serve it."""
        try:
            return request()
        except (ClientError, BotoCoreError) as error:
            self._notes.append(f"{what} cannot be read: {error}")
            return None
