# The access key of the target. tests/infra checks that it is in no plan and in no state, because a test here cannot search
# a whole plan.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
}

run "a_secret_to_fill_by_hand" {
  command = plan

  assert {
    condition     = length(aws_secretsmanager_secret.target_credentials) == 1 && length(aws_secretsmanager_secret_version.target_credentials) == 0
    error_message = "Without credentials the module must create an empty secret."
  }

  assert {
    condition     = aws_secretsmanager_secret.target_credentials[0].recovery_window_in_days == 0
    error_message = "A secret with a pending deletion blocks its name for the next apply."
  }

  assert {
    condition     = output.credentials_secret_arn == aws_secretsmanager_secret.target_credentials[0].arn
    error_message = "The output must be the ARN of the secret to fill."
  }
}

run "a_secret_with_credentials" {
  command = plan

  variables {
    target_credentials         = { access_key_id = "id", secret_access_key = "secret" }
    target_credentials_version = 3
  }

  assert {
    condition     = aws_secretsmanager_secret_version.target_credentials[0].secret_string_wo_version == 3
    error_message = "The version must decide when the credentials are written."
  }

  assert {
    condition     = aws_secretsmanager_secret_version.target_credentials[0].secret_string == null
    error_message = "The credentials must not be in the state."
  }
}

run "an_existing_secret" {
  command = plan

  variables {
    credentials_secret = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:existing-AbCdEf" }
  }

  assert {
    condition     = length(aws_secretsmanager_secret.target_credentials) == 0 && length(aws_secretsmanager_secret_version.target_credentials) == 0
    error_message = "With an existing secret the module must not create one."
  }

  assert {
    condition = alltrue([for arn in [
      output.credentials_secret_arn,
      aws_lambda_function.sync.environment[0].variables.TARGET_SECRET_ARN,
      one([for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : one(statement.Resource) if statement.Sid == "ReadTargetCredentials"]),
    ] : arn == var.credentials_secret.arn])
    error_message = "The function must read the existing secret, and have the permission."
  }
}
