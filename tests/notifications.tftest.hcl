# Who may put what into the queue, in each notification mode. The mocked ARNs are known while planning, so a plan is
# enough to read every policy; an apply is not to be had, for Terraform 1.11 refuses a test's apply of a module with an
# ephemeral variable that is left out.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
}

run "the_bucket_notifies_the_queue_of_all_its_changes" {
  command = plan

  assert {
    condition     = length(aws_s3_bucket_notification.source) == 1 && !aws_s3_bucket_notification.source[0].eventbridge
    error_message = "The bucket's one notification document is not written for the queue alone."
  }

  assert {
    condition = toset(aws_s3_bucket_notification.source[0].queue[0].events) == toset([
      "s3:ObjectCreated:*",
      "s3:ObjectRemoved:*",
      "s3:LifecycleExpiration:*",
      "s3:ObjectTagging:*",
      "s3:ObjectRestore:Completed",
    ])
    error_message = "The queue does not hear of every event that may change what is mirrored."
  }

  assert {
    condition     = aws_s3_bucket_notification.source[0].queue[0].queue_arn == aws_sqs_queue.work.arn
    error_message = "The bucket notifies another queue."
  }

  assert {
    condition     = aws_s3_bucket_notification.source[0].queue[0].filter_prefix == null
    error_message = "Without source_prefix the whole bucket is mirrored, so nothing may be filtered."
  }

  assert {
    condition     = length(aws_cloudwatch_event_rule.source) == 0 && length(aws_cloudwatch_event_target.work) == 0
    error_message = "Mode sqs needs nothing of EventBridge."
  }

  assert {
    condition     = output.event_rule_arn == null
    error_message = "Without a rule there is no ARN of one."
  }
}

run "only_the_bucket_may_publish_and_only_over_tls" {
  command = plan

  assert {
    condition = jsondecode(aws_sqs_queue.work.policy) == {
      Version = "2012-10-17"
      Statement = [
        {
          Sid       = "AllowSourceBucketNotifications"
          Effect    = "Allow"
          Principal = { Service = "s3.amazonaws.com" }
          Action    = "sqs:SendMessage"
          Resource  = "arn:aws:sqs:eu-west-1:123456789012:s3-syncer"
          Condition = {
            ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::source" }
            StringEquals = { "aws:SourceAccount" = "123456789012" }
          }
        },
        {
          Sid       = "DenyInsecureTransport"
          Effect    = "Deny"
          Principal = "*"
          Action    = "sqs:*"
          Resource  = "arn:aws:sqs:eu-west-1:123456789012:s3-syncer"
          Condition = { Bool = { "aws:SecureTransport" = "false" } }
        },
      ]
    }
    error_message = "The policy of the queue is not exactly: this bucket of this account publishes, nobody does without TLS."
  }

  assert {
    condition     = [for statement in jsondecode(aws_sqs_queue_policy.dead_letters.policy).Statement : statement.Sid] == ["DenyInsecureTransport"]
    error_message = "Nobody outside the account's own policies may put anything among the dead letters."
  }

  assert {
    condition     = aws_sqs_queue_policy.dead_letters.queue_url == aws_sqs_queue.dead_letters.id
    error_message = "The policy belongs to another queue."
  }
}

run "tags_that_are_not_mirrored_are_not_listened_to" {
  command = plan

  variables {
    sync = { tags = false }
  }

  assert {
    condition     = !contains(aws_s3_bucket_notification.source[0].queue[0].events, "s3:ObjectTagging:*")
    error_message = "Without sync.tags, changes of tags are not to be asked for."
  }
}

run "removals_are_listened_to_without_delete_for_an_older_version_may_come_back" {
  command = plan

  variables {
    sync = { delete = false }
  }

  assert {
    condition     = contains(aws_s3_bucket_notification.source[0].queue[0].events, "s3:ObjectRemoved:*")
    error_message = "Deleting a version or a delete marker can bring an older version back, which has to arrive."
  }

  assert {
    condition     = !contains(aws_s3_bucket_notification.source[0].queue[0].events, "s3:LifecycleExpiration:*")
    error_message = "Without sync.delete, expirations change nothing and are not to be asked for."
  }
}

run "the_filter_is_encoded_as_s3_writes_keys" {
  command = plan

  variables {
    source_prefix = "my reports/dt=2026/"
  }

  assert {
    condition     = aws_s3_bucket_notification.source[0].queue[0].filter_prefix == "my+reports/dt%3D2026/"
    error_message = "S3 compares the filter with encoded keys."
  }

  assert {
    condition     = output.notification_filter_prefix == "my+reports/dt%3D2026/"
    error_message = "The output differs from the filter that the module itself would use."
  }
}

run "a_rule_of_eventbridge_feeds_the_queue" {
  command = plan

  variables {
    notification_mode = "eventbridge"
    source_prefix     = "my reports/"
  }

  assert {
    condition     = length(aws_s3_bucket_notification.source) == 0
    error_message = "The bucket's notifications must be left alone."
  }

  assert {
    condition = jsondecode(aws_cloudwatch_event_rule.source[0].event_pattern) == {
      source      = ["aws.s3"]
      detail-type = ["Object Created", "Object Deleted", "Object Restore Completed", "Object Tags Added", "Object Tags Deleted"]
      detail = {
        bucket = { name = ["source"] }
        object = { key = [{ prefix = "my reports/" }] }
      }
    }
    error_message = "The rule does not pick exactly the changes of this bucket under this prefix; EventBridge does not encode keys."
  }

  assert {
    condition     = aws_cloudwatch_event_target.work[0].arn == aws_sqs_queue.work.arn && aws_cloudwatch_event_target.work[0].dead_letter_config[0].arn == aws_sqs_queue.dead_letters.arn
    error_message = "Events must go to the queue, and to the dead letters if they cannot be delivered."
  }

  assert {
    condition = alltrue([for policy in [aws_sqs_queue.work.policy, aws_sqs_queue_policy.dead_letters.policy] : contains([
      for statement in jsondecode(policy).Statement : statement.Condition.ArnEquals["aws:SourceArn"]
      if statement.Principal == { Service = "events.amazonaws.com" } && statement.Effect == "Allow" && statement.Action == "sqs:SendMessage"
    ], aws_cloudwatch_event_rule.source[0].arn)])
    error_message = "Both queues must let this rule publish."
  }

  assert {
    condition     = output.event_rule_arn == aws_cloudwatch_event_rule.source[0].arn
    error_message = "The output is not the rule's ARN."
  }
}

run "a_rule_for_the_whole_bucket_without_tags" {
  command = plan

  variables {
    notification_mode = "eventbridge"
    sync              = { tags = false }
  }

  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.source[0].event_pattern).detail == { bucket = { name = ["source"] } }
    error_message = "Without source_prefix the rule must not look at keys."
  }

  assert {
    condition     = !anytrue([for type in jsondecode(aws_cloudwatch_event_rule.source[0].event_pattern)["detail-type"] : strcontains(type, "Tags")])
    error_message = "Without sync.tags, changes of tags are not to be asked for."
  }
}

run "the_switch_of_the_bucket_is_set_when_asked_for" {
  command = plan

  variables {
    notification_mode         = "eventbridge"
    enable_bucket_eventbridge = true
  }

  assert {
    condition     = aws_s3_bucket_notification.source[0].eventbridge && length(aws_s3_bucket_notification.source[0].queue) == 0
    error_message = "The document must switch EventBridge on and name no queue."
  }
}

run "the_owner_of_the_bucket_finds_all_it_takes_in_the_outputs" {
  command = plan

  variables {
    notification_mode = "none"
    source_prefix     = "reports/"
  }

  assert {
    condition     = length(aws_s3_bucket_notification.source) == 0 && length(aws_cloudwatch_event_rule.source) == 0
    error_message = "Mode none must not touch the bucket or EventBridge."
  }

  assert {
    condition     = output.queue_arn == aws_sqs_queue.work.arn && output.notification_filter_prefix == "reports/" && length(output.notification_events) == 5
    error_message = "Queue, event types or filter are missing from the outputs."
  }

  assert {
    condition     = contains([for statement in jsondecode(aws_sqs_queue.work.policy).Statement : statement.Sid], "AllowSourceBucketNotifications")
    error_message = "The queue must let the bucket publish before its owner writes the notification."
  }
}

# What is there already is not overwritten silently. What the mocked Cloud Control says of the bucket is as CloudFormation
# documents it.

run "a_bucket_that_notifies_others_is_refused" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"NotificationConfiguration\": {\"TopicConfigurations\": [{\"Event\": \"s3:ObjectCreated:*\", \"Topic\": \"arn:aws:sns:eu-west-1:123456789012:uploads\"}]}}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "a_function_that_is_notified_is_refused" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"NotificationConfiguration\": {\"LambdaConfigurations\": [{\"Event\": \"s3:ObjectCreated:*\", \"Function\": \"arn:aws:lambda:eu-west-1:123456789012:function:thumbnails\"}]}}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "the_queue_of_another_of_this_module_is_refused" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"NotificationConfiguration\": {\"QueueConfigurations\": [{\"Event\": \"s3:ObjectCreated:*\", \"Queue\": \"arn:aws:sqs:eu-west-1:123456789012:other-s3-syncer\"}]}}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "a_switch_that_would_be_turned_off_is_refused" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"NotificationConfiguration\": {\"EventBridgeConfiguration\": {\"EventBridgeEnabled\": true}}}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "the_switch_refuses_what_it_would_overwrite" {
  command = plan

  variables {
    notification_mode         = "eventbridge"
    enable_bucket_eventbridge = true
  }

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"NotificationConfiguration\": {\"TopicConfigurations\": [{\"Event\": \"s3:ObjectCreated:*\", \"Topic\": \"arn:aws:sns:eu-west-1:123456789012:uploads\"}], \"EventBridgeConfiguration\": {\"EventBridgeEnabled\": true}}}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "our_own_queue_and_switch_are_nobody_elses" {
  command = plan

  variables {
    notification_mode         = "eventbridge"
    enable_bucket_eventbridge = true
  }

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"NotificationConfiguration\": {\"QueueConfigurations\": [{\"Event\": \"s3:ObjectCreated:*\", \"Queue\": \"arn:aws:sqs:eu-west-1:123456789012:s3-syncer\"}], \"EventBridgeConfiguration\": {\"EventBridgeEnabled\": true}}}"
    }
  }

  assert {
    condition     = length(local.foreign_destinations) == 0
    error_message = "What the module itself has written, in this mode or in another, must not stop it."
  }
}

run "who_says_so_overwrites_and_is_not_looked_at" {
  command = plan

  variables {
    existing_notifications = "overwrite"
  }

  assert {
    condition     = length(data.aws_cloudcontrolapi_resource.source_bucket) == 0 && length(aws_s3_bucket_notification.source) == 1
    error_message = "With \"overwrite\" nothing is read of the bucket, and its notifications are written."
  }
}

run "who_writes_no_notifications_does_not_look_at_them" {
  command = plan

  variables {
    notification_mode = "eventbridge"
  }

  assert {
    condition     = length(data.aws_cloudcontrolapi_resource.source_bucket) == 0
    error_message = "Where the bucket is left alone, nobody needs to be allowed to read it."
  }
}
