output "credentials_secret_arn" {
  description = "ARN of the secret for the access key of the target. Its value is {\"access_key_id\": \"...\", \"secret_access_key\": \"...\"}."
  value       = module.s3_syncer.credentials_secret_arn
}

output "s3_syncer" {
  description = "All outputs of the module."
  value       = module.s3_syncer
}
