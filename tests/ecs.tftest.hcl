# Input ecs: the settings that the tasks of migration and service share. Each run has one mistake, so that only one
# validation can catch it.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
  ecs           = { subnet_ids = ["subnet-1"] }
  migration     = { enabled = true }
}

run "an_image_by_address" {
  command = plan

  variables {
    ecs = { subnet_ids = ["subnet-1"], image = "https://registry.example.com/s3-syncer:1" }
  }

  expect_failures = [var.ecs]
}

run "an_image_without_a_tag" {
  command = plan

  variables {
    ecs = { subnet_ids = ["subnet-1"], image = "registry.example.com/s3-syncer" }
  }

  expect_failures = [var.ecs]
}

run "an_image_without_a_name" {
  command = plan

  variables {
    ecs = { subnet_ids = ["subnet-1"], image = "" }
  }

  expect_failures = [var.ecs]
}

run "an_architecture_as_lambda_spells_it" {
  command = plan

  variables {
    ecs = { subnet_ids = ["subnet-1"], architecture = "arm64" }
  }

  expect_failures = [var.ecs]
}

run "bandwidths_as_rclone_writes_them" {
  command = plan

  variables {
    ecs = { subnet_ids = ["subnet-1"], bwlimit = "Mon-08:00,512k:1.5M Saturday-00:00,off;19:00,0" }
  }

  assert {
    condition     = contains(jsondecode(aws_ecs_task_definition.task["migration"].container_definitions)[0].environment, { name = "S3_SYNCER_BWLIMIT", value = var.ecs.bwlimit })
    error_message = "The migration must have the bandwidth."
  }
}

run "a_rate_as_a_bandwidth" {
  command = plan

  variables {
    ecs = { subnet_ids = ["subnet-1"], bwlimit = "1.5G" }
  }
}

run "a_bandwidth_in_bits" {
  command = plan

  variables {
    ecs = { subnet_ids = ["subnet-1"], bwlimit = "50Mbit" }
  }

  expect_failures = [var.ecs]
}

run "an_hour_that_does_not_exist" {
  command = plan

  variables {
    ecs = { subnet_ids = ["subnet-1"], bwlimit = "08:00,10M 24:00,off" }
  }

  expect_failures = [var.ecs]
}

run "entries_without_a_space" {
  command = plan

  variables {
    ecs = { subnet_ids = ["subnet-1"], bwlimit = "08:00,10M19:00,off" }
  }

  expect_failures = [var.ecs]
}

run "a_rate_behind_a_timetable" {
  command = plan

  variables {
    ecs = { subnet_ids = ["subnet-1"], bwlimit = "08:00,10M 5M" }
  }

  expect_failures = [var.ecs]
}

run "a_cluster_by_name" {
  command = plan

  variables {
    ecs = { subnet_ids = ["subnet-1"], cluster = { arn = "batch" } }
  }

  expect_failures = [var.ecs]
}

run "no_subnet" {
  command = plan

  variables {
    ecs = { subnet_ids = [] }
  }

  expect_failures = [var.ecs]
}

run "a_subnet_by_arn" {
  command = plan

  variables {
    ecs = { subnet_ids = ["arn:aws:ec2:eu-west-1:123456789012:subnet/subnet-1"] }
  }

  expect_failures = [var.ecs]
}

run "a_security_group_by_name" {
  command = plan

  variables {
    ecs = { subnet_ids = ["subnet-1"], security_group_ids = ["default"] }
  }

  expect_failures = [var.ecs]
}

run "six_security_groups" {
  command = plan

  variables {
    ecs = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1", "sg-2", "sg-3", "sg-4", "sg-5", "sg-6"] }
  }

  expect_failures = [var.ecs]
}

run "no_subnet_for_the_service" {
  command = plan

  variables {
    migration = {}
    service   = { enabled = true }
    ecs       = { subnet_ids = [] }
  }

  expect_failures = [var.ecs]
}

run "no_subnet_is_needed_without_tasks" {
  command = plan

  variables {
    migration = {}
    ecs       = { subnet_ids = [] }
  }

  assert {
    condition     = output.migration == null && output.service == null
    error_message = "Without tasks both outputs must be null."
  }
}
