# The sizes of the policies.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-policies.html

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

override_data {
  target          = data.aws_service.sqs
  override_during = plan
  values          = { region = "us-gov-west-1" }
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

run "many_topics_fit_into_the_policy_of_the_queue" {
  command = plan

  variables {
    notification_topic_arns = [for number in range(50) : format("arn:aws-us-gov:sns:us-gov-west-1:123456789012:topic-%080d", number)]
  }

  assert {
    condition     = length(aws_sqs_queue.work.policy) > 7500 && length(aws_sqs_queue.work.policy) <= 8192
    error_message = "The test must be near the limit."
  }

  # The other policies have no list.
  assert {
    condition     = length(aws_sqs_queue.bulk.policy) < 1000 && length(aws_sqs_queue_policy.dead_letters.policy) < 1000
    error_message = "The policies of the other queues must stay small."
  }

  # https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html#key-policy-limit
  assert {
    condition     = length(jsonencode(output.kms_key_policy_statements)) < 4096
    error_message = "The statements must leave room in a key policy, which has at most 32 KB."
  }
}

run "a_hundred_topics_are_too_many_for_the_policy_of_the_queue" {
  command = plan

  variables {
    notification_topic_arns = [for number in range(100) : format("arn:aws-us-gov:sns:us-gov-west-1:123456789012:topic-%080d", number)]
  }

  expect_failures = [aws_sqs_queue.work]
}

run "a_prefix_of_ampersands_is_too_long_for_an_event_pattern" {
  command = plan

  variables {
    source_prefix = replace(format("%400s", ""), " ", "&")
  }

  expect_failures = [aws_cloudwatch_event_rule.source[0]]
}
