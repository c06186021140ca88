"""Test that the module grants only what it needs, to this account only, with every feature enabled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devtools import permissions
from devtools.bootstrap import ROOT

ACCOUNT = "123456789012"
ARN = f"arn:aws:{{}}:eu-west-1:{ACCOUNT}:{{}}"

# All resources in the policies of the roles, with the inputs of tests/everything.tftest.hcl. They are the source
# bucket, its keys below source_prefix, the two KMS keys, the earlier key of the queues, and the resources that the
# module creates.
RESOURCES = {
    "arn:aws:s3:::source",
    "arn:aws:s3:::source/in/*",
    "arn:aws:kms:eu-west-1:123456789012:key/11111111-1111",
    "arn:aws:kms:eu-west-1:123456789012:key/22222222-2222",
    "arn:aws:kms:eu-west-1:123456789012:key/33333333-3333",
    ARN.format("ecr", "repository/mocked"),
    ARN.format("logs", "log-group:mocked"),
    ARN.format("logs", "log-group:mocked:*"),  # the streams of the group
    ARN.format("secretsmanager", "secret:mocked"),
    ARN.format("sqs", "s3-syncer"),
    ARN.format("sqs", "s3-syncer-bulk"),
    ARN.format("sqs", "s3-syncer-deletions"),
    ARN.format("sqs", "s3-syncer-held-deletions"),
    ARN.format("sqs", "s3-syncer-dead-letters"),
    "arn:aws:events:eu-west-1:210987654321:event-bus/operations",
}

# Statements with the resource `*`, and the reason.
ON_EVERYTHING = {
    "AuthorizeEcrPull": "a token is valid for the whole registry: the action supports no resource",
    "ManageVpcNetworkInterfaces": "the interface does not exist yet; DenyNetworkApiToFunctionCode denies the code",
    "DenyNetworkApiToFunctionCode": "denies",
}

# Statements for services without a condition on this account, and the reason.
UNCONDITIONED = {
    "AllowEventBridgeToEncryptedQueue": "EventBridge passes neither its rule nor the account to KMS",
    "AllowSnsToEncryptedQueue": "the topics may be in another account; the queue policy names them",
}


# Resources for a source bucket of another account. In the plan, the module writes the notifications of the bucket, so
# the account is its own. They have no role, and tests/unit/test_source_account_policies.py evaluates their policy.
OTHER_ACCOUNT = {"aws_cloudwatch_event_bus.source", "aws_cloudwatch_event_bus_policy.source"}


@pytest.fixture(scope="module")
def plan() -> permissions.Plan:
    return permissions.plan()


def test_every_resource_of_the_code_is_in_the_plan(plan: permissions.Plan) -> None:
    """Without this check the tests below would miss the resources of a disabled feature."""
    lines = (line.split('"') for file in ROOT.glob("*.tf") for line in file.read_text().splitlines())
    declared = {f"{words[1]}.{words[3]}" for words in lines if words[0] == "resource "}
    planned = [resource for resource in plan.resource_changes if resource["mode"] == "managed"]
    assert {f"{resource['type']}.{resource['name']}" for resource in planned} == declared - OTHER_ACCOUNT


def test_no_action_is_a_wildcard(plan: permissions.Plan) -> None:
    assert {use for use in plan.granted() if "*" in use.action} == set()


def test_roles_name_only_known_resources(plan: permissions.Plan) -> None:
    assert {s.sid for s in plan.statements() if "*" in s.resources} == set(ON_EVERYTHING)
    assert {resource for s in plan.statements() for resource in s.resources} == RESOURCES | {"*"}


def test_no_role_can_write_to_the_source(plan: permissions.Plan) -> None:
    """The plan has `migration.restore`, so the migration task alone can also request restores."""
    actions = {(use.role, use.action) for use in plan.granted() if use.action.startswith("s3:")}
    reads = {"s3:GetObject", "s3:GetObjectTagging", "s3:ListBucket"}
    assert {(role, action) for role, action in actions if action not in reads} == {("migration", "s3:RestoreObject")}
    assert {action for _, action in actions if action in reads} == reads


def test_kms_keys_are_used_only_through_services(plan: permissions.Plan) -> None:
    """The role of the schedule is the exception: it can do nothing but send messages to the queue."""
    direct = {(s.role, s.sid) for s in plan.statements() if s.actions[0].startswith("kms:") and not s.conditions}
    assert direct == {("reconcile", "UseKmsKey")}


def test_every_role_has_the_path_and_the_boundary(plan: permissions.Plan) -> None:
    roles = plan.resources("aws_iam_role")
    assert set(roles) == {s.role for s in plan.statements()} == set(plan.output("role_arns"))
    for role in roles.values():
        assert role["path"] == "/workloads/mirrors/"
        assert role["permissions_boundary"] == f"arn:aws:iam::{ACCOUNT}:policy/boundary"


def test_only_services_of_this_account_can_assume_a_role(plan: permissions.Plan) -> None:
    for trust in plan.trusts().values():
        (statement,) = trust
        assert statement["Action"] == "sts:AssumeRole"
        assert set(statement["Principal"]) == {"Service"}
        assert statement["Condition"]["StringEquals"]["aws:SourceAccount"] == ACCOUNT


def test_policies_allow_only_services_of_this_account(plan: permissions.Plan) -> None:
    policies = [*plan.queue_policies().values(), plan.output("kms_key_policy_statements")]
    allowed = [statement for policy in policies for statement in policy if statement["Effect"] == "Allow"]
    assert {s["Sid"] for s in allowed} >= {
        "AllowSourceBucketNotifications",
        "AllowEventBridgeRule",
        "AllowSnsTopics",
        "EncryptLogs",
        *UNCONDITIONED,
    }
    for statement in allowed:
        assert set(statement["Principal"]) == {"Service"}
        if statement["Sid"] not in UNCONDITIONED:
            assert ACCOUNT in json.dumps(statement["Condition"])


def test_all_queues_deny_requests_without_tls(plan: permissions.Plan) -> None:
    policies = plan.queue_policies()
    assert set(policies) == {"work", "bulk", "deletions", "held_deletions", "dead_letters"}
    for policy in policies.values():
        (denied,) = (s for s in policy if s["Effect"] == "Deny")
        assert (denied["Principal"], denied["Action"]) == ("*", "sqs:*")
        assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize("secret", ["access-key-of-everything", "secret-key-of-everything"])
def test_access_key_of_the_target_is_in_no_plan(plan: permissions.Plan, secret: str) -> None:
    assert secret in (ROOT / permissions.EVERYTHING).read_text()
    assert secret not in json.dumps([plan.resource_changes, plan.output_changes])


def test_uses_are_read_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    use = {"role": "n-function", "statement": "S", "action": "a:B"}
    other = {**use, "role": "m-function"}
    log.write_text(f"starting\nused-permission {json.dumps(use)}\nused-permission {json.dumps(other)}\n")
    assert permissions.used(log, "n") == {permissions.Use("function", "S", "a:B")}
