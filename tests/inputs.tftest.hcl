# Validations of the inputs. Each run has one mistake, so that only one validation can catch it.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
}

# Source

run "a_source_by_arn" {
  command = plan

  variables {
    source_bucket = "arn:aws:s3:::source"
  }

  expect_failures = [var.source_bucket]
}

run "a_source_by_address" {
  command = plan

  variables {
    source_bucket = "s3://source"
  }

  expect_failures = [var.source_bucket]
}

run "a_source_with_a_path" {
  command = plan

  variables {
    source_bucket = "source/reports"
  }

  expect_failures = [var.source_bucket]
}

run "a_source_without_a_name" {
  command = plan

  variables {
    source_bucket = ""
  }

  expect_failures = [var.source_bucket]
}

# Target

run "an_endpoint_without_a_scheme" {
  command = plan

  variables {
    target = { endpoint = "s3.example.com", region = "us-east-1", bucket = "mirror" }
  }

  expect_failures = [var.target]
}

run "an_endpoint_with_the_bucket_in_its_path" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com/mirror", region = "us-east-1", bucket = "mirror" }
  }

  expect_failures = [var.target]
}

run "an_endpoint_with_a_query" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com/v1?x=1", region = "us-east-1", bucket = "mirror" }
  }

  expect_failures = [var.target]
}

run "an_endpoint_with_a_path" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com/storage/v1/s3/", region = "us-east-1", bucket = "mirror" }
  }

  assert {
    condition     = aws_lambda_function.sync.environment[0].variables.TARGET_ENDPOINT == "https://s3.example.com/storage/v1/s3/"
    error_message = "The function does not get the path of the endpoint."
  }
}

run "an_endpoint_with_a_user" {
  command = plan

  variables {
    target = { endpoint = "https://id:secret@s3.example.com", region = "us-east-1", bucket = "mirror" }
  }

  expect_failures = [var.target]
}

run "an_endpoint_with_http" {
  command = plan

  variables {
    target = { endpoint = "http://s3.example.com", region = "us-east-1", bucket = "mirror" }
  }

  expect_failures = [var.target]
}

run "an_endpoint_with_http_that_starts_with_localhost" {
  command = plan

  variables {
    target = { endpoint = "http://localhost.example.com", region = "us-east-1", bucket = "mirror" }
  }

  expect_failures = [var.target]
}

run "a_region_without_a_name" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "", bucket = "mirror" }
  }

  expect_failures = [var.target]
}

run "a_target_by_address" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "s3://mirror" }
  }

  expect_failures = [var.target]
}

run "a_target_with_a_path" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror/reports" }
  }

  expect_failures = [var.target]
}

run "prefixes_with_a_slash_at_their_start" {
  command = plan

  variables {
    source_prefix = "/cur/"
    target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", prefix = "/mirror/" }
  }

  assert {
    condition     = aws_s3_bucket_notification.source[0].queue[0].filter_prefix == "/cur/"
    error_message = "The bucket notifies the queue of other keys."
  }

  assert {
    condition     = strcontains(aws_iam_role_policy.function.policy, "arn:aws:s3:::source//cur/*")
    error_message = "The function may not read the keys below the prefix."
  }

  assert {
    condition     = aws_lambda_function.sync.environment[0].variables.TARGET_PREFIX == "/mirror/"
    error_message = "The function does not get the prefix as it is."
  }
}

run "a_source_that_is_a_directory_bucket" {
  command = plan

  variables {
    source_bucket = "logs--usw2-az1--x-s3"
  }

  expect_failures = [var.source_bucket]
}

run "a_target_that_is_a_directory_bucket" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "logs--usw2-az1--x-s3" }
  }

  expect_failures = [var.target]
}

run "a_source_that_is_an_access_point_of_a_directory_bucket" {
  command = plan

  variables {
    source_bucket = "logs--usw2-az1--xa-s3"
  }

  expect_failures = [var.source_bucket]
}

run "a_target_that_is_an_access_point_of_a_directory_bucket" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "logs--usw2-az1--xa-s3" }
  }

  expect_failures = [var.target]
}

run "a_source_that_is_an_s3_table" {
  command = plan

  variables {
    source_bucket = "0a1b2c3d--table-s3"
  }

  expect_failures = [var.source_bucket]
}

run "a_target_that_is_an_s3_table" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "0a1b2c3d--table-s3" }
  }

  expect_failures = [var.target]
}

run "a_source_that_is_an_access_point_alias" {
  command = plan

  variables {
    source_bucket = "ap-0123456789abcdef-s3alias"
  }

  expect_failures = [var.source_bucket]
}

run "a_target_that_is_an_access_point_alias" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "ap-0123456789abcdef-s3alias" }
  }

  expect_failures = [var.target]
}

run "a_source_that_is_an_object_lambda_alias" {
  command = plan

  variables {
    source_bucket = "ap-0123456789abcdef--ol-s3"
  }

  expect_failures = [var.source_bucket]
}

run "a_target_that_is_an_object_lambda_alias" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "ap-0123456789abcdef--ol-s3" }
  }

  expect_failures = [var.target]
}

run "a_source_that_is_a_multi_region_alias" {
  command = plan

  variables {
    source_bucket = "mfzwi23gnjvgw.mrap"
  }

  expect_failures = [var.source_bucket]
}

run "a_target_that_is_a_multi_region_alias" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mfzwi23gnjvgw.mrap" }
  }

  expect_failures = [var.target]
}

run "a_storage_class_of_two_words" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", storage_class = "COLD STORE" }
  }

  expect_failures = [var.target]
}

run "an_unknown_encryption" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", server_side_encryption = "aes" }
  }

  expect_failures = [var.target]
}

run "a_kms_key_without_kms" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", server_side_encryption = "AES256", sse_kms_key_id = "key" }
  }

  expect_failures = [var.target]
}

run "an_unknown_acl" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", acl = "open" }
  }

  expect_failures = [var.target]
}

run "a_target_with_no_room" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", limits = { max_object_mb = 0 } }
  }

  expect_failures = [var.target]
}

run "a_part_of_half_a_mib" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", limits = { min_part_mb = 0.5 } }
  }

  expect_failures = [var.target]
}

run "a_largest_part_that_is_the_smallest" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", limits = { max_part_mb = 5 } }
  }

  expect_failures = [var.target]
}

run "too_many_parts" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", limits = { max_parts = 10001 } }
  }

  expect_failures = [var.target]
}

run "an_unknown_addressing_style" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", addressing_style = "auto" }
  }

  expect_failures = [var.target]
}

run "a_ca_certificate_by_path" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", ca_certificate = "ca.pem" }
  }

  expect_failures = [var.target]
}

run "a_ca_certificate_with_its_key" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", ca_certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----\n" }
  }

  expect_failures = [var.target]
}

run "a_ca_bundle_that_is_too_long" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", ca_certificate = "-----BEGIN CERTIFICATE-----\n${join("", [for _ in range(1000) : "MMMM"])}\n-----END CERTIFICATE-----" }
  }

  expect_failures = [var.target]
}

run "options_of_the_target" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", addressing_style = "virtual", payload_signing = true, storage_class = "STANDARD_IA", server_side_encryption = "aws:kms", sse_kms_key_id = "key", acl = "bucket-owner-full-control", limits = { max_object_mb = 51200000, min_part_mb = 1, max_part_mb = 5120, max_parts = 1000 } }
  }

  assert {
    condition = { for name, value in aws_lambda_function.sync.environment[0].variables : name => value if startswith(name, "TARGET_") && !contains(["TARGET_ENDPOINT", "TARGET_REGION", "TARGET_BUCKET", "TARGET_PREFIX", "TARGET_SECRET_ARN"], name) } == {
      TARGET_ADDRESSING_STYLE       = "virtual"
      TARGET_PAYLOAD_SIGNING        = "true"
      TARGET_STORAGE_CLASS          = "STANDARD_IA"
      TARGET_SERVER_SIDE_ENCRYPTION = "aws:kms"
      TARGET_SSE_KMS_KEY_ID         = "key"
      TARGET_ACL                    = "bucket-owner-full-control"
      TARGET_MAX_OBJECT_MB          = "51200000"
      TARGET_MIN_PART_MB            = "1"
      TARGET_MAX_PART_MB            = "5120"
      TARGET_MAX_PARTS              = "1000"
    }
    error_message = "The function must have the options."
  }
}

run "null_for_each_option_of_the_target" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", addressing_style = null, payload_signing = null, ca_certificate = null, storage_class = null, server_side_encryption = null, sse_kms_key_id = null, acl = null, limits = null }
  }

  assert {
    condition     = toset([for name in keys(aws_lambda_function.sync.environment[0].variables) : name if startswith(name, "TARGET_")]) == toset(["TARGET_ENDPOINT", "TARGET_REGION", "TARGET_BUCKET", "TARGET_PREFIX", "TARGET_SECRET_ARN"])
    error_message = "The function must have none of the options."
  }
}

run "a_ca_certificate" {
  command = plan

  variables {
    target    = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", ca_certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n" }
    migration = { enabled = true }
    ecs       = { subnet_ids = ["subnet-1"] }
  }

  assert {
    condition     = aws_lambda_function.sync.environment[0].variables.TARGET_CA_CERTIFICATE == "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    error_message = "The function must have the certificate."
  }

  assert {
    condition     = contains([for each in jsondecode(aws_ecs_task_definition.task["migration"].container_definitions)[0].environment : each.name], "TARGET_CA_CERTIFICATE")
    error_message = "The tasks must have the certificate."
  }
}

run "the_same_bucket_on_both_sides" {
  command = plan

  variables {
    target = { endpoint = "https://s3.eu-west-1.amazonaws.com", region = "us-east-1", bucket = "source" }
  }

  expect_failures = [var.target]
}

run "the_same_bucket_on_both_sides_in_capitals_with_a_port" {
  command = plan

  variables {
    target = { endpoint = "https://S3.Amazonaws.com:443", region = "us-east-1", bucket = "source" }
  }

  expect_failures = [var.target]
}

run "the_same_bucket_on_both_sides_with_a_slash" {
  command = plan

  variables {
    target = { endpoint = "https://s3.eu-west-1.amazonaws.com/", region = "us-east-1", bucket = "source" }
  }

  expect_failures = [var.target]
}

run "the_same_bucket_on_both_sides_in_china" {
  command = plan

  variables {
    target = { endpoint = "https://s3.cn-north-1.amazonaws.com.cn", region = "us-east-1", bucket = "source" }
  }

  expect_failures = [var.target]
}

# Topics

run "a_topic_by_name" {
  command = plan

  variables {
    notification_topic_arns = ["my-topic"]
  }

  expect_failures = [var.notification_topic_arns]
}

run "a_subscription_as_topic" {
  command = plan

  variables {
    notification_topic_arns = ["arn:aws:sns:eu-west-1:123456789012:my-topic:0b9a4c8e-0000-0000-0000-000000000000"]
  }

  expect_failures = [var.notification_topic_arns]
}

# Name

run "a_name_of_65_characters" {
  command = plan

  variables {
    name = "n123456789-123456789-123456789-123456789-123456789-123456789-1234"
  }

  expect_failures = [var.name]
}

run "a_name_with_a_dot" {
  command = plan

  variables {
    name = "s3.syncer"
  }

  expect_failures = [var.name]
}

run "a_name_with_a_slash" {
  command = plan

  variables {
    name = "team/s3-syncer"
  }

  expect_failures = [var.name]
}

run "a_name_that_starts_with_a_hyphen" {
  command = plan

  variables {
    name = "-s3-syncer"
  }

  expect_failures = [var.name]
}

run "an_empty_name" {
  command = plan

  variables {
    name = ""
  }

  expect_failures = [var.name]
}

# Source prefix

run "the_source_itself_in_the_european_sovereign_cloud" {
  command = plan

  variables {
    target = { endpoint = "https://s3.eusc-de-east-1.amazonaws.eu", region = "eusc-de-east-1", bucket = "source" }
  }

  expect_failures = [var.target]
}

run "a_secret_without_the_characters_that_aws_appends" {
  command = plan

  variables {
    credentials_secret = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:existing" }
  }

  expect_failures = [var.credentials_secret]
}

run "a_source_prefix_with_a_wildcard" {
  command = plan

  variables {
    source_prefix = "reports/*"
  }

  expect_failures = [var.source_prefix]
}

run "a_source_prefix_with_a_question_mark" {
  command = plan

  variables {
    source_prefix = "reports-?/"
  }

  expect_failures = [var.source_prefix]
}

run "a_source_prefix_with_a_policy_variable" {
  command = plan

  variables {
    source_prefix = "$${aws:username}/"
  }

  expect_failures = [var.source_prefix]
}

run "a_source_prefix_that_no_policy_can_contain" {
  command = plan

  variables {
    source_prefix = "отчёты/"
  }

  expect_failures = [var.source_prefix]
}

run "a_source_prefix_with_a_line_break" {
  command = plan

  variables {
    source_prefix = "reports\n/"
  }

  expect_failures = [var.source_prefix]
}

run "a_source_prefix_with_every_other_letter" {
  command = plan

  variables {
    source_prefix = "añejo/Übergröße ÿ/"
  }
}

run "a_source_prefix_longer_than_a_key" {
  command = plan

  variables {
    source_prefix = replace(format("%1025s", ""), " ", "a")
  }

  expect_failures = [var.source_prefix]
}

# Credentials

run "a_secret_by_name" {
  command = plan

  variables {
    credentials_secret = { arn = "my-secret" }
  }

  expect_failures = [var.credentials_secret]
}

run "a_secret_that_is_a_parameter" {
  command = plan

  variables {
    credentials_secret = { arn = "arn:aws:ssm:eu-west-1:123456789012:parameter/my-secret" }
  }

  expect_failures = [var.credentials_secret]
}

run "credentials_for_a_secret_that_exists" {
  command = plan

  variables {
    credentials_secret         = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:existing-AbCdEf" }
    target_credentials         = { access_key_id = "id", secret_access_key = "secret" }
    target_credentials_version = 1
  }

  expect_failures = [var.target_credentials]
}

run "credentials_without_a_version" {
  command = plan

  variables {
    target_credentials = { access_key_id = "id", secret_access_key = "secret" }
  }

  expect_failures = [var.target_credentials]
}

run "a_version_without_credentials" {
  command = plan

  variables {
    target_credentials_version = 1
  }

  expect_failures = [var.target_credentials]
}

run "credentials_with_an_empty_id" {
  command = plan

  variables {
    target_credentials         = { access_key_id = "", secret_access_key = "secret" }
    target_credentials_version = 1
  }

  expect_failures = [var.target_credentials]
}

run "credentials_with_a_line_feed" {
  command = plan

  variables {
    target_credentials         = { access_key_id = "id", secret_access_key = "secret\n" }
    target_credentials_version = 1
  }

  expect_failures = [var.target_credentials]
}

run "credentials_without_a_secret" {
  command = plan

  variables {
    target_credentials         = { access_key_id = "id", secret_access_key = null }
    target_credentials_version = 1
  }

  expect_failures = [var.target_credentials]
}

run "a_version_of_0" {
  command = plan

  variables {
    target_credentials         = { access_key_id = "id", secret_access_key = "secret" }
    target_credentials_version = 0
  }

  expect_failures = [var.target_credentials_version]
}

run "a_version_between_two" {
  command = plan

  variables {
    target_credentials         = { access_key_id = "id", secret_access_key = "secret" }
    target_credentials_version = 1.5
  }

  expect_failures = [var.target_credentials_version]
}

# Notification

run "an_unknown_mode" {
  command = plan

  variables {
    notification_mode = "sns"
  }

  expect_failures = [var.notification_mode]
}

run "eventbridge_enabled_in_another_mode" {
  command = plan

  variables {
    enable_bucket_eventbridge = true
  }

  expect_failures = [var.enable_bucket_eventbridge]
}

# Deletes

run "a_negative_delay_of_deletions" {
  command = plan

  variables {
    deletes = { delay_s = -1 }
  }

  expect_failures = [var.deletes]
}

run "a_delay_of_deletions_of_901_seconds" {
  command = plan

  variables {
    deletes = { delay_s = 901 }
  }

  expect_failures = [var.deletes]
}

run "a_delay_of_deletions_between_two_seconds" {
  command = plan

  variables {
    deletes = { delay_s = 0.5 }
  }

  expect_failures = [var.deletes]
}

run "a_limit_that_holds_every_deletion" {
  command = plan

  variables {
    deletes = { hold_above = 0 }
  }

  expect_failures = [var.deletes]
}

run "a_limit_of_deletions_below_minus_one" {
  command = plan

  variables {
    deletes = { hold_above = -2 }
  }

  expect_failures = [var.deletes]
}

run "a_limit_of_deletions_between_two" {
  command = plan

  variables {
    deletes = { hold_above = 1.5 }
  }

  expect_failures = [var.deletes]
}

# Sync

run "a_concurrency_of_1" {
  command = plan

  variables {
    sync = { max_concurrency = 1 }
  }

  expect_failures = [var.sync]
}

run "a_concurrency_of_1001" {
  command = plan

  variables {
    sync = { max_concurrency = 1001 }
  }

  expect_failures = [var.sync]
}

run "a_concurrency_between_two" {
  command = plan

  variables {
    sync = { max_concurrency = 2.5 }
  }

  expect_failures = [var.sync]
}

run "bulk_max_concurrency_below_the_range" {
  command = plan

  variables {
    bulk = { max_concurrency = 1 }
  }

  expect_failures = [var.bulk]
}

run "bulk_max_concurrency_above_the_range" {
  command = plan

  variables {
    bulk = { max_concurrency = 1001 }
  }

  expect_failures = [var.bulk]
}

run "bulk_max_concurrency_with_a_fraction" {
  command = plan

  variables {
    bulk = { max_concurrency = 2.5 }
  }

  expect_failures = [var.bulk]
}

run "an_empty_batch" {
  command = plan

  variables {
    sync = { batch_size = 0 }
  }

  expect_failures = [var.sync]
}

run "a_batch_of_10001" {
  command = plan

  variables {
    sync = { batch_size = 10001, batch_window_s = 1 }
  }

  expect_failures = [var.sync]
}

run "a_batch_of_11_at_once" {
  command = plan

  variables {
    sync = { batch_size = 11 }
  }

  expect_failures = [var.sync]
}

run "a_negative_window" {
  command = plan

  variables {
    sync = { batch_window_s = -1 }
  }

  expect_failures = [var.sync]
}

run "a_window_of_301" {
  command = plan

  variables {
    sync = { batch_window_s = 301 }
  }

  expect_failures = [var.sync]
}

run "no_receive" {
  command = plan

  variables {
    sync = { max_receive_count = 0 }
  }

  expect_failures = [var.sync]
}

run "deletes_where_terraform_would_ignore_them" {
  command = plan

  variables {
    sync = { delete = false }
  }

  expect_failures = [var.sync]
}

run "more_receives_than_sqs_allows" {
  command = plan

  variables {
    sync = { max_receive_count = 1001 }
  }

  expect_failures = [var.sync]
}

run "a_threshold_below_a_single_put" {
  command = plan

  variables {
    sync = { distributed_copy_threshold_mb = 63 }
  }

  expect_failures = [var.sync]
}

run "a_threshold_above_the_largest_object" {
  command = plan

  variables {
    sync = { distributed_copy_threshold_mb = 51200001 }
  }

  expect_failures = [var.sync]
}

# Function

run "too_little_memory" {
  command = plan

  variables {
    function = { memory_mb = 255 }
  }

  expect_failures = [var.function]
}

run "more_memory_than_lambda_has" {
  command = plan

  variables {
    function = { memory_mb = 32769 }
  }

  expect_failures = [var.function]
}

run "a_timeout_of_29" {
  command = plan

  variables {
    function = { timeout_s = 29 }
  }

  expect_failures = [var.function]
}

run "a_timeout_of_1801" {
  command = plan

  variables {
    function = { timeout_s = 1801 }
  }

  expect_failures = [var.function]
}

run "an_unknown_architecture" {
  command = plan

  variables {
    function = { architecture = "arm" }
  }

  expect_failures = [var.function]
}

run "a_runtime_that_is_no_python" {
  command = plan

  variables {
    function = { runtime = "nodejs22.x" }
  }

  expect_failures = [var.function]
}

run "a_runtime_that_is_too_old" {
  command = plan

  variables {
    function = { runtime = "python3.11" }
  }

  expect_failures = [var.function]
}

run "reserved_concurrency_below_max_concurrency" {
  command = plan

  variables {
    function = { reserved_concurrency = 69 }
  }

  expect_failures = [var.function]
}

run "an_unknown_log_level" {
  command = plan

  variables {
    function = { log_level = "WARN" }
  }

  expect_failures = [var.function]
}

run "a_missing_package" {
  command = plan

  variables {
    function = { package_path = "nowhere.zip" }
  }

  expect_failures = [var.function]
}

run "a_network_without_subnets" {
  command = plan

  variables {
    function = { vpc = { subnet_ids = [], security_group_ids = ["sg-1"] } }
  }

  expect_failures = [var.function]
}

run "a_network_without_security_groups" {
  command = plan

  variables {
    function = { vpc = { subnet_ids = ["subnet-1"], security_group_ids = [] } }
  }

  expect_failures = [var.function]
}

# Keys and boundary

run "a_key_of_the_source_by_alias" {
  command = plan

  variables {
    source_kms_key_arns = ["arn:aws:kms:eu-west-1:123456789012:alias/source"]
  }

  expect_failures = [var.source_kms_key_arns]
}

run "every_key_of_the_account" {
  command = plan

  variables {
    source_kms_key_arns = ["arn:aws:kms:eu-west-1:123456789012:key/*"]
  }

  expect_failures = [var.source_kms_key_arns]
}

run "a_key_by_id" {
  command = plan

  variables {
    kms_key_arn = "11111111-1111"
  }

  expect_failures = [var.kms_key_arn]
}

run "a_role_path_without_its_slashes" {
  command = plan

  variables {
    role_path = "workloads"
  }

  expect_failures = [var.role_path]
}

run "a_role_path_without_its_last_slash" {
  command = plan

  variables {
    role_path = "/workloads"
  }

  expect_failures = [var.role_path]
}

run "a_role_path_with_a_space" {
  command = plan

  variables {
    role_path = "/my workloads/"
  }

  expect_failures = [var.role_path]
}

run "a_boundary_by_name" {
  command = plan

  variables {
    permissions_boundary_arn = "boundary"
  }

  expect_failures = [var.permissions_boundary_arn]
}

# Alarms and logs

run "a_retention_that_does_not_exist" {
  command = plan

  variables {
    log_retention_days = 31
  }

  expect_failures = [var.log_retention_days]
}

run "an_alarm_action_by_name" {
  command = plan

  variables {
    alarm_actions = ["on-call"]
  }

  expect_failures = [var.alarm_actions]
}

run "six_alarm_actions" {
  command = plan

  variables {
    alarm_actions = [for n in range(6) : "arn:aws:sns:eu-west-1:123456789012:topic-${n}"]
  }

  expect_failures = [var.alarm_actions]
}

run "a_lag_below_a_minute" {
  command = plan

  variables {
    max_lag_s = 59
  }

  expect_failures = [var.max_lag_s]
}

run "a_lag_between_two" {
  command = plan

  variables {
    max_lag_s = 90.5
  }

  expect_failures = [var.max_lag_s]
}

run "retry_threshold_of_less_than_10_seconds" {
  command = plan

  variables {
    max_retry_s = 9
  }

  expect_failures = [var.max_retry_s]
}

run "retry_threshold_above_the_longest_delay" {
  command = plan

  variables {
    max_retry_s = 901
  }

  expect_failures = [var.max_retry_s]
}

run "retry_threshold_in_fractions_of_a_second" {
  command = plan

  variables {
    max_retry_s = 60.5
  }

  expect_failures = [var.max_retry_s]
}

run "retry_alarm_with_a_log_without_retries" {
  command = plan

  variables {
    function = { log_level = "ERROR" }
  }

  expect_failures = [var.max_retry_s]
}

# Valid values at the limits

run "the_same_name_at_another_store" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "source" }
  }
}

run "the_same_name_at_a_store_with_a_similar_domain" {
  command = plan

  variables {
    target = { endpoint = "https://s3.notamazonaws.com", region = "us-east-1", bucket = "source" }
  }
}

run "another_bucket_of_aws" {
  command = plan

  variables {
    target = { endpoint = "https://s3.eu-west-1.amazonaws.com", region = "us-east-1", bucket = "mirror" }
  }
}

run "plain_http_to_this_machine_by_name" {
  command = plan

  variables {
    target = { endpoint = "http://localhost:9000", region = "us-east-1", bucket = "mirror" }
  }
}

run "plain_http_to_this_machine_by_address" {
  command = plan

  variables {
    target = { endpoint = "http://127.0.0.1:9000", region = "us-east-1", bucket = "mirror" }
  }
}

run "plain_http_to_this_machine_by_address_of_version_6" {
  command = plan

  variables {
    target = { endpoint = "http://[::1]:9000", region = "us-east-1", bucket = "mirror" }
  }
}

run "smallest_values" {
  command = plan

  variables {
    name               = "n"
    bulk               = { max_concurrency = 2 }
    sync               = { max_concurrency = 2, batch_size = 1, batch_window_s = 0, max_receive_count = 1, distributed_copy_threshold_mb = 64 }
    function           = { memory_mb = 256, timeout_s = 30, reserved_concurrency = 14, runtime = "python3.12", log_level = "WARNING" }
    log_retention_days = 0
    max_lag_s          = 60
    max_retry_s        = 10
  }
}

# Of memory_mb and timeout_s, the largest values that version 5 of the provider accepts.
run "largest_values" {
  command = plan

  variables {
    bulk               = { max_concurrency = 1000 }
    sync               = { max_concurrency = 1000, batch_size = 10000, batch_window_s = 300, max_receive_count = 1000, distributed_copy_threshold_mb = 51200000 }
    function           = { memory_mb = 10240, timeout_s = 900, reserved_concurrency = 2010, runtime = "python3.13" }
    source_prefix      = replace(format("%1024s", ""), " ", "a")
    log_retention_days = 3653
    max_retry_s        = 900
    alarm_actions      = [for n in range(5) : "arn:aws:sns:eu-west-1:123456789012:topic-${n}"]
  }
}

run "arns_of_other_partitions" {
  command = plan

  variables {
    credentials_secret       = { arn = "arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:existing-AbCdEf" }
    previous_kms_key_arns    = ["arn:aws-cn:kms:cn-north-1:123456789012:key/mrk-1111"]
    permissions_boundary_arn = "arn:aws:iam::aws:policy/PowerUserAccess"
  }
}

run "inputs_left_null" {
  command = plan

  variables {
    target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", prefix = null }
    sync          = { delete = null, max_concurrency = null }
    function      = { memory_mb = null, vpc = null }
    name          = null
    source_prefix = null
  }
}

run "unknown_existing_notifications" {
  command = plan

  variables {
    existing_notifications = "keep"
  }

  expect_failures = [var.existing_notifications]
}

# The modules "s3-syncer" and "s3-syncer-bulk" would have a queue of the same name.
run "a_name_with_the_suffix_of_a_dead_letter_queue" {
  command = plan

  variables {
    name = "s3-syncer-dead-letters"
  }

  expect_failures = [var.name]
}

run "a_name_with_the_suffix_of_a_bulk_queue" {
  command = plan

  variables {
    name = "s3-syncer-bulk"
  }

  expect_failures = [var.name]
}

run "a_name_with_the_suffix_of_a_queue_of_deletions" {
  command = plan

  variables {
    name = "s3-syncer-deletions"
  }

  expect_failures = [var.name]
}

run "a_name_with_the_suffix_of_a_queue_of_held_deletions" {
  command = plan

  variables {
    name = "s3-syncer-held-deletions"
  }

  expect_failures = [var.name]
}

# Values that AWS, boto3 or the command would reject after the apply

run "a_target_without_an_endpoint" {
  command = plan

  variables {
    target = { endpoint = null, region = "us-east-1", bucket = "mirror" }
  }

  expect_failures = [var.target]
}

run "a_target_without_a_bucket" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = null }
  }

  expect_failures = [var.target]
}

run "an_endpoint_with_only_a_port" {
  command = plan

  variables {
    target = { endpoint = "https://:443", region = "us-east-1", bucket = "mirror" }
  }

  expect_failures = [var.target]
}

run "an_endpoint_with_a_port_beyond_65535" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com:99999", region = "us-east-1", bucket = "mirror" }
  }

  expect_failures = [var.target]
}

run "an_endpoint_with_the_port_0" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com:0", region = "us-east-1", bucket = "mirror" }
  }

  expect_failures = [var.target]
}

run "an_endpoint_beyond_ascii" {
  command = plan

  variables {
    target = { endpoint = "https://münchen.example.com", region = "us-east-1", bucket = "mirror" }
  }

  expect_failures = [var.target]
}

run "a_region_with_a_slash" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "eu/central", bucket = "mirror" }
  }

  expect_failures = [var.target]
}

run "a_region_beyond_ascii" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "münchen", bucket = "mirror" }
  }

  expect_failures = [var.target]
}

run "a_target_prefix_longer_than_a_key" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", prefix = format("%1024s", "") }
  }

  expect_failures = [var.target]
}

run "an_empty_storage_class" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", storage_class = "" }
  }

  expect_failures = [var.target]
}

run "an_empty_addressing_style" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", addressing_style = "" }
  }

  expect_failures = [var.target]
}

run "an_empty_acl" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", acl = "" }
  }

  expect_failures = [var.target]
}

run "an_empty_encryption" {
  command = plan

  variables {
    target = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", server_side_encryption = "" }
  }

  expect_failures = [var.target]
}

run "an_empty_source_account" {
  command = plan

  variables {
    source_account_id = ""
  }

  expect_failures = [var.source_account_id]
}

run "an_empty_source_role" {
  command = plan

  variables {
    source_role_arn = ""
  }

  expect_failures = [var.source_role_arn]
}

run "a_schedule_with_five_fields" {
  command = plan

  variables {
    reconcile = { schedule = "cron(0 3 * * *)" }
  }

  expect_failures = [var.reconcile]
}

run "a_schedule_with_two_days" {
  command = plan

  variables {
    reconcile = { schedule = "cron(0 3 1 * 2 *)" }
  }

  expect_failures = [var.reconcile]
}

run "a_schedule_with_no_day" {
  command = plan

  variables {
    reconcile = { schedule = "cron(0 3 ? * ? *)" }
  }

  expect_failures = [var.reconcile]
}

run "a_schedule_with_seven_fields" {
  command = plan

  variables {
    reconcile = { schedule = "cron(0 0 3 * * ? *)" }
  }

  expect_failures = [var.reconcile]
}

run "a_schedule_with_weeks" {
  command = plan

  variables {
    reconcile = { schedule = "rate(1 week)" }
  }

  expect_failures = [var.reconcile]
}

run "a_schedule_with_seconds" {
  command = plan

  variables {
    reconcile = { schedule = "rate(30 seconds)" }
  }

  expect_failures = [var.reconcile]
}

run "a_schedule_with_no_minutes" {
  command = plan

  variables {
    reconcile = { schedule = "rate(0 minutes)" }
  }

  expect_failures = [var.reconcile]
}

run "a_schedule_with_half_hours" {
  command = plan

  variables {
    reconcile = { schedule = "rate(1.5 hours)" }
  }

  expect_failures = [var.reconcile]
}

run "a_schedule_with_a_date_only" {
  command = plan

  variables {
    reconcile = { schedule = "at(2030-01-31)" }
  }

  expect_failures = [var.reconcile]
}

run "a_subnet_by_name_for_the_function" {
  command = plan

  variables {
    function = { vpc = { subnet_ids = ["private"], security_group_ids = ["sg-1"] } }
  }

  expect_failures = [var.function]
}

run "a_security_group_by_name_for_the_function" {
  command = plan

  variables {
    function = { vpc = { subnet_ids = ["subnet-1"], security_group_ids = [""] } }
  }

  expect_failures = [var.function]
}

run "a_key_of_another_region" {
  command = plan

  variables {
    kms_key_arn = "arn:aws:kms:us-east-1:123456789012:key/11111111-1111"
  }

  expect_failures = [var.kms_key_arn]
}

run "an_alarm_action_of_another_region" {
  command = plan

  variables {
    alarm_actions = ["arn:aws:sns:us-east-1:123456789012:on-call"]
  }

  expect_failures = [var.alarm_actions]
}

run "an_incomplete_alarm_action" {
  command = plan

  variables {
    alarm_actions = ["arn:aws:sns"]
  }

  expect_failures = [var.alarm_actions]
}

run "a_tag_of_aws" {
  command = plan

  variables {
    tags = { "aws:team" = "a" }
  }

  expect_failures = [var.tags]
}

run "a_tag_without_a_name" {
  command = plan

  variables {
    tags = { "" = "a" }
  }

  expect_failures = [var.tags]
}

run "a_tag_without_a_value" {
  command = plan

  variables {
    tags = { team = null }
  }

  expect_failures = [var.tags]
}

run "a_tag_with_a_wrong_character" {
  command = plan

  variables {
    tags = { team = "a#b" }
  }

  expect_failures = [var.tags]
}

run "a_tag_with_a_long_value" {
  command = plan

  variables {
    tags = { team = format("%257s", "") }
  }

  expect_failures = [var.tags]
}

run "a_tag_in_two_cases" {
  command = plan

  variables {
    tags = { Team = "a", team = "b" }
  }

  expect_failures = [var.tags]
}

run "fifty_one_tags" {
  command = plan

  variables {
    tags = { for n in range(51) : "tag-${n}" => "" }
  }

  expect_failures = [var.tags]
}

run "an_argument_of_the_migration_that_is_null" {
  command = plan

  variables {
    migration = { arguments = ["--full", null] }
  }

  expect_failures = [var.migration]
}

run "an_argument_of_the_migration_that_is_empty" {
  command = plan

  variables {
    migration = { arguments = ["--full", ""] }
  }

  expect_failures = [var.migration]
}

run "a_first_argument_of_the_migration_that_is_null" {
  command = plan

  variables {
    migration = { arguments = [null] }
  }

  expect_failures = [var.migration]
}

run "an_argument_of_the_service_that_is_null" {
  command = plan

  variables {
    service = { arguments = ["--full", null] }
  }

  expect_failures = [var.service]
}

run "an_argument_of_the_service_that_is_empty" {
  command = plan

  variables {
    service = { arguments = ["--full", ""] }
  }

  expect_failures = [var.service]
}

run "a_first_argument_of_the_service_that_is_null" {
  command = plan

  variables {
    service = { arguments = [null] }
  }

  expect_failures = [var.service]
}

run "a_concurrency_of_scientific_notation" {
  command = plan

  variables {
    service = { concurrency = "1e1" }
  }

  expect_failures = [var.service]
}

run "a_concurrency_of_hexadecimal_notation" {
  command = plan

  variables {
    service = { concurrency = "0x10" }
  }

  expect_failures = [var.service]
}

run "a_concurrency_of_a_space" {
  command = plan

  variables {
    service = { concurrency = " 8" }
  }

  expect_failures = [var.service]
}

run "a_concurrency_of_a_leading_zero" {
  command = plan

  variables {
    service = { concurrency = "08" }
  }

  expect_failures = [var.service]
}

run "unusual_valid_values" {
  command = plan

  variables {
    target        = { endpoint = "https://[2001:db8::1]:8443/s3/", region = "eu-0", bucket = "mirror", prefix = "東京/" }
    reconcile     = { schedule = "cron(0/15 8-18 ? JAN-DEC MON#1,FRI 2026-2030)" }
    alarm_actions = ["arn:aws:automate:eu-west-1:ec2:stop", "arn:aws:iam::123456789012:role/x"]
    kms_key_arn   = "arn:aws:kms:eu-west-1:123456789012:key/mrk-1111"
    tags          = { "Kosten stelle/Größe" = "a+b=c @ d:e_f.g-h", empty = "" }
    service       = { concurrency = "512", bulk_concurrency = "auto" }
  }
}
