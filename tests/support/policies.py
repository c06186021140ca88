"""Evaluate IAM policies offline, for the operators that the module uses.

moto evaluates no condition, and policyuniverse only parses policies. An unknown operator is a KeyError.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

Statements = Sequence[Mapping[str, Any]]

_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": str.__eq__,
    "Bool": str.__eq__,
    "ArnEquals": fnmatchcase,
}


@dataclass(frozen=True)
class Call:
    """A request to AWS. The principal is the ARN of a role, or the name of a service."""

    principal: str
    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def is_allowed(statements: Statements, call: Call) -> bool:
    """Return True if a statement allows the request, and none denies it."""
    effects = {statement["Effect"] for statement in statements if _matches(statement, call)}
    return effects == {"Allow"}


def _matches(statement: Mapping[str, Any], call: Call) -> bool:
    return (
        _is_principal(statement.get("Principal", "*"), call.principal)
        and any(fnmatchcase(call.action, each) for each in _listed(statement["Action"]))
        and any(fnmatchcase(call.resource, each) for each in _listed(statement["Resource"]))
        and all(
            any(_OPERATORS[operator](call.context.get(key, ""), value) for value in _listed(values))
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


def _is_principal(principals: Any, caller: str) -> bool:
    """Return True if the principals name the caller, or the account of the caller."""
    if principals == "*":
        return True
    account = caller.split(":")[4] if caller.startswith("arn:") else None
    named = {each for kind in principals.values() for each in _listed(kind)}
    return caller in named or (account is not None and f"arn:aws:iam::{account}:root" in named)


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
