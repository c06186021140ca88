# The service: `s3-syncer serve` as tasks of ECS on Fargate, which do what the function does for as long as they run, beside
# it or instead of it; and what starts more of them when messages pile up.

locals {
  services = var.service.enabled ? [var.service] : []

  service_health_port = 8080

  service_container = {
    command = concat(["serve"], var.service.arguments)

    # With the Python that is in the image; an answer other than 200 raises.
    healthCheck = {
      command = ["CMD", "python3", "-c", join("; ", [
        "from urllib.request import urlopen",
        "urlopen('http://127.0.0.1:${local.service_health_port}/health', timeout=5)",
      ])]
      interval    = 30
      timeout     = 10
      retries     = 3
      startPeriod = 60
    }
  }

  service_environment = merge(local.queue_environment, {
    CONCURRENCY = tostring(var.service.concurrency)
    HEALTH_PORT = tostring(local.service_health_port)
    LOG_LEVEL   = var.service.log_level
    # Of the 120 s until SIGKILL, and of the 120 s that Spot gives: up to 20 more go to handing back what did not end.
    GRACE_S = "90"
  })

  service_cluster_name = one([for arn in [for part, arn in local.task_cluster_arns : arn if part == "service"] : regex("[^/]+$", arn)])
}

resource "aws_ecs_cluster_capacity_providers" "tasks" {
  count = local.owns_cluster && var.service.enabled ? 1 : 0

  cluster_name       = aws_ecs_cluster.tasks[0].name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}

resource "aws_ecs_service" "service" {
  count = length(local.services)

  name            = "${var.name}-service"
  cluster         = local.task_cluster_arns["service"]
  task_definition = aws_ecs_task_definition.task["service"].arn
  desired_count   = var.service.min_tasks

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
    subnets          = var.service.subnet_ids
    security_groups  = var.service.security_group_ids
    assign_public_ip = var.service.assign_public_ip
  }

  # A version whose tasks do not become healthy gives way to the one before.
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  # Without it another share of Spot would have the service destroyed and made again.
  force_new_deployment = true

  tags = var.tags

  lifecycle {
    ignore_changes = [desired_count] # the scaling's
  }

  depends_on = [aws_ecs_cluster_capacity_providers.tasks, aws_iam_role_policy.task]
}

# So many tasks as the most messages of the last quarter of an hour ask for, one for each backlog_per_task of them, waiting
# or in work. This is arithmetic on what SQS itself tells. It needs no number of running tasks, which only Container
# Insights would tell and which is missing where there is none, so it goes up from zero and down to it like anywhere
# else; and a task is not taken away as long as what it works on is worth one. Growing takes effect within minutes,
# since the highest value of a window counts that moves on every minute, and shrinking once the window has passed.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
locals {
  # Without a range there is nothing to decide, but the number of tasks is still kept.
  scalings = var.service.enabled && var.service.max_tasks > var.service.min_tasks ? [var.service] : []

  # Tasks at the end of each step; a policy takes 20 of them at the most.
  service_range = var.service.max_tasks - var.service.min_tasks
  service_steps = max(1, min(20, local.service_range))
  service_sizes = [for step in range(local.service_steps + 1) : var.service.min_tasks + ceil(step * local.service_range / local.service_steps)]

  service_idle_up_to = var.service.min_tasks * var.service.backlog_per_task

  # Bounds are counted from the alarm's threshold.
  service_policies = {
    busy = {
      description = "More than ${local.service_idle_up_to} messages are waiting or in work: the service ${var.name}-service grows with them. No reason to do anything."
      operator    = "GreaterThanThreshold"
      threshold   = local.service_idle_up_to
      steps = [for step in range(local.service_steps) : {
        lower = (local.service_sizes[step] - var.service.min_tasks) * var.service.backlog_per_task
        upper = step + 1 == local.service_steps ? null : (local.service_sizes[step + 1] - var.service.min_tasks) * var.service.backlog_per_task
        tasks = local.service_sizes[step + 1]
      }]
    }
    idle = {
      description = "No more than ${local.service_idle_up_to} messages were waiting or in work for a quarter of an hour: the service ${var.name}-service is at its smallest. No reason to do anything."
      operator    = "LessThanThreshold"
      threshold   = local.service_idle_up_to + 1 # a value at the threshold itself would be in no step
      steps       = [{ lower = null, upper = 0, tasks = var.service.min_tasks }]
    }
  }
}

resource "aws_appautoscaling_target" "service" {
  count = length(local.services)

  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${local.service_cluster_name}/${aws_ecs_service.service[0].name}"
  min_capacity       = var.service.min_tasks
  max_capacity       = var.service.max_tasks

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

# Either of them is always on: it is not for people.
resource "aws_cloudwatch_metric_alarm" "scaling" {
  for_each = aws_appautoscaling_policy.service

  alarm_name          = each.value.name
  alarm_description   = local.service_policies[each.key].description
  comparison_operator = local.service_policies[each.key].operator
  threshold           = local.service_policies[each.key].threshold
  evaluation_periods  = 1
  treat_missing_data  = "missing" # a queue that nobody has used for hours tells nothing; then the service is small already
  alarm_actions       = [each.value.arn]

  metric_query {
    id          = "backlog"
    label       = "messages waiting or in work"
    expression  = "waiting + working"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { waiting = "ApproximateNumberOfMessagesVisible", working = "ApproximateNumberOfMessagesNotVisible" }

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/SQS"
        metric_name = metric_query.value
        dimensions  = { QueueName = aws_sqs_queue.work.name }
        stat        = "Maximum"
        period      = 900
      }
    }
  }

  tags = var.tags
}
