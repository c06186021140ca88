# For a bucket that already sends its events to EventBridge, with other rules on them. The module adds a rule. It changes
# neither the notifications of the bucket nor the other rules.

provider "aws" {
  region = var.region
}

# Stand-ins for what exists already: a bucket that sends its events to EventBridge, and a rule that notifies a topic of
# each new upload.

resource "aws_s3_bucket" "uploads" {
  bucket = var.bucket
}

resource "aws_s3_bucket_notification" "uploads" {
  bucket      = aws_s3_bucket.uploads.id
  eventbridge = true # if no configuration writes this, use enable_bucket_eventbridge = true in the module instead
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

# The addition: the module.

module "s3_syncer" {
  source = "../.."

  source_bucket = aws_s3_bucket.uploads.id
  target        = var.target

  name              = "events-mirror"
  notification_mode = "eventbridge"
}
