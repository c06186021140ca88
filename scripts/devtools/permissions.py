"""Who may do what: what the module grants, from a plan of it, and what of that has been used, from the emulator's log.

The plan is that of `tests/everything.tftest.hcl`, which switches on whatever there is, against a mocked AWS.
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

# How a line of the emulator's log begins that tells of a permission, see emulator.reported.
USED = "used-permission "


@dataclass(frozen=True)
class Statement:
    """A statement of the policy of a role; `role` is the part that the role is for, as the output role_arns has it."""

    role: str
    sid: str
    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Use:
    """One action that a statement allows, or has allowed."""

    role: str
    sid: str
    action: str


@dataclass(frozen=True)
class Plan:
    """What is made when everything is switched on."""

    resource_changes: Sequence[Mapping[str, Any]]
    output_changes: Mapping[str, Mapping[str, Any]]

    def output(self, name: str) -> Any:
        return self.output_changes[name]["after"]

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """The attributes of each resource of that kind, by the part it is for."""
        return {
            resource["index"] if isinstance(resource.get("index"), str) else resource["name"]: resource["change"][
                "after"
            ]
            for resource in self.resource_changes
            if resource["type"] == kind
        }

    def statements(self) -> list[Statement]:
        """Every statement of every role."""
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
        """The statements on who may take each role."""
        roles = self.resources("aws_iam_role").items()
        return {role: json.loads(values["assume_role_policy"])["Statement"] for role, values in roles}

    def queue_policies(self) -> dict[str, list[dict[str, Any]]]:
        """The statements on who may use each queue, whether they stand at the queue or are a resource of their own."""
        found = {**self.resources("aws_sqs_queue"), **self.resources("aws_sqs_queue_policy")}
        return {queue: json.loads(values["policy"])["Statement"] for queue, values in found.items()}


@cache
def plan() -> Plan:
    tool = terraform.prepare(DIRECTORY)
    tool.run("init", "-backend=false", "-no-color", cwd=ROOT)
    said = tool.run("test", "-json", "-verbose", f"-filter={EVERYTHING}", cwd=ROOT)
    messages = map(json.loads, said.splitlines())
    (found,) = (message["test_plan"] for message in messages if message["type"] == "test_plan")
    return Plan(found["resource_changes"], found["output_changes"])


def used(log: Path, name: str) -> set[Use]:
    """What the roles of the module of that name have used, by the emulator's log."""
    lines = (line.removeprefix(USED) for line in log.read_text(errors="replace").splitlines() if line.startswith(USED))
    uses = map(json.loads, lines)
    return {
        Use(use["role"].removeprefix(f"{name}-"), use["statement"], use["action"])
        for use in uses
        if use["role"].startswith(f"{name}-")
    }
