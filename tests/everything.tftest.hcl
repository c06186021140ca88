# All features at once: the plan for scripts/docs and tests/unit/test_permissions.py.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

run "everything" {
  command = plan

  variables {
    source_bucket = "source"
    source_prefix = "in/"
    target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }

    notification_mode         = "eventbridge"
    enable_bucket_eventbridge = true
    notification_topic_arns   = ["arn:aws:sns:eu-west-1:123456789012:events"]

    reconcile     = { schedule = "rate(1 day)" }
    function      = { vpc = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] } }
    ecs           = { subnet_ids = ["subnet-1"] }
    dashboard     = true
    event_bus_arn = "arn:aws:events:eu-west-1:210987654321:event-bus/operations"
    migration     = { enabled = true, restore = true }
    service       = { enabled = true }

    source_kms_key_arns      = ["arn:aws:kms:eu-west-1:123456789012:key/11111111-1111"]
    kms_key_arn              = "arn:aws:kms:eu-west-1:123456789012:key/22222222-2222"
    previous_kms_key_arns    = ["arn:aws:kms:eu-west-1:123456789012:key/33333333-3333"]
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/boundary"
    role_path                = "/workloads/mirrors/"

    target_credentials         = { access_key_id = "access-key-of-everything", secret_access_key = "secret-key-of-everything" }
    target_credentials_version = 1
  }

  assert {
    condition = output.role_arns == { for part in ["execution", "function", "migration", "reconcile", "service"] :
    part => "arn:aws:iam::123456789012:role/s3-syncer-${part}" }
    error_message = "All features must be on, each with its role."
  }
}
