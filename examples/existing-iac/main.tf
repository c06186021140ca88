# For an estate that has most things already. A bucket has one notification document, so whoever writes it has to write
# all of it: the module stays out, and the owner adds one queue block, wired to the module's outputs. The secret, the
# cluster and the repository for images that are there are used, and none are made.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}

provider "aws" {
  region = "eu-west-1"
}

# What was here before: a bucket that tells a topic of every new upload,

resource "aws_s3_bucket" "uploads" {
  bucket = var.bucket
}

resource "aws_sns_topic" "uploads" {
  name = "${var.bucket}-uploads"
}

data "aws_caller_identity" "current" {}

data "aws_iam_policy_document" "publish_uploads" {
  statement {
    sid       = "AllowBucketNotifications"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.uploads.arn]

    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_s3_bucket.uploads.arn]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_sns_topic_policy" "uploads" {
  arn    = aws_sns_topic.uploads.arn
  policy = data.aws_iam_policy_document.publish_uploads.json
}

# and the keys of the other store, a cluster for batch work, and a repository for images.

resource "aws_secretsmanager_secret" "store" {
  name = "stores/archive"
}

resource "aws_ecs_cluster" "batch" {
  name = "batch"
}

resource "aws_ecr_repository" "tools" {
  name = "tools/s3-syncer"
}

# Who writes the notifications of the bucket:

resource "aws_s3_bucket_notification" "uploads" {
  bucket = aws_s3_bucket.uploads.id

  topic {
    topic_arn     = aws_sns_topic.uploads.arn
    events        = ["s3:ObjectCreated:*"]
    filter_prefix = "incoming/"
  }

  # Added: the module's queue. S3 refuses two destinations for one event type under overlapping prefixes, which is
  # why the topic has its prefix and the mirror has another; where they must overlap, use notification_mode
  # "eventbridge".
  queue {
    queue_arn     = module.s3_syncer.queue_arn
    events        = module.s3_syncer.notification_events
    filter_prefix = module.s3_syncer.notification_filter_prefix
  }

  depends_on = [aws_sns_topic_policy.uploads]
}

# Added: the mirror.

module "s3_syncer" {
  source = "../.."

  source_bucket = aws_s3_bucket.uploads.id
  source_prefix = "published/"

  target = {
    endpoint = "https://s3.eu-west-1.example.com"
    region   = "eu-west-1"
    bucket   = "my-mirror"
  }

  name              = "uploads-mirror"
  notification_mode = "none"

  credentials_secret = { arn = aws_secretsmanager_secret.store.arn }

  migration = { enabled = true }

  ecs = {
    image      = "${aws_ecr_repository.tools.repository_url}:0.1.0" # built from lambda/Dockerfile and pushed by you
    cluster    = { arn = aws_ecs_cluster.batch.arn }
    subnet_ids = var.subnet_ids
  }
}
