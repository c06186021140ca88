# The keys of the target: in an existing secret, or in one made here and filled by hand or through write-only
# arguments. They are never in the state, in a plan or in the function's environment.

locals {
  owns_secret            = var.credentials_secret == null
  credentials_secret_arn = local.owns_secret ? aws_secretsmanager_secret.target_credentials[0].arn : var.credentials_secret.arn
}

resource "aws_secretsmanager_secret" "target_credentials" {
  #checkov:skip=CKV2_AWS_57:The other cloud issues these keys, and no function of AWS can ask it for others. docs/security.md has the steps.
  count = local.owns_secret ? 1 : 0

  name        = "${var.name}/target-credentials"
  description = "Keys of bucket ${var.target.bucket} at ${var.target.endpoint}: {\"access_key_id\": \"...\", \"secret_access_key\": \"...\"}"
  kms_key_id  = var.kms_key_arn

  # A secret that waits to be deleted keeps its name, and the next apply would fail on it for up to 30 days. There
  # is nothing to recover: the other cloud issued these keys and can issue others.
  recovery_window_in_days = 0

  tags = var.tags
}

resource "aws_secretsmanager_secret_version" "target_credentials" {
  # An ephemeral value cannot decide a count: the version that comes with it does.
  count = local.owns_secret && var.target_credentials_version != null ? 1 : 0

  secret_id                = aws_secretsmanager_secret.target_credentials[0].id
  secret_string_wo         = jsonencode(var.target_credentials)
  secret_string_wo_version = var.target_credentials_version
}
