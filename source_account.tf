# The account of the source bucket, if it is another account: the policies that it must apply. The module changes nothing in
# that account.

locals {
  # Older versions of boto3 send the requests to STS to its global endpoint, which no VPC endpoint serves.
  # https://docs.aws.amazon.com/sdkref/latest/guide/feature-sts-regionalized-endpoints.html
  source_role_environment = merge([for arn in var.source_role_arn[*] : {
    SOURCE_ROLE_ARN            = arn
    AWS_STS_REGIONAL_ENDPOINTS = "regional"
  }]...)

  # The roles that read the source, or assume the role that reads it.
  worker_role_arns = concat([aws_iam_role.function.arn], [for part, role in aws_iam_role.task : role.arn if part != "execution"])
  migration_arns   = [for part, role in aws_iam_role.task : role.arn if part == "migration"]

  # Policies of resources name the principals. Another account never reads without such a policy.
  source_bucket_policy_statements = concat(
    [for statement in local.read_source_statements : merge(statement, { Principal = { AWS = local.worker_role_arns } })],
    [for statement in local.restore_source_statements : merge(statement, { Principal = { AWS = local.migration_arns } })],
  )

  source_key_policy_statements = [for statement in local.decrypt_source_statements :
    merge(statement, { Resource = "*", Principal = { AWS = concat(var.source_role_arn[*], [for arn in local.worker_role_arns : arn if var.source_role_arn == null]) } })
  ]

  # The role is in the account of the bucket, so that the bucket needs no policy. The policy of a key may leave nothing to
  # IAM policies: then it must name the role.
  source_role_policy_statements = concat(local.read_source_statements, local.restore_source_statements, local.decrypt_source_statements)

  source_role_trust_statements = [{
    Sid       = "AllowS3SyncerToAssumeRole"
    Effect    = "Allow"
    Principal = { AWS = local.worker_role_arns }
    Action    = "sts:AssumeRole"
  }]

  source_account = {
    account_id               = local.source_account_id
    bucket_policy_statements = [for statement in local.source_bucket_policy_statements : statement if var.source_role_arn == null]
    key_policy_statements    = local.source_key_policy_statements
    role_policy_statements   = [for statement in local.source_role_policy_statements : statement if var.source_role_arn != null]
    role_trust_statements    = [for statement in local.source_role_trust_statements : statement if var.source_role_arn != null]
    event_bus_arn            = one(aws_cloudwatch_event_bus.source[*].arn)
    event_pattern            = local.by_eventbridge ? jsonencode(local.event_pattern) : null
    event_role_policy_statements = [for bus in aws_cloudwatch_event_bus.source : {
      Sid      = "SendToEventBus"
      Effect   = "Allow"
      Action   = ["events:PutEvents"]
      Resource = [bus.arn]
    }]
  }
}
