# What the tasks of ECS have in common, the migration and the service: the image and its repository, the cluster, logs and
# roles, and how little of a machine a task gets to touch. Either of them has it made.

locals {
  tasks = { for part, task in { migration = var.migration, service = var.service } : part => task if task.enabled }

  owns_repository = anytrue([for task in local.tasks : task.image == null])
  owns_cluster    = anytrue([for task in local.tasks : task.cluster == null])

  # The MiB of memory that Fargate pairs with each number of CPU units.
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

  # The bytes that copies may fill, in MiB, as copy_memory in lambda/s3_syncer/settings.py has it: four fifths of what
  # the interpreter and its libraries leave.
  task_copy_memory_mb = { for part, task in local.tasks : part => floor((task.memory_mb - 160) * 4 / 5) }

  # Names of repositories are in lower case, with single separators between letters and digits. The hash keeps two
  # names apart that differ in nothing else.
  lower_name = trim(replace(lower(var.name), "/[_-]+/", "-"), "-")
  repository_name = (local.lower_name == var.name
    ? "${var.name}/command"
    : "${local.lower_name}-${substr(sha256(var.name), 0, 6)}/command"
  )

  # The tag says what is in the image: other code is another tag, so that a task never runs the code of another version
  # of the module, and a tag need never change its meaning.
  image_sources = toset(flatten([
    for pattern in ["Dockerfile", "requirements.txt", "s3_syncer/**/*.py"] : tolist(fileset("${path.module}/lambda", pattern))
  ]))
  image_version = regex("__version__ = \"([^\"]+)\"", file("${path.module}/lambda/s3_syncer/__init__.py"))[0]
  image_content = sha256(jsonencode({ for source in local.image_sources : source => filesha256("${path.module}/lambda/${source}") }))
  image_tag     = "${local.image_version}-${substr(local.image_content, 0, 12)}"

  task_images = { for part, task in local.tasks : part => (task.image == null
    ? "${aws_ecr_repository.image[0].repository_url}:${local.image_tag}"
    : task.image
  ) }

  task_cluster_arns = { for part, task in local.tasks : part => (task.cluster == null
    ? aws_ecs_cluster.tasks[0].arn
    : task.cluster.arn
  ) }
}

resource "aws_ecr_repository" "image" {
  count = local.owns_repository ? 1 : 0

  name                 = local.repository_name
  image_tag_mutability = "IMMUTABLE"

  # There is nothing to recover: images are built from what comes with the module.
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

  repository = aws_ecr_repository.image[0].name

  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Keep the images of the last ten versions"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 10 }
      action       = { type = "expire" }
    }]
  })
}

resource "aws_ecs_cluster" "tasks" {
  #checkov:skip=CKV_AWS_65:Container Insights bills metrics for each task, and the log of a task says what it does.
  count = local.owns_cluster ? 1 : 0

  name = var.name

  # The image on the task's disk; the program itself writes nothing to it. Fargate takes no multi-Region key for it.
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
  # What the program may do, for each task, and what ECS does for it before and around it.
  task_roles = merge(
    { for part in keys(local.tasks) : part => {
      description = "What the ${part} task of ${var.name} may do."
      statements  = { migration = local.migration_statements, service = local.queue_worker_statements }[part]
    } },
    { for part in length(local.tasks) > 0 ? ["execution"] : [] : part => {
      description = "What ECS may do to start the tasks of ${var.name} and to keep their logs."
      statements = concat(
        [for repositories in [local.pulled_repository_arns] : {
          Sid      = "PullImage"
          Effect   = "Allow"
          Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
          Resource = repositories
        } if length(repositories) > 0],
        [for repositories in [local.pulled_repository_arns] : {
          Sid      = "LogInToRegistry"
          Effect   = "Allow"
          Action   = ["ecr:GetAuthorizationToken"]
          Resource = ["*"] # there is no resource to name
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

  # An image that is given may be in ECR too; one that is elsewhere is pulled without permissions, or not at all.
  given_ecr_images = [for task in local.tasks : regex(
    "^(?P<account>[0-9]{12})\\.dkr\\.ecr\\.(?P<region>[a-z0-9-]+)\\.amazonaws\\.com(?:\\.cn)?/(?P<repository>[^:@]+)",
    task.image
  ) if can(regex("^[0-9]{12}\\.dkr\\.ecr\\.", task.image))]
  pulled_repository_arns = distinct(concat(
    aws_ecr_repository.image[*].arn,
    [for image in local.given_ecr_images : join(":", [
      "arn", data.aws_partition.current.partition, "ecr", image.region, image.account, "repository/${image.repository}"
    ])],
  ))
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
      Sid       = "RunAsTask"
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      # ECS may not be talked into it on behalf of another account.
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

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = each.value.statements
  })
}

resource "aws_ecs_task_definition" "task" {
  for_each = local.tasks

  family                   = "${var.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = each.value.cpu
  memory                   = each.value.memory_mb
  task_role_arn            = aws_iam_role.task[each.key].arn
  execution_role_arn       = aws_iam_role.task["execution"].arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = each.value.architecture
  }

  container_definitions = jsonencode([merge(
    { migration = local.migration_container, service = local.service_container }[each.key],
    {
      name      = "s3-syncer"
      image     = local.task_images[each.key]
      essential = true

      # The task reads the secret itself, with its role, and again when its keys are refused.
      environment = [for name, value in merge(
        local.worker_environment,
        { AWS_DEFAULT_REGION = local.region, MEMORY_MB = tostring(local.task_copy_memory_mb[each.key]) },
        { migration = local.migration_environment, service = local.service_environment }[each.key],
      ) : { name = name, value = value }]

      user                   = "65532:65532"
      readonlyRootFilesystem = true
      linuxParameters        = { capabilities = { drop = ["ALL"] } }

      # From SIGTERM to SIGKILL, the longest that Fargate allows: for the copies that are under way to end.
      stopTimeout = 120

      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = aws_cloudwatch_log_group.task[each.key].name
          awslogs-region        = local.region
          awslogs-stream-prefix = each.key
          # ECS would rather drop lines than wait, but the log is where every failure is named.
          mode = "blocking"
        }
      }
    },
  )])

  tags = var.tags

  # A task that is started as soon as the definition is there finds its permissions.
  depends_on = [aws_iam_role_policy.task]
}
