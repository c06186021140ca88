"""Runs the migration as a task of ECS, and follows it to its end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from deployed.outputs import Migration
from s3_syncer.cli.progress import clock, size

POLL_INTERVAL_S = 2.0

#: How long after a task has stopped its last lines may take to be in the log.
LOG_DELAY_S = 5.0

#: The exit code for a task that ended without one of its own, as Docker has it for a container that did not start.
NOT_RUN = 125

Show = Callable[[str], None]


class TaskError(Exception):
    """The task did not run; the message says why."""


@dataclass(frozen=True)
class Definition:
    """The one container of a registered task definition, as far as running it takes it."""

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
        """The registered command with further options, or, where a word comes first, another command in its place."""
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
    _position: str | None = field(default=None, init=False)

    @property
    def id(self) -> str:
        return self.arn.rpartition("/")[2]

    def stop(self) -> None:
        """Asks it to end as Ctrl-C would: it finishes or undoes what is under way, and says how to go on."""
        self.ecs.stop_task(cluster=self.cluster_arn, task=self.arn, reason="Stopped by the user")

    def follow(self, show: Show) -> int:
        """Shows each line of its log, and returns its exit code. Raises TaskError when it has none."""
        while (task := self._look())["lastStatus"] != "STOPPED":
            self._show_new(show)
            time.sleep(self.poll_interval_s)
        over = time.monotonic() + self.log_delay_s
        while self._show_new(show) or time.monotonic() < over:
            time.sleep(self.poll_interval_s)
        (container,) = task["containers"]
        if container.get("exitCode") is None:
            reason = container.get("reason") or task.get("stoppedReason") or "ECS does not say why"
            hint = "; scripts/push_image fills the repository" if "CannotPullContainer" in reason else ""
            raise TaskError(f"The task did not run: {reason}{hint}")
        return int(container["exitCode"])

    def _look(self) -> dict[str, Any]:
        answer = self.ecs.describe_tasks(cluster=self.cluster_arn, tasks=[self.arn])
        if not answer["tasks"]:
            raise TaskError(f"ECS has forgotten the task {self.id}; its log is in {self._log['awslogs-group']}")
        task: dict[str, Any] = answer["tasks"][0]
        return task

    def _show_new(self, show: Show) -> bool:
        """Whether there was anything new."""
        shown = False
        for line in self._new_lines():
            show(line)
            shown = True
        return shown

    def _new_lines(self) -> Iterator[str]:
        stream = f"{self._log['awslogs-stream-prefix']}/{self.definition.container['name']}/{self.id}"
        # There is no stream before its first line.
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


def start(ecs: Any, logs: Any, migration: Migration, arguments: Sequence[str]) -> Task:
    """Starts the registered task definition with these arguments. Raises TaskError when ECS does not take it."""
    definition = Definition.registered(ecs, migration.task_definition_arn)
    override = {"name": definition.container["name"], "command": definition.command(arguments)}
    answer = ecs.run_task(
        cluster=migration.cluster_arn,
        taskDefinition=definition.arn,
        launchType="FARGATE",
        networkConfiguration=migration.network_configuration,
        overrides={"containerOverrides": [override]},
    )
    if not answer["tasks"]:
        reasons = ", ".join(failure.get("reason", "?") for failure in answer["failures"])
        raise TaskError(f"ECS did not start the task: {reasons}")
    return Task(answer["tasks"][0]["taskArn"], migration.cluster_arn, definition, ecs, logs)


def readable(line: str, *, verbose: bool) -> str | None:
    """A line of the log for people, or None for what only the verbose want to see: what was done to each key."""
    try:
        record = json.loads(line)
        level, message = record["level"], record["message"]
    except (ValueError, TypeError, KeyError):
        return line
    if message == "progress":
        left = f" · {record['backlog']:,} messages left" if "backlog" in record else ""
        return f"{_totals(record)} · {record['keys_per_s']:,} keys/s · {size(record['bytes_per_s'])}/s{left}"
    if message == "summary":
        return f"{record['result']}: {_totals(record)}, in {clock(record['duration_s'])}"
    text = message if message.isprintable() else repr(message)
    if level == "INFO" and "action" not in record:  # not about a key, but about all of it
        return text
    return f"{level}: {text}" if verbose or level not in ("DEBUG", "INFO") else None


def _totals(record: Mapping[str, Any]) -> str:
    numbers = " · ".join(f"{record[name]:,} {name}" for name in ("keys", "changed", "different", "failed"))
    return f"{numbers} · {size(record['bytes'])} sent"
