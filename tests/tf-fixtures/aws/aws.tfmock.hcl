# Values of the mocked AWS: ARNs in the format of AWS, so that assertions can compare policies.

mock_data "aws_partition" {
  defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
}

mock_data "aws_service" {
  defaults = { region = "eu-west-1" }
}

mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012" }
}

# A bucket without notifications.
mock_data "aws_cloudcontrolapi_resource" {
  defaults = { properties = "{\"BucketName\": \"source\"}" }
}

mock_resource "aws_cloudwatch_log_group" {
  defaults = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:mocked" }
}

mock_resource "aws_lambda_function" {
  defaults = { arn = "arn:aws:lambda:eu-west-1:123456789012:function:mocked" }
}

mock_resource "aws_cloudwatch_event_rule" {
  defaults = { arn = "arn:aws:events:eu-west-1:123456789012:rule/mocked" }
}

mock_resource "aws_cloudwatch_event_bus" {
  defaults = { arn = "arn:aws:events:eu-west-1:123456789012:event-bus/mocked" }
}

mock_resource "aws_secretsmanager_secret" {
  defaults = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mocked" }
}

mock_resource "aws_ecr_repository" {
  defaults = {
    arn            = "arn:aws:ecr:eu-west-1:123456789012:repository/mocked"
    repository_url = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mocked"
  }
}

mock_resource "aws_ecs_cluster" {
  defaults = { arn = "arn:aws:ecs:eu-west-1:123456789012:cluster/mocked" }
}

mock_resource "aws_ecs_task_definition" {
  defaults = { arn = "arn:aws:ecs:eu-west-1:123456789012:task-definition/mocked:1" }
}

# Each role has its own ARN, so that an assertion sees which one is used.

override_resource {
  target = aws_iam_role.function
  values = { arn = "arn:aws:iam::123456789012:role/s3-syncer-function" }
}

override_resource {
  target = aws_iam_role.reconcile[0]
  values = { arn = "arn:aws:iam::123456789012:role/s3-syncer-reconcile" }
}

override_resource {
  target = aws_iam_role.task["migration"]
  values = { arn = "arn:aws:iam::123456789012:role/s3-syncer-migration" }
}

override_resource {
  target = aws_iam_role.task["service"]
  values = { arn = "arn:aws:iam::123456789012:role/s3-syncer-service" }
}

override_resource {
  target = aws_iam_role.task["execution"]
  values = { arn = "arn:aws:iam::123456789012:role/s3-syncer-execution" }
}

override_resource {
  target = aws_sqs_queue.work
  values = {
    arn = "arn:aws:sqs:eu-west-1:123456789012:s3-syncer"
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/s3-syncer"
  }
}

override_resource {
  target = aws_sqs_queue.bulk
  values = {
    arn = "arn:aws:sqs:eu-west-1:123456789012:s3-syncer-bulk"
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/s3-syncer-bulk"
  }
}

override_resource {
  target = aws_sqs_queue.deletions
  values = {
    arn = "arn:aws:sqs:eu-west-1:123456789012:s3-syncer-deletions"
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/s3-syncer-deletions"
  }
}

override_resource {
  target = aws_sqs_queue.held_deletions
  values = {
    arn = "arn:aws:sqs:eu-west-1:123456789012:s3-syncer-held-deletions"
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/s3-syncer-held-deletions"

    redrive_policy = ""
  }
}

override_resource {
  target = aws_sqs_queue.dead_letters
  values = {
    arn = "arn:aws:sqs:eu-west-1:123456789012:s3-syncer-dead-letters"
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/s3-syncer-dead-letters"

    policy = "" # a separate resource has it
  }
}
