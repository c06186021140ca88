# More environment variables for the function and the tasks, and their limits.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
}

run "all_workers_have_the_environment" {
  command = plan

  variables {
    environment = { HTTPS_PROXY = "http://proxy.example.com:3128", no_proxy = ".amazonaws.com" }
    migration   = { enabled = true }
    service     = { enabled = true }
    ecs         = { subnet_ids = ["subnet-1"] }
  }

  assert {
    condition     = { for name, value in aws_lambda_function.sync.environment[0].variables : name => value if strcontains(lower(name), "proxy") } == { for name, value in var.environment : name => value }
    error_message = "The function must have the variables."
  }

  assert {
    condition = alltrue([for task in aws_ecs_task_definition.task :
      { for each in jsondecode(task.container_definitions)[0].environment : each.name => each.value if strcontains(lower(each.name), "proxy") } == { for name, value in var.environment : name => value }
    ])
    error_message = "Each task must have the variables."
  }

  assert {
    condition = alltrue([for name in concat(
      [for name in keys(aws_lambda_function.sync.environment[0].variables) : name if !strcontains(lower(name), "proxy")],
      flatten([for task in aws_ecs_task_definition.task : [
        for each in jsondecode(task.container_definitions)[0].environment : each.name if !strcontains(lower(each.name), "proxy")
      ]]),
    ) : can(regex(local.own_variables, name)) || contains(local.lambda_variables, name)])
    error_message = "A name that the module sets must be refused in the input."
  }
}

run "a_variable_of_a_worker" {
  command = plan

  variables {
    environment = { TARGET_BUCKET = "other" }
  }

  expect_failures = [var.environment]
}

run "a_variable_of_a_worker_that_is_not_set" {
  command = plan

  variables {
    environment = { S3_SYNCER_BWLIMIT = "50M" }
  }

  expect_failures = [var.environment]
}

run "a_variable_that_lambda_reserves" {
  command = plan

  variables {
    environment = { AWS_REGION = "eu-west-1" }
  }

  expect_failures = [var.environment]
}

run "a_name_that_is_no_variable" {
  command = plan

  variables {
    environment = { "HTTPS-PROXY" = "http://proxy.example.com:3128" }
  }

  expect_failures = [var.environment]
}

run "a_variable_without_a_value" {
  command = plan

  variables {
    environment = { HTTPS_PROXY = "" }
  }

  expect_failures = [var.environment]
}

run "the_size_is_that_of_the_real_environment" {
  command = plan

  variables {
    environment = { VALUES = "<&>\"\\ \u00e4" }
  }

  # The mocked secret has another ARN than one of AWS. The value has ten bytes in JSON without needless escapes.
  assert {
    condition = local.environment_bytes == length(jsonencode(merge(
      aws_lambda_function.sync.environment[0].variables,
      {
        TARGET_SECRET_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:s3-syncer/target-credentials-AbCdEf"
        VALUES            = "0123456789"
      },
    )))
    error_message = "The size must be that of the JSON in UTF-8, with the lengths of the URLs and of the ARN."
  }
}

run "an_environment_of_4096_bytes" {
  command = plan

  variables {
    environment = { VALUES = format("%3188s", "x") }
  }

  assert {
    condition     = local.environment_bytes == 4096
    error_message = "This is the largest environment."
  }
}

run "an_environment_of_4097_bytes" {
  command = plan

  variables {
    environment = { VALUES = format("%3189s", "x") }
  }

  expect_failures = [aws_lambda_function.sync]
}
