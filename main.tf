# How an event flows through the module, and the file of each step:
#
#   filters.tf        keys and sizes that are mirrored
#   notifications.tf  the source bucket, or an EventBridge rule, sends an event to the queue
#   queue.tf          the queue keeps the event until a worker has handled it. Another queue has the bulk work, and the
#                     dead-letter queue what failed
#   deletions.tf      the queue that delays deletions, and the queue that holds a mass of them
#   function.tf       the Lambda function receives the event and makes the key equal in both buckets
#   source_account.tf policies for the account of the source bucket, if it is another one
#   credentials.tf    the secret with the access key of the target
#   service.tf        ECS service that does the work of the function without the 15-minute limit
#   migration.tf      ECS task that copies the objects that existed before
#   ecs.tf            image, cluster, roles and task definitions of the service and the migration
#   reconcile.tf      schedule that compares both buckets and repairs differences
#   iam.tf            permissions that several of these workers share
#   kms.tf            permissions that AWS services need on kms_key_arn
#   monitoring.tf     alarms and metrics
#   dashboard.tf      dashboard of these metrics
#
# variables.tf and outputs.tf are the interface, versions.tf the requirements.

data "aws_partition" "current" {}

data "aws_caller_identity" "current" {}

# For the region. Version 6 of the provider deprecates `id` and `name` of aws_region, and version 5 has no other attribute
# of it with the name of the region.
data "aws_service" "sqs" {
  service_id = "sqs"
}

locals {
  source_bucket_arn = "arn:${data.aws_partition.current.partition}:s3:::${var.source_bucket}"
  account_id        = data.aws_caller_identity.current.account_id
  region            = data.aws_service.sqs.region

  source_account_id = coalesce(var.source_account_id, local.account_id)
  is_other_account  = local.source_account_id != local.account_id

  # Ends of names that are no general purpose bucket, and the reason. The workers know the same ends: see settings_reader.py.
  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
  no_bucket_suffixes = merge(
    { for suffix in ["--x-s3", "--xa-s3"] : suffix => join(" ", [
      "\"${suffix}\" marks a directory bucket, which has no event notifications, no tags and no sorted listings.",
      "Write the name of a general purpose bucket",
    ]) },
    { "--table-s3" = "\"--table-s3\" marks the bucket of an S3 table. Write the name of a general purpose bucket" },
    { for suffix in ["-s3alias", "--ol-s3", ".mrap"] : suffix => join(" ", [
      "\"${suffix}\" marks the alias of an access point, but events and policies name the bucket behind it.",
      "Write the name of that bucket",
    ]) },
  )

  # Environment shared by all workers: the function, the service and the migration.
  worker_environment = merge(
    var.environment,
    local.source_role_environment,
    local.target_options,
    local.filter_variables,
    var.sync.object_lock ? { SYNC_OBJECT_LOCK = "true" } : {},
    {
      SOURCE_BUCKET     = var.source_bucket
      SOURCE_PREFIX     = var.source_prefix
      TARGET_ENDPOINT   = var.target.endpoint
      TARGET_REGION     = var.target.region
      TARGET_BUCKET     = var.target.bucket
      TARGET_PREFIX     = var.target.prefix
      TARGET_SECRET_ARN = local.credentials_secret_arn
      SYNC_TAGS         = tostring(var.sync.tags)

      SOURCE_EXPECTED_BUCKET_OWNER = local.source_account_id
    },
  )

  # Only the options that are set: the environment of a function has at most 4 KB.
  target_options = { for name, value in {
    TARGET_ADDRESSING_STYLE = var.target.addressing_style
    TARGET_PAYLOAD_SIGNING  = tostring(var.target.payload_signing)
    TARGET_CA_CERTIFICATE   = var.target.ca_certificate

    TARGET_STORAGE_CLASS          = var.target.storage_class
    TARGET_SERVER_SIDE_ENCRYPTION = var.target.server_side_encryption
    TARGET_SSE_KMS_KEY_ID         = var.target.sse_kms_key_id
    TARGET_ACL                    = var.target.acl

    TARGET_MAX_OBJECT_MB = tostring(var.target.limits.max_object_mb)
    TARGET_MIN_PART_MB   = tostring(var.target.limits.min_part_mb)
    TARGET_MAX_PART_MB   = tostring(var.target.limits.max_part_mb)
    TARGET_MAX_PARTS     = tostring(var.target.limits.max_parts)
  } : name => value if value != null }

  # A rate of --bwlimit, as a regular expression: bytes per second, for both directions or for each.
  bandwidth_rate = "(off|[0-9]*[.]?[0-9]+[.]?(b|[kmgt](ib?)?)?)(:(off|[0-9]*[.]?[0-9]+[.]?(b|[kmgt](ib?)?)?))?"

  # Names that var.environment cannot have: all that the workers read, and those that Lambda reserves.
  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
  own_variables = "^((SOURCE|TARGET|SYNC|S3_SYNCER)_.*|(BULK_|DEAD_LETTER_|(HELD_)?DELETIONS_)?QUEUE_URL|HOLD_DELETIONS_ABOVE|DISTRIBUTED_COPY_THRESHOLD_MB|LOG_LEVEL)$"
  lambda_variables = [
    "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API",
    "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT",
  ]
}
