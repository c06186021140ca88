"""The policies for a source bucket of another account: each side allows what is used, and no more.

Across accounts, the policy of the caller and that of the resource must both allow a request.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.policies import Call, Statements, is_allowed

from devtools import permissions

OWN, OTHER, THIRD = "123456789012", "210987654321", "333333333333"
FILE = "tests/source_account_policies.tftest.hcl"

BUCKET, KEY = "arn:aws:s3:::source", f"arn:aws:kms:eu-west-1:{OTHER}:key/11111111-1111"
QUEUE = f"arn:aws:sqs:eu-west-1:{OWN}:s3-syncer"

#: The actions of the requests to the source: tests/functional/test_other_account.py lists the requests.
READS = [("s3:GetObject", "/in/a"), ("s3:GetObjectTagging", "/in/a"), ("s3:ListBucket", "")]

WORKERS = ["function", "migration", "service"]

#: The key of the condition that each queue policy denies.
SECURE = {"aws:SecureTransport": "true"}


def role(name: str, account: str = OWN) -> str:
    return f"arn:aws:iam::{account}:role/{name}"


@pytest.fixture(scope="module", params=["own_wiring", "eventbridge"])
def plan(request: pytest.FixtureRequest) -> permissions.Plan:
    return permissions.plan(FILE, request.param)


@pytest.fixture(scope="module")
def eventbridge() -> permissions.Plan:
    return permissions.plan(FILE, "eventbridge")


def source_account(plan: permissions.Plan) -> Any:
    return plan.output("source_account")


def of_role(plan: permissions.Plan, name: str) -> Statements:
    found: Statements = json.loads(plan.resources("aws_iam_role_policy")[name]["policy"])["Statement"]
    return found


def may_use_source(plan: permissions.Plan, name: str, action: str, resource: str) -> bool:
    """Return True if the policy of the role and that of the bucket both allow the request."""
    call = Call(role(name), action, resource)
    bucket_policy = source_account(plan)["bucket_policy_statements"]
    return is_allowed(of_role(plan, name), call) and is_allowed(bucket_policy, call)


@pytest.mark.parametrize("worker", WORKERS)
def test_each_worker_may_send_each_request_to_the_source(plan: permissions.Plan, worker: str) -> None:
    assert [action for action, key in READS if not may_use_source(plan, worker, action, BUCKET + key)] == []


def test_only_the_migration_may_restore_archived_objects(plan: permissions.Plan) -> None:
    allowed = [name for name in WORKERS if may_use_source(plan, name, "s3:RestoreObject", f"{BUCKET}/in/a")]
    assert allowed == ["migration"]


@pytest.mark.parametrize("worker", WORKERS)
def test_no_worker_may_do_more_with_the_source(plan: permissions.Plan, worker: str) -> None:
    writes = ["s3:PutObject", "s3:DeleteObject", "s3:PutObjectTagging", "s3:PutBucketNotification"]
    calls = [(action, f"{BUCKET}/in/a") for action in writes]
    calls += [("s3:GetObject", f"{BUCKET}/out/a"), ("s3:GetObject", "arn:aws:s3:::other/in/a")]
    assert [call for call in calls if may_use_source(plan, worker, *call)] == []


def test_the_bucket_policy_lets_no_other_role_read(plan: permissions.Plan) -> None:
    statements = source_account(plan)["bucket_policy_statements"]
    for other in (role("execution"), role("other"), role("function", THIRD), f"arn:aws:iam::{OWN}:user/person"):
        assert not any(is_allowed(statements, Call(other, action, BUCKET + key)) for action, key in READS)


@pytest.mark.parametrize("worker", WORKERS)
def test_each_worker_may_decrypt_through_s3_alone(plan: permissions.Plan, worker: str) -> None:
    for service, allowed in (("s3.eu-west-1.amazonaws.com", True), ("ec2.eu-west-1.amazonaws.com", False)):
        call = Call(role(worker), "kms:Decrypt", KEY, {"kms:ViaService": service})
        key_policy = source_account(plan)["key_policy_statements"]
        assert is_allowed(key_policy, call) is is_allowed(of_role(plan, worker), call) is allowed


def send(plan: permissions.Plan, service: str, arn: str, account: str, **context: str) -> bool:
    """Return True if the policy of the queue lets the service send for this resource of the account."""
    origin = {"aws:SourceArn": arn, "aws:SourceAccount": account, **SECURE, **context}
    return is_allowed(plan.queue_policies()["work"], Call(service, "sqs:SendMessage", QUEUE, origin))


def test_the_bucket_may_send_by_the_wiring_of_its_owner(plan: permissions.Plan) -> None:
    assert send(plan, "s3.amazonaws.com", BUCKET, OTHER)
    assert not send(plan, "s3.amazonaws.com", BUCKET, OTHER, **{"aws:SecureTransport": "false"})
    assert not send(plan, "s3.amazonaws.com", BUCKET, THIRD), "a bucket of this name that another account created later"
    assert not send(plan, "s3.amazonaws.com", "arn:aws:s3:::other", OTHER)
    assert not send(plan, "sns.amazonaws.com", BUCKET, OTHER)


def test_the_rule_of_the_other_account_may_send_changes_of_s3_to_the_bus(eventbridge: permissions.Plan) -> None:
    found = source_account(eventbridge)
    bus = found["event_bus_arn"]
    bus_policy: Statements = json.loads(eventbridge.resources("aws_cloudwatch_event_bus_policy")["source"]["policy"])[
        "Statement"
    ]

    def may_send(account: str, source: str, resource: str = bus) -> bool:
        call = Call(role("events", account), "events:PutEvents", resource, {"events:source": source})
        return is_allowed(found["event_role_policy_statements"], call) and is_allowed(bus_policy, call)

    assert may_send(OTHER, "aws.s3")
    assert not may_send(OTHER, "aws.ec2")
    assert not may_send(THIRD, "aws.s3")
    assert not may_send(OTHER, "aws.s3", f"arn:aws:events:eu-west-1:{OWN}:event-bus/default")


def test_only_the_rule_on_the_bus_may_send_to_the_queue(eventbridge: permissions.Plan) -> None:
    (rule,) = [
        statement["Condition"]["ArnEquals"]["aws:SourceArn"]
        for statement in eventbridge.queue_policies()["work"]
        if statement["Sid"] == "AllowEventBridgeRule"
    ]
    assert send(eventbridge, "events.amazonaws.com", rule, OWN)
    assert not send(eventbridge, "events.amazonaws.com", f"{rule}-other", OWN)
    pattern = json.loads(source_account(eventbridge)["event_pattern"])
    assert (pattern["account"], pattern["detail"]["bucket"]["name"]) == ([OTHER], ["source"])
