"""Test the ECS service of `configurations/service` on the emulated AWS, with an ECS that behaves as AWS does.

The account has never used ECS before, and the repository has no image.
"""

from __future__ import annotations

from dataclasses import replace

from tests.infra.examples import SERVICE, Examples


def test_first_apply_needs_no_image(examples: Examples) -> None:
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
    changed = {**service.tool.environment, "TF_VAR_arguments": '["--bwlimit=9M"]'}
    changed_service = replace(service, tool=replace(service.tool, environment=changed))
    changed_service.terraform("apply", "-auto-approve")
    after = service.outputs["s3_syncer"]["service"]
    assert after["task_definition_arn"] != before["task_definition_arn"]

    at = {"cluster": before["cluster_arn"], "service": before["name"]}
    rolled_back = ecs.update_service(**at, taskDefinition=before["task_definition_arn"])["service"]
    assert rolled_back["taskDefinition"] == before["task_definition_arn"]
    changed_service.terraform("apply", "-auto-approve")
    changed_service.terraform("plan", "-detailed-exitcode", "-lock=false")
