# Encryption with kms_key_arn, and the statements for the key policy, which must not depend on the key.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
  kms_key_arn   = "arn:aws:kms:eu-west-1:123456789012:key/11111111-1111"
}

run "aws_managed_keys_by_default" {
  command = plan

  variables {
    kms_key_arn = null
    reconcile   = { schedule = "rate(1 day)" }
    ecs         = { subnet_ids = ["subnet-1"] }
    migration   = { enabled = true }
  }

  assert {
    condition     = aws_sqs_queue.work.sqs_managed_sse_enabled && aws_sqs_queue.bulk.sqs_managed_sse_enabled && aws_sqs_queue.dead_letters.sqs_managed_sse_enabled
    error_message = "Both queues must be encrypted."
  }

  assert {
    condition     = length(aws_ecr_repository.image[0].encryption_configuration) == 0 && length(aws_ecs_cluster.tasks[0].configuration) == 0
    error_message = "No customer managed key may be used by default."
  }

  assert {
    condition = alltrue([for key in [
      aws_cloudwatch_log_group.function.kms_key_id,
      aws_lambda_function.sync.kms_key_arn,
      aws_scheduler_schedule.reconcile[0].kms_key_arn,
      aws_secretsmanager_secret.target_credentials[0].kms_key_id,
    ] : key == null])
    error_message = "No customer managed key may be used by default."
  }
}

run "one_key_for_all_resources" {
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
      aws_sqs_queue.bulk.kms_master_key_id,
      aws_sqs_queue.deletions.kms_master_key_id,
      aws_sqs_queue.held_deletions.kms_master_key_id,
    ] : key == var.kms_key_arn])
    error_message = "All resources that store data must use the key."
  }

  assert {
    condition     = aws_ecr_repository.image[0].encryption_configuration[0].encryption_type == "KMS"
    error_message = "The repository must use the key."
  }
}

run "no_multi_region_key_for_fargate" {
  command = plan

  variables {
    kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/mrk-1111"
    ecs         = { subnet_ids = ["subnet-1"] }
    migration   = { enabled = true }
  }

  assert {
    condition     = length(aws_ecs_cluster.tasks[0].configuration) == 0 && aws_sqs_queue.work.kms_master_key_id == var.kms_key_arn
    error_message = "Only the ephemeral storage of tasks cannot use a multi-Region key."
  }
}

run "key_policy_statements" {
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
    error_message = "The statements must be exactly what S3 and CloudWatch Logs need."
  }
}

run "key_policy_statements_follow_the_inputs" {
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
    error_message = "EventBridge and Fargate must have statements too."
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
    error_message = "Fargate may use the key only for tasks of this cluster, and may grant only decryption."
  }
}

run "an_existing_secret_may_use_a_source_key" {
  command = plan

  variables {
    credentials_secret  = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:given-AbCdEf" }
    source_kms_key_arns = ["arn:aws:kms:eu-west-1:123456789012:key/22222222-2222"]
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : statement.Condition.StringEquals["kms:ViaService"]
    if statement.Sid == "DecryptSourceObjects"] == [["s3.eu-west-1.amazonaws.com", "secretsmanager.eu-west-1.amazonaws.com"]]
    error_message = "The role must be allowed to decrypt the secret."
  }
}

run "a_secret_in_another_region_may_use_a_key_there" {
  command = plan

  variables {
    credentials_secret  = { arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:given-AbCdEf" }
    source_kms_key_arns = ["arn:aws:kms:us-east-1:123456789012:key/22222222-2222"]
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : statement.Condition.StringEquals["kms:ViaService"]
    if statement.Sid == "DecryptSourceObjects"] == [["s3.eu-west-1.amazonaws.com", "secretsmanager.us-east-1.amazonaws.com"]]
    error_message = "Secrets Manager decrypts in the Region of the secret."
  }
}

run "messages_under_an_earlier_key_can_be_received" {
  command = plan

  variables {
    previous_kms_key_arns = ["arn:aws:kms:eu-west-1:123456789012:key/33333333-3333"]
    ecs                   = { subnet_ids = ["subnet-1"] }
    service               = { enabled = true }
    migration             = { enabled = true }
  }

  assert {
    condition = alltrue([
      for policy in [aws_iam_role_policy.function.policy, aws_iam_role_policy.task["service"].policy] :
      contains(jsondecode(policy).Statement, {
        Sid       = "DecryptEarlierMessages"
        Effect    = "Allow"
        Action    = ["kms:Decrypt"]
        Resource  = ["arn:aws:kms:eu-west-1:123456789012:key/33333333-3333"]
        Condition = { StringEquals = { "kms:ViaService" = ["sqs.eu-west-1.amazonaws.com"] } }
      })
    ])
    error_message = "The function and the service must be able to decrypt messages that were sent under an earlier key."
  }

  assert {
    condition     = !strcontains(aws_iam_role_policy.task["migration"].policy, "33333333-3333")
    error_message = "The migration receives no messages, so it must not get an earlier key."
  }
}

run "an_earlier_key_by_alias" {
  command = plan

  variables {
    previous_kms_key_arns = ["alias/mirror"]
  }

  expect_failures = [var.previous_kms_key_arns]
}

run "the_present_key_as_an_earlier_key" {
  command = plan

  variables {
    previous_kms_key_arns = ["arn:aws:kms:eu-west-1:123456789012:key/11111111-1111"]
  }

  expect_failures = [var.previous_kms_key_arns]
}
