"""Unit tests of `s3-syncer task`: a task is started, followed and stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.support.clock import FakeClock
from tests.support.module_outputs import module_outputs, terraform_output
from tests.support.patience import PATIENCE_S

from s3_syncer.cli.commands import cli
from s3_syncer.cli.commands import task_and_image as task_commands
from s3_syncer.cli.output.task_log import readable
from s3_syncer.operations import tasks
from s3_syncer.operations.outputs import Migration

ARN = "arn:aws:ecs:eu-west-1:123456789012:task-definition/s3-syncer-migration:7"
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": [], "assignPublicIp": "DISABLED"}}
MIGRATION = Migration(
    task_definition_arn=ARN,
    cluster_arn="arn:aws:ecs:eu-west-1:123456789012:cluster/s3-syncer",
    network_configuration=NETWORK,
    image="123456789012.dkr.ecr.eu-west-1.amazonaws.com/s3-syncer/migration:0.1.0-arm64-0123456789ab",
    repository_url="123456789012.dkr.ecr.eu-west-1.amazonaws.com/s3-syncer/migration",
    log_group_name="/aws/ecs/s3-syncer-migration",
)


def definition(**container: Any) -> dict[str, Any]:
    options = {"awslogs-group": "/aws/ecs/s3-syncer-migration", "awslogs-stream-prefix": "migration"}
    return {
        "taskDefinitionArn": ARN,
        "family": "s3-syncer-migration",
        "taskRoleArn": "arn:aws:iam::123456789012:role/task",
        "runtimePlatform": {"cpuArchitecture": "ARM64"},
        "containerDefinitions": [
            {
                "name": "s3-syncer",
                "command": ["migrate", "--delete"],
                "environment": [{"name": "SOURCE_BUCKET", "value": "source"}],
                "logConfiguration": {"logDriver": "awslogs", "options": options},
                **container,
            }
        ],
    }


class ECS:
    """An ECS client with one task, which has each of these states once, and then the last one."""

    def __init__(self, *states: dict[str, Any]) -> None:
        self.states = list(states)
        self.started: list[dict[str, Any]] = []
        self.is_stopped: list[str] = []

    def describe_task_definition(self, *, taskDefinition: str) -> dict[str, Any]:
        assert taskDefinition == ARN
        return {"taskDefinition": definition()}

    def run_task(self, **request: Any) -> dict[str, Any]:
        self.started.append(request)
        if not self.states:
            return {"tasks": [], "failures": [{"reason": "RESOURCE:CPU"}, {"reason": "AGENT"}]}
        return {"tasks": [{"taskArn": "arn:aws:ecs:eu-west-1:123456789012:task/s3-syncer/abc"}], "failures": []}

    def describe_tasks(self, **_: Any) -> dict[str, Any]:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {"tasks": [state] if state else []}

    def stop_task(self, *, task: str, **_: Any) -> None:
        self.is_stopped.append(task)


class Logs:
    """A log stream that does not exist at first, with pages that appear one after the other."""

    class exceptions:
        class ResourceNotFoundException(Exception):
            pass

    def __init__(self, *pages: Sequence[str]) -> None:
        self.pages = pages
        self.asked: list[dict[str, Any]] = []

    def get_log_events(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        if len(self.asked) == 1:
            raise self.exceptions.ResourceNotFoundException
        number = int(request.get("nextToken", 0))
        if number == len(self.pages):
            return {"events": [], "nextForwardToken": str(number)}
        return {"events": [{"message": line} for line in self.pages[number]], "nextForwardToken": str(number + 1)}


#: The states of a task before its end.
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
STATES = ("PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING")

RUNNING = {"lastStatus": "RUNNING", "containers": [{}]}


def stopped(**container: Any) -> dict[str, Any]:
    return {"lastStatus": "STOPPED", "stoppedReason": "Essential container in task exited", "containers": [container]}


def started(ecs: ECS, logs: Logs, arguments: Sequence[str] = (), consistency_s: float = PATIENCE_S) -> tasks.Task:
    running = tasks.start(ecs, logs, MIGRATION, arguments)
    running.poll_interval_s, running.log_delay_s, running.consistency_s = 0, 0.01, consistency_s
    return running


def test_a_task_is_started_as_it_is_registered_where_the_module_says() -> None:
    ecs = ECS(RUNNING)
    started(ecs, Logs())
    assert ecs.started == [
        {
            "cluster": MIGRATION.cluster_arn,
            "taskDefinition": ARN,
            "launchType": "FARGATE",
            "networkConfiguration": NETWORK,
            "overrides": {"containerOverrides": [{"name": "s3-syncer", "command": ["migrate", "--delete"]}]},
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], ["migrate", "--delete"]),
        (["--dry-run"], ["migrate", "--delete", "--dry-run"]),
        (["check", "--full"], ["check", "--full"]),
    ],
)
def test_options_are_added_and_commands_replaced(arguments: list[str], command: list[str]) -> None:
    assert tasks.Definition.registered(ECS(), ARN).command(arguments) == command


def test_task_that_ecs_rejects_gives_the_reason() -> None:
    with pytest.raises(tasks.TaskError, match="RESOURCE:CPU, AGENT"):
        started(ECS(), Logs())


@pytest.mark.parametrize("code", [0, 1, 143])
def test_every_line_is_shown_once_and_the_code_is_the_containers(code: int) -> None:
    shown: list[str] = []
    logs = Logs(["a", "b"], [], ["c"])
    assert started(ECS(RUNNING, RUNNING, stopped(exitCode=code)), logs).follow(shown.append) == code
    assert shown == ["a", "b", "c"]
    assert {request["logStreamName"] for request in logs.asked} == {"migration/s3-syncer/abc"}


def test_command_follows_the_task_from_its_start_to_its_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copied = {"action": "copy", "key": "a", "reason": "absent from the target", "message": "copy a"}
    summary = {"level": "INFO", "message": "equal: 1 key compared"}
    ecs = ECS({}, *({"lastStatus": state, "containers": [{}]} for state in STATES), stopped(exitCode=1))
    clients = {"ecs": ecs, "logs": Logs([json.dumps(copied)], [json.dumps(summary)])}
    monkeypatch.setattr(task_commands, "aws_client", clients.__getitem__)
    monkeypatch.setattr(tasks, "time", FakeClock())
    outputs = tmp_path / "outputs.json"
    outputs.write_text(terraform_output(s3_syncer=module_outputs(migration=asdict(MIGRATION))))

    ended = CliRunner().invoke(cli, ["--outputs", str(outputs), "task", "run", "--show-keys", "check", "--full"])
    assert (ended.exit_code, ended.exception.__class__) == (1, SystemExit)
    assert ended.stderr == "Started arn:aws:ecs:eu-west-1:123456789012:task/s3-syncer/abc\n"
    assert "equal: 1 key compared" in ended.stdout
    assert "copy" in ended.stdout
    (request,) = ecs.started
    assert request["overrides"]["containerOverrides"][0]["command"] == ["check", "--full"]


def test_error_of_a_missing_image_says_how_to_push_it() -> None:
    ended = stopped(reason="CannotPullContainerError: not found")
    with pytest.raises(tasks.TaskError, match="not found: push the image with `s3-syncer image push`"):
        started(ECS(ended), Logs()).follow(print)


def test_task_that_never_ran_gives_the_reason() -> None:
    with pytest.raises(tasks.TaskError, match="Essential container in task exited"):
        started(ECS(stopped()), Logs()).follow(print)


def test_task_that_ecs_does_not_know_yet_is_described_again() -> None:
    assert started(ECS({}, {}, RUNNING, stopped(exitCode=0)), Logs()).follow(print) == 0


def test_task_that_ecs_never_knows_is_an_error() -> None:
    with pytest.raises(tasks.TaskError, match="does not know the task abc; its log is in"):
        started(ECS({}), Logs(), consistency_s=0).follow(print)


def test_task_that_ecs_no_longer_knows_is_an_error() -> None:
    with pytest.raises(tasks.TaskError, match="does not know the task abc; its log is in"):
        started(ECS(RUNNING, {}), Logs()).follow(print)


def test_stopping_asks_ecs() -> None:
    ecs = ECS(RUNNING)
    started(ecs, Logs()).stop()
    assert ecs.is_stopped == ["arn:aws:ecs:eu-west-1:123456789012:task/s3-syncer/abc"]


# Its log


def record(message: str, level: str = "INFO", **fields: Any) -> str:
    return json.dumps({"level": level, "message": message, **fields})


TOTALS = {"keys": 12345, "changed": 2, "bytes": 1500, "different": 0, "failed": 1}


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Traceback ...", "Traceback ..."),
        ('"text"', '"text"'),
        (record("copy k: absent from the target", action="copy"), None),
        (record("failed k: AccessDenied", "ERROR"), "ERROR: failed k: AccessDenied"),
        (record("the listing is not in order", "WARNING"), "WARNING: the listing is not in order"),
        (record("failed \x1b[2J", "ERROR"), r"ERROR: 'failed \x1b[2J'"),
        (
            record("progress", **TOTALS, keys_per_s=1000, bytes_per_s=2000),
            "12,345 keys · 2 changed · 0 different · 1 failed · 1.5 kB sent · 1,000 keys/s · 2.0 kB/s",
        ),
        (
            record("summary", result="different", **TOTALS, duration_s=61.2),
            "different: 12,345 keys · 2 changed · 0 different · 1 failed · 1.5 kB sent, in 0:01:01",
        ),
        (record("The workers are done: 5 keys compared."), "The workers are done: 5 keys compared."),
        (
            record(
                "progress", keys=5, changed=4, different=0, failed=0, bytes=9, keys_per_s=1, bytes_per_s=2, backlog=3
            ),
            "5 keys · 4 changed · 0 different · 0 failed · 9 B sent · 1 keys/s · 2 B/s · 3 messages left",
        ),
    ],
)
def test_readable_output_shows_progress_and_failures(line: str, shown: str | None) -> None:
    assert readable(line, verbose=False) == shown


def test_verbose_output_shows_the_action_of_each_key() -> None:
    assert readable(record("copy k: new", action="copy"), verbose=True) == "INFO: copy k: new"


class Streams:
    """A log group with these streams."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def describe_log_streams(self, *, logGroupName: str, orderBy: str, descending: bool, limit: int) -> dict[str, Any]:
        assert (logGroupName, orderBy, descending) == (MIGRATION.log_group_name, "LastEventTime", True)
        return {"logStreams": [{"logStreamName": name} for name in self.names[:limit]]}


def test_newest_task_is_that_of_the_newest_stream() -> None:
    assert tasks.newest_task_id(Streams("migration/s3-syncer/new", "migration/s3-syncer/old"), MIGRATION) == "new"


def test_log_group_without_a_stream_is_an_error() -> None:
    with pytest.raises(tasks.TaskError, match="is empty: no task has run"):
        tasks.newest_task_id(Streams(), MIGRATION)


def test_log_of_a_known_task_is_read_once() -> None:
    known = tasks.known_task(ECS(), Logs(["a", "b"]), MIGRATION, "abc")
    assert [line for _ in range(4) for line in known.logged()] == ["a", "b"]


def test_log_without_a_line_of_the_task_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clients = {"ecs": ECS(), "logs": Logs()}
    monkeypatch.setattr(task_commands, "aws_client", clients.__getitem__)
    outputs = tmp_path / "outputs.json"
    outputs.write_text(terraform_output(s3_syncer=module_outputs(migration=asdict(MIGRATION))))
    ended = CliRunner().invoke(cli, ["--outputs", str(outputs), "task", "logs", "abc"])
    assert ended.exit_code == 3
    assert ended.stderr == "s3-syncer: the log has no line of the task abc: it has not begun, or has another ID\n"


class InterruptedTask:
    """A task that is followed until a signal comes, and then to its end."""

    def __init__(self, interruption: BaseException) -> None:
        self._interruptions, self.calls = [interruption], list[str]()

    def follow(self, show: Any) -> int:
        self.calls.append("follow")
        if self._interruptions:
            raise self._interruptions.pop()
        return 143

    def stop(self) -> None:
        self.calls.append("stop")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SystemExit(143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_stops_the_task_and_waits_for_its_end(
    interruption: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    task = InterruptedTask(interruption)
    assert task_commands._follow(task, print) == 143  # type: ignore[arg-type]
    assert task.calls == ["follow", "stop", "follow"]
    assert capsys.readouterr().err == "Asking the task to stop ...\n"
