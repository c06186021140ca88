"""The outputs of a module, as `terraform output -json` prints them."""

from __future__ import annotations

import json
from typing import Any

MIGRATION = {
    "command": "aws ecs run-task",
    "task_definition_arn": "arn:aws:ecs:eu-west-1:123456789012:task-definition/mirror-migration:3",
    "cluster_arn": "arn:aws:ecs:eu-west-1:123456789012:cluster/mirror",
    "network_configuration": {"awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": "DISABLED"}},
    "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/s3-syncer/migration:0.1.0-arm64-0123456789ab",
    "repository_url": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/s3-syncer/migration",
    "log_group_name": "/aws/ecs/mirror-migration",
}

SERVICE = {
    "name": "mirror-service",
    "cluster_arn": "arn:aws:ecs:eu-west-1:123456789012:cluster/mirror",
    "task_definition_arn": "arn:aws:ecs:eu-west-1:123456789012:task-definition/mirror-service:7",
    "image": MIGRATION["image"],
    "repository_url": MIGRATION["repository_url"],
    "log_group_name": "/aws/ecs/mirror-service",
}


def module_outputs(name: str = "mirror", **changes: Any) -> dict[str, Any]:
    """Return the outputs of a module with this name in eu-west-1."""
    url = f"https://sqs.eu-west-1.amazonaws.com/123456789012/{name}"
    return {
        "name": name,
        "environment": {
            "SOURCE_BUCKET": "my-bucket",
            "SOURCE_PREFIX": "photos/",
            "TARGET_ENDPOINT": "https://s3.example.com",
            "TARGET_REGION": "us-east-1",
            "TARGET_BUCKET": "my-mirror",
            "TARGET_PREFIX": "",
            "TARGET_SECRET_ARN": f"arn:aws:secretsmanager:eu-west-1:123456789012:secret:{name}",
            "SYNC_TAGS": "true",
            "QUEUE_URL": url,
            "BULK_QUEUE_URL": f"{url}-bulk",
            "DEAD_LETTER_QUEUE_URL": f"{url}-dead-letters",
        },
        "queue_arn": f"arn:aws:sqs:eu-west-1:123456789012:{name}",
        "queue_url": url,
        "bulk_queue_url": f"{url}-bulk",
        "dead_letter_queue_url": f"{url}-dead-letters",
        "function_name": name,
        "log_group_name": f"/aws/lambda/{name}",
        "max_lag_s": 1800,
        "alarm_arns": {"lag": f"arn:aws:cloudwatch:eu-west-1:123456789012:alarm:{name}-lag"},
        **changes,
    }


def terraform_output(**values: Any) -> str:
    """Return the values as `terraform output -json` prints them."""
    return json.dumps({name: {"sensitive": False, "type": "dynamic", "value": each} for name, each in values.items()})
