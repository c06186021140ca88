# The way of an event, and the file that holds each station:
#
#   trigger.tf      the source bucket tells that a key may have changed
#   main.tf         the queue keeps that until it is done; what cannot be done ends among the dead letters
#   function.tf     the function takes it from the queue and makes the key equal on both sides
#   credentials.tf  with the keys of the target from this secret
#   service.tf      or a service does, for as long as it runs, without the function's 15 minutes
#   migration.tf    what was there before comes over once, by a task that somebody starts
#   tasks.tf        image, cluster and roles of these two, which are tasks of ECS
#   reconcile.tf    what no event told is found on a schedule
#   encryption.tf   who besides these may use the key that all of it is encrypted with
#   monitoring.tf   and somebody hears about it when it does not work

data "aws_partition" "current" {}

data "aws_caller_identity" "current" {}

data "aws_region" "current" {}

locals {
  source_bucket_arn = "arn:${data.aws_partition.current.partition}:s3:::${var.source_bucket}"
  account_id        = data.aws_caller_identity.current.account_id
  region            = data.aws_region.current.id # not its name, which version 6 of the provider deprecates

  # A name may be as long as a function's name may be: 64. A role's name may not be longer either, so with its
  # suffix it has to be cut; the hash keeps two names apart that differ only in what was cut off.
  role_names = { for part in ["function", "service", "reconcile", "migration", "execution"] : part =>
    (length("${var.name}-${part}") <= 64
      ? "${var.name}-${part}"
      : "${substr(var.name, 0, 64 - 6 - 2 - length(part))}-${substr(sha256(var.name), 0, 6)}-${part}"
    )
  }

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
}

# Whoever copies, wherever it runs, knows this and may do this.
locals {
  worker_environment = {
    SOURCE_BUCKET     = var.source_bucket
    SOURCE_PREFIX     = var.source_prefix
    TARGET_ENDPOINT   = var.target.endpoint
    TARGET_REGION     = var.target.region
    TARGET_BUCKET     = var.target.bucket
    TARGET_PREFIX     = var.target.prefix
    TARGET_SECRET_ARN = local.credentials_secret_arn
    SYNC_TAGS         = tostring(var.sync.tags)
  }

  worker_statements = concat(
    [
      {
        Sid      = "ReadSourceObjects"
        Effect   = "Allow"
        Action   = concat(["s3:GetObject"], var.sync.tags ? ["s3:GetObjectTagging"] : [])
        Resource = ["${local.source_bucket_arn}/${var.source_prefix}*"]
      },
      {
        # For listings, and because without it S3 answers 403 instead of 404 for a missing key. A condition on
        # s3:prefix would not match the HEAD of an object, which carries no prefix.
        Sid      = "TellMissingFromForbidden"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [local.source_bucket_arn]
      },
      {
        Sid      = "ReadTargetCredentials"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = [local.credentials_secret_arn]
      },
    ],
    [for keys in [var.source_kms_key_arns] : {
      Sid       = "DecryptSourceObjects"
      Effect    = "Allow"
      Action    = ["kms:Decrypt"]
      Resource  = keys
      Condition = { StringEquals = { "kms:ViaService" = local.services_decrypting_for_workers } }
    } if length(keys) > 0],
  )
}

# And whoever takes its work from the queue.
locals {
  queue_environment = {
    QUEUE_URL             = aws_sqs_queue.work.url
    DEAD_LETTER_QUEUE_URL = aws_sqs_queue.dead_letters.url
    SYNC_DELETE           = tostring(var.sync.delete)
    PARTS_ABOVE_MB        = tostring(var.sync.parts_above_mb)
  }

  queue_worker_statements = concat(
    local.worker_statements,
    [
      {
        Sid    = "ReceiveWork"
        Effect = "Allow"
        Action = [
          "sqs:ReceiveMessage",
          "sqs:DeleteMessage",
          "sqs:GetQueueAttributes",
          "sqs:ChangeMessageVisibility",
        ]
        Resource = [aws_sqs_queue.work.arn]
      },
      {
        # What it cannot finish in time it puts back as smaller pieces.
        Sid      = "SendWork"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [aws_sqs_queue.work.arn]
      },
      {
        Sid      = "SendDeadLetters"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [aws_sqs_queue.dead_letters.arn]
      },
    ],
    # Decrypt for the queue's messages and the secret, GenerateDataKey for what is sent to the queues.
    [for key in [var.kms_key_arn] : {
      Sid       = "UseOwnKey"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = [key]
      Condition = { StringEquals = { "kms:ViaService" = [for service in ["secretsmanager", "sqs"] : local.kms_via[service]] } }
    } if key != null],
  )
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
