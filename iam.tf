# IAM: the names of all roles, and the policy statements that several workers share. Each role is in the file of its feature.

locals {
  # var.name has up to 64 characters, the longest name of a Lambda function. A role name has the same limit, so a long
  # name is cut to make room for the suffix. The hash keeps two names distinct that differ only in the part cut off.
  role_names = { for part in ["function", "service", "reconcile", "migration", "execution"] : part =>
    (length("${var.name}-${part}") <= 64
      ? "${var.name}-${part}"
      : "${substr(var.name, 0, 64 - 6 - 2 - length(part))}-${substr(sha256(var.name), 0, 6)}-${part}"
    )
  }

  # Of all inline policies of a role together, without white space. Each role has one, and only the lists of keys and the
  # prefix can make it long.
  # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
  max_policy_characters = 10240
  long_policy           = "IAM allows ${local.max_policy_characters}. Write fewer keys into source_kms_key_arns and previous_kms_key_arns, or a shorter source_prefix."

  # The permissions on the source, of the workers or of the role that they assume.
  read_source_statements = [
    {
      Sid    = "ReadSourceObjects"
      Effect = "Allow"
      Action = concat(
        ["s3:GetObject"],
        var.sync.tags ? ["s3:GetObjectTagging"] : [],
        # Without them, S3 leaves the lock out of its responses.
        var.sync.object_lock ? ["s3:GetObjectRetention", "s3:GetObjectLegalHold"] : [],
      )
      Resource = ["${local.source_bucket_arn}/${var.source_prefix}*"]
    },
    {
      # For listings. Without this permission S3 also answers 403 instead of 404 for a missing key. A condition on
      # s3:prefix would not match HeadObject requests, because they carry no prefix.
      Sid      = "ListSourceBucket"
      Effect   = "Allow"
      Action   = ["s3:ListBucket"]
      Resource = [local.source_bucket_arn]
    },
  ]

  decrypt_source_statements = [for keys in [var.source_kms_key_arns] : {
    Sid       = "DecryptSourceObjects"
    Effect    = "Allow"
    Action    = ["kms:Decrypt"]
    Resource  = keys
    Condition = { StringEquals = { "kms:ViaService" = local.kms_via["s3"] } }
  } if length(keys) > 0]

  # Statements shared by all workers: the function, the service and the migration.
  worker_statements = concat(
    [for statement in local.read_source_statements : statement if var.source_role_arn == null],
    [for arn in var.source_role_arn[*] : {
      Sid      = "AssumeSourceRole"
      Effect   = "Allow"
      Action   = ["sts:AssumeRole"]
      Resource = [arn]
    }],
    [
      {
        Sid      = "ReadTargetCredentials"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = [local.credentials_secret_arn]
      },
      {
        # The pieces of a range or an object that a worker cannot finish in time. A migration with --workers queue sends
        # the first range.
        Sid      = "SendToBulkQueue"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [aws_sqs_queue.bulk.arn]
      },
    ],
    [for arn in var.event_bus_arn[*] : {
      Sid      = "SendEvents"
      Effect   = "Allow"
      Action   = ["events:PutEvents"]
      Resource = [arn]
    }],
    [for statement in local.decrypt_source_statements :
      merge(statement, { Condition = { StringEquals = { "kms:ViaService" = local.services_decrypting_for_workers } } })
      if length(local.services_decrypting_for_workers) > 0
    ],
    # Decrypt is for the secret, for received messages and for sending messages; GenerateDataKey is for sending messages.
    [for key in [var.kms_key_arn] : {
      Sid       = "UseKmsKey"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = [key]
      Condition = { StringEquals = { "kms:ViaService" = [for service in ["secretsmanager", "sqs"] : local.kms_via[service]] } }
    } if key != null],
  )

  # Statements of the workers that consume the queues: the function and the service.
  queue_worker_statements = concat(
    local.worker_statements,
    [
      {
        Sid    = "ConsumeQueues"
        Effect = "Allow"
        Action = [
          "sqs:ReceiveMessage",
          "sqs:DeleteMessage",
          "sqs:GetQueueAttributes",
          "sqs:ChangeMessageVisibility",
        ]
        Resource = [aws_sqs_queue.work.arn, aws_sqs_queue.bulk.arn, aws_sqs_queue.deletions.arn]
      },
      {
        Sid      = "SendDeletions"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [aws_sqs_queue.deletions.arn, aws_sqs_queue.held_deletions.arn]
      },
      {
        Sid      = "CountHeldDeletions"
        Effect   = "Allow"
        Action   = ["sqs:GetQueueAttributes"]
        Resource = [aws_sqs_queue.held_deletions.arn]
      },
      {
        Sid      = "SendToDeadLetterQueue"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [aws_sqs_queue.dead_letters.arn]
      },
    ],
    # A message stays encrypted with the key under which it was sent.
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
    [for keys in [var.previous_kms_key_arns] : {
      Sid       = "DecryptEarlierMessages"
      Effect    = "Allow"
      Action    = ["kms:Decrypt"]
      Resource  = keys
      Condition = { StringEquals = { "kms:ViaService" = [local.kms_via["sqs"]] } }
    } if length(keys) > 0],
  )
}
