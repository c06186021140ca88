# A source bucket of another account: the environment, the permissions, the notifications, and the policies for that account.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket     = "source"
  source_prefix     = "in/"
  source_account_id = "210987654321"
  target            = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
  notification_mode = "none"
}

run "own_account" {
  command = plan

  variables {
    source_account_id = null
  }

  assert {
    condition     = aws_lambda_function.sync.environment[0].variables.SOURCE_EXPECTED_BUCKET_OWNER == "123456789012"
    error_message = "The function must name the account of the module as the owner of the bucket."
  }

  assert {
    condition     = length(output.source_account.role_policy_statements) == 0 && output.source_account.event_bus_arn == null
    error_message = "Without another account there must be no role and no event bus."
  }
}

run "the_bucket_of_the_other_account_may_send" {
  command = plan

  assert {
    condition     = jsondecode(aws_sqs_queue.work.policy).Statement[0].Condition.StringEquals == { "aws:SourceAccount" = "210987654321" }
    error_message = "The queue must accept the events of the bucket in the other account only."
  }

  assert {
    condition     = aws_lambda_function.sync.environment[0].variables.SOURCE_EXPECTED_BUCKET_OWNER == "210987654321"
    error_message = "The function must name the owner of the bucket."
  }

  assert {
    condition     = length(aws_s3_bucket_notification.source) == 0
    error_message = "The module must not write the notifications of a bucket of another account."
  }
}

run "the_bucket_policy_names_the_roles_of_the_workers" {
  command = plan

  variables {
    source_kms_key_arns = ["arn:aws:kms:eu-west-1:210987654321:key/11111111-1111"]
    ecs                 = { subnet_ids = ["subnet-1"] }
    migration           = { enabled = true, restore = true }
    service             = { enabled = true }
  }

  assert {
    condition     = [for statement in output.source_account.bucket_policy_statements : statement.Sid] == ["ReadSourceObjects", "ListSourceBucket", "RestoreSourceObjects"]
    error_message = "The bucket policy must have each permission that the workers have on the source."
  }

  assert {
    condition = alltrue([for statement in output.source_account.bucket_policy_statements :
      toset(statement.Principal.AWS) == toset([for part, arn in output.role_arns : arn if contains(statement.Sid == "RestoreSourceObjects" ? ["migration"] : ["function", "migration", "service"], part)])
    ])
    error_message = "Each statement must name the roles that need it, and no other role."
  }

  assert {
    condition     = [for statement in output.source_account.key_policy_statements : statement.Condition] == [{ StringEquals = { "kms:ViaService" = "s3.eu-west-1.amazonaws.com" } }]
    error_message = "The key policy must allow the use of the key through S3 only."
  }

  assert {
    condition     = length(output.source_account.role_policy_statements) == 0 && length(output.source_account.role_trust_statements) == 0
    error_message = "Without source_role_arn there must be no policy of a role."
  }
}

run "a_role_replaces_the_permissions_on_the_source" {
  command = plan

  variables {
    source_role_arn     = "arn:aws:iam::210987654321:role/mirrors/reader"
    source_kms_key_arns = ["arn:aws:kms:eu-west-1:210987654321:key/11111111-1111"]
    ecs                 = { subnet_ids = ["subnet-1"] }
    migration           = { enabled = true, restore = true }
    service             = { enabled = true }
  }

  assert {
    condition = alltrue([for policy in concat([aws_iam_role_policy.function], [for part, each in aws_iam_role_policy.task : each if part != "execution"]) :
      anytrue([for statement in jsondecode(policy.policy).Statement : statement.Sid == "AssumeSourceRole" && statement.Action == ["sts:AssumeRole"] && statement.Resource == ["arn:aws:iam::210987654321:role/mirrors/reader"]])
    ])
    error_message = "Each worker must be allowed to assume the role, and no other role."
  }

  assert {
    condition = !anytrue(flatten([for policy in concat([aws_iam_role_policy.function], values(aws_iam_role_policy.task)) :
      [for statement in jsondecode(policy.policy).Statement : [for action in flatten([statement.Action]) : startswith(action, "s3:")]]
    ]))
    error_message = "With the role, no worker must have a permission of S3."
  }

  assert {
    condition = !anytrue(flatten([for policy in concat([aws_iam_role_policy.function], values(aws_iam_role_policy.task)) :
      [for statement in jsondecode(policy.policy).Statement : statement.Sid == "DecryptSourceObjects"]
    ]))
    error_message = "With the role, no worker must be allowed to decrypt objects."
  }

  assert {
    condition = alltrue([
      aws_lambda_function.sync.environment[0].variables.SOURCE_ROLE_ARN == "arn:aws:iam::210987654321:role/mirrors/reader",
      aws_lambda_function.sync.environment[0].variables.AWS_STS_REGIONAL_ENDPOINTS == "regional",
      output.environment.SOURCE_ROLE_ARN == "arn:aws:iam::210987654321:role/mirrors/reader",
    ])
    error_message = "The workers and the command must know the role."
  }

  assert {
    condition     = [for statement in output.source_account.role_policy_statements : statement.Sid] == ["ReadSourceObjects", "ListSourceBucket", "RestoreSourceObjects", "DecryptSourceObjects"]
    error_message = "The role must have the permissions on the source."
  }

  assert {
    condition     = toset(output.source_account.role_trust_statements[0].Principal.AWS) == toset([for part, arn in output.role_arns : arn if contains(["function", "migration", "service"], part)])
    error_message = "The role must trust the workers, and no other role."
  }

  assert {
    condition     = length(output.source_account.bucket_policy_statements) == 0
    error_message = "A role in the account of the bucket needs no bucket policy."
  }

  assert {
    condition     = output.source_account.key_policy_statements[0].Principal.AWS == ["arn:aws:iam::210987654321:role/mirrors/reader"]
    error_message = "The key policy must name the role."
  }
}

run "events_come_over_a_bus" {
  command = plan

  variables {
    notification_mode = "eventbridge"
  }

  assert {
    condition     = aws_cloudwatch_event_rule.source[0].event_bus_name == aws_cloudwatch_event_bus.source[0].name && aws_cloudwatch_event_target.work[0].event_bus_name == aws_cloudwatch_event_bus.source[0].name
    error_message = "The rule must be on the bus that the other account sends to."
  }

  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.source[0].event_pattern).account == ["210987654321"]
    error_message = "The rule must take the events of the other account only."
  }

  assert {
    condition     = jsondecode(aws_cloudwatch_event_bus_policy.source[0].policy).Statement[0].Principal == { AWS = "arn:aws:iam::210987654321:root" }
    error_message = "Only the other account may send to the bus."
  }

  assert {
    condition     = output.source_account.event_bus_arn == aws_cloudwatch_event_bus.source[0].arn && output.source_account.event_role_policy_statements[0].Resource == [aws_cloudwatch_event_bus.source[0].arn]
    error_message = "The output must have the target of the rule in the other account."
  }
}

run "account_without_twelve_digits" {
  command         = plan
  expect_failures = [var.source_account_id]

  variables {
    source_account_id = "12345"
  }
}

run "role_without_the_form_of_an_arn" {
  command         = plan
  expect_failures = [var.source_role_arn]

  variables {
    source_role_arn = "arn:aws:sts::210987654321:assumed-role/reader/session"
  }
}

run "role_of_a_third_account" {
  command         = plan
  expect_failures = [var.source_role_arn]

  variables {
    source_role_arn = "arn:aws:iam::333333333333:role/reader"
  }
}

run "role_without_its_account" {
  command         = plan
  expect_failures = [var.source_role_arn]

  variables {
    source_account_id = null
    source_role_arn   = "arn:aws:iam::210987654321:role/reader"
  }
}

run "notifications_of_a_bucket_of_another_account" {
  command         = plan
  expect_failures = [var.notification_mode]

  variables {
    notification_mode = "sqs"
  }
}

run "eventbridge_of_a_bucket_of_another_account" {
  command         = plan
  expect_failures = [var.enable_bucket_eventbridge]

  variables {
    notification_mode         = "eventbridge"
    enable_bucket_eventbridge = true
  }
}
