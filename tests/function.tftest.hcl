# The queues, the Lambda function, and the permissions of the function.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
}

run "the_queue_defaults" {
  command = plan

  assert {
    condition = alltrue([for queue in [aws_sqs_queue.work, aws_sqs_queue.bulk, aws_sqs_queue.deletions, aws_sqs_queue.held_deletions, aws_sqs_queue.dead_letters] :
      queue.message_retention_seconds == 1209600
    ])
    error_message = "All queues must keep messages for 14 days, the maximum of SQS."
  }

  assert {
    condition     = alltrue([for queue in [aws_sqs_queue.work, aws_sqs_queue.bulk, aws_sqs_queue.deletions] : queue.visibility_timeout_seconds == 5400])
    error_message = "The visibility timeout must be six times the 900 s of the function."
  }

  assert {
    condition = alltrue([for policy in [aws_sqs_queue.work.redrive_policy, aws_sqs_queue.bulk.redrive_policy, aws_sqs_queue.deletions.redrive_policy] : jsondecode(policy) == {
      deadLetterTargetArn = "arn:aws:sqs:eu-west-1:123456789012:s3-syncer-dead-letters"
      maxReceiveCount     = 100
    }])
    error_message = "Messages that fail too often must go to the dead-letter queue."
  }

  assert {
    condition = jsondecode(aws_sqs_queue_redrive_allow_policy.dead_letters.redrive_allow_policy) == {
      redrivePermission = "byQueue"
      sourceQueueArns   = ["arn:aws:sqs:eu-west-1:123456789012:s3-syncer", "arn:aws:sqs:eu-west-1:123456789012:s3-syncer-bulk", "arn:aws:sqs:eu-west-1:123456789012:s3-syncer-deletions"]
    }
    error_message = "Only the queues with workers may use the dead-letter queue."
  }

  assert {
    condition     = aws_sqs_queue.work.sqs_managed_sse_enabled && aws_sqs_queue.bulk.sqs_managed_sse_enabled && aws_sqs_queue.deletions.sqs_managed_sse_enabled && aws_sqs_queue.held_deletions.sqs_managed_sse_enabled && aws_sqs_queue.dead_letters.sqs_managed_sse_enabled
    error_message = "Without kms_key_arn, SQS must encrypt with its own key."
  }
}

run "the_queue_follows_the_function" {
  command = plan

  variables {
    function = { timeout_s = 200 }
    bulk     = { max_concurrency = 4 }
    sync     = { batch_size = 100, batch_window_s = 5, max_receive_count = 7, max_concurrency = 9, distributed_copy_threshold_mb = 200 }
  }

  assert {
    condition     = aws_sqs_queue.work.visibility_timeout_seconds == 1205
    error_message = "The visibility timeout must be six times the timeout of the function, plus the batching window."
  }

  assert {
    condition     = jsondecode(aws_sqs_queue.work.redrive_policy).maxReceiveCount == 7 && jsondecode(aws_sqs_queue.bulk.redrive_policy).maxReceiveCount == 7
    error_message = "Both queues must have sync.max_receive_count."
  }

  assert {
    condition     = aws_lambda_function.sync.environment[0].variables.DISTRIBUTED_COPY_THRESHOLD_MB == "200"
    error_message = "The function must have sync.distributed_copy_threshold_mb."
  }

  assert {
    condition = {
      batch_size     = aws_lambda_event_source_mapping.work.batch_size
      batch_window_s = aws_lambda_event_source_mapping.work.maximum_batching_window_in_seconds
      concurrency    = aws_lambda_event_source_mapping.work.scaling_config[0].maximum_concurrency
      } == {
      batch_size     = 100
      batch_window_s = 5
      concurrency    = 9
    }
    error_message = "The event source mapping must follow sync."
  }

  assert {
    condition = {
      batch_size  = aws_lambda_event_source_mapping.bulk.batch_size
      concurrency = aws_lambda_event_source_mapping.bulk.scaling_config[0].maximum_concurrency
      } == {
      batch_size  = 1
      concurrency = 4
    }
    error_message = "An invocation must have all its time for one piece of bulk work, and bulk work the concurrency of its input."
  }
}

run "a_late_write_of_a_crashed_worker_ends_before_its_message_returns" {
  command = plan

  variables {
    function = { timeout_s = 60 }
  }

  assert {
    condition     = aws_sqs_queue.work.visibility_timeout_seconds >= 900
    error_message = "The visibility timeout must be at least 900 s: so long can a store accept a request after it was signed."
  }
}

run "the_function_reports_each_message" {
  command = plan

  assert {
    condition     = aws_lambda_event_source_mapping.work.event_source_arn == aws_sqs_queue.work.arn && aws_lambda_event_source_mapping.work.function_name == aws_lambda_function.sync.arn
    error_message = "The event source mapping must connect the queue to the function."
  }

  assert {
    condition     = aws_lambda_event_source_mapping.bulk.event_source_arn == aws_sqs_queue.bulk.arn && aws_lambda_event_source_mapping.bulk.function_name == aws_lambda_function.sync.arn
    error_message = "The queue for bulk work must have an event source mapping to the same function."
  }

  assert {
    condition     = alltrue([for mapping in [aws_lambda_event_source_mapping.work, aws_lambda_event_source_mapping.bulk] : mapping.function_response_types == toset(["ReportBatchItemFailures"])])
    error_message = "Partial batch responses must be on: otherwise one failure returns the whole batch to the queue."
  }

  assert {
    condition = {
      batch_size     = aws_lambda_event_source_mapping.work.batch_size
      batch_window_s = aws_lambda_event_source_mapping.work.maximum_batching_window_in_seconds
      concurrency    = aws_lambda_event_source_mapping.work.scaling_config[0].maximum_concurrency
      } == {
      batch_size     = 10
      batch_window_s = 0
      concurrency    = 50
    }
    error_message = "The event source mapping must have these defaults."
  }
}

run "the_function_defaults" {
  command = plan

  assert {
    condition = {
      handler       = aws_lambda_function.sync.handler
      runtime       = aws_lambda_function.sync.runtime
      architectures = aws_lambda_function.sync.architectures
      memory_mb     = aws_lambda_function.sync.memory_size
      timeout_s     = aws_lambda_function.sync.timeout
      reserved      = aws_lambda_function.sync.reserved_concurrent_executions
      role          = aws_lambda_function.sync.role
      } == {
      handler       = "s3_syncer.lambda_handler.handler"
      runtime       = "python3.13"
      architectures = tolist(["arm64"])
      memory_mb     = 1024
      timeout_s     = 900
      reserved      = -1
      role          = "arn:aws:iam::123456789012:role/s3-syncer-function"
    }
    error_message = "The function must have these defaults."
  }

  assert {
    condition     = endswith(aws_lambda_function.sync.filename, "lambda/dist/s3_syncer.zip") && aws_lambda_function.sync.source_code_hash == filebase64sha256("lambda/dist/s3_syncer.zip")
    error_message = "The function must use the zip of the module."
  }

  assert {
    condition = aws_lambda_function.sync.environment[0].variables == tomap({
      SOURCE_BUCKET                 = "source"
      SOURCE_PREFIX                 = ""
      SOURCE_EXPECTED_BUCKET_OWNER  = "123456789012"
      TARGET_ENDPOINT               = "https://s3.example.com"
      TARGET_REGION                 = "us-east-1"
      TARGET_BUCKET                 = "mirror"
      TARGET_PREFIX                 = ""
      TARGET_SECRET_ARN             = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mocked"
      QUEUE_URL                     = "https://sqs.eu-west-1.amazonaws.com/123456789012/s3-syncer"
      BULK_QUEUE_URL                = "https://sqs.eu-west-1.amazonaws.com/123456789012/s3-syncer-bulk"
      DEAD_LETTER_QUEUE_URL         = "https://sqs.eu-west-1.amazonaws.com/123456789012/s3-syncer-dead-letters"
      DELETIONS_QUEUE_URL           = "https://sqs.eu-west-1.amazonaws.com/123456789012/s3-syncer-deletions"
      HELD_DELETIONS_QUEUE_URL      = "https://sqs.eu-west-1.amazonaws.com/123456789012/s3-syncer-held-deletions"
      HOLD_DELETIONS_ABOVE          = "10000"
      SYNC_DELETE                   = "true"
      DISTRIBUTED_COPY_THRESHOLD_MB = "1024"
      SYNC_TAGS                     = "true"
      LOG_LEVEL                     = "INFO"
    })
    error_message = "The environment must have exactly these variables."
  }

  assert {
    condition     = aws_lambda_function.sync.logging_config[0].log_format == "JSON" && aws_lambda_function.sync.logging_config[0].log_group == "/aws/lambda/s3-syncer"
    error_message = "Logs must be JSON, in the log group with the retention."
  }

  assert {
    condition     = aws_cloudwatch_log_group.function.retention_in_days == 30
    error_message = "Logs must have a retention of 30 days."
  }

  assert {
    condition     = length(aws_lambda_function.sync.vpc_config) == 0
    error_message = "The function must run outside a VPC by default."
  }
}

run "lambda_does_not_stop_chains_of_work" {
  command = plan

  assert {
    condition     = aws_lambda_function_recursion_config.sync.recursive_loop == "Allow" && aws_lambda_function_recursion_config.sync.function_name == "s3-syncer"
    error_message = "A long sweep sends its rest to the queue more than 16 times. Lambda must not stop it."
  }
}

run "the_function_inputs" {
  command = plan

  variables {
    source_prefix      = "in/"
    target             = { endpoint = "http://127.0.0.1:9000", region = "eu-1", bucket = "mirror", prefix = "out/" }
    sync               = { tags = false }
    deletes            = { enabled = false }
    log_retention_days = 0

    function = {
      memory_mb            = 512
      timeout_s            = 120
      architecture         = "x86_64"
      runtime              = "python3.12"
      reserved_concurrency = 70
      log_level            = "WARNING"
      package_path         = "versions.tf" # any file will do
      vpc                  = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1", "sg-2"] }
    }
  }

  assert {
    condition = {
      runtime       = aws_lambda_function.sync.runtime
      architectures = aws_lambda_function.sync.architectures
      memory_mb     = aws_lambda_function.sync.memory_size
      timeout_s     = aws_lambda_function.sync.timeout
      reserved      = aws_lambda_function.sync.reserved_concurrent_executions
      filename      = aws_lambda_function.sync.filename
      subnets       = aws_lambda_function.sync.vpc_config[0].subnet_ids
      groups        = aws_lambda_function.sync.vpc_config[0].security_group_ids
      retention     = aws_cloudwatch_log_group.function.retention_in_days
      } == {
      runtime       = "python3.12"
      architectures = tolist(["x86_64"])
      memory_mb     = 512
      timeout_s     = 120
      reserved      = 70
      filename      = "versions.tf"
      subnets       = toset(["subnet-1"])
      groups        = toset(["sg-1", "sg-2"])
      retention     = 0
    }
    error_message = "The function must follow the inputs."
  }

  assert {
    condition = {
      for name in ["SOURCE_PREFIX", "TARGET_ENDPOINT", "TARGET_REGION", "TARGET_PREFIX", "SYNC_DELETE", "SYNC_TAGS", "LOG_LEVEL"] :
      name => aws_lambda_function.sync.environment[0].variables[name]
      } == {
      SOURCE_PREFIX   = "in/"
      TARGET_ENDPOINT = "http://127.0.0.1:9000"
      TARGET_REGION   = "eu-1"
      TARGET_PREFIX   = "out/"
      SYNC_DELETE     = "false"
      SYNC_TAGS       = "false"
      LOG_LEVEL       = "WARNING"
    }
    error_message = "The environment must follow the inputs."
  }

  assert {
    condition     = aws_lambda_function.sync.logging_config[0].application_log_level == "INFO"
    error_message = "The filter of Lambda must pass warnings."
  }
}

run "locks_are_read_if_they_are_mirrored" {
  command = plan

  variables {
    sync = { object_lock = true }
  }

  assert {
    condition     = aws_lambda_function.sync.environment[0].variables["SYNC_OBJECT_LOCK"] == "true"
    error_message = "The function must mirror the locks."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.function.policy).Statement[0].Action == ["s3:GetObject", "s3:GetObjectTagging", "s3:GetObjectRetention", "s3:GetObjectLegalHold"]
    error_message = "The role must read the locks."
  }
}

run "lambda_passes_debug_lines" {
  command = plan

  variables {
    function = { log_level = "DEBUG" }
  }

  assert {
    condition     = aws_lambda_function.sync.logging_config[0].application_log_level == "DEBUG"
    error_message = "The filter of Lambda must pass debug lines."
  }
}

run "only_lambda_can_assume_the_role" {
  command = plan

  assert {
    condition = jsondecode(aws_iam_role.function.assume_role_policy) == {
      Version = "2012-10-17"
      Statement = [{
        Sid       = "AllowLambdaToAssumeRole"
        Effect    = "Allow"
        Principal = { Service = "lambda.amazonaws.com" }
        Action    = "sts:AssumeRole"
        Condition = { StringEquals = { "aws:SourceAccount" = "123456789012" } }
      }]
    }
    error_message = "Only Lambda may assume the role."
  }

  assert {
    condition     = aws_iam_role.function.permissions_boundary == null
    error_message = "There must be no permissions boundary by default."
  }
}

run "exact_permissions_of_the_role" {
  command = plan

  assert {
    condition = jsondecode(aws_iam_role_policy.function.policy) == {
      Version = "2012-10-17"
      Statement = [
        {
          Sid      = "ReadSourceObjects"
          Effect   = "Allow"
          Action   = ["s3:GetObject", "s3:GetObjectTagging"]
          Resource = ["arn:aws:s3:::source/*"]
        },
        {
          Sid      = "ListSourceBucket"
          Effect   = "Allow"
          Action   = ["s3:ListBucket"]
          Resource = ["arn:aws:s3:::source"]
        },
        {
          Sid      = "ReadTargetCredentials"
          Effect   = "Allow"
          Action   = ["secretsmanager:GetSecretValue"]
          Resource = ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:mocked"]
        },
        {
          Sid      = "SendToBulkQueue"
          Effect   = "Allow"
          Action   = ["sqs:SendMessage"]
          Resource = ["arn:aws:sqs:eu-west-1:123456789012:s3-syncer-bulk"]
        },
        {
          Sid      = "ConsumeQueues"
          Effect   = "Allow"
          Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"]
          Resource = ["arn:aws:sqs:eu-west-1:123456789012:s3-syncer", "arn:aws:sqs:eu-west-1:123456789012:s3-syncer-bulk", "arn:aws:sqs:eu-west-1:123456789012:s3-syncer-deletions"]
        },
        {
          Sid      = "SendDeletions"
          Effect   = "Allow"
          Action   = ["sqs:SendMessage"]
          Resource = ["arn:aws:sqs:eu-west-1:123456789012:s3-syncer-deletions", "arn:aws:sqs:eu-west-1:123456789012:s3-syncer-held-deletions"]
        },
        {
          Sid      = "CountHeldDeletions"
          Effect   = "Allow"
          Action   = ["sqs:GetQueueAttributes"]
          Resource = ["arn:aws:sqs:eu-west-1:123456789012:s3-syncer-held-deletions"]
        },
        {
          Sid      = "SendToDeadLetterQueue"
          Effect   = "Allow"
          Action   = ["sqs:SendMessage"]
          Resource = ["arn:aws:sqs:eu-west-1:123456789012:s3-syncer-dead-letters"]
        },
        {
          Sid      = "WriteLogs"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = ["arn:aws:logs:eu-west-1:123456789012:log-group:mocked:*"]
        },
      ]
    }
    error_message = "The policy must have exactly the permissions that the function needs."
  }
}

run "the_role_follows_the_inputs" {
  command = plan

  variables {
    source_prefix            = "in/"
    sync                     = { tags = false }
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/boundary"
    source_kms_key_arns      = ["arn:aws:kms:eu-west-1:123456789012:key/11111111-1111", "arn:aws:kms:eu-west-1:123456789012:key/22222222-2222"]
    kms_key_arn              = "arn:aws:kms:eu-west-1:123456789012:key/33333333-3333"
    function                 = { vpc = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] } }
  }

  assert {
    condition     = aws_iam_role.function.permissions_boundary == "arn:aws:iam::123456789012:policy/boundary"
    error_message = "The role must have the permissions boundary."
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.function.policy).Statement[0] == {
      Sid      = "ReadSourceObjects"
      Effect   = "Allow"
      Action   = ["s3:GetObject"]
      Resource = ["arn:aws:s3:::source/in/*"]
    }
    error_message = "The role may read only objects below source_prefix, and tags only with sync.tags."
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : statement
      if contains(["DecryptSourceObjects", "UseKmsKey"], statement.Sid)] == [
      {
        Sid       = "DecryptSourceObjects"
        Effect    = "Allow"
        Action    = ["kms:Decrypt"]
        Resource  = ["arn:aws:kms:eu-west-1:123456789012:key/11111111-1111", "arn:aws:kms:eu-west-1:123456789012:key/22222222-2222"]
        Condition = { StringEquals = { "kms:ViaService" = ["s3.eu-west-1.amazonaws.com"] } }
      },
      {
        Sid       = "UseKmsKey"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = ["arn:aws:kms:eu-west-1:123456789012:key/33333333-3333"]
        Condition = { StringEquals = { "kms:ViaService" = ["secretsmanager.eu-west-1.amazonaws.com", "sqs.eu-west-1.amazonaws.com"] } }
      },
    ]
    error_message = "The role must have exactly the given KMS keys."
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : [statement.Sid, statement.Effect]
      if alltrue([for action in statement.Action : startswith(action, "ec2:")])] == [
      ["ManageVpcNetworkInterfaces", "Allow"],
      ["DenyNetworkApiToFunctionCode", "Deny"],
    ]
    error_message = "Lambda must have the network actions, and the code of the function must not."
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.function.policy).Statement[12].Condition == {
      Null = { "lambda:SourceFunctionArn" = "false" }
    }
    error_message = "The Deny statement must not apply to Lambda itself."
  }

  assert {
    condition = alltrue([for key in [
      aws_sqs_queue.work.kms_master_key_id,
      aws_sqs_queue.bulk.kms_master_key_id,
      aws_sqs_queue.deletions.kms_master_key_id,
      aws_sqs_queue.held_deletions.kms_master_key_id,
      aws_sqs_queue.dead_letters.kms_master_key_id,
      aws_secretsmanager_secret.target_credentials[0].kms_key_id,
      aws_cloudwatch_log_group.function.kms_key_id,
    ] : key == var.kms_key_arn])
    error_message = "Queues, secret and logs must be encrypted with kms_key_arn."
  }
}

run "no_network_permissions_without_a_vpc" {
  command = plan

  assert {
    condition     = !strcontains(aws_iam_role_policy.function.policy, "ec2:")
    error_message = "A function outside a VPC needs no network interfaces."
  }
}

# Lambda deletes the interfaces with the role, up to 20 minutes after the function has left the VPC.
run "the_network_permissions_can_stay_when_the_function_leaves_the_vpc" {
  command = plan

  variables {
    function = { vpc_permissions = true }
  }

  assert {
    condition     = length(aws_lambda_function.sync.vpc_config) == 0
    error_message = "The function must have left the VPC."
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : statement.Effect
    if contains(statement.Action, "ec2:DeleteNetworkInterface")] == ["Allow", "Deny"]
    error_message = "The role must keep the permissions, and the code of the function must not have them."
  }
}
