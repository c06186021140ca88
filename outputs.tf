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

output "credentials_secret_arn" {
  description = "ARN of the secret with the keys of the target: the one given, or the one to fill by hand."
  value       = local.credentials_secret_arn
}

output "log_group_name" {
  description = "Name of the log group that the function writes to, a line of JSON for each decision."
  value       = aws_cloudwatch_log_group.function.name
}

output "alarm_arns" {
  description = "ARNs of the alarms, by what they watch: `dead-letters`, `errors`, `throttles` and, with `max_lag_s`, `lag`."
  value       = { for key, alarm in aws_cloudwatch_metric_alarm.sync : key => alarm.arn }
}
