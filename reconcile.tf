# The comparison of both sides on a schedule: the scheduler puts one message on the queue that asks for the whole range
# of keys, and the functions that take it share it out among themselves. It needs no compute of its own.

locals {
  reconciles = var.reconcile.schedule != null
}

resource "aws_scheduler_schedule" "reconcile" {
  count = local.reconciles ? 1 : 0

  name        = var.name
  description = "Compares s3://${var.source_bucket}/${var.source_prefix} with its mirror."

  schedule_expression = var.reconcile.schedule
  kms_key_arn         = var.kms_key_arn

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_sqs_queue.work.arn
    role_arn = aws_iam_role.reconcile[0].arn

    # A RangeWork: see lambda/s3_syncer/work.py.
    input = jsonencode({
      "s3-syncer" = {
        work       = "range"
        delete     = var.reconcile.delete
        max_delete = var.reconcile.max_delete
      }
    })
  }

  # The scheduler tries the role when the schedule is made.
  depends_on = [aws_iam_role_policy.reconcile]
}

resource "aws_iam_role" "reconcile" {
  count = local.reconciles ? 1 : 0

  name                 = local.role_names.reconcile
  path                 = var.role_path
  description          = "What the schedule ${var.name} may do."
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "RunAsSchedule"
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      # A schedule can be told apart by its group alone.
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
        Sid      = "SendWork"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [aws_sqs_queue.work.arn]
      }],
      [for key in [var.kms_key_arn] : {
        Sid      = "UseOwnKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = [key]
      } if key != null],
    )
  })
}
