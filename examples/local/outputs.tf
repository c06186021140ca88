output "source_bucket" {
  description = "Name of the bucket to put objects into."
  value       = aws_s3_bucket.source.bucket
}

output "queue_url" {
  description = "URL of the queue."
  value       = module.s3_syncer.queue_url
}

output "dead_letter_queue_url" {
  description = "URL of the queue of what could not be mirrored."
  value       = module.s3_syncer.dead_letter_queue_url
}

output "function_name" {
  description = "Name of the function."
  value       = module.s3_syncer.function_name
}

output "function_role_name" {
  description = "Name of the function's role."
  value       = module.s3_syncer.function_role_name
}

output "credentials_secret_arn" {
  description = "ARN of the secret with the keys of the target."
  value       = module.s3_syncer.credentials_secret_arn
}

output "log_group" {
  description = "Name of the function's log group."
  value       = module.s3_syncer.log_group_name
}

output "s3_syncer" {
  description = "Every output of the module, as scripts/push_image and scripts/run_migration look for them."
  value       = module.s3_syncer
}
