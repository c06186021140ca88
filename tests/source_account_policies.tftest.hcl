# The plans that tests/unit/test_source_account_policies.py evaluates: a source bucket of another account, without a role.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

override_resource {
  target          = aws_iam_role.function
  override_during = plan
  values          = { arn = "arn:aws:iam::123456789012:role/function" }
}

override_resource {
  target          = aws_iam_role.task["migration"]
  override_during = plan
  values          = { arn = "arn:aws:iam::123456789012:role/migration" }
}

override_resource {
  target          = aws_iam_role.task["service"]
  override_during = plan
  values          = { arn = "arn:aws:iam::123456789012:role/service" }
}

variables {
  source_bucket       = "source"
  source_prefix       = "in/"
  source_account_id   = "210987654321"
  source_kms_key_arns = ["arn:aws:kms:eu-west-1:210987654321:key/11111111-1111"]
  target              = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
  ecs                 = { subnet_ids = ["subnet-1"] }
  migration           = { enabled = true, restore = true }
  service             = { enabled = true }
}

run "own_wiring" {
  command = plan

  variables {
    notification_mode = "none"
  }

  assert {
    condition     = length(output.source_account.bucket_policy_statements) == 3
    error_message = "The bucket policy must have the three permissions on the source."
  }
}

run "eventbridge" {
  command = plan

  variables {
    notification_mode = "eventbridge"
  }

  assert {
    condition     = output.source_account.event_bus_arn != null
    error_message = "The module must have an event bus for the other account."
  }
}
