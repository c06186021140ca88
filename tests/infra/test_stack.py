"""The product as Terraform makes it, where IAM is enforced. One stack: the tests run in the order of this file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from pytest_terraform import terraform

from playground import verify

if TYPE_CHECKING:
    from tests.infra.conftest import Applied

# Everything waited for takes a second or two when the machine is idle.
PATIENCE_S = 60

terraform("local", scope="session")


def eventually(look: Callable[[], Any]) -> Any:
    """The first answer that is not false, waited for."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := look()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
    return answer


def in_source(applied: Applied, key: str) -> verify.Object:
    return verify.read_object(applied.stack.s3(), applied.stack.source_bucket, key)


def in_target(applied: Applied, key: str) -> verify.Object | None:
    target, client = applied.stack.target, applied.stack.target.s3()
    try:
        return verify.read_object(client, target.bucket, key)
    except client.exceptions.NoSuchKey:
        return None


def put(applied: Applied, key: str, **properties: Any) -> None:
    applied.stack.s3().put_object(Bucket=applied.stack.source_bucket, Key=key, **properties)


def log_lines(applied: Applied) -> list[dict[str, Any]]:
    pages = (
        applied.stack.client("logs").get_paginator("filter_log_events").paginate(logGroupName=applied.stack.log_group)
    )
    messages = [event["message"] for page in pages for event in page["events"]]
    return [json.loads(message) for message in messages if message.startswith("{")]


def take_dead_letters(applied: Applied) -> list[dict[str, str]]:
    """The attributes of the messages that are among the dead letters, which are then gone from there."""
    queue, client = applied.stack.dead_letter_queue_url, applied.stack.sqs()
    answer = client.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
    messages = answer.get("Messages", [])
    for message in messages:
        client.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return [{name: value["StringValue"] for name, value in m["MessageAttributes"].items()} for m in messages]


@contextmanager
def without(applied: Applied, action: str) -> Iterator[None]:
    """The function's role with one action less."""
    iam, role = applied.stack.client("iam"), applied.outputs["function_role_name"]
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    whole = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    lesser = json.loads(json.dumps(whole))
    (statement,) = (s for s in lesser["Statement"] if action in s["Action"])
    statement["Action"] = [other for other in statement["Action"] if other != action] or ["s3:ListAllMyBuckets"]
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(lesser))
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(whole))


def test_an_object_arrives(applied: Applied) -> None:
    key = "a folder/ä+%.txt"
    put(applied, key, Body=b"hello", ContentType="text/plain", Metadata={"colour": "blue"}, Tagging="k=v")
    assert eventually(lambda: in_target(applied, key)) == in_source(applied, key)


def test_its_deletion_follows(applied: Applied) -> None:
    applied.stack.s3().delete_object(Bucket=applied.stack.source_bucket, Key="a folder/ä+%.txt")
    eventually(lambda: in_target(applied, "a folder/ä+%.txt") is None)


def test_a_second_plan_is_empty(applied: Applied) -> None:
    applied.terraform("plan", "-detailed-exitcode")


def test_the_keys_of_the_target_are_nowhere_to_be_read(applied: Applied) -> None:
    target = applied.stack.target
    logged = json.dumps(log_lines(applied))
    for secret in (target.access_key_id, target.secret_access_key):
        assert secret not in applied.state.read_text()
        assert secret not in logged


@pytest.mark.parametrize("action", ["s3:GetObject", "s3:GetObjectTagging"])
def test_what_may_not_be_read_is_a_dead_letter_with_its_reason(applied: Applied, action: str) -> None:
    key = f"forbidden/{action}"
    with without(applied, action):
        put(applied, key, Body=b"hidden")
        (letter,) = eventually(lambda: take_dead_letters(applied))
    assert in_target(applied, key) is None
    assert letter["key"] == key
    assert letter["bucket"] == applied.stack.source_bucket
    assert "AccessDenied" in letter["error"]
    assert any(line.get("action") == "dead" and line["key"] == key for line in log_lines(applied))

    put(applied, key, Body=b"no longer hidden")
    assert eventually(lambda: in_target(applied, key)) == in_source(applied, key)


def test_the_role_may_do_nothing_else(applied: Applied) -> None:
    """What the policy leaves out is refused: the function could not write to its source if it wanted to."""
    role = applied.stack.client("iam").get_role(RoleName=applied.outputs["function_role_name"])["Role"]
    assumed = applied.stack.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="as-the-function")
    key, secret, token = (assumed["Credentials"][n] for n in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
    session = boto3.Session(key, secret, token, region_name=applied.stack.region)

    def function(service: str) -> Any:
        return session.client(service, endpoint_url=applied.stack.aws_endpoint)

    bucket = applied.stack.source_bucket
    refused: tuple[Callable[[], object], ...] = (
        lambda: function("s3").put_object(Bucket=bucket, Key="x", Body=b""),
        lambda: function("s3").delete_object(Bucket=bucket, Key="x"),
        lambda: function("s3").list_buckets(),
        lambda: function("sqs").purge_queue(QueueUrl=applied.stack.queue_url),
        lambda: function("sqs").receive_message(QueueUrl=applied.stack.dead_letter_queue_url),
        lambda: function("secretsmanager").list_secrets(),
        lambda: function("iam").list_roles(),
    )
    for call in refused:
        with pytest.raises(ClientError, match=r"AccessDenied|not authorized"):
            call()


def test_destroy_leaves_nothing(applied: Applied) -> None:
    applied.empty_source()
    applied.terraform("destroy", "-auto-approve")
    aws = applied.stack.client
    left = {
        "queues": aws("sqs").list_queues().get("QueueUrls", []),
        "functions": aws("lambda").list_functions()["Functions"],
        "mappings": aws("lambda").list_event_source_mappings()["EventSourceMappings"],
        "roles": aws("iam").list_roles()["Roles"],
        "secrets": aws("secretsmanager").list_secrets()["SecretList"],
        "log groups": aws("logs").describe_log_groups()["logGroups"],
        "alarms": aws("cloudwatch").describe_alarms()["MetricAlarms"],
        "buckets": aws("s3").list_buckets()["Buckets"],
    }
    assert left == {kind: [] for kind in left}
