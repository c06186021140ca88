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
