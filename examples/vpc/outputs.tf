output "s3_syncer" {
  description = "Every output of the module."
  value       = module.s3_syncer
}
