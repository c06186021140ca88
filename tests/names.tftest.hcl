# Names of all resources, up to the longest valid name.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
}

run "names_start_with_the_name" {
  command = plan

  assert {
    condition = {
      work         = aws_sqs_queue.work.name
      bulk         = aws_sqs_queue.bulk.name
      deletions    = aws_sqs_queue.deletions.name
      held         = aws_sqs_queue.held_deletions.name
      dead_letters = aws_sqs_queue.dead_letters.name
      function     = aws_lambda_function.sync.function_name
      role         = aws_iam_role.function.name
      logs         = aws_cloudwatch_log_group.function.name
      secret       = aws_secretsmanager_secret.target_credentials[0].name
      notification = aws_s3_bucket_notification.source[0].queue[0].id
      } == {
      work         = "s3-syncer"
      bulk         = "s3-syncer-bulk"
      deletions    = "s3-syncer-deletions"
      held         = "s3-syncer-held-deletions"
      dead_letters = "s3-syncer-dead-letters"
      function     = "s3-syncer"
      role         = "s3-syncer-function"
      logs         = "/aws/lambda/s3-syncer"
      secret       = "s3-syncer/target-credentials"
      notification = "s3-syncer"
    }
    error_message = "All names must start with the name."
  }

  assert {
    condition     = alltrue([for key, alarm in aws_cloudwatch_metric_alarm.sync : alarm.alarm_name == "s3-syncer-${key}"])
    error_message = "The name of each alarm must start with the name."
  }

  assert {
    condition     = output.function_name == "s3-syncer" && output.log_group_name == "/aws/lambda/s3-syncer" && output.function_role_name == "s3-syncer-function"
    error_message = "The outputs must have the names."
  }
}

run "the_rule_has_the_name" {
  command = plan

  variables {
    name              = "reports"
    notification_mode = "eventbridge"
  }

  assert {
    condition     = aws_cloudwatch_event_rule.source[0].name == "reports"
    error_message = "The rule must have the name."
  }
}

# Limits: https://docs.aws.amazon.com/general/latest/gr/aws-service-information.html
run "the_longest_name_fits_everywhere" {
  command = plan

  variables {
    name              = "n123456789-123456789-123456789-123456789-123456789-123456789-123"
    notification_mode = "eventbridge"
  }

  assert {
    condition     = length(var.name) == 64
    error_message = "The test must use the longest name."
  }

  assert {
    condition     = length(aws_lambda_function.sync.function_name) <= 64 && length(aws_cloudwatch_event_rule.source[0].name) <= 64
    error_message = "The names of a function and of a rule have at most 64 characters."
  }

  assert {
    condition     = length(aws_sqs_queue.dead_letters.name) <= 80
    error_message = "The name of a queue has at most 80 characters."
  }

  assert {
    condition     = aws_iam_role.function.name == "n123456789-123456789-123456789-123456789-1234567-${substr(sha256(var.name), 0, 6)}-function" && length(aws_iam_role.function.name) == 64
    error_message = "The name of a role has at most 64 characters: it must be cut, with a hash and the whole suffix."
  }
}

run "a_name_of_55_characters_needs_no_cut" {
  command = plan

  variables {
    name = "n123456789-123456789-123456789-123456789-123456789-1234"
  }

  assert {
    condition     = length(var.name) == 55 && aws_iam_role.function.name == "${var.name}-function" && length(aws_iam_role.function.name) == 64
    error_message = "A role name of exactly 64 characters must not be cut."
  }
}

run "long_buckets_fit_into_descriptions" {
  command = plan

  variables {
    source_bucket     = replace(format("%255s", ""), " ", "s")
    source_prefix     = replace(format("%1024s", ""), " ", "p")
    notification_mode = "eventbridge"
    reconcile         = { schedule = "rate(1 day)" }
  }

  assert {
    condition     = length(aws_lambda_function.sync.description) <= 256
    error_message = "The description of a function has at most 256 characters."
  }

  assert {
    condition     = length(aws_cloudwatch_event_rule.source[0].description) <= 512 && length(aws_scheduler_schedule.reconcile[0].description) <= 512
    error_message = "The description of a rule or of a schedule has at most 512 characters."
  }
}

run "a_repository_has_the_name_if_it_is_valid" {
  command = plan

  variables {
    ecs       = { subnet_ids = ["subnet-1"] }
    migration = { enabled = true }
  }

  assert {
    condition     = aws_ecr_repository.image[0].name == "s3-syncer/command"
    error_message = "A valid repository name must stay unchanged."
  }
}

run "invalid_repository_names_get_a_hash" {
  command = plan

  variables {
    name      = "S3_Syncer--"
    ecs       = { subnet_ids = ["subnet-1"] }
    migration = { enabled = true }
  }

  assert {
    condition     = aws_ecr_repository.image[0].name == "s3-syncer-${substr(sha256(var.name), 0, 6)}/command"
    error_message = "Two names must have two repositories."
  }
}
