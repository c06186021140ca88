"""Read the permissions that the module grants, and those that a run on the emulator used.

The grants come from the plan of `tests/everything.tftest.hcl`, which enables every feature against a mocked AWS. The
uses come from the log of the emulator.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from devtools import terraform
from devtools.bootstrap import ROOT

EVERYTHING = "tests/everything.tftest.hcl"
DIRECTORY = ROOT / ".local" / "plan"

# Prefix of the log lines of the emulator about a used permission.
USED = "used-permission "


@dataclass(frozen=True)
class Statement:
    """A policy statement of a role; `role` is a key of the output role_arns."""

    role: str
    sid: str
    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Use:
    """An action that a statement allows, or that it allowed in a run."""

    role: str
    sid: str
    action: str


@dataclass(frozen=True)
class Plan:
    """The planned resources and outputs with every feature enabled."""

    resource_changes: Sequence[Mapping[str, Any]]
    output_changes: Mapping[str, Mapping[str, Any]]

    def output(self, name: str) -> Any:
        return self.output_changes[name]["after"]

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the attributes of the resources of that kind, by their key or name."""
        return {
            resource["index"] if isinstance(resource.get("index"), str) else resource["name"]: resource["change"][
                "after"
            ]
            for resource in self.resource_changes
            if resource["type"] == kind
        }

    def statements(self) -> list[Statement]:
        """Return every statement of every role."""
        return [
            Statement(
                role=role,
                sid=statement["Sid"],
                effect=statement["Effect"],
                actions=tuple(statement["Action"]),
                resources=tuple(statement["Resource"]),
                conditions=statement.get("Condition", {}),
            )
            for role, values in self.resources("aws_iam_role_policy").items()
            for statement in json.loads(values["policy"])["Statement"]
        ]

    def granted(self) -> set[Use]:
        return {Use(s.role, s.sid, action) for s in self.statements() if s.effect == "Allow" for action in s.actions}

    def trusts(self) -> dict[str, list[dict[str, Any]]]:
        """Return the statements of each role's trust policy."""
        roles = self.resources("aws_iam_role").items()
        return {role: json.loads(values["assume_role_policy"])["Statement"] for role, values in roles}

    def queue_policies(self) -> dict[str, list[dict[str, Any]]]:
        """Return the statements of each queue policy, from the queue or from a separate policy resource."""
        found = {**self.resources("aws_sqs_queue"), **self.resources("aws_sqs_queue_policy")}
        return {queue: json.loads(values["policy"])["Statement"] for queue, values in found.items()}


def plan(file: str = EVERYTHING, run: str = "everything") -> Plan:
    """Return the plan of one run of a test file. A file is run once."""
    return _plans(file)[run]


@cache
def _plans(file: str) -> Mapping[str, Plan]:
    tool = terraform.prepare(DIRECTORY)
    tool.run("init", "-backend=false", "-no-color", cwd=ROOT)
    said = tool.run("test", "-json", "-verbose", f"-filter={file}", cwd=ROOT)
    messages = map(json.loads, said.splitlines())
    found = {message["@testrun"]: message["test_plan"] for message in messages if message["type"] == "test_plan"}
    return {name: Plan(each["resource_changes"], each["output_changes"]) for name, each in found.items()}


def used(log: Path, name: str) -> set[Use]:
    """Return the permissions that the roles of the module used; `name` is the name of the module."""
    lines = (line.removeprefix(USED) for line in log.read_text(errors="replace").splitlines() if line.startswith(USED))
    uses = map(json.loads, lines)
    return {
        Use(use["role"].removeprefix(f"{name}-"), use["statement"], use["action"])
        for use in uses
        if use["role"].startswith(f"{name}-")
    }
