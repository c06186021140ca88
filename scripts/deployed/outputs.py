"""Read the outputs of the module from the configuration that contains it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

ENABLE = "write migration = { enabled = true } and apply"


class OutputsError(Exception):
    """A needed output is missing; the message says what to do."""


@dataclass(frozen=True)
class Migration:
    """The attributes of the output `migration` that running the task needs."""

    task_definition_arn: str
    cluster_arn: str
    network_configuration: Mapping[str, Any]
    image: str
    repository_url: str | None

    @property
    def region(self) -> str:
        return self.task_definition_arn.split(":")[3]

    @classmethod
    def read(cls, directory: Path, terraform: str = "terraform") -> Migration:
        """Return the migration of the configuration in `directory`."""
        return cls.find(read(directory, terraform))

    @classmethod
    def find(cls, outputs: Mapping[str, Any]) -> Migration:
        """Return the migration, from module outputs passed on under their names or all in one object."""
        found = next(those_with("migration", outputs))["migration"]
        if found is None:
            raise OutputsError(f"The migration is not enabled: {ENABLE}.")
        wanted = [each.name for each in fields(cls)]
        missing = [f"migration.{name}" for name in wanted if name not in found]
        if missing:
            raise OutputsError(f"The output of the module lacks {', '.join(missing)}: pass it on unchanged.")
        return cls(**{name: found[name] for name in wanted})


@dataclass(frozen=True)
class Image:
    """The image in the repository of the module, and the service that runs it."""

    address: str
    repository_url: str
    task_definition_arn: str  # for the architecture
    service: Service | None  # None if the service is not enabled

    @property
    def region(self) -> str:
        return self.task_definition_arn.split(":")[3]

    @classmethod
    def read(cls, directory: Path, terraform: str = "terraform") -> Image:
        """Return the image of the configuration in `directory`."""
        return cls.find(read(directory, terraform))

    @classmethod
    def find(cls, outputs: Mapping[str, Any]) -> Image:
        """Return the image that the migration and the service share."""
        found = next(those_with("migration", outputs))
        enabled = [task for task in (found["migration"], found.get("service")) if task]
        if not enabled:
            raise OutputsError(f"Neither migration nor service is enabled: {ENABLE}, or the same for service.")
        task = enabled[0]
        if task["repository_url"] is None:
            raise OutputsError(f"The module has no image repository, because ecs.image is set to {task['image']}.")
        service = Service.find(found["service"]) if found.get("service") else None
        return cls(task["image"], task["repository_url"], task["task_definition_arn"], service)


@dataclass(frozen=True)
class Service:
    """The attributes of the output `service` that a deployment needs."""

    name: str
    cluster_arn: str
    task_definition_arn: str

    @classmethod
    def find(cls, output: Mapping[str, Any]) -> Service:
        """Return the service of the module's output `service`."""
        return cls(output["name"], output["cluster_arn"], output["task_definition_arn"])


@dataclass(frozen=True)
class Queues:
    """The queues of one module."""

    queue_url: str
    bulk_queue_url: str
    dead_letter_queue_url: str
    region: str

    @classmethod
    def find(cls, outputs: Mapping[str, Any]) -> list[Queues]:
        """Return the queues of every module in these outputs."""
        found = [
            each for each in those_with("queue_url", outputs) if {"dead_letter_queue_url", "queue_arn"} <= each.keys()
        ]
        if not all("bulk_queue_url" in each for each in found):
            raise OutputsError("The output of the module lacks bulk_queue_url: pass all outputs on.")
        return [
            cls(
                each["queue_url"],
                each["bulk_queue_url"],
                each["dead_letter_queue_url"],
                each["queue_arn"].split(":")[3],
            )
            for each in found
        ]


def read(directory: Path, terraform: str = "terraform") -> Mapping[str, Any]:
    """Return the outputs of the configuration in `directory`."""
    command = [terraform, f"-chdir={directory}", "output", "-json"]
    try:
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise OutputsError(
            f"The program {terraform!r} does not exist: install Terraform, or name another program with --terraform."
        ) from None
    except subprocess.CalledProcessError as error:
        raise OutputsError(f"`{' '.join(command)}` failed:\n{error.stderr.strip()}") from None
    return {name: output["value"] for name, output in json.loads(said).items()}


def those_with(name: str, outputs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the outputs of each module: passed on one by one, as one object, or as a map of objects."""
    found = list(_with(name, outputs))
    if not found:
        raise OutputsError(
            f"There is no output {name}. Pass on all outputs of the module: "
            'output "s3_syncer" { value = module.s3_syncer }'
        )
    yield from found


def _with(name: str, outputs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if name in outputs:
        yield outputs
        return
    for value in outputs.values():
        if isinstance(value, dict):
            yield from _with(name, value)
