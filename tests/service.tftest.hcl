# The service: nothing by default. If enabled, its tasks have the permissions of the function and scale with the queue.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

override_resource {
  override_during = plan
  target          = aws_ecs_cluster.tasks
  values          = { arn = "arn:aws:ecs:eu-west-1:123456789012:cluster/s3-syncer" }
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
  ecs           = { subnet_ids = ["subnet-1"] }
  service       = { enabled = true }
}

run "nothing_by_default" {
  command = plan

  variables {
    service = { enabled = false }
    ecs = {
      image      = "registry.example.com/s3-syncer:1"
      cluster    = { arn = "arn:aws:ecs:eu-west-1:123456789012:cluster/batch" }
      subnet_ids = ["subnet-1"]
    }
  }

  assert {
    condition = 0 == sum([
      length(aws_ecs_service.service),
      length(aws_ecs_task_definition.task),
      length(aws_ecs_cluster.tasks),
      length(aws_ecs_cluster_capacity_providers.tasks),
      length(aws_ecr_repository.image),
      length(aws_cloudwatch_log_group.task),
      length(aws_iam_role.task),
      length(aws_iam_role_policy.task),
      length(aws_appautoscaling_target.service),
      length(aws_appautoscaling_policy.service),
      length(aws_cloudwatch_metric_alarm.scaling),
    ])
    error_message = "Without service.enabled nothing may be created."
  }

  assert {
    condition     = output.service == null
    error_message = "Without service.enabled the output must be null."
  }

  assert {
    condition     = aws_lambda_event_source_mapping.work.enabled
    error_message = "The function must consume the queue by default."
  }
}

run "names_start_with_the_name" {
  command = plan

  assert {
    condition = {
      family    = aws_ecs_task_definition.task["service"].family
      cluster   = aws_ecs_cluster.tasks[0].name
      service   = output.service.name
      logs      = output.service.log_group_name
      task      = output.service.task_role_name
      execution = aws_iam_role.task["execution"].name
      } == {
      family    = "s3-syncer-service"
      cluster   = "s3-syncer"
      service   = "s3-syncer-service"
      logs      = "/aws/ecs/s3-syncer-service"
      task      = "s3-syncer-service"
      execution = "s3-syncer-execution"
    }
    error_message = "All names must start with the name."
  }

  assert {
    condition     = keys(output.role_arns) == ["execution", "function", "service"]
    error_message = "The output must list exactly the existing roles."
  }
}

run "the_task_defaults" {
  command = plan

  assert {
    condition = {
      compatibilities = aws_ecs_task_definition.task["service"].requires_compatibilities
      network         = aws_ecs_task_definition.task["service"].network_mode
      cpu             = aws_ecs_task_definition.task["service"].cpu
      memory          = aws_ecs_task_definition.task["service"].memory
      architecture    = aws_ecs_task_definition.task["service"].runtime_platform[0].cpu_architecture
      task_role       = aws_ecs_task_definition.task["service"].task_role_arn
      execution_role  = aws_ecs_task_definition.task["service"].execution_role_arn
      } == {
      compatibilities = toset(["FARGATE"])
      network         = "awsvpc"
      cpu             = "1024"
      memory          = "2048"
      architecture    = "ARM64"
      task_role       = "arn:aws:iam::123456789012:role/s3-syncer-service"
      execution_role  = "arn:aws:iam::123456789012:role/s3-syncer-execution"
    }
    error_message = "The task must have these defaults."
  }

  assert {
    condition = { for name, value in jsondecode(aws_ecs_task_definition.task["service"].container_definitions)[0] : name => value if name != "environment" } == {
      name      = "s3-syncer"
      image     = output.service.image
      essential = true
      command   = ["serve"]
      healthCheck = {
        command     = ["CMD", "python3", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:8080/health', timeout=5)"]
        interval    = 30
        timeout     = 10
        retries     = 3
        startPeriod = 60
      }
      user                   = "65532:65532"
      readonlyRootFilesystem = true
      linuxParameters        = { capabilities = { add = [], drop = ["ALL"] } }
      stopTimeout            = 120
      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = "/aws/ecs/s3-syncer-service"
          awslogs-region        = "eu-west-1"
          awslogs-stream-prefix = "service"
          mode                  = "blocking"
        }
      }
    }
    error_message = "The container must have exactly this command, health check, user, read-only file system and stop timeout."
  }

  assert {
    condition = { for variable in jsondecode(aws_ecs_task_definition.task["service"].container_definitions)[0].environment : variable.name => variable.value } == merge(
      { for name, value in aws_lambda_function.sync.environment[0].variables : name => value if value != "" },
      {
        AWS_DEFAULT_REGION         = "eu-west-1"
        S3_SYNCER_MEMORY           = "1510"
        S3_SYNCER_CONCURRENCY      = "32"
        S3_SYNCER_BULK_CONCURRENCY = "32"
        S3_SYNCER_HEALTH_PORT      = "8080"
        S3_SYNCER_SHUTDOWN_GRACE   = "90"
      },
    )
    error_message = "The environment must be that of the function without empty values, plus the variables of a task."
  }
}

run "the_task_follows_the_inputs" {
  command = plan

  variables {
    deletes = { enabled = false }
    service = {
      enabled          = true
      cpu              = 512
      memory_mb        = 4096
      concurrency      = 64
      bulk_concurrency = "auto"
      log_level        = "WARNING"
      arguments        = ["--bwlimit=50M"]
    }
    ecs = {
      architecture       = "X86_64"
      subnet_ids         = ["subnet-1", "subnet-2"]
      security_group_ids = ["sg-1"]
      assign_public_ip   = true
      bwlimit            = "08:00,10M 19:00,off"
    }
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.task["service"].container_definitions)[0].command == ["serve", "--bwlimit=50M"]
    error_message = "The arguments must follow the command."
  }

  assert {
    condition = alltrue([
      for name, value in { SYNC_DELETE = "false", S3_SYNCER_MEMORY = "3148", S3_SYNCER_CONCURRENCY = "64", S3_SYNCER_BULK_CONCURRENCY = "auto", LOG_LEVEL = "WARNING", S3_SYNCER_BWLIMIT = "08:00,10M 19:00,off" } :
      contains(jsondecode(aws_ecs_task_definition.task["service"].container_definitions)[0].environment, { name = name, value = value })
    ])
    error_message = "The environment must follow the inputs."
  }

  assert {
    condition = {
      cpu          = aws_ecs_task_definition.task["service"].cpu
      memory       = aws_ecs_task_definition.task["service"].memory
      architecture = aws_ecs_task_definition.task["service"].runtime_platform[0].cpu_architecture
      subnets      = aws_ecs_service.service[0].network_configuration[0].subnets
      groups       = aws_ecs_service.service[0].network_configuration[0].security_groups
      public       = aws_ecs_service.service[0].network_configuration[0].assign_public_ip
      } == {
      cpu          = "512"
      memory       = "4096"
      architecture = "X86_64"
      subnets      = toset(["subnet-1", "subnet-2"])
      groups       = toset(["sg-1"])
      public       = true
    }
    error_message = "The size and the network of the task must follow the inputs."
  }
}

run "the_task_has_the_permissions_of_the_function" {
  command = plan

  variables {
    kms_key_arn         = "arn:aws:kms:eu-west-1:123456789012:key/33333333-3333"
    source_kms_key_arns = ["arn:aws:kms:eu-west-1:123456789012:key/11111111-1111"]
  }

  # Except for the logs, which ECS writes.
  assert {
    condition = jsondecode(aws_iam_role_policy.task["service"].policy).Statement == [
      for statement in jsondecode(aws_iam_role_policy.function.policy).Statement : statement if statement.Sid != "WriteLogs"
    ]
    error_message = "The service must have exactly the permissions of the function."
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.task["service"].policy).Statement : statement.Sid] == [
      "ReadSourceObjects", "ListSourceBucket", "ReadTargetCredentials", "SendToBulkQueue", "DecryptSourceObjects", "UseKmsKey",
      "ConsumeQueues", "SendDeletions", "CountHeldDeletions", "SendToDeadLetterQueue",
    ]
    error_message = "The policy must have exactly these statements."
  }

  assert {
    condition     = aws_cloudwatch_log_group.task["service"].kms_key_id == var.kms_key_arn && aws_cloudwatch_log_group.task["service"].retention_in_days == 30
    error_message = "The log group must have the key and the retention of the function's."
  }
}

run "the_service_defaults" {
  command = plan

  assert {
    condition = {
      tasks    = aws_ecs_service.service[0].desired_count
      shell    = aws_ecs_service.service[0].enable_execute_command
      tags     = aws_ecs_service.service[0].propagate_tags
      breaker  = aws_ecs_service.service[0].deployment_circuit_breaker[0].enable
      rollback = aws_ecs_service.service[0].deployment_circuit_breaker[0].rollback
      waits    = coalesce(aws_ecs_service.service[0].wait_for_steady_state, false) # the first apply has no image yet
      public   = aws_ecs_service.service[0].network_configuration[0].assign_public_ip
      } == {
      tasks    = 1
      shell    = false
      tags     = "SERVICE"
      breaker  = true
      rollback = true
      waits    = false
      public   = false
    }
    error_message = "The service must have these defaults."
  }

  assert {
    condition     = { for one in aws_ecs_service.service[0].capacity_provider_strategy : one.capacity_provider => one.weight } == { FARGATE = 100 }
    error_message = "All tasks must run without Spot by default."
  }

  assert {
    condition     = aws_ecs_cluster_capacity_providers.tasks[0].capacity_providers == toset(["FARGATE", "FARGATE_SPOT"])
    error_message = "The cluster must have both capacity providers."
  }
}

run "spot_for_some" {
  command = plan

  variables {
    service = { enabled = true, spot_percent = 70 }
  }

  assert {
    condition     = { for one in aws_ecs_service.service[0].capacity_provider_strategy : one.capacity_provider => one.weight } == { FARGATE = 30, FARGATE_SPOT = 70 }
    error_message = "The weights must follow spot_percent."
  }
}

run "spot_for_all" {
  command = plan

  variables {
    service = { enabled = true, spot_percent = 100 }
  }

  assert {
    condition     = { for one in aws_ecs_service.service[0].capacity_provider_strategy : one.capacity_provider => one.weight } == { FARGATE_SPOT = 100 }
    error_message = "A provider with weight 0 must be left out."
  }
}

run "tasks_scale_with_the_queue" {
  command = plan

  assert {
    condition = {
      resource = aws_appautoscaling_target.service[0].resource_id
      least    = aws_appautoscaling_target.service[0].min_capacity
      most     = aws_appautoscaling_target.service[0].max_capacity
    } == { resource = "service/s3-syncer/s3-syncer-service", least = 1, most = 4 }
    error_message = "The scalable target must be the service with its limits."
  }

  # One task for up to 1000 messages, two for up to 2000, and so on, relative to the threshold.
  assert {
    condition = { for step in aws_appautoscaling_policy.service["busy"].step_scaling_policy_configuration[0].step_adjustment :
      step.scaling_adjustment => format("%v to %v", step.metric_interval_lower_bound, step.metric_interval_upper_bound)
    } == { 2 = "0 to 1000", 3 = "1000 to 2000", 4 = "2000 to null" }
    error_message = "The policy must have these steps."
  }

  assert {
    condition = { for step in aws_appautoscaling_policy.service["idle"].step_scaling_policy_configuration[0].step_adjustment :
      step.scaling_adjustment => format("%v to %v", step.metric_interval_lower_bound, step.metric_interval_upper_bound)
    } == { 1 = "null to 0" }
    error_message = "The idle policy must set min_tasks."
  }

  assert {
    condition = { for name, alarm in aws_cloudwatch_metric_alarm.scaling : name => [alarm.comparison_operator, alarm.threshold, alarm.evaluation_periods] } == {
      busy = ["GreaterThanThreshold", 1000, 1]
      idle = ["LessThanThreshold", 1001, 1]
    }
    error_message = "The two alarms must cover all values without overlap."
  }

  assert {
    condition = alltrue([for alarm in aws_cloudwatch_metric_alarm.scaling : {
      for query in alarm.metric_query : query.id => try([query.metric[0].metric_name, query.metric[0].stat, query.metric[0].period, query.metric[0].dimensions.QueueName], query.expression)
      } == {
      backlog             = "bulk_in_flight + bulk_visible + deletions_in_flight + deletions_visible + in_flight + visible"
      visible             = ["ApproximateNumberOfMessagesVisible", "Maximum", 900, "s3-syncer"]
      in_flight           = ["ApproximateNumberOfMessagesNotVisible", "Maximum", 900, "s3-syncer"]
      bulk_visible        = ["ApproximateNumberOfMessagesVisible", "Maximum", 900, "s3-syncer-bulk"]
      bulk_in_flight      = ["ApproximateNumberOfMessagesNotVisible", "Maximum", 900, "s3-syncer-bulk"]
      deletions_visible   = ["ApproximateNumberOfMessagesVisible", "Maximum", 900, "s3-syncer-deletions"]
      deletions_in_flight = ["ApproximateNumberOfMessagesNotVisible", "Maximum", 900, "s3-syncer-deletions"]
    }])
    error_message = "The alarms must count visible messages and messages in flight of the three queues."
  }

  assert {
    condition     = alltrue([for policy in aws_appautoscaling_policy.service : policy.step_scaling_policy_configuration[0].adjustment_type == "ExactCapacity"])
    error_message = "The steps must set an exact number of tasks."
  }
}

run "scaling_from_zero" {
  command = plan

  variables {
    service = { enabled = true, min_tasks = 0, max_tasks = 2, backlog_per_task = 10 }
  }

  assert {
    condition = { for step in aws_appautoscaling_policy.service["busy"].step_scaling_policy_configuration[0].step_adjustment :
      step.scaling_adjustment => format("%v to %v", step.metric_interval_lower_bound, step.metric_interval_upper_bound)
    } == { 1 = "0 to 10", 2 = "10 to null" }
    error_message = "The first message must start the first task."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.scaling["busy"].threshold == 0 && aws_ecs_service.service[0].desired_count == 0
    error_message = "An empty queue must have no tasks."
  }
}

run "a_wide_range_in_twenty_steps" {
  command = plan

  variables {
    service = { enabled = true, min_tasks = 0, max_tasks = 1000, backlog_per_task = 10 }
  }

  assert {
    condition = { for step in aws_appautoscaling_policy.service["busy"].step_scaling_policy_configuration[0].step_adjustment :
      step.scaling_adjustment => format("%v to %v", step.metric_interval_lower_bound, step.metric_interval_upper_bound)
      } == { for step in range(20) :
      50 * (step + 1) => format("%v to %v", 500 * step, step == 19 ? null : 500 * (step + 1))
    }
    error_message = "The policy must have 20 even steps up to max_tasks, without gaps."
  }
}

run "a_fixed_number_of_tasks_has_no_policies" {
  command = plan

  variables {
    service = { enabled = true, min_tasks = 3, max_tasks = 3 }
  }

  assert {
    condition = {
      least = aws_appautoscaling_target.service[0].min_capacity
      most  = aws_appautoscaling_target.service[0].max_capacity
    } == { least = 3, most = 3 }
    error_message = "The number of tasks must be fixed."
  }

  assert {
    condition     = length(aws_appautoscaling_policy.service) == 0 && length(aws_cloudwatch_metric_alarm.scaling) == 0
    error_message = "A fixed number of tasks must have no policies and no scaling alarms."
  }
}

run "instead_of_the_function" {
  command = plan

  variables {
    function = { enabled = false }
  }

  assert {
    condition     = !aws_lambda_event_source_mapping.work.enabled
    error_message = "The function must not consume the queue."
  }

  assert {
    condition     = strcontains(aws_cloudwatch_metric_alarm.sync["lag"].alarm_description, "Search /aws/ecs/s3-syncer-service for lines") && strcontains(aws_cloudwatch_metric_alarm.sync["lag"].alarm_description, "raise service.max_tasks.")
    error_message = "The lag alarm must name only the service."
  }
}

run "beside_the_function" {
  command = plan

  assert {
    condition     = aws_lambda_event_source_mapping.work.enabled
    error_message = "The function must consume the queue beside the service."
  }

  assert {
    condition     = strcontains(aws_cloudwatch_metric_alarm.sync["lag"].alarm_description, "Search /aws/lambda/s3-syncer and /aws/ecs/s3-syncer-service for lines") && strcontains(aws_cloudwatch_metric_alarm.sync["lag"].alarm_description, "raise sync.max_concurrency or service.max_tasks.")
    error_message = "The lag alarm must name both workers."
  }
}

run "neither_function_nor_service" {
  command = plan

  variables {
    function = { enabled = false }
    service  = {}
  }

  expect_failures = [var.function]
}

run "an_existing_image_and_cluster" {
  command = plan

  variables {
    ecs = {
      image      = "210987654321.dkr.ecr.eu-central-1.amazonaws.com/tools/s3-syncer:0.1.0"
      cluster    = { arn = "arn:aws:ecs:eu-west-1:123456789012:cluster/batch" }
      subnet_ids = ["subnet-1"]
    }
  }

  assert {
    condition = 0 == sum([
      length(aws_ecr_repository.image),
      length(aws_ecr_lifecycle_policy.image),
      length(aws_ecs_cluster.tasks),
      length(aws_ecs_cluster_capacity_providers.tasks),
    ])
    error_message = "With an existing image and cluster the module must create neither repository nor cluster."
  }

  assert {
    condition     = aws_appautoscaling_target.service[0].resource_id == "service/batch/s3-syncer-service" && aws_ecs_service.service[0].cluster == var.ecs.cluster.arn
    error_message = "The service must run and scale in the given cluster."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.task["execution"].policy).Statement[0].Resource == ["arn:aws:ecr:eu-central-1:210987654321:repository/tools/s3-syncer"]
    error_message = "ECS may pull only from the repository of the image."
  }

  assert {
    condition     = output.service.image == var.ecs.image && output.service.cluster_arn == var.ecs.cluster.arn && output.service.repository_url == null
    error_message = "The outputs must follow the inputs."
  }
}

run "service_and_migration_share_image_and_cluster" {
  command = plan

  variables {
    migration = { enabled = true }
  }

  assert {
    condition     = length(aws_ecr_repository.image) == 1 && length(aws_ecs_cluster.tasks) == 1 && keys(aws_iam_role.task) == ["execution", "migration", "service"]
    error_message = "There must be one repository, one cluster and these roles."
  }

  assert {
    condition     = output.service.image == output.migration.image && output.service.cluster_arn == output.migration.cluster_arn && output.service.repository_url == output.migration.repository_url
    error_message = "Both must run the same image in the same cluster."
  }

  assert {
    condition     = length(distinct([for definition in aws_ecs_task_definition.task : definition.task_role_arn])) == 2
    error_message = "Migration and service must have separate roles."
  }

  assert {
    condition     = length(jsondecode(aws_iam_role_policy.task["execution"].policy).Statement[2].Resource) == 2 && length(jsondecode(aws_iam_role_policy.task["execution"].policy).Statement[0].Resource) == 1
    error_message = "ECS must be allowed to write both logs and to pull one image."
  }
}

# Validations of the inputs. Each run has one mistake, so that only one validation can catch it.

run "negative_min_tasks" {
  command = plan

  variables {
    service = { enabled = true, min_tasks = -1 }
  }

  expect_failures = [var.service]
}

run "half_a_task" {
  command = plan

  variables {
    service = { enabled = true, min_tasks = 0.5 }
  }

  expect_failures = [var.service]
}

run "max_tasks_of_zero" {
  command = plan

  variables {
    service = { enabled = true, min_tasks = 0, max_tasks = 0 }
  }

  expect_failures = [var.service]
}

run "max_tasks_below_min_tasks" {
  command = plan

  variables {
    service = { enabled = true, min_tasks = 3, max_tasks = 2 }
  }

  expect_failures = [var.service]
}

run "more_tasks_than_ecs_allows" {
  command = plan

  variables {
    service = { enabled = true, max_tasks = 5001 }
  }

  expect_failures = [var.service]
}

run "a_backlog_of_0" {
  command = plan

  variables {
    service = { enabled = true, backlog_per_task = 0 }
  }

  expect_failures = [var.service]
}

run "a_concurrency_of_0" {
  command = plan

  variables {
    service = { enabled = true, concurrency = 0 }
  }

  expect_failures = [var.service]
}

run "a_concurrency_of_513" {
  command = plan

  variables {
    service = { enabled = true, concurrency = 513 }
  }

  expect_failures = [var.service]
}

run "a_concurrency_in_words" {
  command = plan

  variables {
    service = { enabled = true, concurrency = "many" }
  }

  expect_failures = [var.service]
}

run "half_an_event_at_a_time" {
  command = plan

  variables {
    service = { enabled = true, concurrency = 0.5 }
  }

  expect_failures = [var.service]
}

run "a_bulk_concurrency_of_0" {
  command = plan

  variables {
    service = { enabled = true, bulk_concurrency = 0 }
  }

  expect_failures = [var.service]
}

run "a_bulk_concurrency_of_513" {
  command = plan

  variables {
    service = { enabled = true, bulk_concurrency = 513 }
  }

  expect_failures = [var.service]
}

run "spot_as_a_fraction" {
  command = plan

  variables {
    service = { enabled = true, spot_percent = 0.7 }
  }

  expect_failures = [var.service]
}

run "more_than_100_percent_spot" {
  command = plan

  variables {
    service = { enabled = true, spot_percent = 101 }
  }

  expect_failures = [var.service]
}

run "a_log_level_in_lower_case" {
  command = plan

  variables {
    service = { enabled = true, log_level = "info" }
  }

  expect_failures = [var.service]
}

run "a_cpu_size_that_fargate_does_not_have" {
  command = plan

  variables {
    service = { enabled = true, cpu = 1000 }
  }

  expect_failures = [var.service]
}

run "memory_between_two_sizes" {
  command = plan

  variables {
    service = { enabled = true, memory_mb = 3000 }
  }

  expect_failures = [var.service]
}

run "arguments_that_name_the_command" {
  command = plan

  variables {
    service = { enabled = true, arguments = ["serve"] }
  }

  expect_failures = [var.service]
}
