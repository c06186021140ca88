# The scheduled comparison.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
}

run "no_schedule_by_default" {
  command = plan

  assert {
    condition     = length(aws_scheduler_schedule.reconcile) == 0 && length(aws_iam_role.reconcile) == 0
    error_message = "Without reconcile.schedule there must be no schedule and no role."
  }
}

run "the_schedule_sends_the_whole_range" {
  command = plan

  variables {
    reconcile = { schedule = "rate(1 day)", delete = true, max_delete = 7 }
  }

  assert {
    condition = jsondecode(aws_scheduler_schedule.reconcile[0].target[0].input) == {
      "s3-syncer" = { work = "range", delete = true, max_delete = 7, full = false }
    }
    error_message = "The message must be a RangeWork with the delete limit of the input."
  }

  assert {
    condition     = aws_scheduler_schedule.reconcile[0].target[0].arn == aws_sqs_queue.bulk.arn
    error_message = "The message must go to the work queue."
  }

  assert {
    condition     = aws_scheduler_schedule.reconcile[0].target[0].role_arn == "arn:aws:iam::123456789012:role/s3-syncer-reconcile"
    error_message = "The schedule must have its own role."
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.reconcile[0].policy).Statement == [{
      Sid      = "SendToBulkQueue"
      Effect   = "Allow"
      Action   = ["sqs:SendMessage"]
      Resource = ["arn:aws:sqs:eu-west-1:123456789012:s3-syncer-bulk"]
    }]
    error_message = "The role of the schedule may only send to this queue."
  }
}

run "deletes_are_off_and_limited_by_default" {
  command = plan

  variables {
    reconcile = { schedule = "cron(0 3 * * ? *)" }
  }

  assert {
    condition     = jsondecode(aws_scheduler_schedule.reconcile[0].target[0].input)["s3-syncer"] == { work = "range", delete = false, max_delete = 1000, full = false }
    error_message = "A comparison must not delete by default, nor make requests for every object."
  }
}

run "a_full_comparison" {
  command = plan

  variables {
    reconcile = { schedule = "rate(7 days)", full = true }
  }

  assert {
    condition     = jsondecode(aws_scheduler_schedule.reconcile[0].target[0].input)["s3-syncer"].full == true
    error_message = "With reconcile.full, the message must ask for a full comparison."
  }
}

run "an_invalid_schedule" {
  command = plan

  variables {
    reconcile = { schedule = "daily" }
  }

  expect_failures = [var.reconcile]
}

run "a_negative_max_delete" {
  command = plan

  variables {
    reconcile = { schedule = "rate(1 day)", max_delete = -1 }
  }

  expect_failures = [var.reconcile]
}
