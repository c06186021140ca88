# What the ECS tasks of the migration and of the service share: image repository, cluster, log groups, roles and task
# definitions. The module creates these resources if the migration or the service is enabled.

locals {
  tasks = { for part, task in { migration = var.migration, service = var.service } : part => task if task.enabled }

  owns_repository = length(local.tasks) > 0 && var.ecs.image == null
  owns_cluster    = length(local.tasks) > 0 && var.ecs.cluster == null

  # Memory sizes in MiB that Fargate supports for each number of CPU units.
  # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html#fargate-tasks-size
  fargate_memory_mb = {
    "256"   = [512, 1024, 2048]
    "512"   = range(1024, 4096 + 1, 1024)
    "1024"  = range(2048, 8192 + 1, 1024)
    "2048"  = range(4096, 16384 + 1, 1024)
    "4096"  = range(8192, 30720 + 1, 1024)
    "8192"  = range(16384, 61440 + 1, 4096)
    "16384" = range(32768, 122880 + 1, 8192)
  }

  # Memory for copy buffers in MiB: four fifths of what the Python interpreter and its libraries leave. The function
  # computes the same in copy_memory of settings.py.
  task_copy_memory_mb = { for part, task in local.tasks : part => floor((task.memory_mb - 160) * 4 / 5) }

  # Repository names are in lower case and have no repeated separators. The hash keeps two names distinct that differ
  # only in case or separators.
  lower_name = trim(replace(lower(var.name), "/[_-]+/", "-"), "-")
  repository_name = (local.lower_name == var.name
    ? "${var.name}/command"
    : "${local.lower_name}-${substr(sha256(var.name), 0, 6)}/command"
  )

  # The tag contains the architecture, and a hash of the image's source files. A task therefore never runs the code of
  # another version of the module or for another architecture, and tags can be immutable.
  image_sources = toset(flatten([
    for pattern in ["Dockerfile", "requirements.txt", "sbom-requirements.txt", "s3_syncer/**/*.py"] : tolist(fileset("${path.module}/lambda", pattern))
  ]))
  image_version = regex("__version__ = \"([^\"]+)\"", file("${path.module}/lambda/s3_syncer/__init__.py"))[0]
  image_content = sha256(jsonencode({ for source in local.image_sources : source => filesha256("${path.module}/lambda/${source}") }))
  image_tag     = "${local.image_version}-${lower(var.ecs.architecture)}-${substr(local.image_content, 0, 12)}"

  repository_url = one(aws_ecr_repository.image[*].repository_url)
  task_image     = local.owns_repository ? "${local.repository_url}:${local.image_tag}" : var.ecs.image

  cluster_arn = local.owns_cluster ? aws_ecs_cluster.tasks[0].arn : try(var.ecs.cluster.arn, null)
}

resource "aws_ecr_repository" "image" {
  count = local.owns_repository ? 1 : 0

  name                 = local.repository_name
  image_tag_mutability = "IMMUTABLE"

  # Images can be rebuilt from the source files of the module, so deleting them loses nothing.
  force_delete = true

  image_scanning_configuration {
    scan_on_push = true
  }

  dynamic "encryption_configuration" {
    for_each = var.kms_key_arn[*]

    content {
      encryption_type = "KMS"
      kms_key         = encryption_configuration.value
    }
  }

  tags = var.tags
}

resource "aws_ecr_lifecycle_policy" "image" {
  count = local.owns_repository ? 1 : 0

  # Not the name, which Terraform knows before: a replaced repository has lost its policy.
  repository = aws_ecr_repository.image[0].id

  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Keep the last ten images"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 10 }
      action       = { type = "expire" }
    }]
  })
}

resource "aws_ecs_cluster" "tasks" {
  #checkov:skip=CKV_AWS_65:Container Insights is billed per task metric. The log of a task has a line for every decision.
  count = local.owns_cluster ? 1 : 0

  name = var.name

  # For the image on the ephemeral storage of the task: s3-syncer itself writes nothing there. Fargate does not support
  # multi-Region keys for ephemeral storage.
  # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ManagedStorageConfiguration.html
  dynamic "configuration" {
    for_each = [for key in var.kms_key_arn[*] : key if !strcontains(key, ":key/mrk-")]

    content {
      managed_storage_configuration {
        fargate_ephemeral_storage_kms_key_id = configuration.value
      }
    }
  }

  tags = var.tags
}

resource "aws_cloudwatch_log_group" "task" {
  for_each = local.tasks

  name              = "/aws/ecs/${var.name}-${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn

  tags = var.tags
}

locals {
  # One role for each task, and one execution role with which ECS pulls the image and writes the logs.
  task_roles = merge(
    { for part in keys(local.tasks) : part => {
      description = "Permissions of the ${part} tasks of ${var.name}."
      statements  = { migration = local.migration_statements, service = local.queue_worker_statements }[part]
    } },
    { for part in length(local.tasks) > 0 ? ["execution"] : [] : part => {
      description = "Permissions of ECS to start the tasks of ${var.name} and to write their logs."
      statements = concat(
        [for repositories in [local.pulled_repository_arns] : {
          Sid      = "PullEcrImage"
          Effect   = "Allow"
          Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
          Resource = repositories
        } if length(repositories) > 0],
        [for repositories in [local.pulled_repository_arns] : {
          Sid      = "AuthorizeEcrPull"
          Effect   = "Allow"
          Action   = ["ecr:GetAuthorizationToken"]
          Resource = ["*"] # this action supports no resource
        } if length(repositories) > 0],
        [{
          Sid      = "WriteLogs"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = [for part in keys(local.tasks) : "${aws_cloudwatch_log_group.task[part].arn}:*"]
        }],
      )
    } },
  )

  # ecs.image may be in ECR too, at an endpoint for IPv4, FIPS or dual stack. An image in another registry must be public:
  # pulling it needs no IAM permission.
  # https://docs.aws.amazon.com/general/latest/gr/ecr.html
  given_ecr_images = [for image in var.ecs.image[*] : regex(
    "^(?P<account>[0-9]{12})\\.dkr[.-]ecr(?:-fips)?\\.(?P<region>[a-z0-9-]+)\\.[a-z.]+/(?P<repository>[^:@]+)",
    image
  ) if can(regex("^[0-9]{12}\\.dkr[.-]ecr(-fips)?\\.", image))]
  pulled_repository_arns = concat(
    aws_ecr_repository.image[*].arn,
    [for image in local.given_ecr_images : join(":", [
      "arn", data.aws_partition.current.partition, "ecr", image.region, image.account, "repository/${image.repository}"
    ])],
  )

  task_policies = { for part, role in local.task_roles : part => jsonencode({ Version = "2012-10-17", Statement = role.statements }) }
}

resource "aws_iam_role" "task" {
  for_each = local.task_roles

  name                 = local.role_names[each.key]
  path                 = var.role_path
  description          = each.value.description
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AllowEcsTasksToAssumeRole"
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      # Prevents a confused deputy: ECS must act on behalf of this account.
      # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account_id }
        ArnLike      = { "aws:SourceArn" = "arn:${data.aws_partition.current.partition}:ecs:${local.region}:${local.account_id}:*" }
      }
    }]
  })

  tags = var.tags
}

resource "aws_iam_role_policy" "task" {
  for_each = local.task_roles

  name = local.role_names[each.key]
  role = aws_iam_role.task[each.key].id

  policy = local.task_policies[each.key]

  lifecycle {
    precondition {
      condition     = length(local.task_policies[each.key]) <= local.max_policy_characters
      error_message = "The policy of role ${each.key} would have ${length(local.task_policies[each.key])} characters. ${local.long_policy}"
    }
  }
}

resource "aws_ecs_task_definition" "task" {
  for_each = local.tasks

  family = "${var.name}-${each.key}"

  # A replaced revision stays registered. ECS runs no task of a deregistered revision, and the deployment circuit breaker
  # could not return to the version before. The family keeps its old revisions after a destroy too; they cost nothing.
  # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeregisterTaskDefinition.html
  skip_destroy = true

  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = each.value.cpu
  memory                   = each.value.memory_mb
  task_role_arn            = aws_iam_role.task[each.key].arn
  execution_role_arn       = aws_iam_role.task["execution"].arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.ecs.architecture
  }

  container_definitions = jsonencode([merge(
    { migration = local.migration_container, service = local.service_container }[each.key],
    {
      name      = "s3-syncer"
      image     = local.task_image
      essential = true

      # The task reads the secret with its role, and reads it again when the target rejects the keys. ECS drops variables
      # with an empty value, and every plan would replace the task definition. Without the variable the value is empty too.
      # https://github.com/hashicorp/terraform-provider-aws/issues/39533
      environment = [for name, value in merge(
        local.worker_environment,
        { AWS_DEFAULT_REGION = local.region, S3_SYNCER_MEMORY = tostring(local.task_copy_memory_mb[each.key]) },
        var.ecs.bwlimit == null ? {} : { S3_SYNCER_BWLIMIT = var.ecs.bwlimit },
        { migration = local.migration_environment, service = local.service_environment }[each.key],
      ) : { name = name, value = value } if value != ""]

      user                   = "65532:65532"
      readonlyRootFilesystem = true
      # ECS adds an empty list. Without it here, every plan would replace the task definition.
      linuxParameters = { capabilities = { add = [], drop = ["ALL"] } }

      # Seconds between SIGTERM and SIGKILL, the maximum of Fargate: time for running copies to end.
      stopTimeout = 120

      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = aws_cloudwatch_log_group.task[each.key].name
          awslogs-region        = local.region
          awslogs-stream-prefix = each.key
          # Non-blocking mode may drop lines, and the log names every failure.
          mode = "blocking"
        }
      }
    },
  )])

  tags = var.tags

  # A task that starts right after the definition is created already has its permissions.
  depends_on = [aws_iam_role_policy.task]
}
