output "s3_syncer" {
  description = "Every output of the module; `credentials_secret_arn` is the secret that holds {\"access_key_id\": \"...\", \"secret_access_key\": \"...\"}."
  value       = module.s3_syncer
}
