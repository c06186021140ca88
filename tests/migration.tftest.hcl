# The migration task: nothing by default, and least privilege if enabled.

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

run "nothing_by_default" {
  command = plan

  variables {
    migration = {}
  }

  assert {
    condition = 0 == sum([
      length(aws_ecs_task_definition.task),
      length(aws_ecs_cluster.tasks),
      length(aws_ecr_repository.image),
      length(aws_ecr_lifecycle_policy.image),
      length(aws_cloudwatch_log_group.task),
      length(aws_iam_role.task),
      length(aws_iam_role_policy.task),
    ])
    error_message = "Without migration.enabled nothing may be created."
  }

  assert {
    condition     = output.migration == null
    error_message = "Without migration.enabled the output must be null."
  }
}

run "nothing_with_ecs_alone" {
  command = plan

  variables {
    migration = { enabled = false }
    ecs = {
      image      = "registry.example.com/s3-syncer:1"
      cluster    = { arn = "arn:aws:ecs:eu-west-1:123456789012:cluster/batch" }
      subnet_ids = ["subnet-1"]
    }
  }

  assert {
    condition     = length(aws_ecs_task_definition.task) == 0 && length(aws_iam_role.task) == 0 && output.migration == null && output.service == null
    error_message = "The input ecs alone must not create anything."
  }
}

run "names_start_with_the_name" {
  command = plan

  assert {
    condition = {
      family     = aws_ecs_task_definition.task["migration"].family
      cluster    = aws_ecs_cluster.tasks[0].name
      repository = aws_ecr_repository.image[0].name
      logs       = aws_cloudwatch_log_group.task["migration"].name
      task       = aws_iam_role.task["migration"].name
      execution  = aws_iam_role.task["execution"].name
      } == {
      family     = "s3-syncer-migration"
      cluster    = "s3-syncer"
      repository = "s3-syncer/command"
      logs       = "/aws/ecs/s3-syncer-migration"
      task       = "s3-syncer-migration"
      execution  = "s3-syncer-execution"
    }
    error_message = "All names must start with the name."
  }

  assert {
    condition     = output.migration.log_group_name == "/aws/ecs/s3-syncer-migration" && output.migration.task_role_name == "s3-syncer-migration"
    error_message = "The outputs must have the names."
  }
}

run "long_names_are_cut" {
  command = plan

  variables {
    name = "Reports__of-a-department-that-has-a-name-as-long-as-names-may-b-"
  }

  assert {
    condition     = alltrue([for role in aws_iam_role.task : length(role.name) == 64])
    error_message = "The name of a role has at most 64 characters."
  }

  assert {
    condition     = alltrue([for part, role in aws_iam_role.task : endswith(role.name, "-${substr(sha256(var.name), 0, 6)}-${part}")])
    error_message = "A cut role name must end with a hash and the whole suffix."
  }

  assert {
    condition     = aws_ecr_repository.image[0].name == "reports-of-a-department-that-has-a-name-as-long-as-names-may-b-1252f6/command"
    error_message = "The name of a repository must be in lower case, with single separators."
  }
}

run "the_task_defaults" {
  command = plan

  assert {
    condition = {
      compatibilities = aws_ecs_task_definition.task["migration"].requires_compatibilities
      network         = aws_ecs_task_definition.task["migration"].network_mode
      cpu             = aws_ecs_task_definition.task["migration"].cpu
      memory          = aws_ecs_task_definition.task["migration"].memory
      system          = aws_ecs_task_definition.task["migration"].runtime_platform[0].operating_system_family
      architecture    = aws_ecs_task_definition.task["migration"].runtime_platform[0].cpu_architecture
      task_role       = aws_ecs_task_definition.task["migration"].task_role_arn
      execution_role  = aws_ecs_task_definition.task["migration"].execution_role_arn
      } == {
      compatibilities = toset(["FARGATE"])
      network         = "awsvpc"
      cpu             = "1024"
      memory          = "2048"
      system          = "LINUX"
      architecture    = "ARM64"
      task_role       = "arn:aws:iam::123456789012:role/s3-syncer-migration"
      execution_role  = "arn:aws:iam::123456789012:role/s3-syncer-execution"
    }
    error_message = "The task must have these defaults."
  }

  assert {
    condition = jsondecode(aws_ecs_task_definition.task["migration"].container_definitions) == [{
      name      = "s3-syncer"
      image     = output.migration.image
      essential = true
      command   = ["migrate"]
      environment = [
        { name = "AWS_DEFAULT_REGION", value = "eu-west-1" },
        { name = "BULK_QUEUE_URL", value = "https://sqs.eu-west-1.amazonaws.com/123456789012/s3-syncer-bulk" },
        { name = "DEAD_LETTER_QUEUE_URL", value = "https://sqs.eu-west-1.amazonaws.com/123456789012/s3-syncer-dead-letters" },
        { name = "S3_SYNCER_LOG_FORMAT", value = "json" },
        { name = "S3_SYNCER_LOG_GROUP", value = "/aws/lambda/s3-syncer" },
        { name = "S3_SYNCER_MEMORY", value = "1510" },
        { name = "SOURCE_BUCKET", value = "source" },
        { name = "SOURCE_EXPECTED_BUCKET_OWNER", value = "123456789012" },
        { name = "SYNC_TAGS", value = "true" },
        { name = "TARGET_BUCKET", value = "mirror" },
        { name = "TARGET_ENDPOINT", value = "https://s3.example.com" },
        { name = "TARGET_REGION", value = "us-east-1" },
        { name = "TARGET_SECRET_ARN", value = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mocked" },
      ]
      user                   = "65532:65532"
      readonlyRootFilesystem = true
      linuxParameters        = { capabilities = { add = [], drop = ["ALL"] } }
      stopTimeout            = 120
      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = "/aws/ecs/s3-syncer-migration"
          awslogs-region        = "eu-west-1"
          awslogs-stream-prefix = "migration"
          mode                  = "blocking"
        }
      }
    }]
    error_message = "The container must have exactly this command and environment, no secret, no root user and a read-only file system."
  }

  assert {
    condition     = aws_ecs_task_definition.task["migration"].skip_destroy
    error_message = "ECS must keep the revision before, for running tasks and for a rollback."
  }

  assert {
    condition     = startswith(output.migration.image, "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mocked:")
    error_message = "The image must be in the repository of the module."
  }

  assert {
    condition     = can(regex(":[0-9]+\\.[0-9]+\\.[0-9]+[a-z0-9.]*-arm64-[0-9a-f]{12}$", output.migration.image))
    error_message = "The tag must contain the version, the architecture and a hash of the sources."
  }
}

run "the_task_follows_the_inputs" {
  command = plan

  variables {
    source_prefix = "in/"
    target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror", prefix = "out/" }
    sync          = { tags = false }
    migration = {
      enabled   = true
      cpu       = 512
      memory_mb = 4096
      arguments = ["--delete", "--max-delete=1000"]
    }
    ecs = { subnet_ids = ["subnet-1"], architecture = "X86_64" }
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.task["migration"].container_definitions)[0].command == ["migrate", "--delete", "--max-delete=1000"]
    error_message = "The arguments must follow the command."
  }

  assert {
    condition = alltrue([
      for name, value in {
        SOURCE_PREFIX    = "in/"
        TARGET_PREFIX    = "out/"
        SYNC_TAGS        = "false"
        S3_SYNCER_MEMORY = "3148"
      } : contains(jsondecode(aws_ecs_task_definition.task["migration"].container_definitions)[0].environment, { name = name, value = value })
    ])
    error_message = "The environment must follow the inputs."
  }

  assert {
    condition = {
      cpu          = aws_ecs_task_definition.task["migration"].cpu
      memory       = aws_ecs_task_definition.task["migration"].memory
      architecture = aws_ecs_task_definition.task["migration"].runtime_platform[0].cpu_architecture
    } == { cpu = "512", memory = "4096", architecture = "X86_64" }
    error_message = "The size of the task must follow the inputs."
  }

  # Otherwise `s3-syncer image push` would find the image of the other architecture after a change, and push none.
  assert {
    condition     = strcontains(output.migration.image, "-x86_64-")
    error_message = "The tag must contain the architecture of the task."
  }
}

run "the_repository_has_immutable_tags" {
  command = plan

  assert {
    condition     = aws_ecr_repository.image[0].image_tag_mutability == "IMMUTABLE" && aws_ecr_repository.image[0].image_scanning_configuration[0].scan_on_push
    error_message = "Tags must be immutable, and images must be scanned."
  }

  assert {
    condition     = jsondecode(aws_ecr_lifecycle_policy.image[0].policy).rules[0].selection == { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 10 }
    error_message = "Old images must expire."
  }

  assert {
    condition     = output.migration.repository_url == "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mocked"
    error_message = "The output must be the URL of the repository."
  }
}

run "only_tasks_of_this_account_can_assume_the_roles" {
  command = plan

  assert {
    condition = alltrue([for role in aws_iam_role.task : jsondecode(role.assume_role_policy) == {
      Version = "2012-10-17"
      Statement = [{
        Sid       = "AllowEcsTasksToAssumeRole"
        Effect    = "Allow"
        Principal = { Service = "ecs-tasks.amazonaws.com" }
        Action    = "sts:AssumeRole"
        Condition = {
          StringEquals = { "aws:SourceAccount" = "123456789012" }
          ArnLike      = { "aws:SourceArn" = "arn:aws:ecs:eu-west-1:123456789012:*" }
        }
      }]
    }])
    error_message = "Only tasks of this account may assume the roles."
  }

  assert {
    condition     = alltrue([for role in aws_iam_role.task : role.permissions_boundary == null])
    error_message = "There must be no permissions boundary by default."
  }
}

run "exact_permissions_of_the_task" {
  command = plan

  assert {
    condition = jsondecode(aws_iam_role_policy.task["migration"].policy) == {
      Version = "2012-10-17"
      Statement = [
        {
          Sid      = "ReadSourceObjects"
          Effect   = "Allow"
          Action   = ["s3:GetObject", "s3:GetObjectTagging"]
          Resource = ["arn:aws:s3:::source/*"]
        },
        {
          Sid      = "ListSourceBucket"
          Effect   = "Allow"
          Action   = ["s3:ListBucket"]
          Resource = ["arn:aws:s3:::source"]
        },
        {
          Sid      = "ReadTargetCredentials"
          Effect   = "Allow"
          Action   = ["secretsmanager:GetSecretValue"]
          Resource = ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:mocked"]
        },
        {
          Sid      = "SendToBulkQueue"
          Effect   = "Allow"
          Action   = ["sqs:SendMessage"]
          Resource = ["arn:aws:sqs:eu-west-1:123456789012:s3-syncer-bulk"]
        },
        {
          Sid    = "ReadQueueAttributes"
          Effect = "Allow"
          Action = ["sqs:GetQueueAttributes"]
          Resource = [
            "arn:aws:sqs:eu-west-1:123456789012:s3-syncer-bulk",
            "arn:aws:sqs:eu-west-1:123456789012:s3-syncer-dead-letters",
          ]
        },
        {
          Sid    = "ReadWorkerLogs"
          Effect = "Allow"
          Action = ["logs:FilterLogEvents"]
          Resource = [
            "arn:aws:logs:eu-west-1:123456789012:log-group:mocked",
            "arn:aws:logs:eu-west-1:123456789012:log-group:mocked:*",
          ]
        },
      ]
    }
    error_message = "The policy must have exactly the permissions that the migration needs."
  }
}

run "restores_only_if_allowed" {
  command = plan

  variables {
    migration = { enabled = true, restore = true }
  }

  assert {
    condition = [
      for statement in jsondecode(aws_iam_role_policy.task["migration"].policy).Statement : statement
      if statement.Sid == "RestoreSourceObjects"
      ] == [{
        Sid      = "RestoreSourceObjects"
        Effect   = "Allow"
        Action   = ["s3:RestoreObject"]
        Resource = ["arn:aws:s3:::source/*"]
    }]
    error_message = "The task must be allowed to restore objects of the source."
  }
}

run "the_log_of_the_service_is_read_too" {
  command = plan

  variables {
    service = { enabled = true }
  }

  assert {
    condition = [
      for variable in jsondecode(aws_ecs_task_definition.task["migration"].container_definitions)[0].environment : variable.value
      if variable.name == "S3_SYNCER_LOG_GROUP"
    ] == ["/aws/lambda/s3-syncer /aws/ecs/s3-syncer-service"]
    error_message = "The migration must read the logs of all workers."
  }

  assert {
    condition     = toset([for filter in aws_cloudwatch_log_metric_filter.worker : filter.log_group_name]) == toset(["/aws/lambda/s3-syncer", "/aws/ecs/s3-syncer-service"])
    error_message = "The metric filters must count the sweeps of the service too."
  }
}

run "exact_permissions_of_ecs" {
  command = plan

  assert {
    condition = jsondecode(aws_iam_role_policy.task["execution"].policy) == {
      Version = "2012-10-17"
      Statement = [
        {
          Sid      = "PullEcrImage"
          Effect   = "Allow"
          Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
          Resource = ["arn:aws:ecr:eu-west-1:123456789012:repository/mocked"]
        },
        {
          Sid      = "AuthorizeEcrPull"
          Effect   = "Allow"
          Action   = ["ecr:GetAuthorizationToken"]
          Resource = ["*"]
        },
        {
          Sid      = "WriteLogs"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = ["arn:aws:logs:eu-west-1:123456789012:log-group:mocked:*"]
        },
      ]
    }
    error_message = "The policy must have exactly the permissions to pull the image and to write the logs."
  }
}

run "the_roles_follow_the_inputs" {
  command = plan

  variables {
    source_prefix            = "in/"
    sync                     = { tags = false }
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/boundary"
    source_kms_key_arns      = ["arn:aws:kms:eu-west-1:123456789012:key/11111111-1111"]
    kms_key_arn              = "arn:aws:kms:eu-west-1:123456789012:key/33333333-3333"
  }

  assert {
    condition     = alltrue([for role in aws_iam_role.task : role.permissions_boundary == "arn:aws:iam::123456789012:policy/boundary"])
    error_message = "All roles must have the permissions boundary."
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.task["migration"].policy).Statement[0] == {
      Sid      = "ReadSourceObjects"
      Effect   = "Allow"
      Action   = ["s3:GetObject"]
      Resource = ["arn:aws:s3:::source/in/*"]
    }
    error_message = "The role may read only objects below source_prefix, and tags only with sync.tags."
  }

  assert {
    condition = [for s in jsondecode(aws_iam_role_policy.task["migration"].policy).Statement : s if strcontains(s.Action[0], "kms:")] == [
      {
        Sid       = "DecryptSourceObjects"
        Effect    = "Allow"
        Action    = ["kms:Decrypt"]
        Resource  = ["arn:aws:kms:eu-west-1:123456789012:key/11111111-1111"]
        Condition = { StringEquals = { "kms:ViaService" = ["s3.eu-west-1.amazonaws.com"] } }
      },
      {
        Sid       = "UseKmsKey"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = ["arn:aws:kms:eu-west-1:123456789012:key/33333333-3333"]
        Condition = { StringEquals = { "kms:ViaService" = ["secretsmanager.eu-west-1.amazonaws.com", "sqs.eu-west-1.amazonaws.com"] } }
      },
    ]
    error_message = "The role must have exactly the given KMS keys, each for its services only."
  }

  assert {
    condition     = aws_cloudwatch_log_group.task["migration"].kms_key_id == var.kms_key_arn && aws_cloudwatch_log_group.task["migration"].retention_in_days == 30
    error_message = "The log group must have the key and the retention of the function's."
  }
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
    condition     = length(aws_ecr_repository.image) == 0 && length(aws_ecr_lifecycle_policy.image) == 0 && length(aws_ecs_cluster.tasks) == 0
    error_message = "With an existing image and cluster the module must create neither repository nor cluster."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.task["migration"].container_definitions)[0].image == var.ecs.image && output.migration.image == var.ecs.image
    error_message = "The task must run the given image."
  }

  assert {
    condition     = output.migration.cluster_arn == var.ecs.cluster.arn && output.migration.repository_url == null
    error_message = "The outputs must follow the inputs."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.task["execution"].policy).Statement[0].Resource == ["arn:aws:ecr:eu-central-1:210987654321:repository/tools/s3-syncer"]
    error_message = "ECS may pull only from the repository of the image."
  }
}

run "an_image_of_another_registry_needs_no_permission" {
  command = plan

  variables {
    ecs = {
      image      = "registry.example.com:5000/s3-syncer@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
      subnet_ids = ["subnet-1"]
    }
  }

  assert {
    condition     = [for statement in jsondecode(aws_iam_role_policy.task["execution"].policy).Statement : statement.Sid] == ["WriteLogs"]
    error_message = "An image outside ECR must need no ECR permission."
  }
}

run "the_command_runs_the_task" {
  command = plan

  variables {
    ecs = {
      subnet_ids         = ["subnet-1", "subnet-2"]
      security_group_ids = ["sg-1"]
      assign_public_ip   = true
    }
  }

  assert {
    condition = output.migration.network_configuration == {
      awsvpcConfiguration = {
        subnets        = tolist(["subnet-1", "subnet-2"])
        securityGroups = tolist(["sg-1"])
        assignPublicIp = "ENABLED"
      }
    }
    error_message = "The task must run in the network of ecs."
  }

  assert {
    condition = output.migration.command == join(" ", [
      "aws ecs run-task --region eu-west-1 --cluster arn:aws:ecs:eu-west-1:123456789012:cluster/mocked",
      "--task-definition arn:aws:ecs:eu-west-1:123456789012:task-definition/mocked:1 --launch-type FARGATE",
      "--network-configuration '{\"awsvpcConfiguration\":{\"assignPublicIp\":\"ENABLED\",\"securityGroups\":[\"sg-1\"],\"subnets\":[\"subnet-1\",\"subnet-2\"]}}'",
    ])
    error_message = "The command must run this task in its cluster and network."
  }
}

# Validations of the inputs. Each run has one mistake, so that only one validation can catch it.

run "a_cpu_size_that_fargate_does_not_have" {
  command = plan

  variables {
    migration = { enabled = true, cpu = 1000 }
  }

  expect_failures = [var.migration]
}

run "too_little_memory_for_the_cpu" {
  command = plan

  variables {
    migration = { enabled = true, memory_mb = 1024 }
  }

  expect_failures = [var.migration]
}

run "too_much_memory_for_the_cpu" {
  command = plan

  variables {
    migration = { enabled = true, memory_mb = 9216 }
  }

  expect_failures = [var.migration]
}

run "memory_between_two_sizes" {
  command = plan

  variables {
    migration = { enabled = true, memory_mb = 3000 }
  }

  expect_failures = [var.migration]
}

run "memory_in_gigabytes" {
  command = plan

  variables {
    migration = { enabled = true, memory_mb = 2 }
  }

  expect_failures = [var.migration]
}

run "memory_between_two_sizes_of_a_large_cpu" {
  command = plan

  variables {
    migration = { enabled = true, cpu = 8192, memory_mb = 17408 }
  }

  expect_failures = [var.migration]
}

run "arguments_that_name_the_command" {
  command = plan

  variables {
    migration = { enabled = true, arguments = ["migrate", "--delete"] }
  }

  expect_failures = [var.migration]
}

run "a_report_without_a_file_system" {
  command = plan

  variables {
    migration = { enabled = true, arguments = ["--report", "report.html"] }
  }

  expect_failures = [var.migration]
}

run "an_image_at_the_dual_stack_endpoint_of_ecr" {
  command = plan

  variables {
    ecs = { image = "210987654321.dkr-ecr.eu-central-1.on.aws/tools/s3-syncer:0.1.0", subnet_ids = ["subnet-1"] }
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.task["execution"].policy).Statement : statement.Resource
    if statement.Sid == "PullEcrImage"] == [["arn:aws:ecr:eu-central-1:210987654321:repository/tools/s3-syncer"]]
    error_message = "ECS must be allowed to pull the image."
  }
}

run "an_image_at_the_fips_endpoint_of_ecr" {
  command = plan

  variables {
    ecs = { image = "210987654321.dkr.ecr-fips.us-gov-west-1.amazonaws.com/tools/s3-syncer:0.1.0", subnet_ids = ["subnet-1"] }
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.task["execution"].policy).Statement : statement.Resource
    if statement.Sid == "PullEcrImage"] == [["arn:aws:ecr:us-gov-west-1:210987654321:repository/tools/s3-syncer"]]
    error_message = "ECS must be allowed to pull the image."
  }
}
