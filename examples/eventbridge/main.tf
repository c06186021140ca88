# For a bucket whose events go to EventBridge: its owner has switched that on, and others listen there already. The
# module adds a rule of its own, and touches neither the bucket's notifications nor anybody else's rules.

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

# What was here before: a bucket that sends its events to EventBridge, and a rule that tells a topic of new uploads.

resource "aws_s3_bucket" "uploads" {
  bucket = var.bucket
}

resource "aws_s3_bucket_notification" "uploads" {
  bucket      = aws_s3_bucket.uploads.id
  eventbridge = true # or, where nobody writes notifications, enable_bucket_eventbridge = true in the module
}

resource "aws_sns_topic" "uploads" {
  name = "${var.bucket}-uploads"
}

resource "aws_cloudwatch_event_rule" "uploads" {
  name = "${var.bucket}-uploads"

  event_pattern = jsonencode({
    source      = ["aws.s3"]
    detail-type = ["Object Created"]
    detail      = { bucket = { name = [aws_s3_bucket.uploads.id] } }
  })
}

resource "aws_cloudwatch_event_target" "uploads" {
  rule = aws_cloudwatch_event_rule.uploads.name
  arn  = aws_sns_topic.uploads.arn
}

data "aws_iam_policy_document" "publish_uploads" {
  statement {
    sid       = "AllowEventBridgeRule"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.uploads.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.uploads.arn]
    }
  }
}

resource "aws_sns_topic_policy" "uploads" {
  arn    = aws_sns_topic.uploads.arn
  policy = data.aws_iam_policy_document.publish_uploads.json
}

# Added: the mirror.

module "s3_syncer" {
  source = "../.."

  source_bucket = aws_s3_bucket.uploads.id

  target = {
    endpoint = "https://s3.eu-west-1.example.com"
    region   = "eu-west-1"
    bucket   = "my-mirror"
  }

  name              = "events-mirror"
  notification_mode = "eventbridge"
}
