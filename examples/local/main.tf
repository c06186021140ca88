# The module on an emulated AWS, as scripts/local applies it. This configuration creates the source bucket. The target
# bucket is in another store, which this configuration knows only from the inputs of the module.

provider "aws" {
  region     = var.region
  access_key = var.access_key_id
  secret_key = var.secret_access_key

  # The emulator has no instance metadata and no real account, and serves all buckets under one host name.
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  s3_use_path_style           = true

  endpoints {
    cloudcontrol   = var.aws_endpoint
    cloudwatch     = var.aws_endpoint
    cloudwatchlogs = var.aws_endpoint
    ec2            = var.aws_endpoint
    ecr            = var.aws_endpoint
    ecs            = var.aws_endpoint
    eventbridge    = var.aws_endpoint
    iam            = var.aws_endpoint
    kms            = var.aws_endpoint
    lambda         = var.aws_endpoint
    s3             = var.aws_endpoint
    secretsmanager = var.aws_endpoint
    sqs            = var.aws_endpoint
    sts            = var.aws_endpoint
  }
}

resource "aws_s3_bucket" "source" {
  bucket        = var.source_bucket
  force_destroy = true
}

# Customer managed keys: one for the source objects, one for everything the module stores. The policy of the second key
# contains the statements for AWS services. For all other principals, both key policies defer to IAM policies.

data "aws_caller_identity" "current" {}

locals {
  iam_statement = {
    Sid       = "EnableIamPolicies"
    Effect    = "Allow"
    Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.current.account_id}:root" }
    Action    = "kms:*"
    Resource  = "*"
  }
}

resource "aws_kms_key" "source" {
  count = var.encrypted ? 1 : 0

  description         = "Encrypts the objects of ${var.source_bucket}"
  enable_key_rotation = true
  policy              = jsonencode({ Version = "2012-10-17", Statement = [local.iam_statement] })
}

resource "aws_kms_key" "mirror" {
  count = var.encrypted ? 1 : 0

  description         = "Encrypts everything that ${var.name} stores"
  enable_key_rotation = true
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat([local.iam_statement], module.s3_syncer.kms_key_policy_statements)
  })
}

resource "aws_s3_bucket_server_side_encryption_configuration" "source" {
  count = var.encrypted ? 1 : 0

  bucket = aws_s3_bucket.source.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.source[0].arn
    }
  }
}

module "s3_syncer" {
  source = "../.."

  # The reference to the resource makes the module wait for the bucket.
  source_bucket = aws_s3_bucket.source.id
  target        = var.target

  target_credentials         = var.target_credentials
  target_credentials_version = var.target_credentials_version

  name              = var.name
  notification_mode = var.notification_mode
  sync              = var.sync
  deletes           = var.deletes
  paused            = var.paused
  function          = var.function
  dashboard         = true

  migration = { enabled = true }

  # Emulated tasks run on this machine. The subnet has no effect.
  ecs = {
    architecture = var.architecture
    subnet_ids   = ["subnet-00000000"]
  }

  enable_bucket_eventbridge = var.notification_mode == "eventbridge"

  source_kms_key_arns = aws_kms_key.source[*].arn
  kms_key_arn         = one(aws_kms_key.mirror[*].arn)
}
