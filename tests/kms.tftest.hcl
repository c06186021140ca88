# Everything that keeps something is encrypted with the key that was given, and the key's policy can be written first.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
  kms_key_arn   = "arn:aws:kms:eu-west-1:123456789012:key/11111111-1111"
}

run "without_a_key_aws_manages_the_keys" {
  command = plan

  variables {
    kms_key_arn = null
    reconcile   = { schedule = "rate(1 day)" }
    ecs         = { subnet_ids = ["subnet-1"] }
    migration   = { enabled = true }
  }

  assert {
    condition     = aws_sqs_queue.work.sqs_managed_sse_enabled && aws_sqs_queue.dead_letters.sqs_managed_sse_enabled
    error_message = "A queue is not encrypted."
  }

  assert {
    condition     = length(aws_ecr_repository.image[0].encryption_configuration) == 0 && length(aws_ecs_cluster.tasks[0].configuration) == 0
    error_message = "Nobody asked for a key."
  }

  assert {
    condition = alltrue([for key in [
      aws_cloudwatch_log_group.function.kms_key_id,
      aws_lambda_function.sync.kms_key_arn,
      aws_scheduler_schedule.reconcile[0].kms_key_arn,
      aws_secretsmanager_secret.target_credentials[0].kms_key_id,
    ] : key == null])
    error_message = "Nobody asked for a key."
  }
}

run "one_key_for_everything_that_is_kept" {
  command = plan

  variables {
    reconcile = { schedule = "rate(1 day)" }
    ecs       = { subnet_ids = ["subnet-1"] }
    migration = { enabled = true }
  }

  assert {
    condition = alltrue([for key in [
      aws_cloudwatch_log_group.function.kms_key_id,
      aws_cloudwatch_log_group.task["migration"].kms_key_id,
      aws_ecr_repository.image[0].encryption_configuration[0].kms_key,
      aws_ecs_cluster.tasks[0].configuration[0].managed_storage_configuration[0].fargate_ephemeral_storage_kms_key_id,
      aws_lambda_function.sync.kms_key_arn,
      aws_scheduler_schedule.reconcile[0].kms_key_arn,
      aws_secretsmanager_secret.target_credentials[0].kms_key_id,
      aws_sqs_queue.dead_letters.kms_master_key_id,
      aws_sqs_queue.work.kms_master_key_id,
    ] : key == var.kms_key_arn])
    error_message = "Something that keeps something is encrypted with another key."
  }

  assert {
    condition     = aws_ecr_repository.image[0].encryption_configuration[0].encryption_type == "KMS"
    error_message = "The repository does not use the key."
  }
}

run "fargate_takes_no_multi_region_key" {
  command = plan

  variables {
    kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/mrk-1111"
    ecs         = { subnet_ids = ["subnet-1"] }
    migration   = { enabled = true }
  }

  assert {
    condition     = length(aws_ecs_cluster.tasks[0].configuration) == 0 && aws_sqs_queue.work.kms_master_key_id == var.kms_key_arn
    error_message = "All but the tasks' disks can be encrypted with a multi-Region key."
  }
}

run "the_statements_for_the_key" {
  command = plan

  assert {
    condition = jsonencode(output.kms_key_policy_statements) == jsonencode([
      {
        Sid       = "AllowS3EventsToEncryptedQueue"
        Effect    = "Allow"
        Principal = { Service = "s3.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = "*"
        Condition = {
          ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::source" }
          StringEquals = { "aws:SourceAccount" = "123456789012" }
        }
      },
      {
        Sid       = "EncryptLogs"
        Effect    = "Allow"
        Principal = { Service = "logs.eu-west-1.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:Describe*", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
        Resource  = "*"
        Condition = { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = [
          "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/s3-syncer",
          "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/ecs/s3-syncer-*",
        ] } }
      },
    ])
    error_message = "The key's policy is not exactly what S3 and CloudWatch Logs need."
  }
}

run "the_statements_follow_the_inputs" {
  command = plan

  variables {
    notification_mode = "eventbridge"
    ecs               = { subnet_ids = ["subnet-1"] }
    migration         = { enabled = true }
  }

  assert {
    condition = [for statement in output.kms_key_policy_statements : statement.Sid] == [
      "AllowS3EventsToEncryptedQueue", "AllowEventBridgeToEncryptedQueue", "EncryptLogs", "GenerateDataKeyForFargateTasks", "CreateGrantForFargateTasks",
    ]
    error_message = "EventBridge and Fargate need the key too."
  }

  assert {
    condition = jsonencode([for statement in output.kms_key_policy_statements : statement if statement.Sid == "CreateGrantForFargateTasks"]) == jsonencode([{
      Sid       = "CreateGrantForFargateTasks"
      Effect    = "Allow"
      Principal = { Service = "fargate.amazonaws.com" }
      Action    = ["kms:CreateGrant"]
      Resource  = "*"
      Condition = {
        StringEquals = {
          "kms:EncryptionContext:aws:ecs:clusterAccount" = "123456789012"
          "kms:EncryptionContext:aws:ecs:clusterName"    = "s3-syncer"
        }
        "ForAllValues:StringEquals" = { "kms:GrantOperations" = ["Decrypt"] }
      }
    }])
    error_message = "Fargate may use the key for tasks of this cluster only, and pass on no more than decrypting."
  }
}

run "a_secret_that_is_given_may_be_encrypted_with_a_key_of_the_source" {
  command = plan

  variables {
    credentials_secret  = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:given-AbCdEf" }
    source_kms_key_arns = ["arn:aws:kms:eu-west-1:123456789012:key/22222222-2222"]
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : statement.Condition.StringEquals["kms:ViaService"]
    if statement.Sid == "DecryptSourceObjects"] == [["s3.eu-west-1.amazonaws.com", "secretsmanager.eu-west-1.amazonaws.com"]]
    error_message = "The secret could not be read."
  }
}
