output "source_bucket" {
  description = "Name of the source bucket."
  value       = aws_s3_bucket.source.bucket
}

output "queue_url" {
  description = "URL of the queue."
  value       = module.s3_syncer.queue_url
}

output "dead_letter_queue_url" {
  description = "URL of the dead-letter queue."
  value       = module.s3_syncer.dead_letter_queue_url
}

output "function_name" {
  description = "Name of the function."
  value       = module.s3_syncer.function_name
}

output "function_role_name" {
  description = "Name of the role of the function."
  value       = module.s3_syncer.function_role_name
}

output "credentials_secret_arn" {
  description = "ARN of the secret with the access key of the target."
  value       = module.s3_syncer.credentials_secret_arn
}

output "log_group" {
  description = "Name of the log group of the function."
  value       = module.s3_syncer.log_group_name
}

output "s3_syncer" {
  description = "All outputs of the module. `s3-syncer --module` reads them."
  value       = module.s3_syncer
}
