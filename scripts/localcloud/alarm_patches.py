"""Give MiniStack the metrics of queues, log lines and functions, and the states of the alarms on them.

MiniStack stores metric filters and evaluates none, has no metrics of queues, and counts no invocation for a queue.

A queue keeps no history: its metrics have one data point, of the state at the time of the request. An alarm on them is
in its new state at once, which takes minutes on AWS. Alarms on expressions stay in the state INSUFFICIENT_DATA.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from ministack.services import cloudwatch, cloudwatch_logs, lambda_svc, sqs  # type: ignore[import-not-found]

from localcloud.cloudwatch import DELAY_S, STATISTICS, Alarm, MetricFilter, compile_pattern

QUEUES = "AWS/SQS"

#: Seconds before the request of the data point of a queue: the last minute that CloudWatch has.
QUEUE_POINT_AGE_S = 120

#: A message that was received so often counts for no age.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
RECEIVED_OFTEN = 3


def know_queues(handle: Callable[..., Any]) -> Callable[..., Any]:
    """Handle a request for metrics with the present metrics of the queues."""

    def wrapped(*request: Any) -> Any:
        _measure_queues(time.time())
        return handle(*request)

    return wrapped


def know_states(describe: Callable[..., Any]) -> Callable[..., Any]:
    """Evaluate all alarms before some are described."""

    def wrapped(*request: Any) -> Any:
        _measure_queues(time.time())
        for alarm in cloudwatch._alarms.values():
            evaluate(alarm)
        return describe(*request)

    return wrapped


def refuse_unknown_patterns(put: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a metric filter that could not be evaluated."""

    def wrapped(data: dict[str, Any]) -> Any:
        try:
            compile_pattern(data.get("filterPattern", ""))
        except ValueError as error:
            return cloudwatch_logs.error_response_json("InvalidParameterException", f"the local cloud: {error}", 400)
        return put(data)

    return wrapped


def note_moves(sweep: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """Note when SQS moved each message to a dead-letter queue, for the age of the oldest message there.

    The time of its first arrival stays as it is, and the retention counts from that time.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/setting-up-dead-letter-queue-retention.html
    """

    def wrapped(queue: dict[str, Any]) -> None:
        sweep(queue)
        redrive = json.loads(queue["attributes"].get("RedrivePolicy") or "{}")
        letters = sqs._queue_by_arn(redrive["deadLetterTargetArn"]) if redrive else None
        for message in letters["messages"] if letters else ():
            if "DeadLetterQueueSourceArn" in message["sys"]:
                message.setdefault("moved", (time.time(), message["receive_count"]))

    return wrapped


def count_log_lines(deliver: Callable[..., None]) -> Callable[..., None]:
    """Store the values that the metric filters of a log group find in its new lines."""

    def wrapped(group: str, stream: str, events: list[dict[str, Any]]) -> None:
        deliver(group, stream, events)
        lines = list(_json_lines(events))
        for each in cloudwatch_logs._metric_filters.values() if lines else ():
            if each["logGroupName"] == group:
                for made in each["metricTransformations"]:
                    _store(MetricFilter(each["filterPattern"], made["metricValue"]), made, lines)

    return wrapped


def count_invocations(emit: Callable[..., None]) -> Callable[..., None]:
    """Store the metrics of an invocation with its log lines.

    MiniStack stores them for a request of Invoke only, not for the messages of a queue. `throttle_patches` counts the
    invocations that are rejected, which have no log lines.
    """
    record = lambda_svc._emit_lambda_metrics
    lambda_svc._emit_lambda_metrics = lambda *_values, **_named: None

    def wrapped(function: Any, request: str, text: str, error: bool, duration_ms: int, **named: Any) -> None:
        emit(function, request, text, error, duration_ms, **named)
        record((function.get("config") or function)["FunctionName"], duration_ms, error, False)

    return wrapped


def keep_data_points() -> None:
    """Keep all data points.

    MiniStack removes those of two weeks ago at each request, and loses those that another thread adds meanwhile.
    """


def evaluate(alarm: dict[str, Any]) -> None:
    """Set the state of an alarm, and notify its actions if it has changed.

    An alarm of another kind than those of the module keeps its state. MiniStack ignores the dimensions of an alarm.
    """
    statistic = alarm.get("Statistic")
    if (
        not alarm.get("MetricName")
        or statistic not in STATISTICS
        or alarm.get("ComparisonOperator") != "GreaterThanThreshold"
        or alarm.get("TreatMissingData") != "notBreaching"
    ):
        return
    period, periods = alarm["Period"], alarm["EvaluationPeriods"]
    needed = alarm.get("DatapointsToAlarm") or periods
    known = Alarm(statistic, alarm["Threshold"], period, periods, needed)
    now = time.time()
    state = "ALARM" if known.is_on(_points(alarm, now), now) else "OK"
    if state != alarm["StateValue"]:
        reason = f"{needed} of {periods} periods above {alarm['Threshold']} are an alarm"
        change = {"AlarmName": alarm["AlarmName"], "StateValue": state, "StateReason": reason}
        cloudwatch._set_alarm_state({}, change, False, True)


def _points(alarm: dict[str, Any], now: float) -> list[tuple[float, float]]:
    dimensions = cloudwatch._dims_key(cloudwatch._dims_from_list(alarm["Dimensions"]))
    found = cloudwatch._metrics.get((alarm["Namespace"], alarm["MetricName"], dimensions), [])
    if alarm["Namespace"] == QUEUES:  # the present state is that of each period
        ages = range(1, alarm["EvaluationPeriods"] + 1)
        return [(now - DELAY_S - age * alarm["Period"], point["Value"]) for age in ages for point in found]
    return [(point["Timestamp"], point["Value"]) for point in found]


def _measure_queues(now: float) -> None:
    for queue in sqs._queues.values():
        sqs._refresh_counts(queue)
        name = queue["attributes"]["QueueArn"].rpartition(":")[2]
        visible = float(queue["attributes"]["ApproximateNumberOfMessages"])
        _keep_point(name, "ApproximateNumberOfMessagesVisible", "Count", visible, now)
        _keep_point(name, "ApproximateAgeOfOldestMessage", "Seconds", _age_of_oldest(queue["messages"], now), now)


def _age_of_oldest(messages: list[dict[str, Any]], now: float) -> float | None:
    """Return the age in seconds, 0 for an empty queue, or None if no message counts."""
    ages = []
    for message in list(messages):
        since, receives = message.get("moved", (message["sent_at"], 0))
        if message["receive_count"] - receives < RECEIVED_OFTEN:
            ages.append(now - since)
    return max(ages, default=None if messages else 0.0)


def _keep_point(queue: str, metric: str, unit: str, value: float | None, now: float) -> None:
    dimensions = {"QueueName": queue}
    point = {"Timestamp": now - QUEUE_POINT_AGE_S, "Value": value, "Unit": unit, "Dimensions": dimensions}
    cloudwatch._metrics[QUEUES, metric, cloudwatch._dims_key(dimensions)] = [] if value is None else [point]


def _json_lines(events: list[dict[str, Any]]) -> Iterator[tuple[float, Any]]:
    for event in events:
        with suppress(ValueError):  # a line of Lambda, or one of a library
            yield event["timestamp"] / 1000, json.loads(event["message"])


def _store(read: MetricFilter, made: dict[str, Any], lines: list[tuple[float, Any]]) -> None:
    bucket = cloudwatch._metric_bucket((made["metricNamespace"], made["metricName"], ""))
    unit = made.get("unit", "None")
    for at, line in lines:
        for value in read.values([line]):
            bucket.append({"Timestamp": at, "Value": value, "Unit": unit, "Dimensions": {}})
