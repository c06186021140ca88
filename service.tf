# The service: `s3-syncer serve` as an ECS service on Fargate, and the scaling of its tasks with the queues. The service does
# the work of the function, beside it or instead of it, without the 15-minute limit.

locals {
  services = var.service.enabled ? [var.service] : []

  # Application Auto Scaling keeps the number of tasks between its limits. So a pause stops all tasks, and its end starts
  # as many as the backlog needs.
  service_min_tasks = var.paused ? 0 : var.service.min_tasks

  service_health_port = 8080

  service_container = {
    command = concat(["serve"], var.service.arguments)

    # Uses the Python of the image. open raises for an error status, and the command then exits with 1. Without the empty
    # ProxyHandler, HTTP_PROXY would apply to this request too.
    healthCheck = {
      command = ["CMD", "python3", "-c", join("; ", [
        "from urllib.request import ProxyHandler, build_opener",
        "build_opener(ProxyHandler({})).open('http://127.0.0.1:${local.service_health_port}/health', timeout=5)",
      ])]
      interval    = 30
      timeout     = 10
      retries     = 3
      startPeriod = 60
    }
  }

  service_environment = merge(local.queue_environment, local.event_environment, {
    S3_SYNCER_CONCURRENCY      = var.service.concurrency
    S3_SYNCER_BULK_CONCURRENCY = var.service.bulk_concurrency
    S3_SYNCER_HEALTH_PORT      = tostring(local.service_health_port)
    LOG_LEVEL                  = var.service.log_level
    # Seconds, out of the 120 s between SIGTERM and SIGKILL, also on Spot. Releasing unfinished messages takes up to 20 s more.
    S3_SYNCER_SHUTDOWN_GRACE = "90"
  })
}

resource "aws_ecs_cluster_capacity_providers" "tasks" {
  count = local.owns_cluster && var.service.enabled ? 1 : 0

  cluster_name       = aws_ecs_cluster.tasks[0].name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]

  # In an account that never used ECS, the cluster creates a service-linked role that ECS cannot assume at once. Neither
  # ECS nor the provider retries. The role policies wait for the queues, which take about a minute, and the service waits
  # for them anyway.
  # https://github.com/hashicorp/terraform-provider-aws/issues/19977
  depends_on = [aws_iam_role_policy.task]
}

resource "aws_ecs_service" "service" {
  count = length(local.services)

  name            = "${var.name}-service"
  cluster         = local.cluster_arn
  task_definition = aws_ecs_task_definition.task["service"].arn
  desired_count   = local.service_min_tasks

  enable_execute_command = false
  propagate_tags         = "SERVICE"

  dynamic "capacity_provider_strategy" {
    for_each = { for provider, weight in {
      FARGATE      = 100 - var.service.spot_percent
      FARGATE_SPOT = var.service.spot_percent
    } : provider => weight if weight > 0 }

    content {
      capacity_provider = capacity_provider_strategy.key
      weight            = capacity_provider_strategy.value
    }
  }

  network_configuration {
    subnets          = var.ecs.subnet_ids
    security_groups  = var.ecs.security_group_ids
    assign_public_ip = var.ecs.assign_public_ip
  }

  # Roll back to the previous task definition if the new tasks do not become healthy.
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  # Without this, a change of spot_percent replaces the service.
  force_new_deployment = true

  tags = var.tags

  lifecycle {
    ignore_changes = [desired_count] # Application Auto Scaling sets it
  }

  depends_on = [aws_ecs_cluster_capacity_providers.tasks, aws_iam_role_policy.task]
}

# Scaling: one task for each backlog_per_task messages of its queues, visible or in flight, at the peak of the last 15
# minutes. The number follows from SQS metrics alone. It does not need the number of running tasks: only Container Insights
# reports that, and reports nothing at zero tasks. Scaling from zero and to zero therefore works like any other step. A task
# stays while the messages that it works on justify one. Scaling out takes effect within minutes, because the maximum of a
# sliding 15-minute window counts. Scaling in takes effect when the window has passed.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
locals {
  # With min_tasks = max_tasks no policy is needed, but the scalable target still sets the number of tasks.
  scalings = var.service.enabled && var.service.max_tasks > var.service.min_tasks ? [var.service] : []

  # Number of tasks at the end of each step. A policy has at most 20 steps.
  service_range = var.service.max_tasks - var.service.min_tasks
  service_steps = max(1, min(20, local.service_range))
  service_sizes = [for step in range(local.service_steps + 1) : var.service.min_tasks + ceil(step * local.service_range / local.service_steps)]

  # The metrics that add up to the backlog, by the ID of their query.
  service_backlog = merge([for prefix, queue in { "" = aws_sqs_queue.work.name, bulk_ = aws_sqs_queue.bulk.name, deletions_ = aws_sqs_queue.deletions.name } : {
    "${prefix}visible"   = { metric = "ApproximateNumberOfMessagesVisible", queue = queue }
    "${prefix}in_flight" = { metric = "ApproximateNumberOfMessagesNotVisible", queue = queue }
  }]...)

  service_idle_up_to = var.service.min_tasks * var.service.backlog_per_task

  # The bounds of a step are relative to the threshold of the alarm.
  service_policies = {
    busy = {
      description = "Scales out ${var.name}-service: more than ${local.service_idle_up_to} messages are visible or in flight. No action is needed."
      operator    = "GreaterThanThreshold"
      threshold   = local.service_idle_up_to
      steps = [for step in range(local.service_steps) : {
        lower = (local.service_sizes[step] - var.service.min_tasks) * var.service.backlog_per_task
        upper = step + 1 == local.service_steps ? null : (local.service_sizes[step + 1] - var.service.min_tasks) * var.service.backlog_per_task
        tasks = local.service_sizes[step + 1]
      }]
    }
    idle = {
      description = "Scales in ${var.name}-service: at most ${local.service_idle_up_to} messages were visible or in flight for 15 minutes. No action is needed."
      operator    = "LessThanThreshold"
      threshold   = local.service_idle_up_to + 1 # a value equal to the threshold would match no step
      steps       = [{ lower = null, upper = 0, tasks = var.service.min_tasks }]
    }
  }
}

resource "aws_appautoscaling_target" "service" {
  count = length(local.services)

  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${regex("[^/]+$", local.cluster_arn)}/${aws_ecs_service.service[0].name}"
  min_capacity       = local.service_min_tasks
  max_capacity       = var.paused ? 0 : var.service.max_tasks

  tags = var.tags
}

resource "aws_appautoscaling_policy" "service" {
  for_each = { for name, policy in local.service_policies : name => policy if length(local.scalings) > 0 }

  name               = "${var.name}-service-${each.key}"
  policy_type        = "StepScaling"
  service_namespace  = aws_appautoscaling_target.service[0].service_namespace
  scalable_dimension = aws_appautoscaling_target.service[0].scalable_dimension
  resource_id        = aws_appautoscaling_target.service[0].resource_id

  step_scaling_policy_configuration {
    adjustment_type         = "ExactCapacity"
    metric_aggregation_type = "Maximum"
    cooldown                = 60

    dynamic "step_adjustment" {
      for_each = each.value.steps

      content {
        metric_interval_lower_bound = step_adjustment.value.lower
        metric_interval_upper_bound = step_adjustment.value.upper
        scaling_adjustment          = step_adjustment.value.tasks
      }
    }
  }
}

# One of these two alarms is always in state ALARM. They only drive the scaling: do not page on them.
resource "aws_cloudwatch_metric_alarm" "scaling" {
  for_each = aws_appautoscaling_policy.service

  alarm_name          = each.value.name
  alarm_description   = local.service_policies[each.key].description
  comparison_operator = local.service_policies[each.key].operator
  threshold           = local.service_policies[each.key].threshold
  evaluation_periods  = 1
  treat_missing_data  = "missing" # SQS sends no data points for a queue that was idle for hours: the service is at min_tasks then
  alarm_actions       = [each.value.arn]

  metric_query {
    id          = "backlog"
    label       = "messages visible or in flight"
    expression  = join(" + ", keys(local.service_backlog))
    return_data = true
  }

  dynamic "metric_query" {
    for_each = local.service_backlog

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/SQS"
        metric_name = metric_query.value.metric
        dimensions  = { QueueName = metric_query.value.queue }
        stat        = "Maximum"
        period      = 900
      }
    }
  }

  tags = var.tags
}
