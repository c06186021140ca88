"""The result of the doctor: checks, facts about the target, recommended settings, exit code. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: Columns of the table, at which findings are wrapped.
WIDTH = 110


class Status(StrEnum):
    """The result of a check."""

    OK = "ok"
    #: Some objects or keys are handled in another way than on AWS. No setting is wrong.
    NOTE = "note"
    #: The work fails with these settings, or for many objects.
    PROBLEM = "problem"
    #: The check could not be made.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """A check, and its result.

    `facts` are what the check has learnt about the target, for programs. `settings` are the inputs of the Terraform
    module that it recommends.
    """

    group: str
    name: str
    status: Status
    finding: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """All checks. `is_complete` is False if a store could not be used, so that checks are missing."""

    checks: Sequence[Check]
    is_complete: bool

    @property
    def exit_code(self) -> int:
        """Return 0 without a problem, 1 with one, and 3 if a store could not be used."""
        if not self.is_complete:
            return 3
        return 1 if any(check.status is Status.PROBLEM for check in self.checks) else 0

    @property
    def settings(self) -> dict[str, Any]:
        """Return the recommended inputs of the Terraform module, by their name."""
        return {name: value for check in self.checks for name, value in check.settings.items()}

    @property
    def facts(self) -> dict[str, Any]:
        """Return what is known of the target."""
        return {name: value for check in self.checks for name, value in check.facts.items()}

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs: values that the json module can write."""
        return {
            "exit_code": self.exit_code,
            "complete": self.is_complete,
            "checks": [
                {"group": check.group, "check": check.name, "status": str(check.status), "finding": check.finding}
                for check in self.checks
            ],
            "target": self.facts,
            "settings": self.settings,
        }

    def as_table(self) -> str:
        """Return the report for people, as text with one line for each check."""
        lines: list[str] = []
        name_width = max((len(check.name) for check in self.checks), default=0)
        indent = len(Status.SKIPPED) + name_width + 6
        group = ""
        for check in self.checks:
            if check.group != group:
                group = check.group
                lines += [*([""] if lines else []), group]
            head = f"  {check.status:{len(Status.SKIPPED)}}  {check.name:{name_width}}  "
            wrapped = textwrap.wrap(check.finding, max(40, WIDTH - indent)) or [""]
            lines += [f"{head}{wrapped[0]}".rstrip(), *(" " * indent + line for line in wrapped[1:])]
        if self.settings:
            lines += ["", "Recommended settings", *(f"  {name} = {_hcl(v)}" for name, v in self.settings.items())]
        return "\n".join([*lines, "", self._summary()])

    def _summary(self) -> str:
        counts = {status: sum(check.status is status for check in self.checks) for status in Status}
        counted = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
        result = {
            0: "No problem found.",
            1: "Problems found.",
            3: "A store could not be used, so checks are missing.",
        }
        return f"{result[self.exit_code]} {counted}"


def _hcl(value: object) -> str:
    """Return a value as Terraform writes it."""
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
