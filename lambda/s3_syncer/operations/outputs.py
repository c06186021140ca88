"""The outputs of an applied module, as Terraform prints them. Pure but for `run_terraform`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

#: The output that a configuration needs to pass on everything that the commands read.
PASS_ON = 'output "s3_syncer" { value = module.s3_syncer }'  # noqa: S105 - no password

#: The outputs without which nothing is a module of this project.
_REQUIRED = (
    *("name", "environment", "queue_arn", "queue_url", "bulk_queue_url", "dead_letter_queue_url"),
    *("function_name", "log_group_name"),
)


class OutputsError(Exception):
    """The outputs cannot be used. The message says what to do."""


@dataclass(frozen=True, slots=True)
class _Part:
    """An output that is an object with more attributes than the commands need."""

    @classmethod
    def read(cls, output: str, found: Mapping[str, Any]) -> Self:
        """Return the attributes of this output. Raises OutputsError if one is missing."""
        wanted = [each.name for each in fields(cls)]
        missing = [f"{output}.{name}" for name in wanted if name not in found]
        if missing:
            raise OutputsError(f"the outputs lack {', '.join(missing)}: pass the outputs of the module on unchanged")
        return cls(**{name: found[name] for name in wanted})


@dataclass(frozen=True, slots=True)
class Migration(_Part):
    """The output `migration`."""

    task_definition_arn: str
    cluster_arn: str
    network_configuration: Mapping[str, Any]
    image: str
    repository_url: str | None
    log_group_name: str


@dataclass(frozen=True, slots=True)
class Service(_Part):
    """The output `service`."""

    name: str
    cluster_arn: str
    task_definition_arn: str
    image: str
    repository_url: str | None
    log_group_name: str


@dataclass(frozen=True, slots=True)
class Outputs:
    """The outputs of one module."""

    name: str
    #: The region of every resource of the module.
    region: str
    #: The variables of the command `s3-syncer` for the same buckets and queues.
    environment: Mapping[str, str]
    queue_url: str
    bulk_queue_url: str
    dead_letter_queue_url: str
    #: The queue of deletions that wait; None in a module without it.
    deletions_queue_url: str | None
    #: The queue of deletions that wait for a person; None in a module without it.
    held_deletions_queue_url: str | None
    function_name: str
    #: The log groups of the workers: that of the function, and that of the service if there is one.
    log_groups: tuple[str, ...]
    #: The names of the alarms that need an operator.
    alarms: tuple[str, ...]
    #: Seconds after which a change is late; None if the module has no such alarm.
    max_lag_s: float | None
    #: True if the input `paused` stops the workers.
    paused: bool
    migration: Migration | None
    service: Service | None
    #: The folder of the Dockerfile, relative to the configuration with the module.
    build_context: str

    @classmethod
    def parse(cls, text: str | bytes, module_name: str | None = None) -> Outputs:
        """Return the outputs of the only module in this JSON, or of the module with this name.

        Bytes may be UTF-16 with a byte order mark, as PowerShell writes them. Raises OutputsError.
        """
        try:
            document = json.loads(text)
        except ValueError as error:
            raise OutputsError(f"not the output of `terraform output -json`: {error}") from error
        outputs = document.values() if isinstance(document, dict) else [document]
        if not all(isinstance(output, dict) and "value" in output for output in outputs):
            raise OutputsError("not the output of `terraform output -json`: each output is an object with a value")
        values = {name: output["value"] for name, output in document.items()}
        return cls._read(_chosen(values, module_name))

    @classmethod
    def _read(cls, found: Mapping[str, Any]) -> Outputs:
        service = found.get("service")
        migration = found.get("migration")
        return cls(
            name=found["name"],
            region=found["queue_arn"].split(":")[3],
            environment=dict(found["environment"]),
            queue_url=found["queue_url"],
            bulk_queue_url=found["bulk_queue_url"],
            dead_letter_queue_url=found["dead_letter_queue_url"],
            deletions_queue_url=found.get("deletions_queue_url"),
            held_deletions_queue_url=found.get("held_deletions_queue_url"),
            function_name=found["function_name"],
            log_groups=(found["log_group_name"], *([service["log_group_name"]] if service else [])),
            alarms=tuple(arn.partition(":alarm:")[2] for arn in (found.get("alarm_arns") or {}).values()),
            max_lag_s=found.get("max_lag_s"),
            paused=bool(found.get("paused")),
            migration=Migration.read("migration", migration) if migration else None,
            service=Service.read("service", service) if service else None,
            build_context=found.get("build_context") or "",
        )

    @property
    def source_bucket(self) -> str:
        """Return the name of the source bucket."""
        return self.environment.get("SOURCE_BUCKET", "")

    @property
    def source(self) -> str:
        """Return the URL of the source."""
        return f"s3://{self.source_bucket}/{self.environment.get('SOURCE_PREFIX', '')}"

    @property
    def target(self) -> str:
        """Return the URL of the target."""
        parts = [self.environment.get(f"TARGET_{name}", "") for name in ("ENDPOINT", "BUCKET", "PREFIX")]
        return "/".join(parts)


def run_terraform(directory: Path, program: str = "terraform") -> str:
    """Return the JSON that Terraform prints for the configuration in `directory`. Raises OutputsError."""
    command = [program, f"-chdir={directory}", "output", "-json"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - the user's
    except FileNotFoundError:
        raise OutputsError(
            f"the program {program!r} does not exist: install Terraform, or name another one with --terraform"
        ) from None
    except OSError as error:
        raise OutputsError(f"the program {program!r} cannot be run: {error}") from error
    except subprocess.CalledProcessError as error:
        raise OutputsError(f"`{' '.join(command)}` failed: {error.stderr.strip()}") from None


def _chosen(values: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
    """Return the outputs of the module with this name, or of the only one. Raises OutputsError."""
    found = list(_modules("", values))
    if not found:
        raise OutputsError(_nothing_found(values))
    matching = [module for path, module in found if name is None or name in (path, module["name"])]
    # A configuration may pass a module on twice, as one object and under the names of its outputs.
    if len({module["queue_arn"] for module in matching}) != 1:
        names = ", ".join(sorted({path or str(module["name"]) for path, module in found}))
        problem = f"{len(matching)} modules" if name is None else f"{len(matching) or 'no'} modules {name!r}"
        raise OutputsError(f"the outputs have {problem}: give one of these with --module-name: {names}")
    return matching[0]


def _modules(path: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each module with its path, such as `s3_syncer`, or `mirrors.photos` in a map of modules.

    The path of outputs that are passed on one by one is empty.
    """
    if all(name in values for name in _REQUIRED):
        yield path, values
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _modules(f"{path}.{name}" if path else name, value)


def _nothing_found(values: Mapping[str, Any]) -> str:
    if not values:
        return f"there are no outputs: apply the configuration, with {PASS_ON}"
    best = max(_objects(values), key=lambda each: sum(name in each for name in _REQUIRED))
    missing = [name for name in _REQUIRED if name not in best]
    if len(missing) == len(_REQUIRED):
        return f"no output has the outputs of the module: write {PASS_ON} and apply"
    return f"the outputs lack {', '.join(missing)}: write {PASS_ON} and apply"


def _objects(values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield values
    for value in values.values():
        if isinstance(value, dict):
            yield from _objects(value)
