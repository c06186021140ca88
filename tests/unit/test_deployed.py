"""Test the commands for an applied module: reading outputs, and starting and following a task."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.support.patience import PATIENCE_S

from deployed import image, task
from deployed.outputs import Image, Migration, OutputsError, Queues, Service
from deployed.queue import Drain, NotDrainedError

ARN = "arn:aws:ecs:eu-west-1:123456789012:task-definition/s3-syncer-migration:7"
REPOSITORY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/s3-syncer/migration"
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": [], "assignPublicIp": "DISABLED"}}
MIGRATION = Migration(
    task_definition_arn=ARN,
    cluster_arn="arn:aws:ecs:eu-west-1:123456789012:cluster/s3-syncer",
    network_configuration=NETWORK,
    image=f"{REPOSITORY}:0.1.0-0123456789ab",
    repository_url=REPOSITORY,
)
OUTPUTS: dict[str, Any] = {"migration": {**asdict(MIGRATION), "command": "aws ecs run-task"}, "service": None}

# Outputs


def test_outputs_are_found_under_their_names() -> None:
    assert Migration.find({**OUTPUTS, "other": 1}) == MIGRATION


def test_outputs_are_found_in_an_output_that_is_the_whole_module() -> None:
    assert Migration.find({"vpc": {"id": "vpc-1"}, "mirror": {**OUTPUTS, "queue_url": "..."}}) == MIGRATION


def test_error_without_the_outputs_says_how_to_pass_them_on() -> None:
    with pytest.raises(OutputsError, match=r'output "s3_syncer" \{ value = module.s3_syncer \}'):
        Migration.find({"queue_url": "..."})


def test_error_without_migration_says_how_to_enable_it() -> None:
    with pytest.raises(OutputsError, match=r"migration = \{ enabled = true"):
        Migration.find({"s3_syncer": {**OUTPUTS, "migration": None}})


def test_missing_outputs_are_named() -> None:
    some = {name: value for name, value in OUTPUTS["migration"].items() if name not in ("cluster_arn", "image")}
    with pytest.raises(OutputsError, match=r"migration\.cluster_arn, migration\.image"):
        Migration.find({"migration": some})


def test_the_region_is_that_of_the_task() -> None:
    assert MIGRATION.region == "eu-west-1"


def test_outputs_are_read_by_terraform(tmp_path: Path) -> None:
    said = json.dumps({name: {"value": value} for name, value in OUTPUTS.items()})
    assert Migration.read(tmp_path, program(tmp_path, f"print({said!r})")) == MIGRATION
    assert calls(tmp_path) == [[f"-chdir={tmp_path}", "output", "-json"]]


def test_errors_of_terraform_are_passed_on(tmp_path: Path) -> None:
    with pytest.raises(OutputsError, match="no state here"):
        Migration.read(tmp_path, program(tmp_path, "sys.exit('no state here')"))


def test_missing_terraform_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputsError, match="tofoo"):
        Migration.read(tmp_path, "tofoo")


# The image of the task that runs it

SERVICE = Service("s3-syncer-service", MIGRATION.cluster_arn, "arn:aws:ecs:eu-west-1:123456789012:task-definition/s:3")
OF_SERVICE: dict[str, Any] = {
    "service": {**asdict(SERVICE), "image": MIGRATION.image, "repository_url": REPOSITORY},
}
DISABLED: dict[str, Any] = {"migration": None, "service": None}


def test_the_image_is_that_of_the_migration() -> None:
    assert Image.find(OUTPUTS) == Image(MIGRATION.image, REPOSITORY, ARN, None)
    assert Image.find(OUTPUTS).region == "eu-west-1"


def test_without_migration_the_image_is_that_of_the_service() -> None:
    found = Image.find({"s3_syncer": {**DISABLED, **OF_SERVICE}})
    assert found == Image(MIGRATION.image, REPOSITORY, SERVICE.task_definition_arn, SERVICE)


def test_a_service_beside_the_migration_takes_the_same_image() -> None:
    assert Image.find({**OUTPUTS, **OF_SERVICE}) == Image(MIGRATION.image, REPOSITORY, ARN, SERVICE)


def test_image_from_the_input_is_not_pushed() -> None:
    given = {**OUTPUTS["migration"], "repository_url": None}
    with pytest.raises(OutputsError, match=r"no image repository, because ecs\.image is set to .*0123456789ab"):
        Image.find({**OUTPUTS, "migration": given})


def test_a_module_without_tasks_has_no_image() -> None:
    with pytest.raises(OutputsError, match="Neither migration nor service"):
        Image.find(DISABLED)


def test_service_is_deployed_with_the_image() -> None:
    asked: list[dict[str, Any]] = []

    class Services:
        def update_service(self, **request: Any) -> None:
            asked.append(request)

    image.deploy(Services(), SERVICE)
    assert asked == [
        {
            "cluster": SERVICE.cluster_arn,
            "service": SERVICE.name,
            "taskDefinition": SERVICE.task_definition_arn,
            "forceNewDeployment": True,
        }
    ]


# The task


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


RUNNING = {"lastStatus": "RUNNING", "containers": [{}]}


def stopped(**container: Any) -> dict[str, Any]:
    return {"lastStatus": "STOPPED", "stoppedReason": "Essential container in task exited", "containers": [container]}


def started(ecs: ECS, logs: Logs, arguments: Sequence[str] = (), consistency_s: float = PATIENCE_S) -> task.Task:
    running = task.start(ecs, logs, MIGRATION, arguments)
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
    assert task.Definition.registered(ECS(), ARN).command(arguments) == command


def test_task_that_ecs_rejects_gives_the_reason() -> None:
    with pytest.raises(task.TaskError, match="RESOURCE:CPU, AGENT"):
        started(ECS(), Logs())


@pytest.mark.parametrize("code", [0, 1, 143])
def test_every_line_is_shown_once_and_the_code_is_the_containers(code: int) -> None:
    shown: list[str] = []
    logs = Logs(["a", "b"], [], ["c"])
    assert started(ECS(RUNNING, RUNNING, stopped(exitCode=code)), logs).follow(shown.append) == code
    assert shown == ["a", "b", "c"]
    assert {request["logStreamName"] for request in logs.asked} == {"migration/s3-syncer/abc"}


def test_error_of_a_missing_image_says_how_to_push_it() -> None:
    ended = stopped(reason="CannotPullContainerError: not found")
    with pytest.raises(task.TaskError, match="not found: push the image with scripts/push_image"):
        started(ECS(ended), Logs()).follow(print)


def test_task_that_never_ran_gives_the_reason() -> None:
    with pytest.raises(task.TaskError, match="Essential container in task exited"):
        started(ECS(stopped()), Logs()).follow(print)


def test_task_that_ecs_does_not_know_yet_is_described_again() -> None:
    assert started(ECS({}, {}, RUNNING, stopped(exitCode=0)), Logs()).follow(print) == 0


def test_task_that_ecs_never_knows_is_an_error() -> None:
    with pytest.raises(task.TaskError, match="does not know the task abc; its log is in"):
        started(ECS({}), Logs(), consistency_s=0).follow(print)


def test_task_that_ecs_no_longer_knows_is_an_error() -> None:
    with pytest.raises(task.TaskError, match="does not know the task abc; its log is in"):
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
    assert task.readable(line, verbose=False) == shown


def test_verbose_output_shows_the_action_of_each_key() -> None:
    assert task.readable(record("copy k: new", action="copy"), verbose=True) == "INFO: copy k: new"


# The image


class ECR:
    """An ECR client with a repository with these tags."""

    def __init__(self, *tags: str) -> None:
        self.tags = tags
        self.deleted: list[dict[str, Any]] = []

    def batch_get_image(self, *, repositoryName: str, imageIds: list[dict[str, str]]) -> dict[str, Any]:
        assert repositoryName == "s3-syncer/migration"
        return {"images": [each for each in imageIds if each["imageTag"] in self.tags]}

    def batch_delete_image(self, **request: Any) -> None:
        self.deleted.append(request)

    def get_authorization_token(self) -> dict[str, Any]:
        return {"authorizationData": [{"authorizationToken": base64.b64encode(b"AWS:secret").decode()}]}


def program(directory: Path, code: str) -> str:
    """Write an executable that records its arguments and its input, and then runs this code."""
    file = directory / "program"
    note = f"open({str(directory / 'calls')!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')"
    file.write_text(f"#!{sys.executable}\nimport json, sys\n{note}\n{code}\n")
    file.chmod(0o755)
    return str(file)


def calls(directory: Path) -> list[Any]:
    return [json.loads(line) for line in (directory / "calls").read_text().splitlines()]


@pytest.mark.parametrize(("architecture", "platform"), [("ARM64", "linux/arm64"), ("X86_64", "linux/amd64")])
def test_the_image_is_built_for_the_architecture_of_the_task(tmp_path: Path, architecture: str, platform: str) -> None:
    image.build([program(tmp_path, "")], MIGRATION.image, architecture)
    assert calls(tmp_path) == [["build", "--platform", platform, "--tag", MIGRATION.image, str(image.CONTEXT)]]
    assert (image.CONTEXT / "Dockerfile").exists()


def test_another_base_is_an_argument_of_the_build(tmp_path: Path) -> None:
    image.build([program(tmp_path, "")], "x:1", "ARM64", base="python:3.14@sha256:00")
    assert calls(tmp_path)[0][3:5] == ["--build-arg", "BASE=python:3.14@sha256:00"]


def test_the_password_of_the_registry_is_in_no_command_line(tmp_path: Path) -> None:
    engine = program(tmp_path, f"open({str(tmp_path / 'given')!r}, 'w').write(sys.stdin.read())")
    image.log_in([engine], ECR(), MIGRATION.image)
    registry = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    assert calls(tmp_path) == [["login", "--username", "AWS", "--password-stdin", registry]]
    assert (tmp_path / "given").read_text() == "secret"


def test_failed_build_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(image.ImageError, match="build` exited with 3"):
        image.build([program(tmp_path, "sys.exit(3)")], "x:1", "ARM64")


def test_is_pushed_is_true_for_an_existing_tag() -> None:
    assert image.is_pushed(ECR("0.1.0-0123456789ab"), MIGRATION.image)
    assert not image.is_pushed(ECR("0.1.0-other"), MIGRATION.image)


def test_an_image_is_removed_by_its_tag() -> None:
    ecr = ECR()
    image.remove(ecr, MIGRATION.image)
    assert ecr.deleted == [{"repositoryName": "s3-syncer/migration", "imageIds": [{"imageTag": "0.1.0-0123456789ab"}]}]


# The queues


MIRROR = {
    "queue_url": "https://sqs.eu-west-1.amazonaws.com/1/mirror",
    "bulk_queue_url": "https://sqs.eu-west-1.amazonaws.com/1/mirror-bulk",
    "dead_letter_queue_url": "https://sqs.eu-west-1.amazonaws.com/1/mirror-dead-letters",
    "queue_arn": "arn:aws:sqs:eu-west-1:1:mirror",
}


class SQS:
    """An SQS client with queues that have these counts of messages, and then always the last one."""

    def __init__(self, **counts: list[int]) -> None:
        self.counts = {"mirror_bulk": [0], "mirror_dead_letters": [0], **counts}

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:
        counts = self.counts[QueueUrl.rpartition("/")[2].replace("-", "_")]
        number = counts.pop(0) if len(counts) > 1 else counts[0]
        # A visible, in-flight or delayed message counts.
        return {
            "Attributes": {name: str(number if index == number % 3 else 0) for index, name in enumerate(AttributeNames)}
        }


def drained(sqs: SQS, timeout_s: float = 60, pause_s: float = 0.01) -> list[str]:
    shown: list[str] = []
    queues = [(each, sqs) for each in Queues.find(MIRROR)]
    Drain(queues, settled_s=0.05, poll_interval_s=pause_s).wait(timeout_s, shown.append)
    return shown


def test_queues_are_found_in_every_form_of_the_outputs() -> None:
    other = {**MIRROR, "queue_arn": "arn:aws:sqs:us-east-1:1:other"}
    assert [each.region for each in Queues.find({"all": {"a": MIRROR, "b": other}, "x": 1})] == [
        "eu-west-1",
        "us-east-1",
    ]
    assert Queues.find({"one": MIRROR}) == Queues.find(MIRROR)
    with pytest.raises(OutputsError, match="There is no output queue_url"):
        Queues.find({"function_name": "x"})


@pytest.mark.parametrize("pause_s", [0.01, 0.1], ids=["looked at often", "looked at seldom"])
def test_drain_waits_until_the_queue_stays_empty(pause_s: float) -> None:
    sqs = SQS(mirror=[2, 1, 0, 1, 0])
    shown = [line.split()[0] for line in drained(sqs, pause_s=pause_s) if line.endswith("/mirror")]
    assert shown == ["2", "1", "0", "1", "0"]


def test_drain_waits_for_the_bulk_work() -> None:
    with pytest.raises(NotDrainedError, match="7 messages are left"):
        drained(SQS(mirror=[0], mirror_bulk=[7]), timeout_s=0.05)


def test_drain_needs_the_url_of_the_bulk_work() -> None:
    without = {name: value for name, value in MIRROR.items() if name != "bulk_queue_url"}
    with pytest.raises(OutputsError, match="lacks bulk_queue_url"):
        Queues.find(without)


def test_drain_ends_at_its_timeout() -> None:
    with pytest.raises(NotDrainedError, match="7 messages are left"):
        drained(SQS(mirror=[7], mirror_dead_letters=[0]), timeout_s=0.05)


def test_dead_letters_prevent_the_end() -> None:
    with pytest.raises(NotDrainedError, match=r"3 in https://\S+/mirror-dead-letters"):
        drained(SQS(mirror=[0], mirror_dead_letters=[3]))
