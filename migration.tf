# The migration: `s3-syncer migrate` as a task of ECS on Fargate, which brings over what was in the source before. Nothing
# runs until somebody starts it; scripts/run_migration does, and so does the output migration_command.

locals {
  migration_container = { command = concat(["migrate"], var.migration.arguments) }

  migration_environment = { LOG_FORMAT = "json" }

  migration_statements = concat(local.worker_statements, [for key in var.kms_key_arn[*] : {
    Sid       = "UseOwnKey"
    Effect    = "Allow"
    Action    = ["kms:Decrypt"] # for the secret
    Resource  = [key]
    Condition = { StringEquals = { "kms:ViaService" = [local.kms_via["secretsmanager"]] } }
  }])

  # As RunTask takes it.
  migration_network = {
    awsvpcConfiguration = {
      subnets        = var.migration.subnet_ids
      securityGroups = var.migration.security_group_ids
      assignPublicIp = var.migration.assign_public_ip ? "ENABLED" : "DISABLED"
    }
  }
}
