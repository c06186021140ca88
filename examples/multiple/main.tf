# Several pairs of buckets, each with its own queue, function and alarms, and for all of them one dashboard and one topic
# for the alarms. There are many buckets for one store, one bucket with several targets, and one prefix of a bucket with
# another target. The pairs use EventBridge: the notifications of a bucket allow only one destination per event, and
# EventBridge allows any number of rules.

provider "aws" {
  region = var.region
}

locals {
  # The key is part of every resource name and keeps the pairs apart. Do not change a key that is in use.
  pairs = {
    invoices = {
      source_bucket = "my-invoices"
      target_bucket = "my-invoices-mirror"
    }

    # The whole bucket has one target.
    documents = {
      source_bucket = "my-documents"
      target_bucket = "my-documents-mirror"
    }

    # One folder of the same bucket has a second target, where nothing is deleted.
    published = {
      source_bucket = "my-documents"
      source_prefix = "published/"
      target_bucket = "my-archive"
      target_prefix = "documents/"
      deletes       = { enabled = false }
    }
  }
}

module "s3_syncer" {
  source   = "../.."
  for_each = local.pairs

  name = "mirror-${each.key}"

  source_bucket = each.value.source_bucket
  source_prefix = try(each.value.source_prefix, "")

  target = {
    endpoint = var.target_endpoint
    region   = var.target_region
    bucket   = each.value.target_bucket
    prefix   = try(each.value.target_prefix, "")
  }

  # All pairs share one access key.
  credentials_secret = { arn = aws_secretsmanager_secret.store.arn }

  notification_mode = "eventbridge"
  deletes           = try(each.value.deletes, {})
  alarm_actions     = [aws_sns_topic.alarms.arn]
}

# One topic for the alarms of all pairs. The name of an alarm starts with that of its pair. The topic is not encrypted:
# an alarm cannot publish to a topic with the key that AWS manages, and a customer managed key needs a policy for it.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
resource "aws_sns_topic" "alarms" {
  name = "mirrors"
}

resource "aws_sns_topic_subscription" "email" {
  count = var.alarm_email == null ? 0 : 1

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

# One dashboard with the graphs and tables of each pair, one pair below the other. A dashboard costs 3 USD a month, so
# this one costs a third of one in each pair.
locals {
  widgets = { for key, pair in module.s3_syncer : key => jsondecode(pair.dashboard_body).widgets }
  heights = [for widgets in values(local.widgets) : max([for widget in widgets : widget.y + widget.height]...)]
}

resource "aws_cloudwatch_dashboard" "mirrors" {
  dashboard_name = "mirrors"

  dashboard_body = jsonencode({
    widgets = concat([], [for number, widgets in values(local.widgets) : [
      for widget in widgets : merge(widget, { y = widget.y + sum(concat([0], slice(local.heights, 0, number))) })
    ]]...)
  })
}

# The EventBridge setting of each bucket, once for all its mirrors. If another configuration writes the notifications of a
# bucket, set eventbridge = true there instead.
resource "aws_s3_bucket_notification" "source" {
  for_each = toset([for pair in local.pairs : pair.source_bucket])

  bucket      = each.key
  eventbridge = true
}

resource "aws_secretsmanager_secret" "store" {
  name        = "mirrors/store"
  description = "Access key for the buckets at ${var.target_endpoint}: {\"access_key_id\": \"...\", \"secret_access_key\": \"...\"}"
}
