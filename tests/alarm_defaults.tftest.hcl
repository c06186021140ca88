# Alarms with the default inputs. tests/functional/test_alarms.py evaluates them too, and needs no other run.

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
      dead-letters   = ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", 0, 60, 1]
      errors         = ["AWS/Lambda", "Errors", "Sum", 0, 300, 1]
      held-deletions = ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", 0, 60, 1]
      lag            = ["S3Syncer/s3-syncer", "SyncLag", "Maximum", 1800000, 60, 30]
      queue-age      = ["AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum", 1800, 60, 1]
      retries        = ["S3Syncer/s3-syncer", "RepeatedRetries", "Sum", 0, 60, 30]
      throttles      = ["AWS/Lambda", "Throttles", "Sum", 0, 300, 3]

      # After 10 of the 14 days for which SQS keeps a message.
      events-expire         = ["AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum", 864000, 3600, 1]
      bulk-work-expires     = ["AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum", 864000, 3600, 1]
      deletions-expire      = ["AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum", 864000, 3600, 1]
      held-deletions-expire = ["AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum", 864000, 3600, 1]
    }
    error_message = "The alarms must watch these metrics."
  }

  assert {
    condition = { for key, alarm in aws_cloudwatch_metric_alarm.sync : key => alarm.dimensions if length(alarm.dimensions) > 0 } == {
      dead-letters   = tomap({ QueueName = "s3-syncer-dead-letters" })
      errors         = tomap({ FunctionName = "s3-syncer" })
      held-deletions = tomap({ QueueName = "s3-syncer-held-deletions" })
      queue-age      = tomap({ QueueName = "s3-syncer" })
      throttles      = tomap({ FunctionName = "s3-syncer" })

      events-expire         = tomap({ QueueName = "s3-syncer" })
      bulk-work-expires     = tomap({ QueueName = "s3-syncer-bulk" })
      deletions-expire      = tomap({ QueueName = "s3-syncer-deletions" })
      held-deletions-expire = tomap({ QueueName = "s3-syncer-held-deletions" })
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
