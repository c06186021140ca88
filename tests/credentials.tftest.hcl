# Where the keys of the target come from. That they are in no plan and in no state is for the tests on the local cloud:
# a test's plan cannot be searched as a whole.

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
    error_message = "Without credentials there is to be an empty secret."
  }

  assert {
    condition     = aws_secretsmanager_secret.target_credentials[0].recovery_window_in_days == 0
    error_message = "A secret that waits to be deleted keeps its name from the next apply."
  }

  assert {
    condition     = output.credentials_secret_arn == aws_secretsmanager_secret.target_credentials[0].arn
    error_message = "The output does not say which secret to fill."
  }
}

run "a_secret_filled_with_credentials" {
  command = plan

  variables {
    target_credentials         = { access_key_id = "id", secret_access_key = "secret" }
    target_credentials_version = 3
  }

  assert {
    condition     = aws_secretsmanager_secret_version.target_credentials[0].secret_string_wo_version == 3
    error_message = "The version decides when the credentials are written again."
  }

  assert {
    condition     = aws_secretsmanager_secret_version.target_credentials[0].secret_string == null
    error_message = "The credentials must not be where the state keeps them."
  }
}

run "an_existing_secret" {
  command = plan

  variables {
    credentials_secret = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:existing-AbCdEf" }
  }

  assert {
    condition     = length(aws_secretsmanager_secret.target_credentials) == 0 && length(aws_secretsmanager_secret_version.target_credentials) == 0
    error_message = "With an existing secret none is to be made."
  }

  assert {
    condition = alltrue([for arn in [
      output.credentials_secret_arn,
      aws_lambda_function.sync.environment[0].variables.TARGET_SECRET_ARN,
      one([for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : one(statement.Resource) if statement.Sid == "ReadTargetCredentials"]),
    ] : arn == var.credentials_secret.arn])
    error_message = "The function must read, and be allowed to read, the existing secret."
  }
}
