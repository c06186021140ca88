# Every input of the module. The access key of the target comes from an ephemeral variable, for example from the
# environment (TF_VAR_target_credentials). It goes into a secret, and is never in the state or in a plan.

provider "aws" {
  region = var.region
}

module "s3_syncer" {
  source = "../.."

  source_bucket = var.source_bucket
  source_prefix = "reports/"

  # For a bucket of another account, see examples/cross-account.
  source_account_id = null
  source_role_arn   = null

  # rclone's patterns for keys behind source_prefix, and sizes.
  filters = {
    include  = [] # all keys
    exclude  = ["*.tmp", "cache/"]
    min_size = null
    max_size = "500G"
  }

  # The key reports/2026/x becomes mirror/reports/2026/x in the target.
  target = {
    endpoint = var.target_endpoint
    region   = var.target_region
    bucket   = var.target_bucket
    prefix   = "mirror/reports/"

    addressing_style = "path"
    payload_signing  = false # true for a store that refuses UNSIGNED-PAYLOAD
    ca_certificate   = null  # file("ca.pem") for a store with the certificate of a private CA

    # Properties of new objects. Null leaves them to the store.
    storage_class          = null
    server_side_encryption = null
    sse_kms_key_id         = null
    acl                    = null

    # Limits of the store, here with the default values.
    limits = {
      max_object_mb = 5 * 1024 * 1024 # 5 TiB
      min_part_mb   = 5
      max_part_mb   = 4096
      max_parts     = 10000
    }
  }

  name = "reports-syncer"

  # Null creates a secret. For an existing secret write { arn = "..." }, and leave target_credentials out.
  credentials_secret         = null
  target_credentials         = var.target_credentials
  target_credentials_version = 1 # raise it when the credentials change

  # The module makes the bucket send its events to EventBridge, which replaces all other notifications of the bucket.
  # Leave enable_bucket_eventbridge out if another configuration writes the notifications.
  notification_mode         = "eventbridge"
  enable_bucket_eventbridge = true
  existing_notifications    = "refuse" # the plan fails if that would remove notifications

  notification_topic_arns = [] # SNS topics that pass the events on, for a bucket that notifies a topic

  sync = {
    tags                          = true
    object_lock                   = false # true needs Object Lock in both buckets
    max_concurrency               = 20
    batch_size                    = 50
    batch_window_s                = 2
    max_receive_count             = 100
    distributed_copy_threshold_mb = 1024
  }

  deletes = {
    enabled    = true
    delay_s    = 60
    hold_above = 5000
  }

  bulk = {
    max_concurrency = 10
  }

  paused  = false
  metrics = true

  dashboard = true # 3 USD a month beyond the three free ones of the account

  reconcile = {
    schedule   = "cron(0 3 * * ? *)" # every night at 03:00 UTC
    delete     = true
    max_delete = 1000
    full       = false # true also compares headers, metadata and tags of every object
  }

  function = {
    enabled              = true # false leaves all work to the service
    memory_mb            = 2048
    timeout_s            = 900
    architecture         = "arm64"
    runtime              = "python3.13"
    reserved_concurrency = 40
    log_level            = "INFO"
    package_path         = null # the zip of the module
    vpc                  = var.vpc
    vpc_permissions      = false # true keeps the network permissions while the function leaves the VPC
  }

  # For the function and all tasks, for example { HTTPS_PROXY = "http://proxy.internal:3128" }.
  environment = {}

  # Shared by migration and service.
  ecs = {
    image              = null # the module creates a repository, and `s3-syncer image push` pushes the image
    architecture       = "ARM64"
    cluster            = null # the module creates a cluster
    subnet_ids         = try(var.vpc.subnet_ids, [])
    security_group_ids = try(var.vpc.security_group_ids, [])
    assign_public_ip   = false
    bwlimit            = "08:00,50M 19:00,200M" # in UTC: less during the day
  }

  # `s3-syncer task run` runs the task. It needs var.vpc.
  migration = {
    enabled   = var.vpc != null
    cpu       = 2048
    memory_mb = 4096
    restore   = false # true allows the option --restore
    arguments = ["--outage-timeout=2h"]
  }

  # Tasks that consume the queues without the 15-minute limit of the function, half of them on Spot. They need var.vpc.
  service = {
    enabled          = false
    min_tasks        = 0
    max_tasks        = 10
    backlog_per_task = 1000
    concurrency      = 32
    bulk_concurrency = 32
    spot_percent     = 50
    log_level        = "INFO"
    cpu              = 1024
    memory_mb        = 2048
    arguments        = ["--memory=1024"]
  }

  source_kms_key_arns      = var.source_kms_key_arns
  kms_key_arn              = var.kms_key_arn
  previous_kms_key_arns    = [] # after a change of kms_key_arn: the key before, until the queues are empty
  permissions_boundary_arn = var.permissions_boundary_arn
  role_path                = "/mirrors/"

  log_retention_days = 90
  alarm_actions      = var.alarm_actions
  max_lag_s          = 3600
  max_retry_s        = 60
  event_bus_arn      = null # the ARN of an EventBridge bus, for events to programs

  tags = {
    team    = "storage"
    purpose = "mirror"
  }
}
