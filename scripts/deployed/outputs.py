"""The module's outputs, from whatever configuration it is part of."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENABLE = "set migration = { enabled = true, ... } and apply it"


class OutputsError(Exception):
    """The outputs that are needed are not there; the message says what to do."""


@dataclass(frozen=True)
class Migration:
    """What the module tells of its migration."""

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
        """From the outputs of the configuration in `directory`."""
        return cls.find(read(directory, terraform))

    @classmethod
    def find(cls, outputs: Mapping[str, Any]) -> Migration:
        """In these outputs, where the module's own are passed on under their names, or all of them as one object."""
        found = next(those_with("migration_task_definition_arn", outputs))
        if found["migration_task_definition_arn"] is None:
            raise OutputsError(f"The migration is not part of what was applied: {ENABLE}.")
        wanted = ("task_definition_arn", "cluster_arn", "network_configuration", "image", "repository_url")
        missing = [f"migration_{name}" for name in wanted if f"migration_{name}" not in found]
        if missing:
            raise OutputsError(f"Pass these outputs of the module on too: {', '.join(missing)}.")
        return cls(**{name: found[f"migration_{name}"] for name in wanted})


@dataclass(frozen=True)
class Image:
    """What the module tells of the image in its repository, and of who runs it."""

    address: str
    repository_url: str
    task_definition_arn: str  # for the architecture
    service: Service | None

    @property
    def region(self) -> str:
        return self.task_definition_arn.split(":")[3]

    @classmethod
    def read(cls, directory: Path, terraform: str = "terraform") -> Image:
        """From the outputs of the configuration in `directory`."""
        return cls.find(read(directory, terraform))

    @classmethod
    def find(cls, outputs: Mapping[str, Any]) -> Image:
        """In these outputs, of the migration or of the service, which run the same one."""
        found = next(those_with("migration_task_definition_arn", outputs))
        services = [Service.find(found)] if found.get("service_name") else []
        for part in ("migration", "service"):
            if found.get(f"{part}_repository_url") is None:
                continue
            address, repository = found[f"{part}_image"], found[f"{part}_repository_url"]
            runs_it = [service for service in services if found["service_image"] == address]
            return cls(address, repository, found[f"{part}_task_definition_arn"], next(iter(runs_it), None))
        given = [found[name] for name in ("migration_image", "service_image") if found.get(name)]
        if given:
            raise OutputsError(f"The module has no repository: it was given the image {' and '.join(given)}.")
        raise OutputsError(
            f"Neither migration nor service is part of what was applied: {ENABLE}, or the same of service."
        )


@dataclass(frozen=True)
class Service:
    """What the module tells of its service."""

    name: str
    cluster_arn: str
    task_definition_arn: str

    @classmethod
    def find(cls, module: Mapping[str, Any]) -> Service:
        return cls(module["service_name"], module["service_cluster_arn"], module["service_task_definition_arn"])


@dataclass(frozen=True)
class Queues:
    """What the module tells of its queues."""

    queue_url: str
    dead_letter_queue_url: str
    region: str

    @classmethod
    def find(cls, outputs: Mapping[str, Any]) -> list[Queues]:
        """Those of every module in these outputs, of which there may be several."""
        return [
            cls(each["queue_url"], each["dead_letter_queue_url"], each["queue_arn"].split(":")[3])
            for each in those_with("queue_url", outputs)
            if {"dead_letter_queue_url", "queue_arn"} <= each.keys()
        ]


def read(directory: Path, terraform: str = "terraform") -> Mapping[str, Any]:
    """The outputs of the configuration in `directory`."""
    command = [terraform, f"-chdir={directory}", "output", "-json"]
    try:
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise OutputsError(f"There is no {terraform!r} to ask for the outputs: install or name one.") from None
    except subprocess.CalledProcessError as error:
        raise OutputsError(f"`{' '.join(command)}` failed:\n{error.stderr.strip()}") from None
    return {name: output["value"] for name, output in json.loads(said).items()}


def those_with(name: str, outputs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The outputs of the modules among these outputs: passed on one by one, as an object, or as a map of objects."""
    found = list(_with(name, outputs))
    if not found:
        raise OutputsError(
            f"There is no output {name}. Pass the module's outputs on, all in one: "
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
