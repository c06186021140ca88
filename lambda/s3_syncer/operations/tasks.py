"""The migration as an ECS task: start it, and follow it to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .outputs import Migration

POLL_INTERVAL_S = 2.0

#: Seconds that the last lines of a stopped task may take to reach the log.
LOG_DELAY_S = 5.0

#: Seconds after RunTask in which ECS may not know the task yet: ECS is eventually consistent.
#: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
CONSISTENCY_S = 300.0

#: The exit code for a task that has none. Docker uses it for a container that did not start.
NOT_RUN = 125

Show = Callable[[str], None]


class TaskError(Exception):
    """The task did not run. The message says why."""


class _TaskMissingError(TaskError):
    """ECS does not know the task: not yet, or no longer."""


@dataclass(frozen=True)
class Definition:
    """A registered task definition with its only container."""

    arn: str
    family: str
    task_role_arn: str
    architecture: str
    container: Mapping[str, Any]

    @classmethod
    def registered(cls, ecs: Any, arn: str) -> Definition:
        definition = ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
        (container,) = definition["containerDefinitions"]
        return cls(
            arn=definition["taskDefinitionArn"],
            family=definition["family"],
            task_role_arn=definition["taskRoleArn"],
            architecture=definition["runtimePlatform"]["cpuArchitecture"],
            container=container,
        )

    @property
    def environment(self) -> dict[str, str]:
        return {variable["name"]: variable["value"] for variable in self.container["environment"]}

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command of the container: the registered one with further options, or another command.

        Arguments that begin with a word, and not with an option, replace the registered command.
        """
        registered = list(self.container["command"])
        replaces = arguments and not arguments[0].startswith("-")
        return [*arguments] if replaces else [*registered, *arguments]


@dataclass
class Task:
    """A task that was started."""

    arn: str
    cluster_arn: str
    definition: Definition
    ecs: Any
    logs: Any
    poll_interval_s: float = POLL_INTERVAL_S
    log_delay_s: float = LOG_DELAY_S
    consistency_s: float = CONSISTENCY_S
    _position: str | None = field(default=None, init=False)

    @property
    def id(self) -> str:
        return self.arn.rpartition("/")[2]

    def logged(self) -> Iterator[str]:
        """Yield the lines of the log that were not read before."""
        return self._new_lines()

    def stop(self) -> None:
        """Ask the task to stop, like Ctrl-C: it finishes or aborts its requests and prints how to continue."""
        self.ecs.stop_task(cluster=self.cluster_arn, task=self.arn, reason="Stopped by the user")

    def follow(self, show: Show) -> int:
        """Show each line of the log, and return the exit code. Raises TaskError if there is none."""
        task = self._first_description()
        while task["lastStatus"] != "STOPPED":
            self._show_new(show)
            time.sleep(self.poll_interval_s)
            task = self._describe()
        end = time.monotonic() + self.log_delay_s
        while self._show_new(show) or time.monotonic() < end:
            time.sleep(self.poll_interval_s)
        (container,) = task["containers"]
        if container.get("exitCode") is None:
            reason = container.get("reason") or task.get("stoppedReason") or "ECS gives no reason"
            hint = ": push the image with `s3-syncer image push`" if "CannotPullContainer" in reason else ""
            raise TaskError(f"The task did not run: {reason}{hint}")
        return int(container["exitCode"])

    def _first_description(self) -> dict[str, Any]:
        end = time.monotonic() + self.consistency_s
        while time.monotonic() < end:
            with suppress(_TaskMissingError):
                return self._describe()
            time.sleep(self.poll_interval_s)
        return self._describe()

    def _describe(self) -> dict[str, Any]:
        response = self.ecs.describe_tasks(cluster=self.cluster_arn, tasks=[self.arn])
        if not response["tasks"]:
            raise _TaskMissingError(f"ECS does not know the task {self.id}; its log is in {self._log['awslogs-group']}")
        task: dict[str, Any] = response["tasks"][0]
        return task

    def _show_new(self, show: Show) -> bool:
        """Show new lines of the log, and return True if there were any."""
        shown = False
        for line in self._new_lines():
            show(line)
            shown = True
        return shown

    def _new_lines(self) -> Iterator[str]:
        stream = f"{self._log['awslogs-stream-prefix']}/{self.definition.container['name']}/{self.id}"
        # The stream does not exist before its first line.
        with suppress(self.logs.exceptions.ResourceNotFoundException):
            while True:
                page = self.logs.get_log_events(
                    logGroupName=self._log["awslogs-group"],
                    logStreamName=stream,
                    startFromHead=True,
                    **({"nextToken": self._position} if self._position else {}),
                )
                yield from (event["message"] for event in page["events"])
                if page["nextForwardToken"] == self._position:
                    return
                self._position = page["nextForwardToken"]

    @property
    def _log(self) -> dict[str, str]:
        options: dict[str, str] = self.definition.container["logConfiguration"]["options"]
        return options


def newest_task_id(logs: Any, migration: Migration) -> str:
    """Return the ID of the task with the newest line in the log. Raises TaskError if there is none."""
    response = logs.describe_log_streams(
        logGroupName=migration.log_group_name, orderBy="LastEventTime", descending=True, limit=1
    )
    if not response["logStreams"]:
        raise TaskError(f"the log group {migration.log_group_name} is empty: no task has run")
    return str(response["logStreams"][0]["logStreamName"]).rpartition("/")[2]


def known_task(ecs: Any, logs: Any, migration: Migration, task_id: str) -> Task:
    """Return the task with this ID or ARN, which was started before."""
    definition = Definition.registered(ecs, migration.task_definition_arn)
    return Task(task_id, migration.cluster_arn, definition, ecs, logs)


def start(ecs: Any, logs: Any, migration: Migration, arguments: Sequence[str]) -> Task:
    """Start the registered task definition with these arguments. Raises TaskError if ECS rejects it."""
    definition = Definition.registered(ecs, migration.task_definition_arn)
    override = {"name": definition.container["name"], "command": definition.command(arguments)}
    response = ecs.run_task(
        cluster=migration.cluster_arn,
        taskDefinition=definition.arn,
        launchType="FARGATE",
        networkConfiguration=migration.network_configuration,
        overrides={"containerOverrides": [override]},
    )
    if not response["tasks"]:
        reasons = ", ".join(failure.get("reason", "?") for failure in response["failures"])
        raise TaskError(f"ECS did not start the task: {reasons}")
    return Task(response["tasks"][0]["taskArn"], migration.cluster_arn, definition, ecs, logs)
