output "credentials_secret_arn" {
  description = "Secret to fill with {\"access_key_id\": \"...\", \"secret_access_key\": \"...\"}."
  value       = aws_secretsmanager_secret.store.arn
}

output "s3_syncers" {
  description = "Every output of the module for each pair, by its key."
  value       = module.s3_syncer
}
