# The queue through which the deletions of live sync go, the queue of the held ones, and the event source mapping of the
# function for the first: docs/adr/0014-delete-guard.md. No worker receives what is held.

locals {
  deletions_suffix      = "-deletions"
  held_deletions_suffix = "-held-deletions"

  # Invocations of the function for deletions at a time. With 8 keys in each, they delete about 100 objects a second. Few of
  # them let a fast stream of deletions pile up, so that the guard sees it.
  deletion_concurrency = 10

  deletion_environment = merge({
    DELETIONS_QUEUE_URL      = aws_sqs_queue.deletions.url
    HELD_DELETIONS_QUEUE_URL = aws_sqs_queue.held_deletions.url
  }, { for limit in [var.deletes.hold_above] : "HOLD_DELETIONS_ABOVE" => tostring(limit) if limit >= 0 })
}

resource "aws_sqs_queue" "deletions" {
  name                       = "${var.name}${local.deletions_suffix}"
  delay_seconds              = var.deletes.delay_s
  visibility_timeout_seconds = local.visibility_timeout_s
  message_retention_seconds  = local.fourteen_days_s
  receive_wait_time_seconds  = 20

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = var.sync.max_receive_count
  })

  policy = local.tls_only_policies[local.deletions_suffix]

  sqs_managed_sse_enabled = var.kms_key_arn == null ? true : null
  kms_master_key_id       = var.kms_key_arn

  tags = var.tags
}

# Without a redrive policy: only `s3-syncer deletions` receives from this queue, and a list of it must not make dead letters.
resource "aws_sqs_queue" "held_deletions" {
  name                      = "${var.name}${local.held_deletions_suffix}"
  message_retention_seconds = local.fourteen_days_s

  policy = local.tls_only_policies[local.held_deletions_suffix]

  sqs_managed_sse_enabled = var.kms_key_arn == null ? true : null
  kms_master_key_id       = var.kms_key_arn

  tags = var.tags
}

resource "aws_lambda_event_source_mapping" "deletions" {
  event_source_arn = aws_sqs_queue.deletions.arn
  function_name    = aws_lambda_function.sync.arn
  enabled          = local.function_consumes

  batch_size              = 10
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = local.deletion_concurrency
  }

  tags = var.tags

  # The first message may begin a chain.
  depends_on = [aws_lambda_function_recursion_config.sync]
}
