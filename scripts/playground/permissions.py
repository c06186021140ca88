"""Who may do what: what the module grants, from a plan of it, and what of that has been used, from the emulator's log.

The plan is that of `tests/everything.tftest.hcl`, which switches on whatever there is, against a mocked AWS.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from playground import terraform
from playground.bootstrap import ROOT

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


@cache
def plan() -> dict[str, Any]:
    """The plan of everything, as `terraform show -json` would have it."""
    tool = terraform.prepare(DIRECTORY)
    tool.run("init", "-backend=false", "-no-color", cwd=ROOT)
    said = tool.run("test", "-json", "-verbose", f"-filter={EVERYTHING}", cwd=ROOT)
    messages = map(json.loads, said.splitlines())
    (found,) = (message["test_plan"] for message in messages if message["type"] == "test_plan")
    return dict(found)


def planned() -> list[dict[str, Any]]:
    """Every resource that is made when everything is switched on."""
    return list(plan()["resource_changes"])


def output(name: str) -> Any:
    return plan()["output_changes"][name]["after"]


def resources(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Part and attributes of each planned resource of that kind."""
    for resource in planned():
        if resource["type"] == kind:
            index = resource.get("index")
            yield index if isinstance(index, str) else resource["name"], resource["change"]["after"]


def statements() -> list[Statement]:
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
        for role, values in resources("aws_iam_role_policy")
        for statement in json.loads(values["policy"])["Statement"]
    ]


def granted() -> set[Use]:
    return {Use(s.role, s.sid, action) for s in statements() if s.effect == "Allow" for action in s.actions}


def used(log: Path, name: str) -> set[Use]:
    """What the roles of the module of that name have used, by the emulator's log."""
    lines = (line.removeprefix(USED) for line in log.read_text(errors="replace").splitlines() if line.startswith(USED))
    uses = map(json.loads, lines)
    return {
        Use(use["role"].removeprefix(f"{name}-"), use["statement"], use["action"])
        for use in uses
        if use["role"].startswith(f"{name}-")
    }
