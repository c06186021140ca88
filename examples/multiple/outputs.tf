output "credentials_secret_arn" {
  description = "ARN of the secret for the access key of the target. Its value is {\"access_key_id\": \"...\", \"secret_access_key\": \"...\"}."
  value       = aws_secretsmanager_secret.store.arn
}

output "s3_syncers" {
  description = "All outputs of the module for each pair, by its key."
  value       = module.s3_syncer
}

output "alarm_topic_arn" {
  description = "ARN of the topic for the alarms of all pairs."
  value       = aws_sns_topic.alarms.arn
}
