# KMS. Workers use keys through their IAM roles. AWS services such as S3 and CloudWatch Logs use kms_key_arn without such a
# role: the statements here are for the policy of that key, see the output kms_key_policy_statements.

locals {
  # Values of kms:ViaService: the service that calls KMS on behalf of a role.
  # https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
  kms_via = { for service in ["s3", "secretsmanager", "sqs"] : service => "${service}.${local.region}.${data.aws_partition.current.dns_suffix}" }

  # Workers decrypt source objects only through S3, never with KMS directly, and not at all if they assume source_role_arn.
  # An existing secret may be encrypted with one of source_kms_key_arns too, and may be in another Region.
  services_decrypting_for_workers = concat(
    [for service in [local.kms_via["s3"]] : service if var.source_role_arn == null],
    [for secret in var.credentials_secret[*] : "secretsmanager.${split(":", secret.arn)[3]}.${data.aws_partition.current.dns_suffix}"],
  )

  # These statements must not depend on kms_key_arn: they are part of the key policy, and the key depends on its policy.
  kms_key_policy_statements = concat(
    [{
      # S3 encrypts the messages that it sends to the queue. The conditions prevent a confused deputy.
      # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
      Sid       = "AllowS3EventsToEncryptedQueue"
      Effect    = "Allow"
      Principal = { Service = "s3.amazonaws.com" }
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = "*"
      Condition = {
        ArnEquals    = { "aws:SourceArn" = local.source_bucket_arn }
        StringEquals = { "aws:SourceAccount" = local.source_account_id }
      }
    }],
    [for mode in [var.notification_mode] : {
      # EventBridge passes neither aws:SourceArn nor aws:SourceAccount to KMS, so a condition on them would deny the
      # request. The queue policy restricts the rule, and the key alone gives no access to the queue.
      # https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
      Sid       = "AllowEventBridgeToEncryptedQueue"
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = "*"
    } if mode == "eventbridge"],
    [for arns in [var.notification_topic_arns] : {
      # As for EventBridge: the queue policy restricts the topics.
      # https://docs.aws.amazon.com/sns/latest/dg/sns-enable-encryption-for-topic-sqs-queue-subscriptions.html
      Sid       = "AllowSnsToEncryptedQueue"
      Effect    = "Allow"
      Principal = { Service = "sns.amazonaws.com" }
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = "*"
    } if length(arns) > 0],
    [{
      # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
      Sid       = "EncryptLogs"
      Effect    = "Allow"
      Principal = { Service = "logs.${local.region}.${data.aws_partition.current.dns_suffix}" }
      Action    = ["kms:Decrypt", "kms:Describe*", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
      Resource  = "*"
      Condition = { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = [for group in ["/aws/lambda/${var.name}", "/aws/ecs/${var.name}-*"] :
        "arn:${data.aws_partition.current.partition}:logs:${local.region}:${local.account_id}:log-group:${group}"
      ] } }
    }],
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-create-storage-key.html
    flatten([for cluster in local.own_clusters : [
      {
        Sid       = "GenerateDataKeyForFargateTasks"
        Effect    = "Allow"
        Principal = { Service = "fargate.amazonaws.com" }
        Action    = ["kms:GenerateDataKeyWithoutPlaintext"]
        Resource  = "*"
        Condition = { StringEquals = cluster }
      },
      {
        Sid       = "CreateGrantForFargateTasks"
        Effect    = "Allow"
        Principal = { Service = "fargate.amazonaws.com" }
        Action    = ["kms:CreateGrant"]
        Resource  = "*"
        Condition = {
          StringEquals                = cluster
          "ForAllValues:StringEquals" = { "kms:GrantOperations" = ["Decrypt"] }
        }
      },
    ]]),
  )

  own_clusters = local.owns_cluster ? [{
    "kms:EncryptionContext:aws:ecs:clusterAccount" = local.account_id
    "kms:EncryptionContext:aws:ecs:clusterName"    = var.name
  }] : []
}
