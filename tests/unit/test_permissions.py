"""What the module lets anybody do, with everything switched on: no more than is needed, for this account alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from playground import permissions

ACCOUNT = "123456789012"
ARN = f"arn:aws:{{}}:eu-west-1:{ACCOUNT}:{{}}"

# Every resource that any role may touch, as the inputs of tests/everything.tftest.hcl have them: the source's keys
# below source_prefix and the bucket itself, the two keys given, and what the module makes.
RESOURCES = {
    "arn:aws:s3:::source",
    "arn:aws:s3:::source/in/*",
    "arn:aws:kms:eu-west-1:123456789012:key/11111111-1111",
    "arn:aws:kms:eu-west-1:123456789012:key/22222222-2222",
    ARN.format("ecr", "repository/mocked"),
    ARN.format("logs", "log-group:mocked:*"),  # the streams of the group
    ARN.format("secretsmanager", "secret:mocked"),
    ARN.format("sqs", "s3-syncer"),
    ARN.format("sqs", "s3-syncer-dead-letters"),
}

# Statements on everything, and why they cannot be narrower.
ON_EVERYTHING = {
    "LogInToRegistry": "a token is for the whole registry: IAM knows no resource for it",
    "AttachToNetwork": "Lambda asks before there is an interface to name; KeepNetworkFromCode takes it from the code",
    "KeepNetworkFromCode": "denies",
}

# Services that nothing can be asked about on whose behalf they act, and why.
UNCONDITIONED = {"DeliverFromRule": "EventBridge tells KMS neither its rule nor the account"}


def named(found: Iterator[tuple[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    return dict(found)


def test_everything_is_switched_on() -> None:
    """Else the tests below would say nothing of what is off: every resource of the code is in the plan."""
    root = Path(__file__).parent.parent.parent
    lines = (line.split('"') for file in root.glob("*.tf") for line in file.read_text().splitlines())
    declared = {f"{words[1]}.{words[3]}" for words in lines if words[0] == "resource "}
    assert {f"{resource['type']}.{resource['name']}" for resource in permissions.planned()} == declared


def test_no_action_is_a_wildcard() -> None:
    wild = {action for s in permissions.statements() if s.effect == "Allow" for action in s.actions if "*" in action}
    assert wild == set()


def test_no_role_may_touch_more_than_the_inputs_name() -> None:
    broad = {s.sid for s in permissions.statements() if "*" in s.resources}
    assert broad == set(ON_EVERYTHING)
    touched = {resource for s in permissions.statements() for resource in s.resources} - {"*"}
    assert touched == RESOURCES


def test_no_role_may_write_to_the_source() -> None:
    s3 = {action for s in permissions.statements() for action in s.actions if action.startswith("s3:")}
    assert s3 == {"s3:GetObject", "s3:GetObjectTagging", "s3:ListBucket"}


def test_keys_are_used_through_services_only() -> None:
    """But for the schedule's, whose whole work it is to send messages to the queue."""
    direct = {(s.role, s.sid) for s in permissions.statements() if s.sid.endswith("Key") and not s.conditions}
    assert direct == {("reconcile", "UseOwnKey")}


def test_every_role_is_under_the_path_and_the_boundary() -> None:
    roles = named(permissions.resources("aws_iam_role"))
    assert set(roles) == {s.role for s in permissions.statements()}
    for role in roles.values():
        assert role["path"] == "/workloads/mirrors/"
        assert role["permissions_boundary"] == f"arn:aws:iam::{ACCOUNT}:policy/boundary"


def test_every_role_is_for_a_service_acting_for_this_account() -> None:
    for role in named(permissions.resources("aws_iam_role")).values():
        (statement,) = json.loads(role["assume_role_policy"])["Statement"]
        assert statement["Action"] == "sts:AssumeRole"
        assert set(statement["Principal"]) == {"Service"}
        assert statement["Condition"]["StringEquals"]["aws:SourceAccount"] == ACCOUNT


def resource_statements() -> Iterator[dict[str, Any]]:
    """Of the policies of queues, and of the key."""
    for kind in ("aws_sqs_queue", "aws_sqs_queue_policy"):
        for _, values in permissions.resources(kind):
            if values.get("policy"):
                yield from json.loads(values["policy"])["Statement"]
    yield from permissions.output("kms_key_policy_statements")


def test_no_service_is_let_in_on_behalf_of_another_account() -> None:
    found = list(resource_statements())
    allowed = [statement for statement in found if statement["Effect"] == "Allow"]
    assert {s["Sid"] for s in allowed} >= {"PublishFromSourceBucket", "PublishFromRule", "KeepLogs", *UNCONDITIONED}
    for statement in allowed:
        assert set(statement["Principal"]) == {"Service"}
        if statement["Sid"] not in UNCONDITIONED:
            assert ACCOUNT in json.dumps(statement["Condition"])


def test_both_queues_refuse_what_is_not_over_tls() -> None:
    policies = [
        json.loads(values["policy"])["Statement"]
        for kind in ("aws_sqs_queue", "aws_sqs_queue_policy")
        for _, values in permissions.resources(kind)
        if values.get("policy")
    ]
    assert len(policies) == len(named(permissions.resources("aws_sqs_queue")))
    for policy in policies:
        (refusal,) = (s for s in policy if s["Effect"] == "Deny")
        assert (refusal["Principal"], refusal["Action"]) == ("*", "sqs:*")
        assert refusal["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize("secret", ["access-key-of-everything", "secret-key-of-everything"])
def test_the_keys_of_the_target_are_in_no_plan(secret: str) -> None:
    assert secret in (permissions.ROOT / permissions.EVERYTHING).read_text()
    assert secret not in json.dumps(permissions.planned())


def test_uses_are_read_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    use = {"role": "n-function", "statement": "S", "action": "a:B"}
    other = {**use, "role": "m-function"}
    log.write_text(f"starting\nused-permission {json.dumps(use)}\nused-permission {json.dumps(other)}\n")
    assert permissions.used(log, "n") == {permissions.Use("function", "S", "a:B")}
