"""Test the ECS service of `configurations/service` on the emulated AWS.

The account has never used ECS before, and the repository has no image. The tests run in this order: each applies other
inputs.
"""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.infra.examples import REGION, SERVICE, Example, Examples


def apply(service: Example, **inputs: object) -> Example:
    """Apply other inputs, and test that the next plan is empty."""
    changed = service.with_inputs(**inputs)
    changed.terraform("apply", "-auto-approve")
    changed.terraform("plan", "-detailed-exitcode", "-lock=false")
    return changed


def test_first_apply_needs_no_image(examples: Examples) -> None:
    """The emulator starts no task with any image, so this shows only that the apply has no need of one.

    tests/service.tftest.hcl shows that it does not wait for a task. What ECS does then is in docs/aws-behaviour.md.
    """
    service = examples[SERVICE].outputs["s3_syncer"]["service"]
    repository = service["repository_url"].partition("/")[2]
    assert examples.aws.client("ecr").list_images(repositoryName=repository)["imageIds"] == []
    described = examples.aws.client("ecs").describe_services(cluster=service["cluster_arn"], services=[service["name"]])
    (created,) = described["services"]
    assert (created["status"], created["desiredCount"]) == ("ACTIVE", 1)


def test_a_second_plan_is_empty(examples: Examples) -> None:
    examples[SERVICE].terraform("plan", "-detailed-exitcode", "-lock=false")


def test_service_can_return_to_the_task_definition_before(examples: Examples) -> None:
    """The deployment circuit breaker does so. ECS accepts no task definition that was deregistered."""
    service, ecs = examples[SERVICE], examples.aws.client("ecs")
    before = service.outputs["s3_syncer"]["service"]
    apply(service, arguments=["--bwlimit=9M"])
    after = service.outputs["s3_syncer"]["service"]
    assert after["task_definition_arn"] != before["task_definition_arn"]

    at = {"cluster": before["cluster_arn"], "service": before["name"]}
    rolled_back = ecs.update_service(**at, taskDefinition=before["task_definition_arn"])["service"]
    assert rolled_back["taskDefinition"] == before["task_definition_arn"]


def test_message_under_an_earlier_key_is_received(examples: Examples) -> None:
    service, sqs = examples[SERVICE], examples.aws.client("sqs")
    earlier, later = examples.aws.key(), examples.aws.key()
    apply(service, kms_key_arn=earlier)
    outputs = service.outputs["s3_syncer"]
    queue = outputs["queue_url"]
    sqs.purge_queue(QueueUrl=queue)  # removes the test event of S3
    sqs.send_message(QueueUrl=queue, MessageBody="under the earlier key")

    apply(service, kms_key_arn=later, previous_kms_key_arns=[earlier])
    as_service = client_of(examples, outputs["role_arns"]["service"])
    (received,) = as_service.receive_message(QueueUrl=queue)["Messages"]
    assert received["Body"] == "under the earlier key"

    apply(service, kms_key_arn=later)
    with pytest.raises(ClientError, match="AccessDenied"):
        as_service.receive_message(QueueUrl=queue)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=received["ReceiptHandle"])
    sqs.send_message(QueueUrl=queue, MessageBody="under the later key")
    (received,) = as_service.receive_message(QueueUrl=queue)["Messages"]
    assert received["Body"] == "under the later key"


def client_of(examples: Examples, role: str) -> Any:
    """Return an SQS client with the permissions of the role."""
    session = examples.aws.client("sts").assume_role(RoleArn=role, RoleSessionName="receiver")["Credentials"]
    keys = (session[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
    return boto3.Session(*keys, region_name=REGION).client("sqs", endpoint_url=examples.aws.endpoint)
