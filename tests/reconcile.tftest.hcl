# The comparison on a schedule.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
}

run "nothing_is_scheduled_unless_asked_for" {
  command = plan

  assert {
    condition     = length(aws_scheduler_schedule.reconcile) == 0 && length(aws_iam_role.reconcile) == 0
    error_message = "Without a schedule there is neither a schedule nor a role."
  }
}

run "the_schedule_asks_for_the_whole_range" {
  command = plan

  variables {
    reconcile = { schedule = "rate(1 day)", delete = true, max_delete = 7 }
  }

  assert {
    condition = jsondecode(aws_scheduler_schedule.reconcile[0].target[0].input) == {
      "s3-syncer" = { work = "range", delete = true, max_delete = 7 }
    }
    error_message = "The message must be a RangeWork with the brake of the input."
  }

  assert {
    condition     = aws_scheduler_schedule.reconcile[0].target[0].arn == aws_sqs_queue.work.arn
    error_message = "The message must go to the work queue."
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.reconcile[0].policy).Statement == [{
      Sid      = "SendToQueue"
      Effect   = "Allow"
      Action   = ["sqs:SendMessage"]
      Resource = ["arn:aws:sqs:eu-west-1:123456789012:s3-syncer"]
    }]
    error_message = "The schedule may send to this queue and do nothing else."
  }
}

run "deletes_are_off_and_braked_unless_asked_for" {
  command = plan

  variables {
    reconcile = { schedule = "cron(0 3 * * ? *)" }
  }

  assert {
    condition     = jsondecode(aws_scheduler_schedule.reconcile[0].target[0].input)["s3-syncer"] == { work = "range", delete = false, max_delete = 1000 }
    error_message = "A comparison deletes nothing unless told to."
  }
}

run "a_schedule_that_is_none_is_refused" {
  command = plan

  variables {
    reconcile = { schedule = "daily" }
  }

  expect_failures = [var.reconcile]
}

run "a_brake_below_nothing_is_refused" {
  command = plan

  variables {
    reconcile = { schedule = "rate(1 day)", max_delete = -1 }
  }

  expect_failures = [var.reconcile]
}
