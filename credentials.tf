# The secret with the access key of the target: an existing secret, or a secret that the module creates. Its value is
# written by hand or through write-only arguments. It is never in the state, in a plan or in an environment variable.

locals {
  owns_secret            = var.credentials_secret == null
  secret_name            = "${var.name}/target-credentials"
  credentials_secret_arn = local.owns_secret ? aws_secretsmanager_secret.target_credentials[0].arn : var.credentials_secret.arn
}

resource "aws_secretsmanager_secret" "target_credentials" {
  #checkov:skip=CKV2_AWS_57:The target store issues these keys, and AWS cannot rotate them. docs/security.md lists the steps of a rotation.
  count = local.owns_secret ? 1 : 0

  name        = local.secret_name
  description = "Access key for bucket ${var.target.bucket} at ${var.target.endpoint}: {\"access_key_id\": \"...\", \"secret_access_key\": \"...\"}"
  kms_key_id  = var.kms_key_arn

  # A secret keeps its name while its deletion is pending, and the next apply would fail on that name for up to 30
  # days. A recovery window is not needed: the target store can issue new keys.
  recovery_window_in_days = 0

  tags = var.tags
}

resource "aws_secretsmanager_secret_version" "target_credentials" {
  # An ephemeral value is not allowed in count, so the version number decides.
  count = local.owns_secret && var.target_credentials_version != null ? 1 : 0

  secret_id                = aws_secretsmanager_secret.target_credentials[0].id
  secret_string_wo         = jsonencode(var.target_credentials)
  secret_string_wo_version = var.target_credentials_version
}
