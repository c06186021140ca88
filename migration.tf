# The migration: `s3-syncer migrate` as an ECS task on Fargate. It copies the objects that existed before live sync. The
# module creates the task definition but does not run the task: see `s3-syncer task run` and the output migration.command.

locals {
  migration_container = { command = concat(["migrate"], var.migration.arguments) }

  # With --workers queue the task sends its work to the queue for bulk work, and reads counts and logs to follow the workers.
  migration_environment = merge(local.event_environment, {
    S3_SYNCER_LOG_FORMAT  = "json"
    BULK_QUEUE_URL        = aws_sqs_queue.bulk.url
    DEAD_LETTER_QUEUE_URL = aws_sqs_queue.dead_letters.url
    S3_SYNCER_LOG_GROUP   = join(" ", [for group in local.worker_logs : group.name])
  })

  migration_statements = concat(
    local.worker_statements,
    [
      {
        Sid      = "ReadQueueAttributes"
        Effect   = "Allow"
        Action   = ["sqs:GetQueueAttributes"]
        Resource = [aws_sqs_queue.bulk.arn, aws_sqs_queue.dead_letters.arn]
      },
      {
        Sid      = "ReadWorkerLogs"
        Effect   = "Allow"
        Action   = ["logs:FilterLogEvents"]
        Resource = flatten([for group in local.worker_logs : [group.arn, "${group.arn}:*"]])
      },
    ],
    [for statement in local.restore_source_statements : statement if var.source_role_arn == null],
  )

  restore_source_statements = [for is_allowed in [var.migration.restore] : {
    Sid      = "RestoreSourceObjects"
    Effect   = "Allow"
    Action   = ["s3:RestoreObject"]
    Resource = ["${local.source_bucket_arn}/${var.source_prefix}*"]
  } if is_allowed]

  # In the format of the RunTask API.
  migration_network = {
    awsvpcConfiguration = {
      subnets        = var.ecs.subnet_ids
      securityGroups = var.ecs.security_group_ids
      assignPublicIp = var.ecs.assign_public_ip ? "ENABLED" : "DISABLED"
    }
  }
}
