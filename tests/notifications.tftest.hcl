# Events and queue policies in each notification mode. The mocked ARNs are known at plan time, so a plan is enough to read
# every policy. An apply is not possible: Terraform 1.11 rejects it if an ephemeral variable of the module is not set.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
}

run "the_bucket_notifies_the_queue" {
  command = plan

  assert {
    condition     = length(aws_s3_bucket_notification.source) == 1 && !aws_s3_bucket_notification.source[0].eventbridge
    error_message = "The notification configuration must have only the queue."
  }

  assert {
    condition = toset(aws_s3_bucket_notification.source[0].queue[0].events) == toset([
      "s3:ObjectCreated:*",
      "s3:ObjectRemoved:*",
      "s3:LifecycleExpiration:*",
      "s3:ObjectTagging:*",
      "s3:ObjectRestore:Completed",
    ])
    error_message = "The queue must receive every event that may change the mirror."
  }

  assert {
    condition     = aws_s3_bucket_notification.source[0].queue[0].queue_arn == aws_sqs_queue.work.arn
    error_message = "The bucket must notify the work queue."
  }

  assert {
    condition     = aws_s3_bucket_notification.source[0].queue[0].filter_prefix == null
    error_message = "Without source_prefix there must be no filter."
  }

  assert {
    condition     = length(aws_cloudwatch_event_rule.source) == 0 && length(aws_cloudwatch_event_target.work) == 0
    error_message = "Mode sqs must not use EventBridge."
  }

  assert {
    condition     = output.event_rule_arn == null
    error_message = "Without a rule the output must be null."
  }
}

run "only_the_bucket_can_send_and_only_with_tls" {
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
    error_message = "The queue policy must allow only this bucket of this account, and deny requests without TLS."
  }

  assert {
    condition = jsondecode(aws_sqs_queue.bulk.policy).Statement == [{
      Sid       = "DenyInsecureTransport"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = "arn:aws:sqs:eu-west-1:123456789012:s3-syncer-bulk"
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
    error_message = "The policy of the queue for bulk work must allow no service, and deny requests without TLS."
  }

  assert {
    condition     = [for statement in jsondecode(aws_sqs_queue_policy.dead_letters.policy).Statement : statement.Sid] == ["DenyInsecureTransport"]
    error_message = "The policy of the dead-letter queue must allow no service."
  }

  assert {
    condition     = aws_sqs_queue_policy.dead_letters.queue_url == aws_sqs_queue.dead_letters.id
    error_message = "The policy must belong to the dead-letter queue."
  }
}

run "no_tag_events_without_tags" {
  command = plan

  variables {
    sync = { tags = false }
  }

  assert {
    condition     = !contains(aws_s3_bucket_notification.source[0].queue[0].events, "s3:ObjectTagging:*")
    error_message = "Without sync.tags there must be no tag events."
  }
}

run "removal_events_without_delete" {
  command = plan

  variables {
    deletes = { enabled = false }
  }

  assert {
    condition     = contains(aws_s3_bucket_notification.source[0].queue[0].events, "s3:ObjectRemoved:*")
    error_message = "Deleting a version or a delete marker can restore an older version, so removal events are needed."
  }

  assert {
    condition     = !contains(aws_s3_bucket_notification.source[0].queue[0].events, "s3:LifecycleExpiration:*")
    error_message = "Without deletes.enabled there must be no expiration events."
  }
}

run "the_filter_prefix_is_encoded" {
  command = plan

  variables {
    source_prefix = "my reports/dt=2026/"
  }

  assert {
    condition     = aws_s3_bucket_notification.source[0].queue[0].filter_prefix == "my+reports/dt%3D2026/"
    error_message = "The filter must be encoded like the keys in S3 messages."
  }

  assert {
    condition     = output.notification_filter_prefix == "my+reports/dt%3D2026/"
    error_message = "The output must equal the filter of mode sqs."
  }
}

run "a_filter_of_1024_characters" {
  command = plan

  variables {
    source_prefix = format("path%s", replace(format("%340s", ""), " ", "=")) # "=" has three characters in the filter
  }

  assert {
    condition     = length(aws_s3_bucket_notification.source[0].queue[0].filter_prefix) == 1024
    error_message = "This is the longest filter."
  }
}

run "a_filter_of_more_than_1024_characters" {
  command = plan

  variables {
    source_prefix = replace(format("%342s", ""), " ", "=")
  }

  expect_failures = [var.source_prefix]
}

run "eventbridge_needs_no_encoded_filter" {
  command = plan

  variables {
    source_prefix     = replace(format("%342s", ""), " ", "=")
    notification_mode = "eventbridge"
  }

  assert {
    condition     = length(jsondecode(aws_cloudwatch_event_rule.source[0].event_pattern).detail.object.key[0].prefix) == 342
    error_message = "The rule compares the plain prefix."
  }
}

run "an_eventbridge_rule_sends_to_the_queue" {
  command = plan

  variables {
    notification_mode = "eventbridge"
    source_prefix     = "my reports/"
  }

  assert {
    condition     = length(aws_s3_bucket_notification.source) == 0
    error_message = "The module must not write the notifications of the bucket."
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
    error_message = "The rule must match the changes of this bucket below the prefix. EventBridge does not encode keys."
  }

  assert {
    condition     = aws_cloudwatch_event_target.work[0].arn == aws_sqs_queue.work.arn && aws_cloudwatch_event_target.work[0].dead_letter_config[0].arn == aws_sqs_queue.dead_letters.arn
    error_message = "Events must go to the queue, and to the dead-letter queue if delivery fails."
  }

  assert {
    condition = alltrue([for policy in [aws_sqs_queue.work.policy, aws_sqs_queue_policy.dead_letters.policy] : contains([
      for statement in jsondecode(policy).Statement : statement.Condition.ArnEquals["aws:SourceArn"]
      if statement.Principal == { Service = "events.amazonaws.com" } && statement.Effect == "Allow" && statement.Action == "sqs:SendMessage"
    ], aws_cloudwatch_event_rule.source[0].arn)])
    error_message = "Both queue policies must allow the rule."
  }

  assert {
    condition     = output.event_rule_arn == aws_cloudwatch_event_rule.source[0].arn
    error_message = "The output must be the ARN of the rule."
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
    error_message = "Without source_prefix the rule must not filter keys."
  }

  assert {
    condition     = !anytrue([for type in jsondecode(aws_cloudwatch_event_rule.source[0].event_pattern)["detail-type"] : strcontains(type, "Tags")])
    error_message = "Without sync.tags there must be no tag events."
  }
}

run "the_module_enables_eventbridge_of_the_bucket" {
  command = plan

  variables {
    notification_mode         = "eventbridge"
    enable_bucket_eventbridge = true
  }

  assert {
    condition     = aws_s3_bucket_notification.source[0].eventbridge && length(aws_s3_bucket_notification.source[0].queue) == 0
    error_message = "The configuration must enable EventBridge and have no queue."
  }
}

run "mode_none_has_outputs_for_the_notification" {
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
    error_message = "The outputs must have queue, event types and filter."
  }

  assert {
    condition     = contains([for statement in jsondecode(aws_sqs_queue.work.policy).Statement : statement.Sid], "AllowSourceBucketNotifications")
    error_message = "The queue policy must allow the bucket before the notification is written."
  }
}

# Existing notifications. The mocked Cloud Control returns the properties that CloudFormation documents.

run "an_existing_topic_fails" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"BucketName\": \"source\", \"NotificationConfiguration\": {\"TopicConfigurations\": [{\"Event\": \"s3:ObjectCreated:*\", \"Topic\": \"arn:aws:sns:eu-west-1:123456789012:uploads\"}]}}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "an_existing_function_fails" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"BucketName\": \"source\", \"NotificationConfiguration\": {\"LambdaConfigurations\": [{\"Event\": \"s3:ObjectCreated:*\", \"Function\": \"arn:aws:lambda:eu-west-1:123456789012:function:thumbnails\"}]}}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "the_queue_of_another_module_fails" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"BucketName\": \"source\", \"NotificationConfiguration\": {\"QueueConfigurations\": [{\"Event\": \"s3:ObjectCreated:*\", \"Queue\": \"arn:aws:sqs:eu-west-1:123456789012:other-s3-syncer\"}]}}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "eventbridge_that_would_be_disabled_fails" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"BucketName\": \"source\", \"NotificationConfiguration\": {\"EventBridgeConfiguration\": {\"EventBridgeEnabled\": true}}}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "enabling_eventbridge_fails_with_an_existing_topic" {
  command = plan

  variables {
    notification_mode         = "eventbridge"
    enable_bucket_eventbridge = true
  }

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"BucketName\": \"source\", \"NotificationConfiguration\": {\"TopicConfigurations\": [{\"Event\": \"s3:ObjectCreated:*\", \"Topic\": \"arn:aws:sns:eu-west-1:123456789012:uploads\"}], \"EventBridgeConfiguration\": {\"EventBridgeEnabled\": true}}}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "the_own_queue_and_eventbridge_setting_are_ignored" {
  command = plan

  variables {
    notification_mode         = "eventbridge"
    enable_bucket_eventbridge = true
  }

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"BucketName\": \"source\", \"NotificationConfiguration\": {\"QueueConfigurations\": [{\"Event\": \"s3:ObjectCreated:*\", \"Queue\": \"arn:aws:sqs:eu-west-1:123456789012:s3-syncer\"}], \"EventBridgeConfiguration\": {\"EventBridgeEnabled\": true}}}"
    }
  }

  assert {
    condition     = length(local.foreign_destinations) == 0
    error_message = "Notifications that the module wrote itself, in any mode, must not fail the plan."
  }
}

run "overwrite_does_not_check" {
  command = plan

  variables {
    existing_notifications = "overwrite"
  }

  assert {
    condition     = length(data.aws_cloudcontrolapi_resource.source_bucket) == 0 && length(aws_s3_bucket_notification.source) == 1
    error_message = "With \"overwrite\" the module must write the notifications without reading the bucket."
  }
}

run "no_check_without_writing_notifications" {
  command = plan

  variables {
    notification_mode = "eventbridge"
  }

  assert {
    condition     = length(data.aws_cloudcontrolapi_resource.source_bucket) == 0
    error_message = "Without writing notifications the module must not read the bucket."
  }
}

run "a_response_with_another_bucket_fails" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"BucketName\": \"other\"}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "a_response_with_no_name_fails" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"NotificationConfiguration\": {}}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "a_response_with_no_json_fails" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "AccessDenied"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "a_response_with_a_list_fails" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "[]"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "a_response_with_a_null_fails" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "null"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "a_response_with_another_name_of_the_configuration_fails" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"BucketName\": \"source\", \"BucketNotification\": {\"TopicConfigurations\": []}}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "a_response_with_another_kind_of_destination_fails" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"BucketName\": \"source\", \"NotificationConfiguration\": {\"PipeConfigurations\": [{\"Pipe\": \"arn:aws:pipes:eu-west-1:123456789012:pipe/a\"}]}}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "a_response_with_another_name_of_the_destination_fails" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"BucketName\": \"source\", \"NotificationConfiguration\": {\"TopicConfigurations\": [{\"Event\": \"s3:ObjectCreated:*\", \"TopicArn\": \"arn:aws:sns:eu-west-1:123456789012:uploads\"}]}}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "a_response_with_a_destination_without_its_list_fails" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"BucketName\": \"source\", \"NotificationConfiguration\": {\"TopicConfigurations\": {\"Event\": \"s3:ObjectCreated:*\", \"Topic\": \"arn:aws:sns:eu-west-1:123456789012:uploads\"}}}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "a_response_with_eventbridge_without_its_switch_fails" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"BucketName\": \"source\", \"NotificationConfiguration\": {\"EventBridgeConfiguration\": {}}}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "a_response_with_no_object_of_notifications_fails" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"BucketName\": \"source\", \"NotificationConfiguration\": \"arn:aws:sns:eu-west-1:123456789012:uploads\"}"
    }
  }

  expect_failures = [aws_s3_bucket_notification.source]
}

run "a_bucket_with_other_properties_is_understood" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.source_bucket
    values = {
      properties = "{\"BucketName\": \"source\", \"VersioningConfiguration\": {\"Status\": \"Enabled\"}, \"NotificationConfiguration\": {\"TopicConfigurations\": [], \"EventBridgeConfiguration\": {\"EventBridgeEnabled\": false}}, \"Tags\": [{\"Key\": \"a\", \"Value\": \"b\"}]}"
    }
  }

  assert {
    condition     = length(aws_s3_bucket_notification.source) == 1
    error_message = "Other properties of the bucket must not fail the plan."
  }
}

run "topics_send_to_the_queue" {
  command = plan

  variables {
    notification_mode       = "none"
    notification_topic_arns = ["arn:aws:sns:eu-west-1:123456789012:one", "arn:aws:sns:us-east-1:210987654321:other"]
  }

  assert {
    condition = [for statement in jsondecode(aws_sqs_queue.work.policy).Statement : statement if statement.Sid == "AllowSnsTopics"] == [{
      Sid       = "AllowSnsTopics"
      Effect    = "Allow"
      Principal = { Service = "sns.amazonaws.com" }
      Action    = "sqs:SendMessage"
      Resource  = "arn:aws:sqs:eu-west-1:123456789012:s3-syncer"
      Condition = { ArnEquals = { "aws:SourceArn" = ["arn:aws:sns:eu-west-1:123456789012:one", "arn:aws:sns:us-east-1:210987654321:other"] } }
    }]
    error_message = "Both topics, and no other, must be allowed to send to the queue."
  }

  assert {
    condition     = contains([for statement in output.kms_key_policy_statements : statement.Sid], "AllowSnsToEncryptedQueue")
    error_message = "SNS must be allowed to use the key of the queue."
  }
}

run "no_topic_without_the_input" {
  command = plan

  assert {
    condition     = !contains([for statement in output.kms_key_policy_statements : statement.Sid], "AllowSnsToEncryptedQueue")
    error_message = "SNS must not be allowed to use the key of the queue."
  }
}
