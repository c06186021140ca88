# The queue of the work, its dead-letter queue, and the policies of both.

locals {
  # How long SQS hides a message from others once it was handed out. AWS asks for six times the function's timeout
  # plus the batching window, so that throttled attempts do not use up receives. Only a crash waits that long: a
  # failure that the function notices shortens the time itself.
  # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
  visibility_timeout_s = 6 * var.function.timeout_s + var.sync.batch_window_s

  fourteen_days_s = 14 * 24 * 60 * 60 # the longest that SQS keeps a message

  # The queue's ARN before there is the queue, for its policy to be made with it: whoever knows the queue may then
  # wire it, with nothing else to wait for.
  queue_arn           = trimsuffix(aws_sqs_queue.dead_letters.arn, local.dead_letters_suffix)
  dead_letters_suffix = "-dead-letters"

  # Environment of the workers that consume the queue: the function and the service.
  queue_environment = {
    QUEUE_URL             = aws_sqs_queue.work.url
    DEAD_LETTER_QUEUE_URL = aws_sqs_queue.dead_letters.url
    SYNC_DELETE           = tostring(var.sync.delete)
    PARTS_ABOVE_MB        = tostring(var.sync.parts_above_mb)
  }
}

resource "aws_sqs_queue" "work" {
  name                       = var.name
  visibility_timeout_seconds = local.visibility_timeout_s
  message_retention_seconds  = local.fourteen_days_s
  receive_wait_time_seconds  = 20

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = var.sync.max_receive_count
  })

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [for statement in local.queue_statements : merge(statement, { Resource = local.queue_arn })]
  })

  sqs_managed_sse_enabled = var.kms_key_arn == null ? true : null
  kms_master_key_id       = var.kms_key_arn

  tags = var.tags
}

resource "aws_sqs_queue" "dead_letters" {
  name                      = "${var.name}${local.dead_letters_suffix}"
  message_retention_seconds = local.fourteen_days_s

  sqs_managed_sse_enabled = var.kms_key_arn == null ? true : null
  kms_master_key_id       = var.kms_key_arn

  tags = var.tags
}

# No other queue may name this one as its dead-letter queue.
resource "aws_sqs_queue_redrive_allow_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.id

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.work.arn]
  })
}

resource "aws_sqs_queue_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.id

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [for statement in local.dead_letters_statements : merge(statement, { Resource = aws_sqs_queue.dead_letters.arn })]
  })
}

locals {
  # The bucket may publish in every mode: in "none" its owner has only the notification left to write, and while the
  # mode is changed no event is refused.
  bucket_statements = [{
    Sid       = "PublishFromSourceBucket"
    Effect    = "Allow"
    Principal = { Service = "s3.amazonaws.com" }
    Action    = "sqs:SendMessage"
    Condition = {
      ArnEquals = { "aws:SourceArn" = local.source_bucket_arn }
      # A bucket's ARN names no account, and the name of a deleted bucket may be taken by somebody else.
      StringEquals = { "aws:SourceAccount" = local.account_id }
    }
  }]

  rule_statements = [for rule in aws_cloudwatch_event_rule.source : {
    Sid       = "PublishFromRule"
    Effect    = "Allow"
    Principal = { Service = "events.amazonaws.com" }
    Action    = "sqs:SendMessage"
    Condition = { ArnEquals = { "aws:SourceArn" = rule.arn } }
  }]

  tls_only_statements = [{
    Sid       = "RefuseWithoutTLS"
    Effect    = "Deny"
    Principal = "*"
    Action    = "sqs:*"
    Condition = { Bool = { "aws:SecureTransport" = "false" } }
  }]

  queue_statements        = concat(local.bucket_statements, local.rule_statements, local.tls_only_statements)
  dead_letters_statements = concat(local.rule_statements, local.tls_only_statements)
}
