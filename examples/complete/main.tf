# Every input of the module, with what it is for. The credentials of the target come in as an ephemeral variable, for
# example from the environment (TF_VAR_target_credentials), and go into a secret without touching state or plan.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}

provider "aws" {
  region = var.region
}

module "s3_syncer" {
  source = "../.."

  source_bucket = var.source_bucket
  source_prefix = "reports/"

  # s3://<source_bucket>/reports/2026/x arrives as 2026/x under mirror/reports/.
  target = {
    endpoint = var.target_endpoint
    region   = var.target_region
    bucket   = var.target_bucket
    prefix   = "mirror/reports/"
  }

  name = "reports-syncer"

  # Null: the module makes a secret. Or { arn = "..." } of one that exists, and then no target_credentials.
  credentials_secret         = null
  target_credentials         = var.target_credentials
  target_credentials_version = 1 # raise it to have changed credentials written

  # The bucket's own notifications are left alone, but for the switch that sends them to EventBridge. Leave that out
  # where something else writes notifications of this bucket.
  notification_mode         = "eventbridge"
  enable_bucket_eventbridge = true
  existing_notifications    = "refuse" # where there are others already

  sync = {
    delete            = true
    tags              = true
    max_concurrency   = 20
    batch_size        = 50
    batch_window_s    = 2
    max_receive_count = 100
    parts_above_mb    = 1024
  }

  reconcile = {
    schedule   = "cron(0 3 * * ? *)" # every night at three, UTC
    delete     = true
    max_delete = 1000
  }

  function = {
    enabled              = true # false leaves all work to the service
    memory_mb            = 2048
    timeout_s            = 900
    architecture         = "arm64"
    runtime              = "python3.13"
    reserved_concurrency = 20
    log_level            = "INFO"
    package_path         = null # the code that comes with the module
    vpc                  = var.vpc
  }

  # Shared by migration and service.
  ecs = {
    image              = null # the module creates a repository, and scripts/push_image pushes the image
    architecture       = "ARM64"
    cluster            = null # the module creates a cluster
    subnet_ids         = try(var.vpc.subnet_ids, [])
    security_group_ids = try(var.vpc.security_group_ids, [])
    assign_public_ip   = false
  }

  # scripts/run_migration runs the task. It needs a network.
  migration = {
    enabled   = var.vpc != null
    cpu       = 2048
    memory_mb = 4096
    arguments = ["--bwlimit=200M"]
  }

  # Tasks that consume the queue without the 15-minute limit of the function, half of them on Spot. They need a network.
  service = {
    enabled          = false
    min_tasks        = 0
    max_tasks        = 10
    backlog_per_task = 1000
    concurrency      = 32
    spot_percent     = 50
    log_level        = "INFO"
    cpu              = 1024
    memory_mb        = 2048
    arguments        = ["--bwlimit=200M"]
  }

  source_kms_key_arns      = var.source_kms_key_arns
  kms_key_arn              = var.kms_key_arn
  permissions_boundary_arn = var.permissions_boundary_arn
  role_path                = "/mirrors/"

  log_retention_days = 90
  alarm_actions      = var.alarm_actions
  max_lag_s          = 3600

  tags = {
    team    = "storage"
    purpose = "mirror"
  }
}
