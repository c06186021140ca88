"""The dashboard follows the schema of CloudWatch, and refers only to metrics and logs that exist.

The schema: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from devtools import permissions
from localcloud import dashboard, logs_insights

#: Columns of the grid of a dashboard.
COLUMNS = 24

#: Widgets of a dashboard, metrics of a widget and of a dashboard, at most.
#: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html
MAX_WIDGETS, MAX_METRICS_OF_WIDGET, MAX_METRICS = 500, 500, 2_500

#: Metrics of a dashboard that is one of the three free ones of an account: https://aws.amazon.com/cloudwatch/pricing/
MAX_FREE_METRICS = 50

#: Metrics that AWS documents, with their dimensions:
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
#: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/available-metrics.html
DOCUMENTED = {
    "AWS/SQS": (
        ["QueueName"],
        {
            "ApproximateAgeOfOldestMessage",
            "ApproximateNumberOfMessagesDelayed",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesVisible",
        },
    ),
    "AWS/Lambda": (["FunctionName"], {"ConcurrentExecutions", "Duration", "Errors", "Throttles"}),
    "AWS/ECS": (["ClusterName", "ServiceName"], {"CPUUtilization", "MemoryUtilization"}),
}

STATISTIC = re.compile(r"SampleCount|Average|Sum|Minimum|Maximum|p\d{1,2}(\.\d+)?")

#: The required and the optional properties of each type of widget, of those that the module uses.
PROPERTIES = {
    "text": ({"markdown"}, set()),
    "metric": ({"metrics", "region"}, {"title", "view", "stacked", "period", "yAxis", "annotations"}),
    "log": ({"query", "region"}, {"title", "view"}),
}

Widget = Mapping[str, Any]


@pytest.fixture(scope="module")
def plan() -> permissions.Plan:
    return permissions.plan()


@pytest.fixture(scope="module")
def body(plan: permissions.Plan) -> Mapping[str, Any]:
    return dict(json.loads(plan.output("dashboard_body")))


@pytest.fixture(scope="module")
def widgets(body: Mapping[str, Any]) -> Sequence[Widget]:
    return list(body["widgets"])


def metrics_of(widget: Widget) -> Iterator[tuple[list[str], Mapping[str, Any]]]:
    """Yield the names and dimensions, and the options, of each metric; an expression has no names."""
    for metric in widget["properties"].get("metrics", []):
        *names, options = metric
        yield names, options


def test_dashboard_of_the_account_is_the_one_of_the_output(plan: permissions.Plan) -> None:
    (dashboard,) = plan.resources("aws_cloudwatch_dashboard").values()
    assert json.loads(dashboard["dashboard_body"]) == json.loads(plan.output("dashboard_body"))
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,255}", dashboard["dashboard_name"])


def test_widgets_have_the_properties_of_the_schema(body: Mapping[str, Any], widgets: Sequence[Widget]) -> None:
    assert set(body) == {"widgets"}
    assert len(widgets) <= MAX_WIDGETS
    for widget in widgets:
        assert set(widget) == {"type", "x", "y", "width", "height", "properties"}
        required, optional = PROPERTIES[widget["type"]]
        assert required <= set(widget["properties"]) <= required | optional
        assert widget["properties"].get("region", "eu-west-1") == "eu-west-1"
        assert widget["properties"].get("view", "timeSeries") == ("table" if widget["type"] == "log" else "timeSeries")
    assert len({widget["properties"].get("title") for widget in widgets}) == len(widgets)


def test_widgets_are_inside_the_grid_and_do_not_overlap(widgets: Sequence[Widget]) -> None:
    for widget in widgets:
        assert all(isinstance(widget[name], int) for name in ("x", "y", "width", "height"))
        assert widget["x"] >= 0 <= widget["y"]
        assert 1 <= widget["width"] <= COLUMNS - widget["x"]
        assert 1 <= widget["height"] <= 1_000
    for one, other in itertools.combinations(widgets, 2):
        beside = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
        assert beside or one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]


def test_graphs_show_metrics_that_the_module_makes_or_that_aws_documents(
    plan: permissions.Plan, widgets: Sequence[Widget]
) -> None:
    filters = plan.resources("aws_cloudwatch_log_metric_filter").values()
    made = {(each["namespace"], each["name"]) for filter in filters for each in filter["metric_transformation"]}
    shown = [names for widget in widgets for names, _ in metrics_of(widget) if names]
    for namespace, name, *dimensions in shown:
        if namespace in DOCUMENTED:
            expected, documented = DOCUMENTED[namespace]
            assert dimensions[::2] == expected
            assert name in documented
        else:
            assert (namespace, name) in made
            assert not dimensions
    assert {(namespace, name) for namespace, name, *_ in shown if namespace not in DOCUMENTED} == made
    assert {tuple(names[:2]) for names in shown if names[0] in DOCUMENTED} == {
        (namespace, name) for namespace, (_, names) in DOCUMENTED.items() for name in names
    }


def test_graphs_name_the_resources_of_the_module(plan: permissions.Plan, widgets: Sequence[Widget]) -> None:
    queues = {queue["name"] for queue in plan.resources("aws_sqs_queue").values()}
    names = {
        "QueueName": queues,
        "FunctionName": {plan.output("function_name")},
        "ServiceName": {service["name"] for service in plan.resources("aws_ecs_service").values()},
        "ClusterName": {cluster["name"] for cluster in plan.resources("aws_ecs_cluster").values()},
    }
    shown: dict[str, set[str]] = {}
    for widget in widgets:
        for _, _, *dimensions in (metric for metric, _ in metrics_of(widget) if metric):
            for dimension, value in zip(dimensions[::2], dimensions[1::2], strict=True):
                shown.setdefault(dimension, set()).add(value)
    assert shown == names


def test_statistics_labels_and_expressions_are_valid(widgets: Sequence[Widget]) -> None:
    for widget in widgets:
        metrics = list(metrics_of(widget))
        assert len(metrics) <= MAX_METRICS_OF_WIDGET
        ids = [options["id"] for _, options in metrics if "id" in options]
        assert len(ids) == len(set(ids))
        assert all(re.fullmatch(r"[a-z][A-Za-z0-9_]{0,254}", id) for id in ids)
        for names, options in metrics:
            if not names:
                assert set(re.findall(r"[a-z]\w+", options["expression"])) <= set(ids)
            else:
                assert STATISTIC.fullmatch(options["stat"])
            assert options.get("label") or options["visible"] is False
        labels = [options["label"] for _, options in metrics if "label" in options]
        assert len(labels) == len(set(labels))


def test_graphs_have_few_enough_metrics_for_a_free_dashboard(widgets: Sequence[Widget]) -> None:
    metrics = {json.dumps(names) for widget in widgets for names, _ in metrics_of(widget) if names}
    assert len(metrics) <= MAX_FREE_METRICS <= MAX_METRICS


def test_tables_read_the_logs_of_the_workers(plan: permissions.Plan, widgets: Sequence[Widget]) -> None:
    logs = plan.resources("aws_cloudwatch_log_group")
    tables = [widget["properties"] for widget in widgets if widget["type"] == "log"]
    assert [table["title"] for table in tables] == ["Failures by reason", "Slowest keys"]
    for table in tables:
        assert logs_insights.sources(table["query"]) == [logs["function"]["name"], logs["service"]["name"]]
        assert logs_insights.run(table["query"], []) == []  # all of it is known


def test_picture_computes_each_statistic_and_expression(widgets: Sequence[Widget]) -> None:
    points = [(60.0 + second, float(second + 1)) for second in range(30)]
    metrics = {tuple(names): points for widget in widgets for names, _ in metrics_of(widget) if names}
    pictures = {widget["title"]: widget for each in widgets if (widget := dashboard.drawn(each, [], metrics))}
    values = {
        title: {line["label"]: [value for _, value in line["points"]] for line in picture["lines"]}
        for title, picture in pictures.items()
        if picture["type"] == "metric"
    }
    assert values["Lag of changes (ms)"] == {"longest": [30.0], "median": [16.0], "95 %": [29.0]}
    assert values["Messages on the queues"] == {"bulk": [90.0], "deletions": [90.0], "events": [90.0]}
    assert values["Bytes a second"] == {"copied": [sum(range(31)) / 60]}
    assert values["Service: running tasks"] == {"tasks": [30.0]}
    assert all(all(lines.values()) for lines in values.values())
