# Alarms, metrics and tags.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
}

run "alarm_defaults" {
  command = plan

  assert {
    condition = { for key, alarm in aws_cloudwatch_metric_alarm.sync : key => [
      alarm.namespace, alarm.metric_name, alarm.statistic, alarm.threshold, alarm.period, alarm.evaluation_periods
      ] } == {
      dead-letters = ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", 0, 60, 1]
      errors       = ["AWS/Lambda", "Errors", "Sum", 0, 300, 1]
      lag          = ["AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum", 1800, 60, 1]
      throttles    = ["AWS/Lambda", "Throttles", "Sum", 0, 300, 3]
    }
    error_message = "The alarms must watch these metrics."
  }

  assert {
    condition = { for key, alarm in aws_cloudwatch_metric_alarm.sync : key => alarm.dimensions } == {
      dead-letters = tomap({ QueueName = "s3-syncer-dead-letters" })
      errors       = tomap({ FunctionName = "s3-syncer" })
      lag          = tomap({ QueueName = "s3-syncer" })
      throttles    = tomap({ FunctionName = "s3-syncer" })
    }
    error_message = "The alarms must watch these resources."
  }

  assert {
    condition = alltrue([for alarm in aws_cloudwatch_metric_alarm.sync :
      alarm.comparison_operator == "GreaterThanThreshold" && alarm.treat_missing_data == "notBreaching" && alarm.alarm_description != ""
    ])
    error_message = "An idle bucket must not raise an alarm, and each description must say what to do."
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.sync : length(coalesce(alarm.alarm_actions, [])) == 0])
    error_message = "The alarms must have no actions by default."
  }
}

run "no_lag_alarm_without_max_lag" {
  command = plan

  variables {
    max_lag_s = null
  }

  assert {
    condition     = keys(aws_cloudwatch_metric_alarm.sync) == ["dead-letters", "errors", "throttles"]
    error_message = "Without max_lag_s the lag alarm must be missing, and only that one."
  }
}

run "alarm_actions_of_every_alarm" {
  command = plan

  variables {
    max_lag_s     = 120
    alarm_actions = ["arn:aws:sns:eu-west-1:123456789012:one", "arn:aws:sns:eu-west-1:123456789012:two"]
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.sync["lag"].threshold == 120
    error_message = "The threshold must be max_lag_s."
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
        aws_sqs_queue.dead_letters.tags,
        aws_lambda_function.sync.tags,
        aws_lambda_event_source_mapping.work.tags,
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

run "sweep_metrics" {
  command = plan

  assert {
    condition = { for key, filter in aws_cloudwatch_log_metric_filter.sweep : key => [
      filter.log_group_name, filter.pattern, filter.metric_transformation[0].name, filter.metric_transformation[0].value
      ] } == {
      function-KeysCompared  = ["/aws/lambda/s3-syncer", "{ $.action = \"range\" }", "KeysCompared", "$.keys"]
      function-DriftRepaired = ["/aws/lambda/s3-syncer", "{ $.action = \"range\" }", "DriftRepaired", "$.changed"]
      function-DriftFailed   = ["/aws/lambda/s3-syncer", "{ $.action = \"range\" }", "DriftFailed", "$.failed"]
    }
    error_message = "The metric filters must count the range lines in the log of the function."
  }

  assert {
    condition     = alltrue([for filter in aws_cloudwatch_log_metric_filter.sweep : filter.metric_transformation[0].namespace == "S3Syncer/s3-syncer"]) && output.metric_namespace == "S3Syncer/s3-syncer"
    error_message = "The namespace must contain the name, and the output must be the namespace."
  }
}
