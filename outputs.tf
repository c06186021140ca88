output "queue_arn" {
  description = "ARN of the queue. Where the notification is written elsewhere, the destination it names: the queue lets the source bucket publish from the start."
  value       = aws_sqs_queue.work.arn
}

output "queue_url" {
  description = "URL of the queue, for sending work to it."
  value       = aws_sqs_queue.work.url
}

output "dead_letter_queue_arn" {
  description = "ARN of the queue of what could not be mirrored, for redriving it."
  value       = aws_sqs_queue.dead_letters.arn
}

output "dead_letter_queue_url" {
  description = "URL of the queue of what could not be mirrored; each message carries `error`, `key` and `bucket` as attributes."
  value       = aws_sqs_queue.dead_letters.url
}

output "notification_events" {
  description = "S3 event types to subscribe to where the notification is written elsewhere; they depend on `sync`."
  value       = local.notification_events
}

output "notification_filter_prefix" {
  description = "Filter prefix for a notification that is written elsewhere: `source_prefix` encoded as S3 wants it, or null for the whole bucket."
  value       = local.notification_filter_prefix
}

output "event_rule_arn" {
  description = "ARN of the EventBridge rule; null unless `notification_mode` is `\"eventbridge\"`."
  value       = one(aws_cloudwatch_event_rule.source[*].arn)
}

output "function_name" {
  description = "Name of the function."
  value       = aws_lambda_function.sync.function_name
}

output "function_arn" {
  description = "ARN of the function."
  value       = aws_lambda_function.sync.arn
}

output "function_role_arn" {
  description = "ARN of the role the function runs as, for the policies of keys and buckets that must let it in."
  value       = aws_iam_role.function.arn
}

output "function_role_name" {
  description = "Name of the role the function runs as, for attaching further policies."
  value       = aws_iam_role.function.name
}

output "role_arns" {
  description = "ARNs of every role that is made, by part: `function`, with `reconcile.schedule` also `reconcile`, with `migration.enabled` also `migration`, with `service.enabled` also `service`, and with either `execution`."
  value = merge(
    { function = aws_iam_role.function.arn },
    { for role in aws_iam_role.reconcile : "reconcile" => role.arn },
    { for part, role in aws_iam_role.task : part => role.arn },
  )
}

output "kms_key_policy_statements" {
  description = "What the policy of `kms_key_arn` has to allow to AWS itself, beside its own account: statements as IAM writes them, for `jsonencode`. They do not depend on the key, so its policy may be made of them."
  value       = local.kms_key_policy_statements
}

output "credentials_secret_arn" {
  description = "ARN of the secret with the keys of the target: the one given, or the one to fill by hand."
  value       = local.credentials_secret_arn
}

output "log_group_name" {
  description = "Name of the log group that the function writes to, a line of JSON for each decision."
  value       = aws_cloudwatch_log_group.function.name
}

output "metric_namespace" {
  description = "Namespace in CloudWatch of what sweeps counted: `KeysCompared`, `DriftRepaired` and `DriftFailed`, each to be summed up over the time of a sweep."
  value       = local.metric_namespace
}

output "alarm_arns" {
  description = "ARNs of the alarms, by what they watch: `dead-letters`, `errors`, `throttles` and, with `max_lag_s`, `lag`."
  value       = { for key, alarm in aws_cloudwatch_metric_alarm.sync : key => alarm.arn }
}

output "migration_task_definition_arn" {
  description = "ARN of the task definition of the migration, with its revision; null unless `migration.enabled`."
  value       = one([for part, definition in aws_ecs_task_definition.task : definition.arn if part == "migration"])
}

output "migration_cluster_arn" {
  description = "ARN of the cluster to run the migration in: the one given, or the one made; null unless `migration.enabled`."
  value       = one([for part, arn in local.task_cluster_arns : arn if part == "migration"])
}

output "migration_repository_url" {
  description = "Address of the repository for the image of the migration; null unless the module makes one."
  value       = one([for url in aws_ecr_repository.image[*].repository_url : url if var.migration.enabled && var.migration.image == null])
}

output "migration_image" {
  description = "Address of the image that the migration runs, with the tag that `scripts/push_image` pushes; null unless `migration.enabled`."
  value       = one([for part, image in local.task_images : image if part == "migration"])
}

output "migration_network_configuration" {
  description = "Subnets, security groups and public address of the migration as `RunTask` takes them; null unless `migration.enabled`."
  value       = one([for migration in var.migration.enabled ? [var.migration] : [] : local.migration_network])
}

output "migration_log_group_name" {
  description = "Name of the log group that the migration writes to; null unless `migration.enabled`."
  value       = one([for part, group in aws_cloudwatch_log_group.task : group.name if part == "migration"])
}

output "migration_task_role_name" {
  description = "Name of the role that the migration runs as, for attaching further policies; null unless `migration.enabled`."
  value       = one([for key, role in aws_iam_role.task : role.name if key == "migration"])
}

output "migration_task_role_arn" {
  description = "ARN of the role that the migration runs as, for the policies of keys and buckets that must let it in; null unless `migration.enabled`."
  value       = one([for key, role in aws_iam_role.task : role.arn if key == "migration"])
}

output "migration_command" {
  description = "The command that starts the migration with the AWS CLI; null unless `migration.enabled`. `scripts/run_migration` does the same and follows it."
  value = one([for part, definition in aws_ecs_task_definition.task : join(" ", [
    "aws ecs run-task",
    "--region ${local.region}",
    "--cluster ${local.task_cluster_arns[part]}",
    "--task-definition ${definition.arn}",
    "--launch-type FARGATE",
    "--network-configuration '${jsonencode(local.migration_network)}'",
  ]) if part == "migration"])
}

output "service_name" {
  description = "Name of the service; null unless `service.enabled`."
  value       = one(aws_ecs_service.service[*].name)
}

output "service_cluster_arn" {
  description = "ARN of the cluster that the service runs in: the one given, or the one made; null unless `service.enabled`."
  value       = one([for part, arn in local.task_cluster_arns : arn if part == "service"])
}

output "service_task_definition_arn" {
  description = "ARN of the task definition of the service, with its revision; null unless `service.enabled`."
  value       = one([for part, definition in aws_ecs_task_definition.task : definition.arn if part == "service"])
}

output "service_repository_url" {
  description = "Address of the repository for the image of the service, the same as the migration's; null unless the module makes one."
  value       = one([for url in aws_ecr_repository.image[*].repository_url : url if var.service.enabled && var.service.image == null])
}

output "service_image" {
  description = "Address of the image that the service runs, with the tag that `scripts/push_image` pushes; null unless `service.enabled`."
  value       = one([for part, image in local.task_images : image if part == "service"])
}

output "service_log_group_name" {
  description = "Name of the log group that the service writes to, a line of JSON for each decision; null unless `service.enabled`."
  value       = one([for part, group in aws_cloudwatch_log_group.task : group.name if part == "service"])
}

output "service_task_role_name" {
  description = "Name of the role that the service runs as, for attaching further policies; null unless `service.enabled`."
  value       = one([for key, role in aws_iam_role.task : role.name if key == "service"])
}

output "service_task_role_arn" {
  description = "ARN of the role that the service runs as, for the policies of keys and buckets that must let it in; null unless `service.enabled`."
  value       = one([for key, role in aws_iam_role.task : role.arn if key == "service"])
}
