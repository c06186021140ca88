# Permissions that several workers share, and the names of the roles.

locals {
  # A name may be as long as a function's name may be: 64. A role's name may not be longer either, so with its
  # suffix it has to be cut; the hash keeps two names apart that differ only in what was cut off.
  role_names = { for part in ["function", "service", "reconcile", "migration", "execution"] : part =>
    (length("${var.name}-${part}") <= 64
      ? "${var.name}-${part}"
      : "${substr(var.name, 0, 64 - 6 - 2 - length(part))}-${substr(sha256(var.name), 0, 6)}-${part}"
    )
  }

  # Statements shared by all workers: the function, the service and the migration.
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

  # Statements of the workers that consume the queue: the function and the service.
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
