# Alarms, metrics and tags. Those with the default inputs are in alarm_defaults.tftest.hcl.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
}

run "alarms_name_the_limit_of_the_queue_that_is_slow" {
  command = plan

  assert {
    condition = alltrue([for key in ["lag", "throttles"] :
      strcontains(aws_cloudwatch_metric_alarm.sync[key].alarm_description, "sync.max_concurrency") && strcontains(aws_cloudwatch_metric_alarm.sync[key].alarm_description, "bulk.max_concurrency")
    ])
    error_message = "Large objects are bulk work, and both limits count for throttling."
  }

  assert {
    condition     = strcontains(aws_cloudwatch_metric_alarm.sync["queue-age"].alarm_description, "sync.max_concurrency") && !strcontains(aws_cloudwatch_metric_alarm.sync["queue-age"].alarm_description, "bulk.max_concurrency")
    error_message = "The queue of the events has only its limit."
  }
}

run "alarms_with_a_long_memory_go_off_at_the_first_minute" {
  command = plan

  assert {
    condition = { for key, alarm in aws_cloudwatch_metric_alarm.sync : key => alarm.datapoints_to_alarm if alarm.evaluation_periods > 3 } == {
      lag     = 1
      retries = 1
    }
    error_message = "One minute above the threshold must be enough."
  }
}

run "no_lag_alarms_without_max_lag" {
  command = plan

  variables {
    max_lag_s = null
  }

  assert {
    condition     = length(setintersection(keys(aws_cloudwatch_metric_alarm.sync), ["lag", "queue-age"])) == 0 && length(aws_cloudwatch_metric_alarm.sync) == 9
    error_message = "Without max_lag_s the alarms on lag and queue age must be missing, and only those."
  }
}

run "no_retry_alarm_and_no_metric_without_max_retry" {
  command = plan

  variables {
    max_retry_s = null
    function    = { log_level = "ERROR" }
  }

  assert {
    condition     = !contains(keys(aws_cloudwatch_metric_alarm.sync), "retries") && length(aws_cloudwatch_metric_alarm.sync) == 10
    error_message = "Without max_retry_s the alarm on retries must be missing, and only that one."
  }

  assert {
    condition     = !contains(keys(aws_cloudwatch_log_metric_filter.worker), "function-RepeatedRetries")
    error_message = "Without max_retry_s its metric must be missing."
  }
}

run "alarm_actions_of_every_alarm" {
  command = plan

  variables {
    max_lag_s     = 120
    function      = { timeout_s = 300 }
    alarm_actions = ["arn:aws:sns:eu-west-1:123456789012:one", "arn:aws:sns:eu-west-1:123456789012:two"]
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.sync["lag"].threshold == 120000 && aws_cloudwatch_metric_alarm.sync["queue-age"].threshold == 120
    error_message = "The thresholds must be max_lag_s, in milliseconds and seconds."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.sync["retries"].evaluation_periods == 20
    error_message = "The window must have room for the longest delay of a retry and the timeout of the function."
  }

  assert {
    condition = alltrue([for alarm in aws_cloudwatch_metric_alarm.sync :
      alarm.alarm_actions == toset(var.alarm_actions) && alarm.ok_actions == toset(var.alarm_actions)
    ])
    error_message = "Each alarm must have all actions, for ALARM and for OK."
  }
}

run "all_resources_have_tags" {
  command = plan

  variables {
    notification_mode = "eventbridge"
    tags              = { team = "storage" }
  }

  assert {
    condition = alltrue([for tags in concat(
      [
        aws_sqs_queue.work.tags,
        aws_sqs_queue.bulk.tags,
        aws_sqs_queue.deletions.tags,
        aws_sqs_queue.held_deletions.tags,
        aws_sqs_queue.dead_letters.tags,
        aws_lambda_function.sync.tags,
        aws_lambda_event_source_mapping.work.tags,
        aws_lambda_event_source_mapping.bulk.tags,
        aws_lambda_event_source_mapping.deletions.tags,
        aws_iam_role.function.tags,
        aws_cloudwatch_log_group.function.tags,
        aws_secretsmanager_secret.target_credentials[0].tags,
        aws_cloudwatch_event_rule.source[0].tags,
      ],
      [for alarm in aws_cloudwatch_metric_alarm.sync : alarm.tags],
    ) : tags == tomap({ team = "storage" })])
    error_message = "All resources must have the tags."
  }
}

run "metrics" {
  command = plan

  variables {
    max_retry_s = 100
    service     = { enabled = true }
    ecs         = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] }
  }

  # tests/functional/test_alarms.py evaluates the patterns over real log lines.
  assert {
    condition = { for key, filter in aws_cloudwatch_log_metric_filter.worker : key => [
      filter.log_group_name, filter.metric_transformation[0].value, filter.metric_transformation[0].unit
      ] if startswith(key, "function-") } == {
      function-KeysCompared    = ["/aws/lambda/s3-syncer", "$.keys", "Count"]
      function-DriftRepaired   = ["/aws/lambda/s3-syncer", "$.changed", "Count"]
      function-DriftFailed     = ["/aws/lambda/s3-syncer", "$.failed", "Count"]
      function-SyncLag         = ["/aws/lambda/s3-syncer", "$.lag_ms", "Milliseconds"]
      function-RepeatedRetries = ["/aws/lambda/s3-syncer", "1", "Count"]
      function-ObjectsSynced   = ["/aws/lambda/s3-syncer", "1", "Count"]
      function-BytesSynced     = ["/aws/lambda/s3-syncer", "$.bytes", "Bytes"]
      function-ObjectsDeleted  = ["/aws/lambda/s3-syncer", "1", "Count"]
      function-DeletionsHeld   = ["/aws/lambda/s3-syncer", "1", "Count"]
      function-Retries         = ["/aws/lambda/s3-syncer", "1", "Count"]
      function-DeadLetters     = ["/aws/lambda/s3-syncer", "1", "Count"]
    }
    error_message = "The metric filters must read the log of the function."
  }

  assert {
    condition = alltrue([for key, filter in aws_cloudwatch_log_metric_filter.worker :
      filter.pattern == aws_cloudwatch_log_metric_filter.worker["function-${split("-", key)[1]}"].pattern
      && filter.metric_transformation[0].name == split("-", key)[1]
      && filter.metric_transformation[0].namespace == "S3Syncer/s3-syncer"
    ]) && length(aws_cloudwatch_log_metric_filter.worker) == 22 && output.metric_namespace == "S3Syncer/s3-syncer"
    error_message = "The service must have the same metrics as the function, and the namespace must contain the name."
  }

  assert {
    condition     = strcontains(aws_cloudwatch_log_metric_filter.worker["service-RepeatedRetries"].pattern, "$.failing_s > 100") && strcontains(aws_cloudwatch_log_metric_filter.worker["service-RepeatedRetries"].pattern, "$.attempts > 7")
    error_message = "The pattern must contain max_retry_s, and the number of deliveries that it takes."
  }
}

run "without_metrics_only_the_alarms_have_some" {
  command = plan

  variables {
    metrics = false
  }

  assert {
    condition     = keys(aws_cloudwatch_log_metric_filter.worker) == ["function-RepeatedRetries", "function-SyncLag"]
    error_message = "The alarms lag and retries need their metrics, and nothing else may have one."
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.sync) == 11
    error_message = "All alarms must stay."
  }
}

run "no_metrics_at_all" {
  command = plan

  variables {
    metrics     = false
    max_lag_s   = null
    max_retry_s = null
  }

  assert {
    condition     = length(aws_cloudwatch_log_metric_filter.worker) == 0
    error_message = "Without the alarms that need one, there must be no metric."
  }
}

run "no_events_by_default" {
  command = plan

  variables {
    migration = { enabled = true }
    ecs       = { subnet_ids = ["subnet-1"] }
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.function.policy, "events:PutEvents") && !contains(keys(aws_lambda_function.sync.environment[0].variables), "S3_SYNCER_EVENT_BUS_ARN")
    error_message = "Without event_bus_arn, the workers must send no events."
  }
}

run "workers_send_events_to_the_bus_alone" {
  command = plan

  variables {
    event_bus_arn = "arn:aws:events:eu-west-1:210987654321:event-bus/operations"
    migration     = { enabled = true }
    service       = { enabled = true }
    ecs           = { subnet_ids = ["subnet-1"] }
  }

  assert {
    condition = alltrue([for policy in [aws_iam_role_policy.function.policy, aws_iam_role_policy.task["migration"].policy, aws_iam_role_policy.task["service"].policy] :
      [for statement in jsondecode(policy).Statement : statement.Resource if contains(statement.Action, "events:PutEvents")] == [[var.event_bus_arn]]
    ])
    error_message = "Each worker may send events to this bus alone."
  }

  assert {
    condition = aws_lambda_function.sync.environment[0].variables["S3_SYNCER_EVENT_BUS_ARN"] == var.event_bus_arn && alltrue([for part in ["migration", "service"] :
      contains(jsondecode(aws_ecs_task_definition.task[part].container_definitions)[0].environment, { name = "S3_SYNCER_EVENT_BUS_ARN", value = var.event_bus_arn })
    ])
    error_message = "Each worker must know the bus."
  }

  assert {
    condition     = !contains(keys(output.environment), "S3_SYNCER_EVENT_BUS_ARN")
    error_message = "A command of an operator must send no events."
  }
}

run "bus_name_is_no_arn" {
  command = plan

  variables {
    event_bus_arn = "operations"
  }

  expect_failures = [var.event_bus_arn]
}
