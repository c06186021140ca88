# Event sources of the queue. A bucket has a single notification configuration, and aws_s3_bucket_notification replaces
# all of it. The modes "eventbridge" and "none" therefore leave the configuration alone.

locals {
  by_sqs         = var.notification_mode == "sqs"
  by_eventbridge = var.notification_mode == "eventbridge"

  writes_notifications = local.by_sqs || var.enable_bucket_eventbridge

  # ObjectRemoved stays subscribed without deletes.enabled: in a versioned bucket, deleting the current version makes an
  # older version current, and deleting a delete marker restores the object. Lifecycle expirations do neither, so the
  # module subscribes to them only with deletes.enabled. An archived object can be copied after it is restored.
  notification_events = concat(
    ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectRestore:Completed"],
    var.deletes.enabled ? ["s3:LifecycleExpiration:*"] : [],
    var.sync.tags ? ["s3:ObjectTagging:*"] : [],
  )

  # The same events for EventBridge, where "Object Deleted" includes lifecycle expirations.
  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/EventBridge.html
  event_pattern = merge({ for account in [local.source_account_id] : "account" => [account] if local.is_other_account }, {
    source = ["aws.s3"]
    detail-type = concat(
      ["Object Created", "Object Deleted", "Object Restore Completed"],
      var.sync.tags ? ["Object Tags Added", "Object Tags Deleted"] : [],
    )
    detail = merge(
      { bucket = { name = [var.source_bucket] } },
      var.source_prefix == "" ? {} : { object = { key = [{ prefix = var.source_prefix }] } },
    )
  })

  # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
  max_pattern_characters = 2048

  # S3 expects the filter encoded like the keys in its messages: form-encoded, with plain slashes.
  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-filtering.html
  notification_filter_prefix = (var.source_prefix == ""
    ? null
    : replace(urlencode(var.source_prefix), "%2F", "/")
  )
}

# Version 6 of the provider has a data source for notifications, version 5 has none. Terraform checks the type of a data
# source before its count, so a configuration with it is invalid for version 5. Cloud Control serves both versions.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-s3-bucket-notificationconfiguration.html
data "aws_cloudcontrolapi_resource" "source_bucket" {
  count = local.writes_notifications && var.existing_notifications == "refuse" ? 1 : 0

  type_name  = "AWS::S3::Bucket"
  identifier = var.source_bucket
}

locals {
  # Null without the check, and for a response that is not JSON.
  bucket_properties      = try(jsondecode(data.aws_cloudcontrolapi_resource.source_bucket[0].properties), null)
  existing_notifications = try(local.bucket_properties.NotificationConfiguration, {})

  # Properties with destinations, and the attribute that has the ARN.
  notification_kinds = { TopicConfigurations = "Topic", LambdaConfigurations = "Function", QueueConfigurations = "Queue" }

  # A response in another form could hide a destination. A bucket without notifications has no NotificationConfiguration.
  understands_notifications = length(data.aws_cloudcontrolapi_resource.source_bucket) == 0 || try(alltrue(concat(
    [local.bucket_properties.BucketName == var.source_bucket],
    [for name in keys(local.bucket_properties) : name == "NotificationConfiguration" if strcontains(lower(name), "notification")],
    [for kind, value in local.existing_notifications :
      (kind == "EventBridgeConfiguration"
        ? can(tobool(value.EventBridgeEnabled)) && value.EventBridgeEnabled != null
        : alltrue([for each in value : startswith(each[local.notification_kinds[kind]], "arn:")])
      )
    ],
  )), false)

  own_queue_end = ":${local.account_id}:${var.name}" # of its ARN

  # Destinations that would no longer receive events. The queue of the module is left out: its ARN follows from its name.
  foreign_destinations = concat(
    try(local.existing_notifications.TopicConfigurations[*].Topic, []),
    try(local.existing_notifications.LambdaConfigurations[*].Function, []),
    [for queue in try(local.existing_notifications.QueueConfigurations[*].Queue, []) : queue if !endswith(queue, local.own_queue_end)],
    !local.by_eventbridge && try(tobool(local.existing_notifications.EventBridgeConfiguration.EventBridgeEnabled), false) ? ["EventBridge"] : [],
  )
}

resource "aws_s3_bucket_notification" "source" {
  # One resource serves both modes, so that a change of mode updates the configuration. Two resources would be created
  # and deleted in any order, and the deletion empties the configuration.
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
      condition     = local.understands_notifications
      error_message = <<-EOT
        Cloud Control described bucket ${var.source_bucket} in a form that this module does not know. Applying this module could remove notifications that it cannot see. Read them with: aws s3api get-bucket-notification-configuration --bucket ${var.source_bucket}. If none of them is needed, write existing_notifications = "overwrite". Otherwise write notification_mode = "none", and add the queue of the module where the notifications are written.
      EOT
    }

    precondition {
      condition     = length(local.foreign_destinations) == 0
      error_message = <<-EOT
        Bucket ${var.source_bucket} already notifies ${join(", ", local.foreign_destinations)}. Applying this module would remove these notifications. To keep them, write notification_mode = "none" and add the queue of the module where the notifications are written, or write notification_mode = "eventbridge" without enable_bucket_eventbridge. To remove them, write existing_notifications = "overwrite".
      EOT
    }
  }

  # On a change to "eventbridge", the rule is created before the bucket stops its notifications. On a change from it, the
  # rule is deleted first: docs/notifications.md says what follows.
  depends_on = [aws_cloudwatch_event_target.work]
}

# The notifications after the apply. Two modules for one bucket can write them in one apply, as a module and another
# configuration can. Neither sees the other in its plan, and the last one replaces what the first wrote. A check block would
# only warn, and would fail every `terraform test` with a plan, where its result is unknown. SQS needs about 25 s for the
# second dependency, so that this read comes after both writes.
data "aws_cloudcontrolapi_resource" "written" {
  count = length(data.aws_cloudcontrolapi_resource.source_bucket)

  type_name  = "AWS::S3::Bucket"
  identifier = var.source_bucket

  lifecycle {
    postcondition {
      condition = try(local.by_sqs
        ? anytrue([for each in jsondecode(self.properties).NotificationConfiguration.QueueConfigurations : endswith(each.Queue, local.own_queue_end)])
        : tobool(jsondecode(self.properties).NotificationConfiguration.EventBridgeConfiguration.EventBridgeEnabled)
      , false)
      error_message = <<-EOT
        Bucket ${var.source_bucket} does not send its events to ${var.name}: another module or configuration has replaced the notifications that this module wrote. Only one of them may write. Write notification_mode = "none" or "eventbridge" in the others: see docs/notifications.md.
      EOT
    }
  }

  depends_on = [aws_s3_bucket_notification.source, aws_sqs_queue_redrive_allow_policy.dead_letters]
}

# A rule in the account of the bucket sends the events to this bus: see the output source_account.
resource "aws_cloudwatch_event_bus" "source" {
  count = local.by_eventbridge && local.is_other_account ? 1 : 0

  name        = var.name
  description = "Receives changes of ${var.source_bucket} from account ${local.source_account_id}."

  tags = var.tags
}

resource "aws_cloudwatch_event_bus_policy" "source" {
  count = length(aws_cloudwatch_event_bus.source)

  event_bus_name = aws_cloudwatch_event_bus.source[0].name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AllowSourceAccount"
      Effect    = "Allow"
      Principal = { AWS = "arn:${data.aws_partition.current.partition}:iam::${local.source_account_id}:root" }
      Action    = "events:PutEvents"
      Resource  = aws_cloudwatch_event_bus.source[0].arn
      # A rule passes on the source of an event, and only S3 can send events with this source.
      Condition = { StringEquals = { "events:source" = "aws.s3" } }
    }]
  })
}

resource "aws_cloudwatch_event_rule" "source" {
  count = local.by_eventbridge ? 1 : 0

  name           = var.name
  event_bus_name = one(aws_cloudwatch_event_bus.source[*].name)
  description    = "Sends changes of ${var.source_bucket} to the queue of ${var.name}."
  event_pattern  = jsonencode(local.event_pattern)

  tags = var.tags

  lifecycle {
    precondition {
      condition     = length(jsonencode(local.event_pattern)) <= local.max_pattern_characters
      error_message = "The event pattern would have ${length(jsonencode(local.event_pattern))} characters, and EventBridge allows ${local.max_pattern_characters}. Write a shorter source_prefix, or notification_mode = \"sqs\": in a pattern, \"<\", \">\" and \"&\" take six characters each."
    }
  }
}

resource "aws_cloudwatch_event_target" "work" {
  count = local.by_eventbridge ? 1 : 0

  rule           = aws_cloudwatch_event_rule.source[0].name
  event_bus_name = one(aws_cloudwatch_event_bus.source[*].name)
  target_id      = "queue"
  arn            = aws_sqs_queue.work.arn

  # EventBridge sends events here that it could not deliver within 24 hours of retries.
  dead_letter_config {
    arn = aws_sqs_queue.dead_letters.arn
  }

  depends_on = [aws_sqs_queue_policy.dead_letters]
}
