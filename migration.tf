# The migration: `s3-syncer migrate` as a task of ECS on Fargate, which brings over what was in the source before. Nothing
# runs until somebody starts it; scripts/run_migration does, and so does the output migration_command.

locals {
  migration_container = { command = concat(["migrate"], var.migration.arguments) }

  # With --workers queue it hands its work to those who work off the queue, and watches.
  migration_environment = {
    LOG_FORMAT            = "json"
    QUEUE_URL             = aws_sqs_queue.work.url
    DEAD_LETTER_QUEUE_URL = aws_sqs_queue.dead_letters.url
    LOG_GROUP             = join(" ", [for group in local.worker_logs : group.name])
  }

  migration_statements = concat(
    local.worker_statements,
    [
      {
        Sid      = "SendWork"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [aws_sqs_queue.work.arn]
      },
      {
        Sid      = "CountMessages"
        Effect   = "Allow"
        Action   = ["sqs:GetQueueAttributes"]
        Resource = [aws_sqs_queue.work.arn, aws_sqs_queue.dead_letters.arn]
      },
      {
        Sid      = "ReadWorkersLog"
        Effect   = "Allow"
        Action   = ["logs:FilterLogEvents"]
        Resource = flatten([for group in local.worker_logs : [group.arn, "${group.arn}:*"]])
      },
    ],
    [for key in var.kms_key_arn[*] : {
      Sid       = "UseOwnKey"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"] # for the secret, and for what is sent to the queue
      Resource  = [key]
      Condition = { StringEquals = { "kms:ViaService" = [local.kms_via["secretsmanager"], local.kms_via["sqs"]] } }
    }],
  )

  # As RunTask takes it.
  migration_network = {
    awsvpcConfiguration = {
      subnets        = var.migration.subnet_ids
      securityGroups = var.migration.security_group_ids
      assignPublicIp = var.migration.assign_public_ip ? "ENABLED" : "DISABLED"
    }
  }
}
