# The notifications of the bucket as the module reads them after it has written them. In the first plan they are unknown, so
# the first run of each mode applies. Without changes, the later plans read them at once.

mock_provider "aws" {
  source = "./tests/tf-fixtures/aws"
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }

  # An apply needs every ephemeral input.
  target_credentials         = { access_key_id = "id", secret_access_key = "key" }
  target_credentials_version = 1
}

run "the_queue_is_among_the_notifications" {
  command = apply

  override_data {
    target = data.aws_cloudcontrolapi_resource.written
    values = { properties = "{\"BucketName\": \"source\", \"NotificationConfiguration\": {\"QueueConfigurations\": [{\"Event\": \"s3:ObjectCreated:*\", \"Queue\": \"arn:aws:sqs:eu-west-1:123456789012:s3-syncer\"}]}}" }
  }
}

run "another_writer_has_replaced_the_notifications" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.written
    values = { properties = "{\"BucketName\": \"source\", \"NotificationConfiguration\": {\"QueueConfigurations\": [{\"Event\": \"s3:ObjectCreated:*\", \"Queue\": \"arn:aws:sqs:eu-west-1:123456789012:other\"}]}}" }
  }

  expect_failures = [data.aws_cloudcontrolapi_resource.written]
}

run "another_writer_has_removed_the_notifications" {
  command = plan

  override_data {
    target = data.aws_cloudcontrolapi_resource.written
    values = { properties = "{\"BucketName\": \"source\"}" }
  }

  expect_failures = [data.aws_cloudcontrolapi_resource.written]
}

run "eventbridge_is_enabled" {
  command = apply

  variables {
    notification_mode         = "eventbridge"
    enable_bucket_eventbridge = true
  }

  override_data {
    target = data.aws_cloudcontrolapi_resource.written
    values = { properties = "{\"BucketName\": \"source\", \"NotificationConfiguration\": {\"EventBridgeConfiguration\": {\"EventBridgeEnabled\": true}}}" }
  }
}

run "another_writer_has_disabled_eventbridge" {
  command = plan

  variables {
    notification_mode         = "eventbridge"
    enable_bucket_eventbridge = true
  }

  override_data {
    target = data.aws_cloudcontrolapi_resource.written
    values = { properties = "{\"BucketName\": \"source\", \"NotificationConfiguration\": {\"EventBridgeConfiguration\": {\"EventBridgeEnabled\": false}}}" }
  }

  expect_failures = [data.aws_cloudcontrolapi_resource.written]
}
