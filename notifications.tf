# What puts work into the queue. A bucket has one notification document, and aws_s3_bucket_notification writes the
# whole of it: hence three modes, two of which leave the document alone.

locals {
  by_sqs         = var.notification_mode == "sqs"
  by_eventbridge = var.notification_mode == "eventbridge"

  writes_notifications = local.by_sqs || var.enable_bucket_eventbridge

  # ObjectRemoved stays without sync.delete: in a versioned bucket, deleting the current version brings an older
  # one back, and deleting a delete marker brings the object back. A lifecycle never does either, so its
  # expirations are asked for only when deletions are mirrored. An archived object can be copied once restored.
  notification_events = concat(
    ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectRestore:Completed"],
    var.sync.delete ? ["s3:LifecycleExpiration:*"] : [],
    var.sync.tags ? ["s3:ObjectTagging:*"] : [],
  )

  # The same in EventBridge's words; its "Object Deleted" covers lifecycles too.
  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/EventBridge.html
  event_pattern = {
    source = ["aws.s3"]
    detail-type = concat(
      ["Object Created", "Object Deleted", "Object Restore Completed"],
      var.sync.tags ? ["Object Tags Added", "Object Tags Deleted"] : [],
    )
    detail = merge(
      { bucket = { name = [var.source_bucket] } },
      var.source_prefix == "" ? {} : { object = { key = [{ prefix = var.source_prefix }] } },
    )
  }

  # S3 wants the filter as it writes keys in its messages: form-encoded, with slashes as they are.
  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-filtering.html
  notification_filter_prefix = (var.source_prefix == ""
    ? null
    : replace(urlencode(var.source_prefix), "%2F", "/")
  )
}

# The provider has no data source for notifications, but Cloud Control describes a bucket with all that belongs to it.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-s3-bucket-notificationconfiguration.html
data "aws_cloudcontrolapi_resource" "source_bucket" {
  count = local.writes_notifications && var.existing_notifications == "refuse" ? 1 : 0

  type_name  = "AWS::S3::Bucket"
  identifier = var.source_bucket
}

locals {
  notified = try(jsondecode(data.aws_cloudcontrolapi_resource.source_bucket[0].properties).NotificationConfiguration, {})

  # Who would not be told any more: everybody but our own queue, which is known by its name before there is one.
  told_by_others = concat(
    [for each in try(local.notified.TopicConfigurations, []) : each.Topic],
    [for each in try(local.notified.LambdaConfigurations, []) : each.Function],
    [for each in try(local.notified.QueueConfigurations, []) : each.Queue if !endswith(each.Queue, ":${local.account_id}:${var.name}")],
    !local.by_eventbridge && try(tobool(local.notified.EventBridgeConfiguration.EventBridgeEnabled), false) ? ["EventBridge"] : [],
  )
}

resource "aws_s3_bucket_notification" "source" {
  # One resource for both modes: a change of mode is then an update of the document. As two resources it would be
  # a creation and a deletion in any order, and the deletion empties the document.
  count = local.writes_notifications ? 1 : 0

  bucket      = var.source_bucket
  eventbridge = local.by_eventbridge

  dynamic "queue" {
    for_each = local.by_sqs ? [aws_sqs_queue.work.arn] : []

    content {
      id            = var.name
      queue_arn     = queue.value
      events        = local.notification_events
      filter_prefix = local.notification_filter_prefix
    }
  }

  lifecycle {
    precondition {
      condition     = length(local.told_by_others) == 0
      error_message = <<-EOT
        The bucket ${var.source_bucket} notifies ${join(", ", local.told_by_others)}, and would not any more. Write notification_mode = "none" (add the module's queue where these notifications are written) or "eventbridge" without enable_bucket_eventbridge, which both leave them alone; or existing_notifications = "overwrite", and they are gone.
      EOT
    }
  }

  # For a change of mode: the rule delivers before the bucket stops to notify, and until after it starts to.
  depends_on = [aws_cloudwatch_event_target.work]
}

resource "aws_cloudwatch_event_rule" "source" {
  count = local.by_eventbridge ? 1 : 0

  name          = var.name
  description   = "Changes of ${var.source_bucket}, for ${var.name} to mirror."
  event_pattern = jsonencode(local.event_pattern)

  tags = var.tags
}

resource "aws_cloudwatch_event_target" "work" {
  count = local.by_eventbridge ? 1 : 0

  rule      = aws_cloudwatch_event_rule.source[0].name
  target_id = "queue"
  arn       = aws_sqs_queue.work.arn

  # Where EventBridge puts what it could not deliver in its 24 hours of retries.
  dead_letter_config {
    arn = aws_sqs_queue.dead_letters.arn
  }

  depends_on = [aws_sqs_queue_policy.dead_letters]
}
