output "name" {
  description = "The input `name`."
  value       = var.name
}

output "environment" {
  description = "Environment variables of the command `s3-syncer`, for the same buckets, options and queues as the workers use. `s3-syncer --module DIRECTORY` reads them. The secret is named by its ARN, and variables of the input `environment` are left out."
  value = {
    for name, value in merge(local.worker_environment, local.queue_environment) : name => value
    if can(regex(local.own_variables, name))
  }
}

output "queue_arn" {
  description = "ARN of the queue of the events. For a notification that is written elsewhere, this is its destination: the queue policy already allows the source bucket."
  value       = aws_sqs_queue.work.arn
}

output "queue_url" {
  description = "URL of the queue of the events, for sending keys to it."
  value       = aws_sqs_queue.work.url
}

output "bulk_queue_arn" {
  description = "ARN of the queue for bulk work."
  value       = aws_sqs_queue.bulk.arn
}

output "bulk_queue_url" {
  description = "URL of the queue for bulk work, for sending ranges to it, and for `s3-syncer migrate --workers queue`."
  value       = aws_sqs_queue.bulk.url
}

output "dead_letter_queue_arn" {
  description = "ARN of the dead-letter queue, for redriving its messages."
  value       = aws_sqs_queue.dead_letters.arn
}

output "dead_letter_queue_url" {
  description = "URL of the dead-letter queue. Each message that a worker moved there has the attributes `error`, `key` and `bucket`."
  value       = aws_sqs_queue.dead_letters.url
}

output "deletions_queue_arn" {
  description = "ARN of the queue that delays deletions."
  value       = aws_sqs_queue.deletions.arn
}

output "deletions_queue_url" {
  description = "URL of the queue that delays deletions."
  value       = aws_sqs_queue.deletions.url
}

output "held_deletions_queue_arn" {
  description = "ARN of the queue of held deletions, for the permissions of `s3-syncer deletions`."
  value       = aws_sqs_queue.held_deletions.arn
}

output "held_deletions_queue_url" {
  description = "URL of the queue of held deletions, for `s3-syncer deletions`."
  value       = aws_sqs_queue.held_deletions.url
}

output "paused" {
  description = "The input `paused`."
  value       = var.paused
}

output "notification_events" {
  description = "S3 event types of a notification that is written elsewhere. They depend on `sync`."
  value       = local.notification_events
}

output "notification_filter_prefix" {
  description = "Filter prefix of a notification that is written elsewhere: `source_prefix` in the encoding of S3. Null for the whole bucket."
  value       = local.notification_filter_prefix
}

output "event_rule_arn" {
  description = "ARN of the EventBridge rule. Null unless `notification_mode` is `\"eventbridge\"`."
  value       = one(aws_cloudwatch_event_rule.source[*].arn)
}

output "source_account" {
  description = <<-EOT
    Policies and events for the account of the source bucket. That account must apply them if it is another account, or with `source_role_arn`. Each list of statements is for `jsonencode`, inside `{ Version = "2012-10-17", Statement = ... }`:
    - `account_id`: ID of the account
    - `bucket_policy_statements`: for the policy of the bucket. Empty with `source_role_arn`
    - `key_policy_statements`: for the policy of each key of `source_kms_key_arns`
    - `role_policy_statements`: for the policy of the role `source_role_arn`
    - `role_trust_statements`: for the trust policy of the role `source_role_arn`
    - `event_bus_arn`: event bus of the module, the target of a rule of that account. Null unless `notification_mode` is `"eventbridge"` and the account is another one
    - `event_pattern`: event pattern of that rule
    - `event_role_policy_statements`: for the policy of the role with which that rule sends
  EOT
  value       = local.source_account
}

output "function_name" {
  description = "Name of the function."
  value       = aws_lambda_function.sync.function_name
}

output "function_arn" {
  description = "ARN of the function."
  value       = aws_lambda_function.sync.arn
}

output "doctor_command" {
  description = "Command that checks both stores, the permissions and the queues inside the function, with its role and its network. It prints JSON: see docs/doctor.md."
  value = join(" ", [
    "aws lambda invoke",
    "--region ${local.region}",
    "--function-name ${aws_lambda_function.sync.function_name}",
    "--payload '{\"doctor\": true}'",
    "--cli-binary-format raw-in-base64-out",
    "--cli-read-timeout 0",
    "/dev/stdout",
  ])
}

output "function_role_arn" {
  description = "ARN of the role of the function, for key policies and bucket policies that must allow it."
  value       = aws_iam_role.function.arn
}

output "function_role_name" {
  description = "Name of the role of the function, for attaching further policies."
  value       = aws_iam_role.function.name
}

output "role_arns" {
  description = "ARNs of all roles, by part: `function`, `reconcile` with `reconcile.schedule`, `migration` with `migration.enabled`, `service` with `service.enabled`, and `execution` with either of the last two."
  value = merge(
    { function = aws_iam_role.function.arn },
    { for role in aws_iam_role.reconcile : "reconcile" => role.arn },
    { for part, role in aws_iam_role.task : part => role.arn },
  )
}

output "kms_key_policy_statements" {
  description = "Statements that the policy of `kms_key_arn` must contain for AWS services, as a list for `jsonencode`. Add a statement for your account. The statements do not depend on the key, so the policy of the key can contain them."
  value       = local.kms_key_policy_statements
}

output "credentials_secret_arn" {
  description = "ARN of the secret with the access key of the target: the existing secret, or the secret that the module created."
  value       = local.credentials_secret_arn
}

output "log_group_name" {
  description = "Name of the log group of the function. The log has one JSON line per decision."
  value       = aws_cloudwatch_log_group.function.name
}

output "metric_namespace" {
  description = "CloudWatch namespace of the metrics from the log: `SyncLag` and `RepeatedRetries` of live sync; `ObjectsSynced`, `BytesSynced`, `ObjectsDeleted`, `DeletionsHeld`, `Retries` and `DeadLetters` of all workers; `KeysCompared`, `DriftRepaired` and `DriftFailed` of sweeps. Use the statistic Sum, and p50, p95 or Maximum for `SyncLag`."
  value       = local.metric_namespace
}

output "dashboard_body" {
  description = "Content of the dashboard as JSON, for a dashboard of your own, also if `dashboard` is false. `jsondecode(...).widgets` has its graphs and tables."
  value       = local.dashboard_body
}

output "max_lag_s" {
  description = "The input `max_lag_s`. `s3-syncer status` counts a change as late after this time."
  value       = var.max_lag_s
}

output "alarm_arns" {
  description = "ARNs of the alarms, by name: `dead-letters`, `errors`, `throttles`, `held-deletions`, `events-expire`, `bulk-work-expires`, `deletions-expire` and `held-deletions-expire`; with `max_lag_s`, also `lag` and `queue-age`; with `max_retry_s`, also `retries`."
  value       = { for key, alarm in aws_cloudwatch_metric_alarm.sync : key => alarm.arn }
}

output "build_context" {
  description = "Folder with the Dockerfile of the image, relative to the configuration. `s3-syncer image push` builds from it."
  value       = "${path.module}/lambda"
}

output "migration" {
  description = <<-EOT
    ECS task of the migration. Null unless `migration.enabled`:
    - `command`: command that runs the task with the AWS CLI. `s3-syncer --module DIRECTORY task run` runs it too, follows its log, and exits with its exit code
    - `task_definition_arn`: ARN of the task definition, with its revision
    - `cluster_arn`: ARN of the cluster to run the task in
    - `network_configuration`: subnets, security groups and public IP setting, in the format of the `RunTask` API
    - `image`: address of the image, with the tag that `s3-syncer --module DIRECTORY image push` pushes
    - `repository_url`: URL of the image repository. Null with `ecs.image`
    - `log_group_name`: name of the log group
    - `task_role_name`: name of the role of the task, for attaching further policies
    - `task_role_arn`: ARN of the role of the task, for key policies and bucket policies that must allow it
  EOT
  value = one([for part in keys(local.tasks) : {
    command = join(" ", [
      "aws ecs run-task",
      "--region ${local.region}",
      "--cluster ${local.cluster_arn}",
      "--task-definition ${aws_ecs_task_definition.task[part].arn}",
      "--launch-type FARGATE",
      "--network-configuration '${jsonencode(local.migration_network)}'",
    ])
    task_definition_arn   = aws_ecs_task_definition.task[part].arn
    cluster_arn           = local.cluster_arn
    network_configuration = local.migration_network
    image                 = local.task_image
    repository_url        = local.repository_url
    log_group_name        = aws_cloudwatch_log_group.task[part].name
    task_role_name        = aws_iam_role.task[part].name
    task_role_arn         = aws_iam_role.task[part].arn
  } if part == "migration"])
}

output "service" {
  description = <<-EOT
    ECS service. Null unless `service.enabled`:
    - `name`: name of the service
    - `cluster_arn`: ARN of the cluster that the service runs in
    - `task_definition_arn`: ARN of the task definition, with its revision
    - `image`: address of the image, with the tag that `s3-syncer --module DIRECTORY image push` pushes
    - `repository_url`: URL of the image repository. Null with `ecs.image`
    - `log_group_name`: name of the log group. The log has one JSON line per decision
    - `task_role_name`: name of the role of the tasks, for attaching further policies
    - `task_role_arn`: ARN of the role of the tasks, for key policies and bucket policies that must allow it
  EOT
  value = one([for part in keys(local.tasks) : {
    name                = aws_ecs_service.service[0].name
    cluster_arn         = local.cluster_arn
    task_definition_arn = aws_ecs_task_definition.task[part].arn
    image               = local.task_image
    repository_url      = local.repository_url
    log_group_name      = aws_cloudwatch_log_group.task[part].name
    task_role_name      = aws_iam_role.task[part].name
    task_role_arn       = aws_iam_role.task[part].arn
  } if part == "service"])
}
