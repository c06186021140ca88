"""Compute what the dashboard of the module would show of a local cloud, and draw it.

No emulator draws dashboards. The body of the dashboard comes from the module, the values from its own metric filters
over the log of the workers. The counts and ages of queues are sampled, because the local cloud keeps no history of
them. Those of the function are its metrics of each second. Graphs of other metrics stay empty.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devtools.bootstrap import PLOTS, ROOT
from localcloud import logs_insights, stack
from localcloud.cloudwatch import MetricFilter
from s3_syncer.queue.message_counts import queue_counts

#: Seconds between two samples of the queues.
SAMPLE_S = 2.0

#: Points of a metric: times in seconds since 1970, and values.
Points = Sequence[tuple[float, float]]

_STATISTICS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "Sum": sum,
    "Maximum": max,
    "Average": statistics.fmean,
    "SampleCount": len,
    "p50": lambda values: _percentile(values, 50),
    "p95": lambda values: _percentile(values, 95),
}

_RATE = re.compile(r"(?:(\d+) \* )?(\w+) / PERIOD\(\2\)")


class QueueSamples:
    """The counts and ages of all queues of a cloud, sampled by a thread as long as the context lasts."""

    def __init__(self, cloud: stack.Stack) -> None:
        self._cloud = cloud
        self._points: defaultdict[tuple[str, ...], list[tuple[float, float]]] = defaultdict(list)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> QueueSamples:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def points(self) -> Mapping[tuple[str, ...], Points]:
        """Return the points by namespace, name and dimensions of the metric."""
        return {metric: list(points) for metric, points in self._points.items()}

    def _sample(self) -> None:
        sqs, cloudwatch = self._cloud.sqs(), self._cloud.client("cloudwatch")
        while not self._ended.wait(SAMPLE_S):
            for url in sqs.list_queues().get("QueueUrls", []):
                counts, now = queue_counts(sqs, url), time.time()
                found = {"Visible": counts.visible, "NotVisible": counts.in_flight, "Delayed": counts.delayed}
                for kind, number in found.items():
                    metric = ("AWS/SQS", f"ApproximateNumberOfMessages{kind}", "QueueName", url.rpartition("/")[2])
                    self._points[metric].append((now, number))
                age = ("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", url.rpartition("/")[2])
                self._points[age] += [(now, value) for _, value in _metric(cloudwatch, age, "Maximum", now - 300, now)]


def draw(cloud: stack.Stack, body: str, samples: Mapping[tuple[str, ...], Points], file: Path) -> None:
    """Draw the dashboard with this body to a PNG file. Raises CalledProcessError if that fails."""
    subprocess.run([ROOT / "scripts" / "setup", "--plots"], check=True)
    lines = _lines(cloud)
    times, widgets = [at for at, _ in lines], json.loads(body)["widgets"]
    of_function = _function_metrics(cloud, widgets, min(times), max(times))
    metrics = {**_log_metrics(cloud, lines), **samples, **of_function}
    widgets = [drawn(widget, lines, metrics) for widget in widgets]
    picture = json.dumps({"widgets": widgets, "from": min(times), "until": max(times)})
    command = [PLOTS.python, ROOT / "scripts" / "devtools" / "draw_dashboard.py", file]
    subprocess.run(command, input=picture, text=True, check=True)


def _lines(cloud: stack.Stack) -> list[tuple[float, Mapping[str, Any]]]:
    """Return the JSON lines of the log with their times, in that order."""
    pages = cloud.client("logs").get_paginator("filter_log_events").paginate(logGroupName=cloud.log_group)
    events = [event for page in pages for event in page["events"] if event["message"].startswith("{")]
    return sorted(((event["timestamp"] / 1000, json.loads(event["message"])) for event in events), key=lambda it: it[0])


def _log_metrics(cloud: stack.Stack, lines: Sequence[tuple[float, Any]]) -> dict[tuple[str, ...], Points]:
    """Return the points of the metrics from the log, as the metric filters of the module find them."""
    found: dict[tuple[str, ...], Points] = {}
    for each in cloud.client("logs").describe_metric_filters(logGroupName=cloud.log_group)["metricFilters"]:
        for made in each["metricTransformations"]:
            read = MetricFilter(each["filterPattern"], made["metricValue"])
            points = [(at, value) for at, line in lines for value in read.values([line])]
            found[made["metricNamespace"], made["metricName"]] = points
    return found


def _function_metrics(
    cloud: stack.Stack, widgets: Sequence[Any], start: float, end: float
) -> dict[tuple[str, ...], Points]:
    """Return the points of the function's metrics in these widgets, for each second."""
    client, found = cloud.client("cloudwatch"), dict[tuple[str, ...], Points]()
    for *names, options in (each for widget in widgets for each in widget["properties"].get("metrics", ())):
        if names and names[0] == "AWS/Lambda":
            statistic = "Sum" if options["stat"] == "Sum" else "Maximum"
            found[tuple(names)] = _metric(client, names, statistic, start, end, period_s=1)
    return found


def _metric(
    client: Any, names: Sequence[str], statistic: str, start: float, end: float, period_s: int = 60
) -> list[tuple[float, float]]:
    """Return the points of a metric with one dimension between these times."""
    namespace, metric, dimension, value = names
    response = client.get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": dimension, "Value": value}],
        StartTime=datetime.fromtimestamp(start, UTC),
        EndTime=datetime.fromtimestamp(end, UTC),
        Period=period_s,
        Statistics=[statistic],
    )
    return sorted((point["Timestamp"].timestamp(), point[statistic]) for point in response["Datapoints"])


def drawn(widget: Any, lines: Sequence[tuple[float, Any]], metrics: Mapping[tuple[str, ...], Points]) -> Any:
    """Return the widget with its lines or its rows in place of metrics or a query."""
    properties = widget["properties"]
    content: dict[str, Any] = {"title": properties.get("title", ""), "text": properties.get("markdown")}
    if widget["type"] == "metric":
        content["lines"] = list(_graph(properties, metrics))
        content["limits"] = properties.get("annotations", {}).get("horizontal", [])
    elif widget["type"] == "log":
        content["rows"] = logs_insights.run(properties["query"], [line for _, line in lines])
    return {name: widget[name] for name in ("type", "x", "y", "width", "height")} | content


def _graph(properties: Any, metrics: Mapping[tuple[str, ...], Points]) -> Iterator[dict[str, Any]]:
    """Yield the visible lines of a graph: the label, and the points by period."""
    period, by_id = properties["period"], dict[str, dict[float, float]]()
    for *names, options in properties["metrics"]:
        if names:
            points = _aggregated(metrics.get(tuple(names), ()), options["stat"], period)
            by_id[options.get("id", options.get("label"))] = points
    for *names, options in properties["metrics"]:
        if options.get("visible", True):
            points = by_id[options.get("id", options["label"])] if names else _computed(options, by_id, period)
            yield {"label": options["label"], "points": sorted(points.items())}


def _aggregated(points: Points, statistic: str, period: int) -> dict[float, float]:
    periods: defaultdict[float, list[float]] = defaultdict(list)
    for at, value in points:
        periods[at // period * period].append(value)
    return {at: _STATISTICS[statistic](values) for at, values in periods.items()}


def _computed(
    options: Mapping[str, str], by_id: Mapping[str, Mapping[float, float]], period: int
) -> dict[float, float]:
    """Return the points of an expression, which is a sum or a rate. Raises ValueError for another."""
    expression = options["expression"]
    if found := _RATE.fullmatch(expression):
        return {at: int(found[1] or 1) * value / period for at, value in by_id[found[2]].items()}
    if re.fullmatch(r"\w+( \+ \w+)*", expression):
        parts = [by_id[id] for id in expression.split(" + ")]
        return {at: sum(part[at] for part in parts) for at in parts[0] if all(at in part for part in parts)}
    raise ValueError(f"unknown expression: {expression}")


def _percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]
