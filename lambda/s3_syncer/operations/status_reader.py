"""Read the state of an applied module from AWS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    Throttling,
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

#: Minutes of CloudWatch metrics that are searched for the newest age of a message and for throttled invocations.
_METRICS_PERIOD_MIN = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Clients:
    """The clients of AWS that the status is read with."""

    sqs: SQSClient
    logs: Any
    cloudwatch: Any
    functions: Any
    ecs: Any


@dataclass(frozen=True, slots=True)
class _Metrics:
    """The age of the oldest message of each queue, if it is known, and the throttled invocations."""

    ages_s: Mapping[str, float]
    throttles: int


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
        metrics = self._optional("the metrics of the queues and the function", lambda: self._metrics(now))
        queues = self._queues(now, metrics.ages_s if metrics else {})
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
            throttling=self._throttling(metrics.throttles) if metrics and metrics.throttles else None,
            notes=tuple(self._notes),
        )

    def _newest(self, pattern: str, now: float, periods_s: Sequence[float]) -> LogPeriod:
        found = self._log.newest(pattern, now, periods_s, max_pages=MAX_PAGES)
        if not found.is_complete:
            self._notes.append(f"the log is long: only its last {now - found.since:,.0f} s were read")
        return found

    def _queue_urls(self) -> dict[str, str]:
        outputs = self._outputs
        return {
            "events": outputs.queue_url,
            "bulk": outputs.bulk_queue_url,
            **({"deletions": outputs.deletions_queue_url} if outputs.deletions_queue_url else {}),
            **({"held deletions": outputs.held_deletions_queue_url} if outputs.held_deletions_queue_url else {}),
            "dead letters": outputs.dead_letter_queue_url,
        }

    def _queues(self, now: float, ages_s: Mapping[str, float]) -> list[QueueState]:
        counts = {name: queue_counts(self._clients.sqs, url) for name, url in self._queue_urls().items()}
        ages = dict(ages_s)
        groups = self._dead_letters(counts["dead letters"].total)
        oldest_at = min((group.oldest_at for group in groups), default=None)
        if oldest_at is not None:  # CloudWatch counts from the move to this queue, and SQS from the first arrival
            ages["dead letters"] = max(ages.get("dead letters", 0.0), now - oldest_at)
        return [
            QueueState(name, url, counts[name], ages.get(name) if counts[name].total else None)
            for name, url in self._queue_urls().items()
        ]

    def _metrics(self, now: float) -> _Metrics:
        """Return what CloudWatch knows of the last minutes, in one request."""
        urls = self._queue_urls()
        queries = [
            _query(f"age{index}", "AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum", "QueueName", _last(url))
            for index, url in enumerate(urls.values())
        ]
        function_name = self._outputs.function_name
        queries.append(_query("throttles", "AWS/Lambda", "Throttles", "Sum", "FunctionName", function_name))
        end = datetime.fromtimestamp(now, UTC)
        response = self._clients.cloudwatch.get_metric_data(
            StartTime=end - timedelta(minutes=_METRICS_PERIOD_MIN),
            EndTime=end,
            ScanBy="TimestampDescending",
            MetricDataQueries=queries,
        )
        values: dict[str, Sequence[float]] = {each["Id"]: each["Values"] for each in response["MetricDataResults"]}
        return _Metrics(
            {name: values[f"age{index}"][0] for index, name in enumerate(urls) if values.get(f"age{index}")},
            round(sum(values.get("throttles", ()))),
        )

    def _throttling(self, invocations: int) -> Throttling:
        """Return the throttled invocations, and the limits of the concurrency as far as AWS names them."""
        functions, name = self._clients.functions, self._outputs.function_name
        reserved = self._optional(
            "the reserved concurrency", lambda: functions.get_function_concurrency(FunctionName=name)
        )
        account = self._optional("the concurrency of the account", functions.get_account_settings)
        return Throttling(
            invocations,
            60.0 * _METRICS_PERIOD_MIN,
            (reserved or {}).get("ReservedConcurrentExecutions"),
            (account or {}).get("AccountLimit", {}).get("ConcurrentExecutions"),
        )

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
        limits = [each.get("ScalingConfig", {}).get("MaximumConcurrency") for each in mappings]
        return FunctionState(
            name,
            found.get("State", "Active"),
            {each["EventSourceArn"].rpartition(":")[2]: each["State"] for each in mappings},
            found.get("StateReason", ""),
            None if None in limits else sum(limits),
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


def _query(id: str, namespace: str, metric: str, statistic: str, dimension: str, value: str) -> dict[str, Any]:
    """Return a query for the values of a metric, one for each minute."""
    named = {"Namespace": namespace, "MetricName": metric, "Dimensions": [{"Name": dimension, "Value": value}]}
    return {"Id": id, "MetricStat": {"Metric": named, "Period": 60, "Stat": statistic}}


def _last(url: str) -> str:
    return url.rpartition("/")[2]
