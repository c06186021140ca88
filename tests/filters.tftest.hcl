# The filters in the environment of each worker, and their mistakes. tests/module/test_filters.py compares the patterns that
# the plan rejects with those that the workers reject.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
}

run "all_workers_have_the_filters" {
  command = plan

  variables {
    filters = {
      include  = ["*.{jpg,png}", "/reports/**"]
      exclude  = ["*.tmp"]
      min_size = "1B"
      max_size = "1.5G"
    }
    migration = { enabled = true }
    service   = { enabled = true }
    ecs       = { subnet_ids = ["subnet-1"] }
  }

  assert {
    condition = alltrue([for environment in concat(
      [aws_lambda_function.sync.environment[0].variables],
      [for task in aws_ecs_task_definition.task : { for each in jsondecode(task.container_definitions)[0].environment : each.name => each.value }],
      [output.environment],
      ) : { for name, value in environment : name => value if can(regex("_(INCLUDE|EXCLUDE|MIN_SIZE|MAX_SIZE)$", name)) } == {
      S3_SYNCER_INCLUDE  = "*.{jpg,png}\n/reports/**"
      S3_SYNCER_EXCLUDE  = "*.tmp"
      S3_SYNCER_MIN_SIZE = "1B"
      S3_SYNCER_MAX_SIZE = "1.5G"
    }])
    error_message = "The function, each task and the commands must have the filters."
  }
}

run "no_filters" {
  command = plan

  variables {
    filters = { min_size = null }
  }

  assert {
    condition     = length(local.filter_variables) == 0
    error_message = "Without filters, the function must have no variable for them."
  }
}

run "one_filter" {
  command = plan

  variables {
    filters = { exclude = ["cache/"] }
  }

  assert {
    condition     = local.filter_variables == { S3_SYNCER_EXCLUDE = "cache/" }
    error_message = "Only the filters that are set may take room in the environment."
  }
}

run "sizes_off" {
  command = plan

  variables {
    filters = { min_size = "Off", max_size = ".5k" }
  }
}

run "a_number_is_in_kib" {
  command = plan

  variables {
    filters = { min_size = 100, max_size = "102400B" }
  }

  assert {
    condition     = local.filter_bytes == { min = 102400, max = 102400 }
    error_message = "A number without a unit is in KiB, as in rclone."
  }
}

run "an_invalid_pattern" {
  command = plan

  variables {
    filters = { exclude = ["*.tmp", "[a"] }
  }

  expect_failures = [aws_lambda_function.sync]
}

run "an_empty_pattern" {
  command = plan

  variables {
    filters = { include = [""] }
  }

  expect_failures = [var.filters]
}

run "a_pattern_with_a_line_break" {
  command = plan

  variables {
    filters = { exclude = ["a\nb"] }
  }

  expect_failures = [var.filters]
}

run "a_pattern_that_is_null" {
  command = plan

  variables {
    filters = { exclude = [null] }
  }

  expect_failures = [var.filters]
}

run "an_include_of_a_folder" {
  command = plan

  variables {
    filters = { include = ["reports/"] }
  }

  expect_failures = [var.filters]
}

run "a_size_in_mb" {
  command = plan

  variables {
    filters = { max_size = "10MB" }
  }

  expect_failures = [var.filters]
}

run "a_minimum_above_the_maximum" {
  command = plan

  variables {
    filters = { min_size = "1.5K", max_size = "1" }
  }

  expect_failures = [aws_lambda_function.sync]
}

run "filters_that_fit_into_the_environment" {
  command = plan

  variables {
    filters = { exclude = [for number in range(30) : format("/folder-%04d/**", number)] }
  }
}

run "filters_that_do_not_fit_into_the_environment" {
  command = plan

  variables {
    filters = { exclude = [for number in range(300) : format("/folder-%04d/**", number)] }
  }

  expect_failures = [aws_lambda_function.sync]
}
