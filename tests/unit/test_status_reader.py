"""Unit tests of the reading of a module's status: which requests, and what a denied one leaves out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from tests.support.module_outputs import SERVICE, module_outputs, terraform_output

from s3_syncer.cli.commands import status as status_command
from s3_syncer.cli.output.status_view import status_view
from s3_syncer.operations.outputs import Outputs
from s3_syncer.operations.status import Lag, Status
from s3_syncer.operations.status_reader import Clients, StatusReader
from s3_syncer.operations.worker_log import WorkerLog

NOW = 1_000_000.0


def denied(operation: str) -> ClientError:
    return ClientError({"Error": {"Code": "AccessDenied", "Message": "not allowed"}}, operation)


class AWS:
    """All clients of a module: each method returns what the attributes say."""

    def __init__(self) -> None:
        self.counts: dict[str, tuple[int, int, int]] = {}
        self.ages: dict[str, float] = {}
        self.lines: list[tuple[float, dict[str, Any] | str]] = []
        self.letters: list[dict[str, Any]] = []
        self.mappings = {"mirror": "Enabled", "mirror-bulk": "Enabled"}
        self.alarms: list[str] = []
        self.services: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.denied: set[str] = set()
        self.page_size = 10_000
        self.throttles: list[int] = []
        self.reserved: dict[str, int] = {}

    def clients(self) -> Clients:
        me = cast(Any, self)
        return Clients(me, me, me, me, me)

    def _called(self, operation: str) -> None:
        self.calls.append(operation)
        if operation in self.denied:
            raise denied(operation)

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:
        self._called("get_queue_attributes")
        counts = self.counts.get(QueueUrl.rpartition("/")[2], (0, 0, 0))
        return {"Attributes": dict(zip(AttributeNames, map(str, counts), strict=True))}

    def receive_message(self, **_: Any) -> dict[str, Any]:
        self._called("receive_message")
        letters, self.letters = self.letters, []
        return {"Messages": letters}

    def change_message_visibility_batch(self, **_: Any) -> dict[str, Any]:
        return {}

    def filter_log_events(
        self, *, logGroupName: str, startTime: int, endTime: int, nextToken: str = "0", **_: Any
    ) -> dict[str, Any]:
        self._called("filter_log_events")
        if logGroupName.startswith("/aws/ecs"):
            raise ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": ""}}, "FilterLogEvents")
        found = [
            {"timestamp": round(at * 1000), "message": line if isinstance(line, str) else json.dumps(line)}
            for at, line in self.lines
            if startTime <= at * 1000 < endTime
        ]
        begin = int(nextToken)
        end = begin + self.page_size
        return {"events": found[begin:end], **({"nextToken": str(end)} if end < len(found) else {})}

    def get_metric_data(self, *, MetricDataQueries: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        self._called("get_metric_data")
        metrics = {query["Id"]: query["MetricStat"]["Metric"] for query in MetricDataQueries}
        return {
            "MetricDataResults": [
                {"Id": id, "Values": self._values(metric["MetricName"], metric["Dimensions"][0]["Value"])}
                for id, metric in metrics.items()
            ]
        }

    def _values(self, metric: str, name: str) -> list[float]:
        if metric == "Throttles":
            return [float(value) for value in self.throttles]
        return [self.ages[name]] if name in self.ages else []

    def get_function_concurrency(self, *, FunctionName: str) -> dict[str, Any]:
        self._called("get_function_concurrency")
        return self.reserved

    def get_account_settings(self) -> dict[str, Any]:
        self._called("get_account_settings")
        return {"AccountLimit": {"ConcurrentExecutions": 10, "UnreservedConcurrentExecutions": 10}}

    def get_function_configuration(self, *, FunctionName: str) -> dict[str, Any]:
        self._called("get_function_configuration")
        return {"State": "Active"}

    def list_event_source_mappings(self, *, FunctionName: str) -> dict[str, Any]:
        return {
            "EventSourceMappings": [
                {
                    "EventSourceArn": f"arn:aws:sqs:eu-west-1:1:{name}",
                    "State": state,
                    "ScalingConfig": {"MaximumConcurrency": 30},
                }
                for name, state in self.mappings.items()
            ]
        }

    def describe_services(self, **_: Any) -> dict[str, Any]:
        self._called("describe_services")
        return {"services": self.services}

    def describe_alarms(self, *, AlarmNames: list[str], StateValue: str) -> dict[str, Any]:
        self._called("describe_alarms")
        assert (AlarmNames, StateValue) == (["mirror-lag"], "ALARM")
        return {"MetricAlarms": [{"AlarmName": name} for name in self.alarms]}


def reader(aws: AWS, **outputs: Any) -> StatusReader:
    parsed = Outputs.parse(terraform_output(s3_syncer=module_outputs(**outputs)))
    return StatusReader(parsed, aws.clients(), lambda: NOW)


def text(status: Status) -> str:
    console = status_command.text_console()
    with console.capture() as capture:
        console.print(status_view(status, "s3-syncer --module infra"))
    return capture.get()


def test_quiet_module_is_read_as_healthy() -> None:
    aws = AWS()
    status = reader(aws).read()
    assert status.problems == []
    assert status.notes == ()
    shown = text(status)
    assert shown.startswith(" HEALTHY   mirror  1970-01-12 13:46:40 UTC\n")
    assert "lag         no change in 20 min" in shown
    assert "last sweep  none in 26 h" in shown
    assert "receive_message" not in aws.calls


def test_every_part_is_read_and_shown() -> None:
    aws = AWS()
    aws.counts = {"mirror": (5, 2, 1), "mirror-dead-letters": (1, 0, 0), "held": (7, 0, 0)}
    aws.ages = {"mirror": 3000.0}
    aws.alarms = ["mirror-lag"]
    aws.letters = [
        {
            "MessageId": "1",
            "ReceiptHandle": "r",
            "Body": '{"s3-syncer": {"work": "keys", "keys": ["photos/a"]}}',
            "Attributes": {"SentTimestamp": str(round((NOW - 7200) * 1000))},
            "MessageAttributes": {"error": {"StringValue": "EntityTooLarge"}},
        }
    ]
    aws.lines = [
        (NOW - 7000, {"action": "range", "keys": 10, "changed": 2, "failed": 0}),
        (NOW - 100, {"action": "copy", "key": "a", "lag_ms": 1500}),
        (NOW - 50, {"action": "retry", "key": "b", "lag_ms": 9000, "reason": "no response", "unusable": True}),
        (NOW - 40, "START RequestId"),
    ]
    aws.services = [
        {
            "runningCount": 1,
            "desiredCount": 2,
            "deployments": [{"rolloutState": "FAILED", "rolloutStateReason": "no image"}],
        }
    ]
    status = reader(aws, service=SERVICE, held_deletions_queue_url="https://sqs/held").read()
    assert status.lag == Lag(1, 1.5, 1.5, 1.5)
    shown = " ".join(text(status).split())
    for expected in (
        "! the service runs 1 of 2 tasks: no image",
        "! no key can be mirrored: no response s3-syncer --module infra doctor ",
        "! a change has waited for 50 min",
        "! 7 deletions are held until you decide",
        "! 1 dead letter: these changes were not mirrored s3-syncer --module infra dead-letters list ",
        "! the alarm mirror-lag is on",
        "events 5 2 1 50 min",
        "failing 1 key, such as b: no response",
        "dead letters 1 letter, the oldest from 2 h ago: EntityTooLarge; one is photos/a",
        "last sweep 117 min ago: 10 keys compared, 2 changed, 0 deleted, 0 failed",
        "service mirror-service: 1 of 2 tasks run, deployment failed",
    ):
        assert expected in shown
    json.dumps(status.as_json())


@pytest.mark.parametrize(
    ("reserved", "denied", "reason"),
    [
        ({"ReservedConcurrentExecutions": 0}, set(), "the function has a reserved concurrency of 0 terraform apply"),
        ({}, set(), "the account allows 10 at a time, and the queues may start 60 request a higher Lambda concurrency"),
        ({}, {"get_account_settings"}, "no concurrency was free for it aws lambda get-account-settings"),
    ],
)
def test_throttled_function_with_waiting_messages_is_a_problem(
    reserved: dict[str, int], denied: set[str], reason: str
) -> None:
    """The alarm goes off after 15 minutes, and a throttled invocation writes no line to the log."""
    aws = AWS()
    aws.throttles, aws.counts, aws.reserved, aws.denied = [3, 0, 4], {"mirror": (0, 1, 0)}, reserved, denied
    shown = " ".join(text(reader(aws).read()).split())
    assert f"! Lambda throttled 7 invocations in 5 min: {reason}" in shown


def test_throttled_burst_that_is_over_is_no_problem() -> None:
    aws = AWS()
    aws.throttles = [3]
    assert reader(aws).read().problems == []


def test_limits_of_the_concurrency_are_read_only_if_lambda_throttles() -> None:
    aws = AWS()
    reader(aws).read()
    assert {"get_account_settings", "get_function_concurrency"}.isdisjoint(aws.calls)


@pytest.mark.parametrize(("metric_days", "letter_days"), [(6, 11), (11, 6)])
def test_age_of_dead_letters_counts_from_the_first_arrival(metric_days: int, letter_days: int) -> None:
    """CloudWatch counts it from the move to the dead-letter queue. Only the first letters are read."""
    aws, day_s = AWS(), 86_400
    aws.counts = {"mirror-dead-letters": (1, 0, 0)}
    aws.ages = {"mirror-dead-letters": metric_days * day_s}
    sent_at = str(round((NOW - letter_days * day_s) * 1000))
    aws.letters = [{"MessageId": "1", "ReceiptHandle": "r", "Body": "{}", "Attributes": {"SentTimestamp": sent_at}}]
    assert "the oldest message of the queue dead letters is 11 days old" in " ".join(text(reader(aws).read()).split())


@pytest.mark.parametrize(
    ("operation", "note"),
    [
        ("filter_log_events", "the log cannot be read"),
        ("get_metric_data", "the metrics of the queues and the function cannot be read"),
        ("get_function_configuration", "the function cannot be read"),
        ("describe_alarms", "the alarms cannot be read"),
    ],
)
def test_part_that_is_denied_is_a_note(operation: str, note: str) -> None:
    aws = AWS()
    aws.denied = {operation}
    status = reader(aws).read()
    assert any(each.startswith(note) for each in status.notes)
    assert note in text(status)


def test_queues_that_are_denied_are_an_error() -> None:
    aws = AWS()
    aws.denied = {"get_queue_attributes"}
    with pytest.raises(ClientError):
        reader(aws).read()


def test_dead_letters_that_cannot_be_read_are_a_note_each_time() -> None:
    aws = AWS()
    aws.counts = {"mirror-dead-letters": (1, 0, 0)}
    aws.denied = {"receive_message"}
    watched = reader(aws)
    for _ in range(2):
        assert any(note.startswith("the dead letters cannot be read") for note in watched.read().notes)


def test_dead_letters_are_read_again_only_if_their_number_changes() -> None:
    aws = AWS()
    aws.counts = {"mirror-dead-letters": (1, 0, 0)}
    status = reader(aws)
    status.read()
    before = aws.calls.count("receive_message")
    assert before
    status.read()
    assert aws.calls.count("receive_message") == before
    aws.counts = {"mirror-dead-letters": (2, 0, 0)}
    status.read()
    assert aws.calls.count("receive_message") > before


def test_newest_lines_are_read_if_the_log_is_too_long() -> None:
    aws = AWS()
    aws.page_size = 2
    aws.lines = [(NOW - age, {"action": "copy", "key": str(age)}) for age in range(100, 0, -1)]
    log = WorkerLog(cast(Any, aws), ["/aws/lambda/mirror"])
    found = log.newest("{ }", NOW, (5, 50, 500), max_pages=4)
    assert not found.is_complete
    assert {line.key for line in found.lines} >= {"1", "2", "3", "4", "5"}
    assert aws.calls.count("filter_log_events") == 4
    assert log.newest("{ }", NOW, (5, 50, 500), max_pages=400).is_complete


def stopping(reads: list[Status | Exception]) -> Callable[[], Status]:
    """Return a reader of these states, which Ctrl-C ends."""

    def read() -> Status:
        if not reads:
            raise KeyboardInterrupt
        found = reads.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    return read


def test_watch_ends_with_the_code_of_the_last_state(capsys: pytest.CaptureFixture[str]) -> None:
    healthy = reader(AWS()).read()
    failing = replace(healthy, alarms=["mirror-lag"])
    assert status_command.watch_status(stopping([failing, healthy]), "s3-syncer", 0, as_json=True) == 0
    assert status_command.watch_status(stopping([healthy, failing]), "s3-syncer", 0, as_json=False) == 1
    assert "the alarm mirror-lag is on" in capsys.readouterr().out


def test_watch_goes_on_after_a_state_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    healthy = reader(AWS()).read()
    reads = [healthy, denied("GetQueueAttributes"), healthy]
    assert status_command.watch_status(stopping(reads), "s3-syncer", 0, as_json=True) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 2
    assert "the state cannot be read" in shown.err


def test_watch_of_a_module_that_cannot_be_read_at_all_is_an_error() -> None:
    with pytest.raises(ClientError):
        status_command.watch_status(stopping([denied("GetQueueAttributes")]), "s3-syncer", 0, as_json=True)
