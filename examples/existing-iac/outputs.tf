output "credentials_secret_arn" {
  description = "Secret to fill with {\"access_key_id\": \"...\", \"secret_access_key\": \"...\"}."
  value       = module.s3_syncer.credentials_secret_arn
}
