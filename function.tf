# The Lambda function: log group, role, function, and an event source mapping for each queue.

locals {
  package_path = coalesce(var.function.package_path, "${path.module}/lambda/dist/s3_syncer.zip")

  # A disabled event source mapping receives nothing: the messages stay on the queues.
  function_consumes = var.function.enabled && !var.paused

  function_environment = merge(local.worker_environment, local.queue_environment, local.event_environment, { LOG_LEVEL = var.function.log_level })

  # Lambda measures the environment as JSON. The URLs and the ARN are not known before the first apply: values of the same
  # length stand for them, so that each plan has the size. jsonencode escapes &, < and >, and Lambda does not.
  # https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
  max_environment_bytes = 4096
  encoded_environment = base64encode(replace(jsonencode(merge(
    local.function_environment,
    { for name, suffix in {
      QUEUE_URL                = ""
      BULK_QUEUE_URL           = local.bulk_suffix
      DEAD_LETTER_QUEUE_URL    = local.dead_letters_suffix
      DELETIONS_QUEUE_URL      = local.deletions_suffix
      HELD_DELETIONS_QUEUE_URL = local.held_deletions_suffix
      } :
    name => "https://sqs.${local.region}.${data.aws_partition.current.dns_suffix}/${local.account_id}/${var.name}${suffix}" },
    local.owns_secret ? {
      TARGET_SECRET_ARN = "arn:${data.aws_partition.current.partition}:secretsmanager:${local.region}:${local.account_id}:secret:${local.secret_name}-123456"
    } : {},
  )), "/\\\\u00(26|3c|3e)/", "-"))
  # In base64, three bytes have four characters.
  environment_bytes = length(local.encoded_environment) / 4 * 3 - length(regexall("=", local.encoded_environment))
}

# Created before the function: Lambda would otherwise create a log group without retention.
resource "aws_cloudwatch_log_group" "function" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn

  tags = var.tags
}

resource "aws_iam_role" "function" {
  name                 = local.role_names.function
  path                 = var.role_path
  description          = "Permissions of the Lambda function ${var.name}."
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AllowLambdaToAssumeRole"
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
    }]
  })

  tags = var.tags
}

locals {
  function_policy = jsonencode({ Version = "2012-10-17", Statement = local.function_statements })

  function_statements = concat(
    local.queue_worker_statements,
    [
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["${aws_cloudwatch_log_group.function.arn}:*"]
      },
    ],
    # Lambda creates the network interfaces with the role of the function, before an interface exists that a resource
    # could name. It also deletes them with that role, up to 20 minutes after the function has left the VPC. The second
    # statement denies the same actions to the code in the function.
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
    [for is_needed in [local.needs_network_actions] : {
      Sid      = "ManageVpcNetworkInterfaces"
      Effect   = "Allow"
      Action   = local.network_actions
      Resource = ["*"]
    } if is_needed],
    [for is_needed in [local.needs_network_actions] : {
      Sid       = "DenyNetworkApiToFunctionCode"
      Effect    = "Deny"
      Action    = local.network_actions
      Resource  = ["*"]
      Condition = { Null = { "lambda:SourceFunctionArn" = "false" } }
    } if is_needed],
  )

  needs_network_actions = var.function.vpc != null || var.function.vpc_permissions

  network_actions = [
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
  ]
}

resource "aws_iam_role_policy" "function" {
  name = local.role_names.function
  role = aws_iam_role.function.id

  policy = local.function_policy

  lifecycle {
    precondition {
      condition     = length(local.function_policy) <= local.max_policy_characters
      error_message = "The policy of the function would have ${length(local.function_policy)} characters. ${local.long_policy}"
    }
  }
}

resource "aws_lambda_function" "sync" {
  #checkov:skip=CKV_AWS_50:Traces would store object keys in another place. The log has a line for every decision.
  #checkov:skip=CKV_AWS_116:The function is never invoked asynchronously. The queue has a dead-letter queue.
  #checkov:skip=CKV_AWS_272:A signing profile belongs to an account. The zip is reproducible, and its hash is in the plan.
  function_name = var.name
  description   = substr("Mirrors ${var.source_bucket} to ${var.target.bucket} at ${var.target.endpoint}.", 0, 256)
  role          = aws_iam_role.function.arn

  filename         = local.package_path
  source_code_hash = filebase64sha256(local.package_path)
  handler          = "s3_syncer.lambda_handler.handler"
  runtime          = var.function.runtime
  architectures    = [var.function.architecture]

  memory_size                    = var.function.memory_mb
  timeout                        = var.function.timeout_s
  reserved_concurrent_executions = coalesce(var.function.reserved_concurrency, -1) # -1 reserves no concurrency

  kms_key_arn = var.kms_key_arn

  environment {
    variables = local.function_environment
  }

  logging_config {
    log_group  = aws_cloudwatch_log_group.function.name
    log_format = "JSON"
    # The code of the function applies LOG_LEVEL. The filter of Lambda only has to pass DEBUG lines. A higher level would
    # drop warnings, because Lambda calls the level WARN and Python calls it WARNING.
    application_log_level = var.function.log_level == "DEBUG" ? "DEBUG" : "INFO"
    system_log_level      = "INFO"
  }

  dynamic "vpc_config" {
    for_each = var.function.vpc[*]

    content {
      subnet_ids         = vpc_config.value.subnet_ids
      security_group_ids = vpc_config.value.security_group_ids
    }
  }

  tags = var.tags

  lifecycle {
    precondition {
      condition     = length(local.invalid_patterns) == 0
      error_message = "Write other patterns into filters than ${join(", ", formatlist("%q", local.invalid_patterns))}. Each of \"[\", \"{\" and \"{{\" needs its end, no three \"*\" may follow each other, and \"\\\" stands before a special character. A regular expression in \"{{\" and \"}}\" must mean the same in Go and Python: without \"(?i)\", \"[[:alpha:]]\" and the like."
    }

    precondition {
      condition     = local.filter_bytes.min == null || local.filter_bytes.max == null || try(local.filter_bytes.min <= local.filter_bytes.max, false)
      error_message = "Write filters.max_size with at least filters.min_size: no object is both larger and smaller."
    }

    precondition {
      condition     = local.environment_bytes <= local.max_environment_bytes
      error_message = "The environment of the function would have ${local.environment_bytes} bytes, and Lambda allows ${local.max_environment_bytes} for all names and values together. Write less into environment, filters, target.ca_certificate or the prefixes. One pattern like \"*.{tmp,bak}\" is shorter than two."
    }
  }

  # Lambda checks the network permissions of the role when it creates the function.
  depends_on = [aws_iam_role_policy.function]
}

# A sweep, or the copy of a large object, is a chain of messages: an invocation sends the work that is left to a queue that
# invokes the function. By default Lambda stops such a chain after about 16 invocations and drops the message.
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
resource "aws_lambda_function_recursion_config" "sync" {
  function_name  = aws_lambda_function.sync.function_name
  recursive_loop = "Allow"
}

resource "aws_lambda_event_source_mapping" "work" {
  event_source_arn = aws_sqs_queue.work.arn
  function_name    = aws_lambda_function.sync.arn
  enabled          = local.function_consumes

  batch_size                         = var.sync.batch_size
  maximum_batching_window_in_seconds = var.sync.batch_window_s
  function_response_types            = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = var.sync.max_concurrency
  }

  tags = var.tags

  # The first message may begin a chain.
  depends_on = [aws_lambda_function_recursion_config.sync]
}

resource "aws_lambda_event_source_mapping" "bulk" {
  event_source_arn = aws_sqs_queue.bulk.arn
  function_name    = aws_lambda_function.sync.arn
  enabled          = local.function_consumes

  # A range takes all the time and all the threads of an invocation.
  batch_size              = 1
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = var.bulk.max_concurrency
  }

  tags = var.tags

  # The first message may begin a chain.
  depends_on = [aws_lambda_function_recursion_config.sync]
}
