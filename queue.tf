# The queue of the events, the queue for bulk work, the dead-letter queue, and the queue policies. Every message that a
# worker sends is bulk work: docs/adr/0013-bulk-queue.md.

locals {
  # Visibility timeout in seconds. AWS recommends six times the timeout of the function plus the batching window, so
  # that throttled invocations do not use up receives. Only the messages of a crashed worker wait that long: after a
  # failure that the worker handles, the worker itself shortens the timeout.
  # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
  #
  # It is at least 900 s longer than an invocation. After that time no store accepts a request that the crashed worker has
  # sent. So the next worker sees its last effect. docs/adr/0011-fenced-writers.md has the source of the number.
  visibility_timeout_s = max(900 + var.function.timeout_s, 6 * var.function.timeout_s) + var.sync.batch_window_s

  fourteen_days_s = 14 * 24 * 60 * 60 # the maximum message retention of SQS

  # The ARN is built from the name, so that the policy can be an argument of the queue without a dependency cycle. A
  # notification that is written elsewhere then depends on the queue alone, not also on a queue policy resource. Also, the
  # plan knows the policy and its size.
  queue_arn           = "arn:${data.aws_partition.current.partition}:sqs:${local.region}:${local.account_id}:${var.name}"
  dead_letters_suffix = "-dead-letters"
  bulk_suffix         = "-bulk"

  # Longer suffixes that end with one of these are excluded as well, such as that of the held deletions.
  queue_suffixes = [local.dead_letters_suffix, local.bulk_suffix, local.deletions_suffix]

  # Environment of the workers that consume the queues: the function and the service.
  queue_environment = merge(local.deletion_environment, {
    QUEUE_URL                     = aws_sqs_queue.work.url
    BULK_QUEUE_URL                = aws_sqs_queue.bulk.url
    DEAD_LETTER_QUEUE_URL         = aws_sqs_queue.dead_letters.url
    SYNC_DELETE                   = tostring(var.deletes.enabled)
    DISTRIBUTED_COPY_THRESHOLD_MB = tostring(var.sync.distributed_copy_threshold_mb)
  })
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

  policy = local.queue_policy

  sqs_managed_sse_enabled = var.kms_key_arn == null ? true : null
  kms_master_key_id       = var.kms_key_arn

  tags = var.tags

  lifecycle {
    precondition {
      condition     = length(local.queue_policy) <= local.max_queue_policy_bytes
      error_message = "The policy of queue ${var.name} would have ${length(local.queue_policy)} bytes, and SQS allows ${local.max_queue_policy_bytes}. Write fewer ARNs into notification_topic_arns."
    }
  }
}

resource "aws_sqs_queue" "bulk" {
  name                       = "${var.name}${local.bulk_suffix}"
  visibility_timeout_seconds = local.visibility_timeout_s
  message_retention_seconds  = local.fourteen_days_s
  receive_wait_time_seconds  = 20

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = var.sync.max_receive_count
  })

  policy = local.tls_only_policies[local.bulk_suffix]

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

# Only the queues with workers may use this queue as their dead-letter queue.
resource "aws_sqs_queue_redrive_allow_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.id

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.work.arn, aws_sqs_queue.bulk.arn, aws_sqs_queue.deletions.arn]
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
  # The bucket may send messages in every notification_mode. In mode "none" the owner of the bucket then only has to
  # write the notification, and a change of mode rejects no event.
  bucket_statements = [{
    Sid       = "AllowSourceBucketNotifications"
    Effect    = "Allow"
    Principal = { Service = "s3.amazonaws.com" }
    Action    = "sqs:SendMessage"
    Condition = {
      ArnEquals = { "aws:SourceArn" = local.source_bucket_arn }
      # The ARN of a bucket contains no account, and another account may create a bucket under the name of a deleted one.
      StringEquals = { "aws:SourceAccount" = local.source_account_id }
    }
  }]

  # The reference to the rule makes Terraform delete the rule before it updates the policies.
  rule_statements = [for rule in aws_cloudwatch_event_rule.source : {
    Sid       = "AllowEventBridgeRule"
    Effect    = "Allow"
    Principal = { Service = "events.amazonaws.com" }
    Action    = "sqs:SendMessage"
    Condition = { ArnEquals = { "aws:SourceArn" = rule.arn } }
  }]

  topic_statements = [for arns in [var.notification_topic_arns] : {
    Sid       = "AllowSnsTopics"
    Effect    = "Allow"
    Principal = { Service = "sns.amazonaws.com" }
    Action    = "sqs:SendMessage"
    Condition = { ArnEquals = { "aws:SourceArn" = arns } }
  } if length(arns) > 0]

  tls_only_statements = [{
    Sid       = "DenyInsecureTransport"
    Effect    = "Deny"
    Principal = "*"
    Action    = "sqs:*"
    Condition = { Bool = { "aws:SecureTransport" = "false" } }
  }]

  # The policies of the queues to which no AWS service sends, by the end of the queue's name.
  tls_only_policies = { for suffix in [local.bulk_suffix, local.deletions_suffix, local.held_deletions_suffix] : suffix => jsonencode({
    Version   = "2012-10-17"
    Statement = [for statement in local.tls_only_statements : merge(statement, { Resource = "${local.queue_arn}${suffix}" })]
  }) }

  queue_statements        = concat(local.bucket_statements, local.rule_statements, local.topic_statements, local.tls_only_statements)
  dead_letters_statements = concat(local.rule_statements, local.tls_only_statements)

  # Only this policy has a list, that of the topics. All of its characters are ASCII.
  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-policies.html
  max_queue_policy_bytes = 8192
  queue_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [for statement in local.queue_statements : merge(statement, { Resource = local.queue_arn })]
  })
}
