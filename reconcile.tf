# Scheduled comparison of both buckets. EventBridge Scheduler sends one message for the whole range of keys to the queue
# for bulk work, and its workers split the range among them. The feature needs no further compute.

locals {
  reconciles = var.reconcile.schedule != null
}

resource "aws_scheduler_schedule" "reconcile" {
  count = local.reconciles ? 1 : 0

  name        = var.name
  description = substr("Compares s3://${var.source_bucket}/${var.source_prefix} with the target.", 0, 512)

  schedule_expression = var.reconcile.schedule
  state               = var.paused ? "DISABLED" : "ENABLED"
  kms_key_arn         = var.kms_key_arn

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_sqs_queue.bulk.arn
    role_arn = aws_iam_role.reconcile[0].arn

    # The message is a RangeWork: see lambda/s3_syncer/core/work_items.py.
    input = jsonencode({
      "s3-syncer" = {
        work       = "range"
        delete     = var.reconcile.delete
        max_delete = var.reconcile.max_delete
        full       = var.reconcile.full
      }
    })
  }

  # EventBridge Scheduler checks the role when it creates the schedule.
  depends_on = [aws_iam_role_policy.reconcile]
}

resource "aws_iam_role" "reconcile" {
  count = local.reconciles ? 1 : 0

  name                 = local.role_names.reconcile
  path                 = var.role_path
  description          = "Permissions of the schedule ${var.name}."
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AllowSchedulerToAssumeRole"
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      # aws:SourceArn can name a schedule group, not a single schedule.
      # https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account_id }
        ArnEquals    = { "aws:SourceArn" = "arn:${data.aws_partition.current.partition}:scheduler:${local.region}:${local.account_id}:schedule-group/default" }
      }
    }]
  })

  tags = var.tags
}

resource "aws_iam_role_policy" "reconcile" {
  count = local.reconciles ? 1 : 0

  name = local.role_names.reconcile
  role = aws_iam_role.reconcile[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid      = "SendToBulkQueue"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [aws_sqs_queue.bulk.arn]
      }],
      [for key in [var.kms_key_arn] : {
        Sid      = "UseKmsKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = [key]
      } if key != null],
    )
  })
}
