# What somebody has to look at. Each alarm says in its description what to do.

locals {
  # Of those that take part.
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
      # Not NumberOfMessagesSent: that leaves out what SQS itself moves here after too many receives.
      dead-letters = {
        description = "Changes that could not be mirrored are in ${aws_sqs_queue.dead_letters.name}. The attributes error and key of each message say why; redrive them once that is mended."
        namespace   = "AWS/SQS"
        metric      = "ApproximateNumberOfMessagesVisible"
        dimensions  = { QueueName = aws_sqs_queue.dead_letters.name }
        statistic   = "Maximum"
        threshold   = 0
        period_s    = 60
        periods     = 1
      }
      errors = {
        description = "The function ${aws_lambda_function.sync.function_name} crashes or runs out of time. See ${aws_cloudwatch_log_group.function.name}."
        namespace   = "AWS/Lambda"
        metric      = "Errors"
        dimensions  = { FunctionName = aws_lambda_function.sync.function_name }
        statistic   = "Sum"
        threshold   = 0
        period_s    = 300
        periods     = 1
      }
      # Lambda throttles a burst now and then and tries again; a quarter of an hour is a lack of concurrency.
      throttles = {
        description = "The function ${aws_lambda_function.sync.function_name} is throttled. Lower sync.max_concurrency, or have the account's Lambda concurrency raised."
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
      description = "A change waits for more than ${max_lag_s} s. Either the target refuses work (see ${join(" and ", local.worker_log_groups)}) or too little works for the rate of changes: raise ${join(" or ", local.worker_limits)}."
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

# What sweeps found, counted from the line that each stretch of keys has in the log. There are no figures, and nothing to
# pay, for an hour without a sweep.
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

  # An idle queue and a function that is not called report nothing at all: that is well, not unknown.
  treat_missing_data = "notBreaching"

  alarm_actions = var.alarm_actions
  ok_actions    = var.alarm_actions

  tags = var.tags
}
