# Alarms and metrics. The description of each alarm says what to do.

locals {
  # Log groups of the workers that consume the queue.
  worker_logs = merge(
    { for part in ["function"] : part => aws_cloudwatch_log_group.function if var.function.enabled },
    { for part, group in aws_cloudwatch_log_group.task : part => group if part == "service" },
  )
  worker_log_groups = [for group in local.worker_logs : group.name]
  worker_limits = concat(
    var.function.enabled ? ["sync.max_concurrency"] : [],
    var.service.enabled ? ["service.max_tasks"] : [],
  )

  alarms = merge(
    {
      # NumberOfMessagesSent does not count messages that SQS itself moves here after too many receives.
      dead-letters = {
        description = "Changes that could not be mirrored are in ${aws_sqs_queue.dead_letters.name}. Read the attributes error and key of each message, fix the cause, then redrive the messages."
        namespace   = "AWS/SQS"
        metric      = "ApproximateNumberOfMessagesVisible"
        dimensions  = { QueueName = aws_sqs_queue.dead_letters.name }
        statistic   = "Maximum"
        threshold   = 0
        period_s    = 60
        periods     = 1
      }
      errors = {
        description = "Function ${aws_lambda_function.sync.function_name} crashes or times out. See log group ${aws_cloudwatch_log_group.function.name}."
        namespace   = "AWS/Lambda"
        metric      = "Errors"
        dimensions  = { FunctionName = aws_lambda_function.sync.function_name }
        statistic   = "Sum"
        threshold   = 0
        period_s    = 300
        periods     = 1
      }
      # Lambda may throttle a short burst and retries. Throttling for 15 minutes means that concurrency is missing.
      throttles = {
        description = "Function ${aws_lambda_function.sync.function_name} is throttled. Lower sync.max_concurrency, or request a higher Lambda concurrency limit for the account."
        namespace   = "AWS/Lambda"
        metric      = "Throttles"
        dimensions  = { FunctionName = aws_lambda_function.sync.function_name }
        statistic   = "Sum"
        threshold   = 0
        period_s    = 300
        periods     = 3
      }
    },
    { for max_lag_s in var.max_lag_s[*] : "lag" => {
      description = "A change has been waiting for more than ${max_lag_s} s. Check ${join(" and ", local.worker_log_groups)} for errors of the target. If there are none, the workers are too slow for the rate of changes: raise ${join(" or ", local.worker_limits)}."
      namespace   = "AWS/SQS"
      metric      = "ApproximateAgeOfOldestMessage"
      dimensions  = { QueueName = aws_sqs_queue.work.name }
      statistic   = "Maximum"
      threshold   = max_lag_s
      period_s    = 60
      periods     = 1
    } },
  )
}

# Results of sweeps, counted from the log line of each key range. An hour without a sweep has no data points and costs
# nothing.
locals {
  metric_namespace = "S3Syncer/${var.name}"

  sweep_metrics = merge([for worker, group in local.worker_logs : {
    for name, value in { KeysCompared = "$.keys", DriftRepaired = "$.changed", DriftFailed = "$.failed" } :
    "${worker}-${name}" => { name = name, value = value, log_group = group.name }
  }]...)
}

resource "aws_cloudwatch_log_metric_filter" "sweep" {
  for_each = local.sweep_metrics

  name           = "${var.name}-${each.key}"
  log_group_name = each.value.log_group
  pattern        = "{ $.action = \"range\" }"

  metric_transformation {
    namespace = local.metric_namespace
    name      = each.value.name
    value     = each.value.value
    unit      = "Count"
  }
}

resource "aws_cloudwatch_metric_alarm" "sync" {
  for_each = local.alarms

  alarm_name        = "${var.name}-${each.key}"
  alarm_description = each.value.description

  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  period              = each.value.period_s
  evaluation_periods  = each.value.periods

  # An idle queue and an idle function send no data points, and that is healthy.
  treat_missing_data = "notBreaching"

  alarm_actions = var.alarm_actions
  ok_actions    = var.alarm_actions

  tags = var.tags
}
