# The migration: `s3-syncer migrate` as a task of ECS on Fargate, which brings over what was in the source before. Nothing
# runs until somebody starts it; scripts/run_migration does, and so does the output migration_command.

locals {
  owns_migration_repository = var.migration.enabled && var.migration.image == null
  owns_migration_cluster    = var.migration.enabled && var.migration.cluster == null

  # One for a definition that is there, so that what belongs to it is there with it.
  migrations = var.migration.enabled ? [var.migration] : []

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
  migration_copy_memory_mb = floor((var.migration.memory_mb - 160) * 4 / 5)

  # Names of repositories are in lower case, with single separators between letters and digits. The hash keeps two
  # names apart that differ in nothing else.
  lower_name = trim(replace(lower(var.name), "/[_-]+/", "-"), "-")
  migration_repository_name = (local.lower_name == var.name
    ? "${var.name}/migration"
    : "${local.lower_name}-${substr(sha256(var.name), 0, 6)}/migration"
  )

  # The tag says what is in the image: other code is another tag, so that a task never runs the code of another version
  # of the module, and a tag need never change its meaning.
  image_sources = toset(flatten([
    for pattern in ["Dockerfile", "requirements.txt", "s3_syncer/**/*.py"] : tolist(fileset("${path.module}/lambda", pattern))
  ]))
  image_version = regex("__version__ = \"([^\"]+)\"", file("${path.module}/lambda/s3_syncer/__init__.py"))[0]
  image_content = sha256(jsonencode({ for source in local.image_sources : source => filesha256("${path.module}/lambda/${source}") }))
  image_tag     = "${local.image_version}-${substr(local.image_content, 0, 12)}"

  migration_image = (local.owns_migration_repository
    ? "${aws_ecr_repository.migration[0].repository_url}:${local.image_tag}"
    : var.migration.image
  )
  migration_cluster_arn = local.owns_migration_cluster ? aws_ecs_cluster.migration[0].arn : try(var.migration.cluster.arn, null)
  migration_region      = one([for group in aws_cloudwatch_log_group.migration : split(":", group.arn)[3]])

  # As RunTask takes it.
  migration_network = {
    awsvpcConfiguration = {
      subnets        = var.migration.subnet_ids
      securityGroups = var.migration.security_group_ids
      assignPublicIp = var.migration.assign_public_ip ? "ENABLED" : "DISABLED"
    }
  }
}

resource "aws_ecr_repository" "migration" {
  count = local.owns_migration_repository ? 1 : 0

  name                 = local.migration_repository_name
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

resource "aws_ecr_lifecycle_policy" "migration" {
  count = local.owns_migration_repository ? 1 : 0

  repository = aws_ecr_repository.migration[0].name

  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Keep the images of the last ten versions"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 10 }
      action       = { type = "expire" }
    }]
  })
}

resource "aws_ecs_cluster" "migration" {
  #checkov:skip=CKV_AWS_65:Container Insights bills metrics for each task, and the log of a task says what it does.
  count = local.owns_migration_cluster ? 1 : 0

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

resource "aws_cloudwatch_log_group" "migration" {
  count = length(local.migrations)

  name              = "/aws/ecs/${var.name}-migration"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn

  tags = var.tags
}

locals {
  # Two roles: what the program may do, and what ECS does for it before and around it.
  migration_roles = { for part, role in {
    migration = {
      description = "What the migration task of ${var.name} may do."
      statements = concat(local.worker_statements, [for key in var.kms_key_arn[*] : {
        Sid       = "UseOwnKey"
        Effect    = "Allow"
        Action    = ["kms:Decrypt"] # for the secret
        Resource  = [key]
        Condition = { StringEquals = { "kms:ViaService" = [local.kms_via["secretsmanager"]] } }
      }])
    }
    migration-execution = {
      description = "What ECS may do to start the migration task of ${var.name} and to keep its log."
      statements = concat(
        [for repository in local.migration_ecr_repository_arn[*] : {
          Sid      = "PullImage"
          Effect   = "Allow"
          Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
          Resource = [repository]
        }],
        [for repository in local.migration_ecr_repository_arn[*] : {
          Sid      = "LogInToRegistry"
          Effect   = "Allow"
          Action   = ["ecr:GetAuthorizationToken"]
          Resource = ["*"] # there is no resource to name
        }],
        [for group in aws_cloudwatch_log_group.migration : {
          Sid      = "WriteLogs"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = ["${group.arn}:*"]
        }],
      )
    }
  } : part => role if var.migration.enabled }

  # An image that is given may be in ECR too; one that is elsewhere is pulled without permissions, or not at all.
  given_ecr_image = try(regex(
    "^(?P<account>[0-9]{12})\\.dkr\\.ecr\\.(?P<region>[a-z0-9-]+)\\.amazonaws\\.com(?:\\.cn)?/(?P<repository>[^:@]+)",
    var.migration.image
  ), null)
  given_ecr_repository_arn = one([for image in local.given_ecr_image[*] : join(":", [
    "arn", data.aws_partition.current.partition, "ecr", image.region, image.account, "repository/${image.repository}"
  ])])
  migration_ecr_repository_arn = (local.owns_migration_repository
    ? aws_ecr_repository.migration[0].arn
    : local.given_ecr_repository_arn
  )
}

resource "aws_iam_role" "migration" {
  for_each = local.migration_roles

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

resource "aws_iam_role_policy" "migration" {
  for_each = local.migration_roles

  name = local.role_names[each.key]
  role = aws_iam_role.migration[each.key].id

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = each.value.statements
  })
}

resource "aws_ecs_task_definition" "migration" {
  count = length(local.migrations)

  family                   = "${var.name}-migration"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.migration.cpu
  memory                   = var.migration.memory_mb
  task_role_arn            = aws_iam_role.migration["migration"].arn
  execution_role_arn       = aws_iam_role.migration["migration-execution"].arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.migration.architecture
  }

  container_definitions = jsonencode([{
    name      = "s3-syncer"
    image     = local.migration_image
    essential = true
    command   = concat(["migrate"], var.migration.arguments)

    # The task reads the secret itself, with its role, and again when its keys are refused.
    environment = [for name, value in merge(local.worker_environment, {
      AWS_DEFAULT_REGION = local.migration_region
      MEMORY_MB          = tostring(local.migration_copy_memory_mb)
      LOG_FORMAT         = "json"
    }) : { name = name, value = value }]

    user                   = "65532:65532"
    readonlyRootFilesystem = true
    linuxParameters        = { capabilities = { drop = ["ALL"] } }

    # From SIGTERM to SIGKILL, the longest that Fargate allows: for the copies that are under way to end.
    stopTimeout = 120

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.migration[0].name
        awslogs-region        = local.migration_region
        awslogs-stream-prefix = "migration"
        # ECS would rather drop lines than wait, but the log is where every failure is named.
        mode = "blocking"
      }
    }
  }])

  tags = var.tags

  # A task that is started as soon as the definition is there finds its permissions.
  depends_on = [aws_iam_role_policy.migration]
}
