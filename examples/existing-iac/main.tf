# For an account that has most resources already. A bucket has a single notification configuration, so the configuration
# that writes it must write all of it. The module writes no notification: the owner adds one queue block with the outputs
# of the module. The module uses the existing secret, cluster and image repository.

provider "aws" {
  region = var.region
}

# Stand-ins for what exists already: a bucket that notifies a topic of each new upload.

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

# Also existing: the secret with the access key of the target, an ECS cluster, and an image repository.

resource "aws_secretsmanager_secret" "store" {
  name = "stores/archive"
}

resource "aws_ecs_cluster" "batch" {
  name = "batch"
}

resource "aws_ecr_repository" "tools" {
  name = "tools/s3-syncer"
}

# The notifications of the bucket, which another configuration writes.

resource "aws_s3_bucket_notification" "uploads" {
  bucket = aws_s3_bucket.uploads.id

  topic {
    topic_arn     = aws_sns_topic.uploads.arn
    events        = ["s3:ObjectCreated:*"]
    filter_prefix = "incoming/"
  }

  # The addition: the queue of the module. S3 rejects two destinations for one event type with overlapping prefixes, so
  # the topic has one prefix and the mirror another. If the prefixes must overlap, use notification_mode "eventbridge".
  queue {
    queue_arn     = module.s3_syncer.queue_arn
    events        = module.s3_syncer.notification_events
    filter_prefix = module.s3_syncer.notification_filter_prefix
  }

  depends_on = [aws_sns_topic_policy.uploads]
}

# The addition: the module.

module "s3_syncer" {
  source = "../.."

  source_bucket = aws_s3_bucket.uploads.id
  source_prefix = "published/"
  target        = var.target

  name              = "uploads-mirror"
  notification_mode = "none"

  credentials_secret = { arn = aws_secretsmanager_secret.store.arn }

  migration = { enabled = true }

  ecs = {
    image      = "${aws_ecr_repository.tools.repository_url}:0.1.0" # you build it from lambda/Dockerfile and push it
    cluster    = { arn = aws_ecs_cluster.batch.arn }
    subnet_ids = var.subnet_ids
  }
}
