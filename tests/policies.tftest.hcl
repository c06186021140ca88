# The sizes of the policies of the roles.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  name          = "n123456789-123456789-123456789-123456789-123456789-123456789-123"
  source_bucket = "b123456789-123456789-123456789-123456789-123456789-123456789-12"
  source_prefix = format("path%s", replace(format("%1020s", ""), " ", "-"))
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }

  notification_mode = "eventbridge"
  reconcile         = { schedule = "rate(1 day)" }
  function          = { vpc = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] } }
  ecs               = { subnet_ids = ["subnet-1"] }
  migration         = { enabled = true }
  service           = { enabled = true }
  kms_key_arn       = "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-12345678901234567890123456789012"
}

run "the_longest_names_and_forty_keys_fit" {
  command = plan

  variables {
    source_kms_key_arns   = [for number in range(20) : format("arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-%032d", number)]
    previous_kms_key_arns = [for number in range(20) : format("arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-%032d", number)]
  }

  override_resource {
    target          = aws_sqs_queue.work
    override_during = plan
    values          = { arn = "arn:aws-us-gov:sqs:us-gov-west-1:123456789012:n123456789-123456789-123456789-123456789-123456789-123456789-123" }
  }

  override_resource {
    target          = aws_sqs_queue.bulk
    override_during = plan
    values          = { arn = "arn:aws-us-gov:sqs:us-gov-west-1:123456789012:n123456789-123456789-123456789-123456789-123456789-123456789-123-bulk" }
  }

  override_resource {
    target          = aws_sqs_queue.dead_letters
    override_during = plan
    values          = { arn = "arn:aws-us-gov:sqs:us-gov-west-1:123456789012:n123456789-123456789-123456789-123456789-123456789-123456789-123-dead-letters" }
  }

  assert {
    condition     = length(var.name) == 64 && length(var.source_bucket) == 63 && length(var.source_prefix) == 1024
    error_message = "The test must use the longest names."
  }

  # The mocked ARNs of the secret and of the log groups are shorter than real ones, by less than 500 characters in all.
  assert {
    condition = alltrue([
      for policy in concat([aws_iam_role_policy.function, aws_iam_role_policy.reconcile[0]], values(aws_iam_role_policy.task)) :
      length(policy.policy) <= 10240 - 500
    ])
    error_message = "The policies must fit with room for longer ARNs."
  }
}

run "a_hundred_keys_are_too_many_for_a_policy" {
  command = plan

  variables {
    source_kms_key_arns = [for number in range(100) : format("arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-%032d", number)]
  }

  expect_failures = [aws_iam_role_policy.function, aws_iam_role_policy.task["migration"], aws_iam_role_policy.task["service"]]
}
