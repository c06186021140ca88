# Keys. Whoever works for this module uses them with its own role; here is what AWS itself does with them: with
# kms_key_arn, before and after somebody's role is there to act with. A key's policy has to allow it.

locals {
  # As KMS knows a service that asks for something on behalf of a role.
  # https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
  kms_via = { for service in ["s3", "secretsmanager", "sqs"] : service => "${service}.${local.region}.${data.aws_partition.current.dns_suffix}" }

  # Only through S3 are objects of the source decrypted, never by the program itself. A secret that was given may be
  # encrypted with one of these keys too.
  services_decrypting_for_workers = concat(
    [local.kms_via["s3"]],
    local.owns_secret ? [] : [local.kms_via["secretsmanager"]],
  )

  # None of these may depend on kms_key_arn: the key's policy is made of them, and the key comes after its policy.
  kms_key_policy_statements = concat(
    [{
      # An event goes into the queue encrypted. With SourceArn and SourceAccount S3 is not talked into it by others.
      # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
      Sid       = "DeliverFromSourceBucket"
      Effect    = "Allow"
      Principal = { Service = "s3.amazonaws.com" }
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = "*"
      Condition = {
        ArnEquals    = { "aws:SourceArn" = local.source_bucket_arn }
        StringEquals = { "aws:SourceAccount" = local.account_id }
      }
    }],
    [for mode in [var.notification_mode] : {
      # Here EventBridge names neither its rule nor the account, so a condition on them would stop it. The queue's own
      # policy names the rule, and without the queue the key is of no use to anybody.
      # https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
      Sid       = "DeliverFromRule"
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = "*"
    } if mode == "eventbridge"],
    [{
      # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
      Sid       = "KeepLogs"
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
        Sid       = "EncryptDisksOfTasks"
        Effect    = "Allow"
        Principal = { Service = "fargate.amazonaws.com" }
        Action    = ["kms:GenerateDataKeyWithoutPlaintext"]
        Resource  = "*"
        Condition = { StringEquals = cluster }
      },
      {
        Sid       = "AttachDisksOfTasks"
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
