# The dashboard: graphs of the metrics of monitoring.tf and of those that AWS sends, and tables from the logs of the workers.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html

locals {
  # The queues that workers receive from.
  dashboard_queues = {
    events    = aws_sqs_queue.work.name
    bulk      = aws_sqs_queue.bulk.name
    deletions = aws_sqs_queue.deletions.name
  }

  # Dimensions of the metrics of the service. The name of the cluster is known before its ARN.
  dashboard_services = [for service in aws_ecs_service.service : [
    "ClusterName", try(aws_ecs_cluster.tasks[0].name, regex("[^/]+$", local.cluster_arn)), "ServiceName", service.name
  ]]

  # The graphs, by row. A graph without metrics is left out, and a row without graphs.
  dashboard_graphs = [
    [
      {
        title = "Lag of changes (ms)"
        limit = var.max_lag_s == null ? null : { label = "max_lag_s", value = 1000 * var.max_lag_s }
        metrics = [
          for stat, label in { p50 = "median", p95 = "95 %", Maximum = "longest" } :
          [local.metric_namespace, "SyncLag", { stat = stat, label = label }] if contains(keys(local.metrics), "SyncLag")
        ]
      },
      {
        title = "Oldest message (s)"
        limit = var.max_lag_s == null ? null : { label = "max_lag_s", value = var.max_lag_s }
        metrics = [
          for label, queue in local.dashboard_queues :
          ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queue, { stat = "Maximum", label = label }]
        ]
      },
      {
        # A failed message is in flight until its next delivery, and a deletion is delayed at first.
        title = "Messages on the queues"
        limit = null
        metrics = concat(
          [
            for label, queue in local.dashboard_queues :
            [{ id = "all_${label}", label = label, expression = "${label}_visible + ${label}_in_flight + ${label}_delayed" }]
          ],
          concat([], [for label, queue in local.dashboard_queues : [
            for id, metric in { visible = "Visible", in_flight = "NotVisible", delayed = "Delayed" } :
            ["AWS/SQS", "ApproximateNumberOfMessages${metric}", "QueueName", queue, { id = "${label}_${id}", stat = "Maximum", visible = false }]
          ]]...),
        )
      },
    ],
    [
      {
        title = "Objects a second"
        limit = null
        metrics = concat([], [
          for name, label in { ObjectsSynced = "copied or changed", ObjectsDeleted = "deleted" } : [
            [{ id = "rate_${name}", label = label, expression = "sum_${name} / PERIOD(sum_${name})" }],
            [local.metric_namespace, name, { id = "sum_${name}", stat = "Sum", visible = false }],
          ] if contains(keys(local.metrics), name)
        ]...)
      },
      {
        title = "Bytes a second"
        limit = null
        metrics = concat([], [
          for name in ["BytesSynced"] : [
            [{ id = "rate_${name}", label = "copied", expression = "sum_${name} / PERIOD(sum_${name})" }],
            [local.metric_namespace, name, { id = "sum_${name}", stat = "Sum", visible = false }],
          ] if contains(keys(local.metrics), name)
        ]...)
      },
      {
        title = "Failures"
        limit = null
        metrics = [
          for name, label in { Retries = "retries", RepeatedRetries = "retries that the alarm counts", DeadLetters = "dead letters" } :
          [local.metric_namespace, name, { stat = "Sum", label = label }] if contains(keys(local.metrics), name)
        ]
      },
    ],
    [
      {
        title = "Held deletions"
        limit = null
        metrics = concat(
          [["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", aws_sqs_queue.held_deletions.name, { stat = "Maximum", label = "waiting" }]],
          [for name in ["DeletionsHeld"] : [local.metric_namespace, name, { stat = "Sum", label = "new" }] if contains(keys(local.metrics), name)],
        )
      },
      {
        title   = "Dead letters"
        limit   = null
        metrics = [["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", aws_sqs_queue.dead_letters.name, { stat = "Maximum", label = "waiting" }]]
      },
      {
        title = "Keys of sweeps"
        limit = null
        metrics = [
          for name, label in { KeysCompared = "compared", DriftRepaired = "repaired", DriftFailed = "failed" } :
          [local.metric_namespace, name, { stat = "Sum", label = label }] if contains(keys(local.metrics), name)
        ]
      },
    ],
    [
      {
        title   = "Function: concurrent invocations"
        limit   = null
        metrics = [for name in local.dashboard_functions : ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", name, { stat = "Maximum", label = "invocations" }]]
      },
      {
        title = "Function: duration (ms)"
        limit = null
        metrics = concat([], [for name in local.dashboard_functions : [
          for stat, label in { p50 = "median", p95 = "95 %", Maximum = "longest" } :
          ["AWS/Lambda", "Duration", "FunctionName", name, { stat = stat, label = label }]
        ]]...)
      },
      {
        title = "Function: errors and throttles"
        limit = null
        metrics = concat([], [for name in local.dashboard_functions : [
          for metric, label in { Errors = "errors", Throttles = "throttles" } :
          ["AWS/Lambda", metric, "FunctionName", name, { stat = "Sum", label = label }]
        ]]...)
      },
    ],
    [
      {
        # Each task sends one sample a minute. AWS/ECS has no other metric of the number of tasks.
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service_utilization.html
        title = "Service: running tasks"
        limit = null
        metrics = concat([], [for dimensions in local.dashboard_services : [
          [{ id = "tasks", label = "tasks", expression = "60 * samples / PERIOD(samples)" }],
          concat(["AWS/ECS", "CPUUtilization"], dimensions, [{ id = "samples", stat = "SampleCount", visible = false }]),
        ]]...)
      },
      {
        title = "Service: CPU and memory (%)"
        limit = null
        metrics = concat([], [for dimensions in local.dashboard_services : [
          for metric, label in { CPUUtilization = "CPU", MemoryUtilization = "memory" } :
          concat(["AWS/ECS", metric], dimensions, [{ stat = "Average", label = label }])
        ]]...)
      },
    ],
  ]

  dashboard_functions = var.function.enabled ? [aws_lambda_function.sync.function_name] : []

  dashboard_tables = [for title, query in {
    "Failures by reason" = [
      "filter action in [\"retry\", \"dead-letter\", \"failed\"]",
      "stats count(*) as failures, count_distinct(key) as keys, latest(key) as example by action, reason",
      "sort failures desc",
      "limit 20",
    ]
    "Slowest keys" = [
      "filter action in [\"copy\", \"update\", \"complete\"]",
      "fields key, action, duration_ms, lag_ms, bytes, attempts",
      "sort duration_ms desc",
      "limit 20",
    ]
    } : {
    type = "log"
    properties = {
      title  = title
      region = local.region
      view   = "table"
      query  = join("\n| ", concat([for group in local.worker_logs : "SOURCE '${group.name}'"], query))
    }
  }]

  # Rows of widgets without their places. All widgets of a row have the same size.
  dashboard_rows = [for row in concat(
    [{ height = 2, widgets = [{
      type = "text"
      properties = { markdown = join("\n", [
        "# ${var.name}",
        "s3-syncer mirrors `s3://${var.source_bucket}/${var.source_prefix}` to `${var.target.bucket}` at `${var.target.endpoint}`. Terraform makes this dashboard. `s3-syncer status` names each problem, with the command that says more.",
      ]) }
    }] }],
    [for graphs in local.dashboard_graphs : { height = 6, widgets = [for graph in graphs : {
      type = "metric"
      properties = merge(
        {
          title   = graph.title
          region  = local.region
          view    = "timeSeries"
          stacked = false
          period  = 60
          metrics = graph.metrics
          yAxis   = { left = { min = 0 } }
        },
        { for limit in graph.limit[*] : "annotations" => { horizontal = [limit] } },
      )
    } if length(graph.metrics) > 0] }],
    [{ height = 8, widgets = local.dashboard_tables }],
  ) : row if length(row.widgets) > 0]

  dashboard_body = jsonencode({
    widgets = concat([for number, row in local.dashboard_rows : [for column, widget in row.widgets : merge(widget, {
      x      = 24 / length(row.widgets) * column
      y      = sum(concat([0], [for above in slice(local.dashboard_rows, 0, number) : above.height]))
      width  = 24 / length(row.widgets)
      height = row.height
    })]]...)
  })
}

resource "aws_cloudwatch_dashboard" "sync" {
  count = var.dashboard ? 1 : 0

  dashboard_name = var.name
  dashboard_body = local.dashboard_body
}
