# Alarms and metrics. The description of each alarm says what to do.

locals {
  # Log groups of the workers that consume the queues.
  worker_logs = merge(
    { for part in ["function"] : part => aws_cloudwatch_log_group.function if var.function.enabled },
    { for part, group in aws_cloudwatch_log_group.task : part => group if part == "service" },
  )
  worker_log_group_names = join(" and ", [for group in local.worker_logs : group.name])
  worker_limits = join(" or ", concat(
    var.function.enabled ? ["sync.max_concurrency"] : [],
    var.service.enabled ? ["service.max_tasks"] : [],
  ))
  # Of the 14 days for which SQS keeps a message.
  expiry_warning_days = 10

  # The parts of a large object are bulk work. A task of the service has slots for both queues.
  large_object_limit = var.function.enabled ? " If only objects above sync.distributed_copy_threshold_mb are late, raise bulk.max_concurrency." : ""

  alarms = merge(
    # Messages that wait for a person. NumberOfMessagesSent does not count messages that SQS itself moves to the dead-letter
    # queue after too many receives.
    { for name, part in {
      dead-letters   = { queue = aws_sqs_queue.dead_letters.name, description = "Changes that could not be mirrored are in ${aws_sqs_queue.dead_letters.name}. Read the attributes error and key of each message, fix the cause, then redrive the messages." }
      held-deletions = { queue = aws_sqs_queue.held_deletions.name, description = "Deletions are held: more than deletes.hold_above waited at the same time. Nothing of them is deleted. Run s3-syncer deletions list. If the objects are meant to go, run s3-syncer deletions release, otherwise s3-syncer deletions discard." }
      } : name => {
      description = part.description
      namespace   = "AWS/SQS"
      metric      = "ApproximateNumberOfMessagesVisible"
      dimensions  = { QueueName = part.queue }
      statistic   = "Maximum"
      threshold   = 0
      period_s    = 60
      periods     = 1
    } },
    {
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
        description = "Function ${aws_lambda_function.sync.function_name} is throttled. Lower sync.max_concurrency or bulk.max_concurrency, or request a higher Lambda concurrency limit for the account."
        namespace   = "AWS/Lambda"
        metric      = "Throttles"
        dimensions  = { FunctionName = aws_lambda_function.sync.function_name }
        statistic   = "Sum"
        threshold   = 0
        period_s    = 300
        periods     = 3
      }
    },
    # Messages that SQS will delete soon, because they wait for a person: while the module is paused, and held deletions.
    { for suffix, part in {
      "events-expire"         = { queue = aws_sqs_queue.work.name, loss = "Changes are then not mirrored until a sweep finds them", what = "End the pause, or repair what the workers cannot do" }
      "bulk-work-expires"     = { queue = aws_sqs_queue.bulk.name, loss = "Changes are then not mirrored until a sweep finds them", what = "End the pause, or repair what the workers cannot do" }
      "deletions-expire"      = { queue = aws_sqs_queue.deletions.name, loss = "The objects then stay in the target", what = "End the pause, or repair what the workers cannot do" }
      "held-deletions-expire" = { queue = aws_sqs_queue.held_deletions.name, loss = "The objects then stay in the target, and s3-syncer check names them", what = "Run s3-syncer deletions release or discard" }
      } : suffix => {
      description = "The oldest message of ${part.queue} is ${local.expiry_warning_days} days old, and SQS deletes it after 14. ${part.loss}. ${part.what}."
      namespace   = "AWS/SQS"
      metric      = "ApproximateAgeOfOldestMessage"
      dimensions  = { QueueName = part.queue }
      statistic   = "Maximum"
      threshold   = local.expiry_warning_days * 24 * 60 * 60
      period_s    = 3600
      periods     = 1
    } },
    # Lag as the log shows it: of what was mirrored, and of what is tried again.
    { for max_lag_s in var.max_lag_s[*] : "lag" => {
      description = "A change was mirrored more than ${max_lag_s} s late, or is not mirrored after that time. Search ${local.worker_log_group_names} for lines with action retry: their reason says what to repair. If there are none, a store does not respond, a large object takes that long (action waiting), or the workers are too slow for the rate of changes: raise ${local.worker_limits}.${local.large_object_limit}"
      namespace   = local.metric_namespace
      metric      = "SyncLag"
      dimensions  = {}
      statistic   = "Maximum"
      threshold   = 1000 * max_lag_s
      period_s    = 60
      periods     = local.retry_window_min
      datapoints  = 1
    } },
    # Messages that no worker receives. SQS leaves out a message that was received three times and not deleted, so this
    # metric does not show an outage of the target.
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    { for max_lag_s in var.max_lag_s[*] : "queue-age" => {
      description = "A message of ${aws_sqs_queue.work.name} has been waiting for more than ${max_lag_s} s. Check that the workers run, and raise ${local.worker_limits} if they are too slow for the rate of changes."
      namespace   = "AWS/SQS"
      metric      = "ApproximateAgeOfOldestMessage"
      dimensions  = { QueueName = aws_sqs_queue.work.name }
      statistic   = "Maximum"
      threshold   = max_lag_s
      period_s    = 60
      periods     = 1
    } },
    { for max_retry_s in var.max_retry_s[*] : "retries" => {
      description = "Changes have been failing for more than ${max_retry_s} s. Search ${local.worker_log_group_names} for lines with action retry or circuit-open: their reason says what to repair. With only lines waiting, a store accepts connections and does not respond. The messages stay on the queue and are delivered again, at the latest after 15 minutes."
      namespace   = local.metric_namespace
      metric      = "RepeatedRetries"
      dimensions  = {}
      statistic   = "Sum"
      threshold   = 0
      period_s    = 60
      periods     = local.retry_window_min
      datapoints  = 1
    } },
  )

  # Minutes that the alarms on retries look back; one minute above the threshold is enough for the state ALARM. So they go
  # off with the first such line, and not only when a longer period has passed. A message that fails writes a line at each
  # delivery. The delay before the next one grows to 900 s, and the delivery may take as long as an invocation. With a
  # shorter window, an alarm would change to OK and back between two lines of an outage. The price is that it returns to
  # OK that much later.
  retry_window_min = ceil((900 + var.function.timeout_s) / 60)
}

locals {
  # Environment of the workers that send events to event_bus_arn: docs/events.md. The output environment has no such
  # variable, because a command on the machine of an operator sends none.
  event_environment = { for arn in var.event_bus_arn[*] : "S3_SYNCER_EVENT_BUS_ARN" => arn }
}

# Metrics from the log lines of the workers. A metric without a line in an hour has no data points and costs nothing. The
# pattern names the field of the value as well: a line without a number there must not match.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
locals {
  metric_namespace = "S3Syncer/${var.name}"

  # Seconds without progress that say nothing.
  min_idle_s = 100

  metrics = merge(
    # Results of sweeps, one line for each key range.
    {
      for name, field in { KeysCompared = "keys", DriftRepaired = "changed", DriftFailed = "failed" } :
      name => {
        pattern = "{ $.action = \"range\" && $.${field} >= 0 }"
        value   = "$.${field}"
        unit    = "Count"
      } if var.metrics
    },
    # One line for each key, of live sync and of ranges. The line "complete" is that of a copy by several workers.
    {
      for name, actions in {
        ObjectsSynced  = ["copy", "update", "tags", "lock", "complete"]
        ObjectsDeleted = ["delete"]
        DeletionsHeld  = ["held"]
        Retries        = ["retry"]
        DeadLetters    = ["dead-letter"]
      } :
      name => {
        pattern = "{ ${join(" || ", [for action in actions : "$.action = \"${action}\""])} }"
        value   = "1"
        unit    = "Count"
      } if var.metrics
    },
    {
      for name in ["BytesSynced"] : name => {
        pattern = "{ ($.action = \"copy\" || $.action = \"update\" || $.action = \"complete\") && $.bytes >= 0 }"
        value   = "$.bytes"
        unit    = "Bytes"
      } if var.metrics
    },
    {
      # Time from the event to the line. Changes that are mirrored have a line, and so have those that failed and wait for
      # the next delivery. Those that a worker works on have one each minute. Without these, an outage would have no lag at
      # all. A large object counts as late while it is copied, as it does at the end of its copy. An event that finds its
      # key equal has no lag: the mirror had the change before. Dead letters have another alarm.
      for name in ["SyncLag"] : name => {
        pattern = "{ $.lag_ms >= 0 && $.action != \"dead-letter\" }"
        value   = "$.lag_ms"
        unit    = "Milliseconds"
      } if var.metrics || var.max_lag_s != null
    },
    # Lines about more than a failure that the next delivery repairs. The first condition is for a change that is older
    # than max_retry_s. It must also have failed three times, or a store must fail as a whole. Otherwise one failed request
    # would count while a burst of changes waits in the queue.
    #
    # The second condition is for messages of any kind, which may have no event. The shortest delays between so many
    # deliveries add up to max_retry_s. The delays are 2, 4, 8 s and so on, at least half of that.
    #
    # The third condition is for a service that has not reached a store or the queue for max_retry_s. It then receives one
    # message at a time, so that most messages have failed only once.
    #
    # The fourth condition is for a store that accepts connections and never responds. The requests to it fail after
    # minutes, with all their retries. Work has a line each minute, and idle_s counts from its last progress, or from the
    # last response of both stores. Each part of a large object is progress, so its copy is no failure, however long.
    # min_idle_s is more than a part or a completion takes, and less than two lines.
    { for max_retry_s in var.max_retry_s[*] : "RepeatedRetries" => {
      pattern = join(" || ", [
        "{ ($.action = \"retry\" && $.lag_ms > ${1000 * max_retry_s} && ($.unusable IS TRUE || $.attempts > 2))",
        "($.action = \"retry\" && $.attempts > ${ceil(log(max_retry_s + 1, 2))})",
        "($.action = \"circuit-open\" && $.failing_s > ${max_retry_s})",
        "($.action = \"waiting\" && $.idle_s > ${max(local.min_idle_s, max_retry_s)}) }",
      ])
      value = "1"
      unit  = "Count"
    } },
  )

  worker_metrics = merge([for worker, group in local.worker_logs : {
    for name, metric in local.metrics : "${worker}-${name}" => merge(metric, { name = name, log_group = group.name })
  }]...)
}

resource "aws_cloudwatch_log_metric_filter" "worker" {
  for_each = local.worker_metrics

  name           = "${var.name}-${each.key}"
  log_group_name = each.value.log_group
  pattern        = each.value.pattern

  metric_transformation {
    namespace = local.metric_namespace
    name      = each.value.name
    value     = each.value.value
    unit      = each.value.unit
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
  datapoints_to_alarm = try(each.value.datapoints, null)

  # An idle queue, an idle function and a log without lines send no data points, and that is healthy.
  treat_missing_data = "notBreaching"

  alarm_actions = var.alarm_actions
  ok_actions    = var.alarm_actions

  tags = var.tags
}
