# Deletions that wait or are held, and the pause.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
}

run "the_queues_of_the_deletions" {
  command = plan

  assert {
    condition     = aws_sqs_queue.deletions.delay_seconds == 60 && coalesce(aws_sqs_queue.held_deletions.delay_seconds, 0) == 0
    error_message = "A deletion must wait for 60 s, and a held one must be seen at once."
  }

  assert {
    condition     = aws_sqs_queue.held_deletions.redrive_policy == "" # the value of the mock
    error_message = "A list of the held deletions must not make dead letters of them."
  }

  assert {
    condition = alltrue([for policy, arn in {
      (aws_sqs_queue.deletions.policy)      = "arn:aws:sqs:eu-west-1:123456789012:s3-syncer-deletions"
      (aws_sqs_queue.held_deletions.policy) = "arn:aws:sqs:eu-west-1:123456789012:s3-syncer-held-deletions"
      } : jsondecode(policy).Statement == [{
        Sid       = "DenyInsecureTransport"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
        Resource  = arn
    }]])
    error_message = "Both queues must refuse requests without TLS."
  }
}

run "the_function_consumes_the_deletions_and_not_the_held_ones" {
  command = plan

  assert {
    condition = {
      source      = aws_lambda_event_source_mapping.deletions.event_source_arn
      function    = aws_lambda_event_source_mapping.deletions.function_name
      batch_size  = aws_lambda_event_source_mapping.deletions.batch_size
      concurrency = aws_lambda_event_source_mapping.deletions.scaling_config[0].maximum_concurrency
      responses   = aws_lambda_event_source_mapping.deletions.function_response_types
      } == {
      source      = aws_sqs_queue.deletions.arn
      function    = aws_lambda_function.sync.arn
      batch_size  = 10
      concurrency = 10
      responses   = toset(["ReportBatchItemFailures"])
    }
    error_message = "The function must receive deletions in batches, and report each failure."
  }
}

run "the_delay_and_the_limit_follow_the_input" {
  command = plan

  variables {
    deletes = { delay_s = 900, hold_above = 7 }
  }

  assert {
    condition     = aws_sqs_queue.deletions.delay_seconds == 900 && aws_lambda_function.sync.environment[0].variables.HOLD_DELETIONS_ABOVE == "7"
    error_message = "The queue must have the delay, and the workers the limit."
  }
}

run "no_limit" {
  command = plan

  variables {
    deletes = { delay_s = 0, hold_above = -1 }
  }

  assert {
    condition     = !contains(keys(aws_lambda_function.sync.environment[0].variables), "HOLD_DELETIONS_ABOVE") && aws_sqs_queue.deletions.delay_seconds == 0
    error_message = "Without a limit, the workers must not count."
  }
}

run "a_pause_stops_the_workers_and_keeps_everything_else" {
  command = plan

  variables {
    paused    = true
    reconcile = { schedule = "rate(1 day)" }
    service   = { enabled = true, min_tasks = 2, max_tasks = 5 }
    ecs       = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] }
  }

  assert {
    condition     = alltrue([for mapping in [aws_lambda_event_source_mapping.work, aws_lambda_event_source_mapping.bulk, aws_lambda_event_source_mapping.deletions] : !mapping.enabled])
    error_message = "The function must receive nothing."
  }

  assert {
    condition     = aws_appautoscaling_target.service[0].min_capacity == 0 && aws_appautoscaling_target.service[0].max_capacity == 0 && aws_ecs_service.service[0].desired_count == 0
    error_message = "The service must have no tasks."
  }

  assert {
    condition     = aws_scheduler_schedule.reconcile[0].state == "DISABLED"
    error_message = "The schedule must send no ranges."
  }

  assert {
    condition     = length(aws_s3_bucket_notification.source) == 1 && length(aws_appautoscaling_policy.service) == 2 && output.paused
    error_message = "The events must still come, and the scaling must be there for the end of the pause."
  }
}

run "the_workers_run_without_a_pause" {
  command = plan

  variables {
    reconcile = { schedule = "rate(1 day)" }
  }

  assert {
    condition     = aws_lambda_event_source_mapping.work.enabled && aws_lambda_event_source_mapping.deletions.enabled && aws_scheduler_schedule.reconcile[0].state == "ENABLED" && !output.paused
    error_message = "The workers and the schedule must run."
  }
}
