variable "source_bucket" {
  description = "Name of the bucket to mirror, an existing bucket of this account and region. Nothing in it is ever written."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$", var.source_bucket))
    error_message = "Write source_bucket as the bucket's plain name, like \"my-bucket\": no ARN, no s3:// address, no path."
  }
}

variable "target" {
  description = <<-EOT
    Where to mirror to, a bucket of any S3-compatible store:
    - `endpoint`: address of the store's S3 API, `https://` and host, like `https://s3.us-east-1.example.com`; plain `http://` only for this machine (`localhost`, `127.0.0.1`, `[::1]`)
    - `region`: region to sign requests for, as the store names it
    - `bucket`: name of an existing bucket there
    - `prefix`: put before every key (with `source_prefix` taken off first); does not start with `/`
  EOT
  type = object({
    endpoint = string
    region   = string
    bucket   = string
    prefix   = optional(string, "")
  })
  nullable = false

  validation {
    condition     = can(regex("^https?://[^/?#@\\s]+$", var.target.endpoint))
    error_message = "Write target.endpoint as https:// and a host, like \"https://s3.us-east-1.example.com\": no path, no slash at the end, no user."
  }

  validation {
    condition = (!startswith(var.target.endpoint, "http://") ||
    can(regex("^http://(localhost|127\\.0\\.0\\.1|\\[::1\\])(:[0-9]+)?$", var.target.endpoint)))
    error_message = "Write target.endpoint with https://: over plain http everybody on the way can read the objects. Only localhost, 127.0.0.1 and [::1] may use http://."
  }

  validation {
    condition     = can(regex("^[^\\s]+$", var.target.region))
    error_message = "Write target.region as the target store names the region of the bucket, like \"us-east-1\"."
  }

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$", var.target.bucket))
    error_message = "Write target.bucket as the bucket's plain name, like \"my-mirror\": no ARN, no s3:// address, no path (that is target.prefix)."
  }

  validation {
    condition     = !startswith(var.target.prefix, "/")
    error_message = "Write target.prefix without the slash at its start, like \"mirror/\": keys do not start with one."
  }

  # The same name at another store is another bucket.
  validation {
    condition = !(var.target.bucket == var.source_bucket &&
    can(regex("\\.amazonaws\\.com(\\.cn)?(:[0-9]+)?$", lower(var.target.endpoint))))
    error_message = "Write another bucket into target.bucket: at an endpoint of AWS this is source_bucket itself, and every copy would cause the next."
  }
}

variable "name" {
  description = "Start of the name of everything that is made: 1 to 64 letters, digits, `-` and `_`. Two of this module in one account need two names, in two regions as well: roles have none."
  type        = string
  default     = "s3-syncer"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", var.name))
    error_message = "Write name with 1 to 64 letters, digits, \"-\" and \"_\", a letter or digit first, like \"s3-syncer-reports\": it becomes the name of a function, of queues and of a role."
  }

  validation {
    condition     = !endswith(var.name, "-dead-letters")
    error_message = "Write name without \"-dead-letters\" at its end: that is the name of another one's dead letters."
  }
}

variable "source_prefix" {
  description = "Mirror only keys that start with this, like `reports/`; empty for the whole bucket. Does not start with `/` and has no `*`, `?` or `$`."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = !startswith(var.source_prefix, "/")
    error_message = "Write source_prefix without the slash at its start, like \"reports/\": keys do not start with one."
  }

  # In a policy's resource these three would widen what the function may read.
  validation {
    condition     = !can(regex("[*?$]", var.source_prefix))
    error_message = "Write source_prefix as the plain start of the keys, like \"reports/\": it has no wildcards, and \"*\", \"?\" and \"$\" cannot be part of it."
  }

  validation {
    condition     = length(var.source_prefix) <= 1024
    error_message = "Write source_prefix with at most 1024 characters: no key is longer."
  }
}

variable "credentials_secret" {
  description = <<-EOT
    An existing secret with the keys of the target, `{"access_key_id": "...", "secret_access_key": "..."}`; null makes a secret, named by the output `credentials_secret_arn`:
    - `arn`: its ARN. If it is encrypted with a customer managed key other than `kms_key_arn`, add that key to `source_kms_key_arns`
  EOT
  # An object: whether there is one is then known while planning, also for a secret that is made in the same apply.
  type = object({
    arn = string
  })
  default = null

  validation {
    condition     = var.credentials_secret == null || can(regex("^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+$", var.credentials_secret.arn))
    error_message = "Write credentials_secret.arn as the ARN of a Secrets Manager secret, like \"arn:aws:secretsmanager:eu-west-1:123456789012:secret:my-secret-AbCdEf\"."
  }
}

variable "target_credentials" {
  description = "Keys of the target for the secret that the module makes; null to fill it by hand. Goes through a write-only argument: it is never in the state or in a plan, and so has to be given again with every plan. Needs `target_credentials_version`."
  type = object({
    access_key_id     = string
    secret_access_key = string
  })
  default   = null
  ephemeral = true
  sensitive = true

  validation {
    condition     = var.target_credentials == null || var.credentials_secret == null
    error_message = "Give either credentials_secret or target_credentials: an existing secret is not filled here."
  }

  validation {
    condition     = (var.target_credentials == null) == (var.target_credentials_version == null)
    error_message = "Give target_credentials and target_credentials_version together, or neither to fill the secret by hand: the version tells when to write the credentials again, for nothing else about them can be compared."
  }

  validation {
    condition = var.target_credentials == null || try(
      can(regex("^\\S+$", var.target_credentials.access_key_id)) && can(regex("^\\S+$", var.target_credentials.secret_access_key)),
      false,
    )
    error_message = "Write both target_credentials.access_key_id and target_credentials.secret_access_key, without spaces."
  }
}

variable "target_credentials_version" {
  description = "Whole number from 1, to be raised whenever `target_credentials` change: only then are they written again. Null when the secret is filled by hand."
  type        = number
  default     = null

  validation {
    condition     = var.target_credentials_version == null || try(var.target_credentials_version >= 1 && floor(var.target_credentials_version) == var.target_credentials_version, false)
    error_message = "Write target_credentials_version as a whole number from 1, and raise it by 1 whenever target_credentials change."
  }
}

variable "notification_mode" {
  description = <<-EOT
    How changes reach the queue:
    - `"sqs"`: the bucket notifies the queue. **Overwrites every other notification of the bucket**, and destroying removes it
    - `"eventbridge"`: by a rule; the bucket's own notifications are left alone. The bucket must send its events to EventBridge (see `enable_bucket_eventbridge`)
    - `"none"`: the notification is written elsewhere, from the outputs `queue_arn`, `notification_events` and `notification_filter_prefix`; the queue lets the bucket publish already
  EOT
  type        = string
  default     = "sqs"
  nullable    = false

  validation {
    condition     = contains(["sqs", "eventbridge", "none"], var.notification_mode)
    error_message = "Write notification_mode as \"sqs\", \"eventbridge\" or \"none\"."
  }
}

variable "enable_bucket_eventbridge" {
  description = "Whether to make the bucket send its events to EventBridge, for `notification_mode = \"eventbridge\"`. The switch is part of the bucket's notifications: **overwrites every other notification of the bucket**. Leave it off where something else sets it."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.enable_bucket_eventbridge || var.notification_mode == "eventbridge"
    error_message = "Leave enable_bucket_eventbridge out, or write notification_mode = \"eventbridge\": the other modes do not use EventBridge."
  }
}

variable "existing_notifications" {
  description = <<-EOT
    What to do where this module writes the bucket's notifications and finds others there, which would be gone:
    - `"refuse"`: fail, and name them. Needs `cloudformation:GetResource` on every plan, and what S3 asks for behind it: `s3:GetBucket*` and the like, as in AWS's `ReadOnlyAccess`
    - `"overwrite"`: do not look
  EOT
  type        = string
  default     = "refuse"
  nullable    = false

  validation {
    condition     = contains(["refuse", "overwrite"], var.existing_notifications)
    error_message = "Write existing_notifications as \"refuse\" or \"overwrite\"."
  }
}

variable "sync" {
  description = <<-EOT
    What is mirrored, and how fast:
    - `delete`: whether an object that is gone from the source is deleted from the target
    - `tags`: whether object tags are mirrored; off saves a request on either side for each object
    - `max_concurrency`: how many functions run at the same time, 2 to 1000
    - `batch_size`: messages for one call of the function, 1 to 10000; above 10 needs a `batch_window_s`
    - `batch_window_s`: seconds to wait for a batch to fill, 0 to 300
    - `max_receive_count`: attempts at a message before it goes to the dead letters, 1 to 1000; the waits between them grow to 15 minutes, so that 100 outlast half a day without the target
    - `parts_above_mb`: size in MiB above which several functions copy an object together, part by part, 64 to 5242880
  EOT
  type = object({
    delete            = optional(bool, true)
    tags              = optional(bool, true)
    max_concurrency   = optional(number, 50)
    batch_size        = optional(number, 10)
    batch_window_s    = optional(number, 0)
    max_receive_count = optional(number, 100)
    parts_above_mb    = optional(number, 1024)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.sync.max_concurrency >= 2 && var.sync.max_concurrency <= 1000 && floor(var.sync.max_concurrency) == var.sync.max_concurrency
    error_message = "Write sync.max_concurrency as a whole number from 2 to 1000: AWS takes no other."
  }

  validation {
    condition     = var.sync.batch_size >= 1 && var.sync.batch_size <= 10000 && floor(var.sync.batch_size) == var.sync.batch_size
    error_message = "Write sync.batch_size as a whole number from 1 to 10000."
  }

  validation {
    condition     = var.sync.batch_window_s >= 0 && var.sync.batch_window_s <= 300 && floor(var.sync.batch_window_s) == var.sync.batch_window_s
    error_message = "Write sync.batch_window_s as a whole number of seconds from 0 to 300."
  }

  validation {
    condition     = var.sync.batch_size <= 10 || var.sync.batch_window_s >= 1
    error_message = "Write sync.batch_window_s = 1 or more, or sync.batch_size = 10 or less: AWS fills a batch of more than 10 only over time."
  }

  validation {
    condition     = var.sync.max_receive_count >= 1 && var.sync.max_receive_count <= 1000 && floor(var.sync.max_receive_count) == var.sync.max_receive_count
    error_message = "Write sync.max_receive_count as a whole number from 1 to 1000."
  }

  validation {
    condition     = var.sync.parts_above_mb >= 64 && var.sync.parts_above_mb <= 5242880 && floor(var.sync.parts_above_mb) == var.sync.parts_above_mb
    error_message = "Write sync.parts_above_mb as a whole number of MiB from 64 to 5242880, the largest object there is."
  }
}

variable "reconcile" {
  description = <<-EOT
    Comparison of both sides on a schedule, which finds and mends what no event told of; it costs two listing requests for every thousand keys:
    - `schedule`: when, as EventBridge Scheduler writes it, such as `rate(1 day)` or `cron(0 3 * * ? *)` in UTC; null for never
    - `delete`: whether objects that only the target has are deleted; off leaves them
    - `max_delete`: objects deleted by one run at the most, 0 or more
  EOT
  type = object({
    schedule   = optional(string)
    delete     = optional(bool, false)
    max_delete = optional(number, 1000)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.reconcile.schedule == null || can(regex("^(rate|cron|at)\\(.+\\)$", var.reconcile.schedule))
    error_message = "Write reconcile.schedule like \"rate(1 day)\" or \"cron(0 3 * * ? *)\", or null for never."
  }

  validation {
    condition     = var.reconcile.max_delete >= 0 && floor(var.reconcile.max_delete) == var.reconcile.max_delete
    error_message = "Write reconcile.max_delete as a whole number, 0 or more."
  }
}

variable "function" {
  description = <<-EOT
    The function:
    - `enabled`: whether it takes part. False leaves all work to the `service`, and the function there, idle and free of charge
    - `memory_mb`: MB of memory, 256 to 10240; processor and network grow with it, one whole processor at 1769
    - `timeout_s`: seconds that one call may take, 30 to 900; bounds the largest object. A message of a call that crashed is tried again after six times this
    - `architecture`: `"arm64"` or `"x86_64"`
    - `runtime`: `"python3.11"` or a later Python of Lambda
    - `reserved_concurrency`: concurrency to set aside for the function in the account, at least `sync.max_concurrency`; null sets none aside
    - `log_level`: `"DEBUG"`, `"INFO"`, `"WARNING"` or `"ERROR"`; decisions are logged at `"INFO"`
    - `package_path`: path of another zip with the function's code; null for the one that comes with the module
    - `vpc`: subnets and security groups to run in; null for none. They must let it reach S3, SQS, Secrets Manager and the target
  EOT
  type = object({
    enabled              = optional(bool, true)
    memory_mb            = optional(number, 1024)
    timeout_s            = optional(number, 900)
    architecture         = optional(string, "arm64")
    runtime              = optional(string, "python3.13")
    reserved_concurrency = optional(number)
    log_level            = optional(string, "INFO")
    package_path         = optional(string)
    vpc = optional(object({
      subnet_ids         = list(string)
      security_group_ids = list(string)
    }))
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.function.enabled || var.service.enabled
    error_message = "Write function.enabled = true or service.enabled = true, or leave function.enabled out: otherwise nobody takes changes from the queue, and after 14 days they are lost."
  }

  validation {
    condition     = var.function.memory_mb >= 256 && var.function.memory_mb <= 10240 && floor(var.function.memory_mb) == var.function.memory_mb
    error_message = "Write function.memory_mb as a whole number of MB from 256 to 10240."
  }

  validation {
    condition     = var.function.timeout_s >= 30 && var.function.timeout_s <= 900 && floor(var.function.timeout_s) == var.function.timeout_s
    error_message = "Write function.timeout_s as a whole number of seconds from 30 to 900."
  }

  validation {
    condition     = contains(["arm64", "x86_64"], var.function.architecture)
    error_message = "Write function.architecture as \"arm64\" or \"x86_64\"."
  }

  validation {
    condition     = can(regex("^python3\\.(1[1-9]|[2-9][0-9])$", var.function.runtime))
    error_message = "Write function.runtime as \"python3.11\" or a later one, like \"python3.13\"."
  }

  validation {
    condition     = var.function.reserved_concurrency == null || try(var.function.reserved_concurrency >= var.sync.max_concurrency && floor(var.function.reserved_concurrency) == var.function.reserved_concurrency, false)
    error_message = "Write function.reserved_concurrency as a whole number not below sync.max_concurrency, or leave it out: SQS would call more functions than may run, and every refused call counts as an attempt at its messages."
  }

  validation {
    condition     = contains(["DEBUG", "INFO", "WARNING", "ERROR"], var.function.log_level)
    error_message = "Write function.log_level as \"DEBUG\", \"INFO\", \"WARNING\" or \"ERROR\"."
  }

  validation {
    condition     = var.function.package_path == null || try(fileexists(var.function.package_path), false)
    error_message = "Write function.package_path as the path of an existing zip, best started with $${path.module} or $${path.root}, or leave it out for the code that comes with the module."
  }

  validation {
    condition     = var.function.vpc == null || try(length(var.function.vpc.subnet_ids) > 0 && length(var.function.vpc.security_group_ids) > 0, false)
    error_message = "Write at least one id into each of function.vpc.subnet_ids and function.vpc.security_group_ids, or leave function.vpc out."
  }
}

variable "migration" {
  description = <<-EOT
    The task that brings over what was in the source before, on ECS with Fargate. It is made, not started: the output `migration_command` starts it
    - `enabled`: true to make it
    - `image`: address of an image of `lambda/Dockerfile`, with its tag or digest; null makes a repository for `scripts/push_image` to fill
    - `cpu`: CPU units, 1024 for each processor: 256, 512, 1024, 2048, 4096, 8192 or 16384
    - `memory_mb`: MiB of memory, a size that Fargate pairs with `cpu`: from 2 to 8 times as much
    - `architecture`: `"ARM64"` or `"X86_64"`, which the image has to be built for
    - `cluster`: `arn` of an existing cluster to run in; null makes one
    - `subnet_ids`: subnets to run in, at least one. They must let it reach the registry, S3, Secrets Manager, CloudWatch Logs and the target
    - `security_group_ids`: security groups to run with; empty for the default one of the VPC
    - `assign_public_ip`: true in public subnets, which reach nothing without one
    - `arguments`: options of `s3-syncer migrate`, like `["--delete", "--max-delete=1000"]`
  EOT
  type = object({
    enabled            = optional(bool, false)
    image              = optional(string)
    cpu                = optional(number, 1024)
    memory_mb          = optional(number, 2048)
    architecture       = optional(string, "ARM64")
    cluster            = optional(object({ arn = string }))
    subnet_ids         = optional(list(string), [])
    security_group_ids = optional(list(string), [])
    assign_public_ip   = optional(bool, false)
    arguments          = optional(list(string), [])
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.migration.image == null || can(regex("^[a-z0-9][a-z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]*|(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?@sha256:[0-9a-f]{64})$", var.migration.image))
    error_message = "Write migration.image with its tag or digest and without https://, like \"123456789012.dkr.ecr.eu-west-1.amazonaws.com/s3-syncer:0.1.0\", or leave it out to have a repository made."
  }

  validation {
    condition     = contains(keys(local.fargate_memory_mb), tostring(var.migration.cpu))
    error_message = "Write migration.cpu as 256, 512, 1024, 2048, 4096, 8192 or 16384 CPU units: Fargate has no other sizes."
  }

  validation {
    condition     = contains(try(local.fargate_memory_mb[tostring(var.migration.cpu)], [var.migration.memory_mb]), var.migration.memory_mb)
    error_message = "Write migration.memory_mb as ${join(", ", try(local.fargate_memory_mb[tostring(var.migration.cpu)], []))}: with ${var.migration.cpu} CPU units Fargate has no other sizes."
  }

  validation {
    condition     = contains(["ARM64", "X86_64"], var.migration.architecture)
    error_message = "Write migration.architecture as \"ARM64\" or \"X86_64\", as ECS spells them."
  }

  validation {
    condition     = var.migration.cluster == null || can(regex("^arn:[a-z-]+:ecs:[a-z0-9-]+:[0-9]{12}:cluster/.+$", var.migration.cluster.arn))
    error_message = "Write migration.cluster.arn as the ARN of an ECS cluster, like \"arn:aws:ecs:eu-west-1:123456789012:cluster/batch\", or leave it out to have one made."
  }

  validation {
    condition     = !var.migration.enabled || length(var.migration.subnet_ids) > 0
    error_message = "Write at least one subnet into migration.subnet_ids: a task on Fargate runs in a network of yours, from which it has to reach both stores."
  }

  validation {
    condition     = alltrue([for id in var.migration.subnet_ids : can(regex("^subnet-[0-9a-z]+$", id))])
    error_message = "Write migration.subnet_ids as ids of subnets, like \"subnet-0123456789abcdef0\": no ARNs, no names."
  }

  validation {
    condition     = alltrue([for id in var.migration.security_group_ids : can(regex("^sg-[0-9a-z]+$", id))])
    error_message = "Write migration.security_group_ids as ids of security groups, like \"sg-0123456789abcdef0\": no ARNs, no names."
  }

  validation {
    condition     = length(var.migration.security_group_ids) <= 5
    error_message = "Write at most 5 migration.security_group_ids: a network interface takes no more."
  }

  validation {
    condition     = alltrue([for argument in slice(var.migration.arguments, 0, min(1, length(var.migration.arguments))) : startswith(argument, "-")])
    error_message = "Write migration.arguments as options alone, like [\"--delete\", \"--max-delete=1000\"]: the command itself is \"migrate\" and takes nothing else."
  }

  validation {
    condition     = !anytrue([for argument in var.migration.arguments : startswith(argument, "--report")])
    error_message = "Leave --report out of migration.arguments: the task has no file to keep a report in. Its log names every failure."
  }
}

variable "service" {
  description = <<-EOT
    The service: tasks on ECS with Fargate that do what the function does for as long as they run, beside it or, with `function = { enabled = false }`, instead of it
    - `enabled`: true to make it
    - `min_tasks`: tasks that always run; 0 to have none while there is nothing to do, and to wait some minutes for the first
    - `max_tasks`: tasks that run at the most; the same as `min_tasks` for a fixed number
    - `backlog_per_task`: messages, waiting or in work, that one task is started for
    - `concurrency`: messages that a task works on at a time, 1 to 512
    - `spot_percent`: share of the tasks that run on Fargate Spot, 0 to 100; AWS may stop such a task with two minutes' notice, after which its work goes on elsewhere
    - `log_level`: `"DEBUG"`, `"INFO"`, `"WARNING"` or `"ERROR"`; decisions are logged at `"INFO"`
    - `image`: address of an image of `lambda/Dockerfile`, with its tag or digest; null makes a repository for `scripts/push_image` to fill, the same as the migration's
    - `cpu`: CPU units, 1024 for each processor: 256, 512, 1024, 2048, 4096, 8192 or 16384
    - `memory_mb`: MiB of memory, a size that Fargate pairs with `cpu`: from 2 to 8 times as much
    - `architecture`: `"ARM64"` or `"X86_64"`, which the image has to be built for
    - `cluster`: `arn` of an existing cluster to run in, with the capacity providers `FARGATE` and, for Spot, `FARGATE_SPOT`; null makes one
    - `subnet_ids`: subnets to run in, at least one. They must let it reach the registry, S3, SQS, Secrets Manager, CloudWatch Logs and the target
    - `security_group_ids`: security groups to run with; empty for the default one of the VPC
    - `assign_public_ip`: true in public subnets, which reach nothing without one
    - `arguments`: further options of `s3-syncer serve`, like `["--bwlimit=50M"]`
  EOT
  type = object({
    enabled            = optional(bool, false)
    min_tasks          = optional(number, 1)
    max_tasks          = optional(number, 4)
    backlog_per_task   = optional(number, 1000)
    concurrency        = optional(number, 32)
    spot_percent       = optional(number, 0)
    log_level          = optional(string, "INFO")
    image              = optional(string)
    cpu                = optional(number, 1024)
    memory_mb          = optional(number, 2048)
    architecture       = optional(string, "ARM64")
    cluster            = optional(object({ arn = string }))
    subnet_ids         = optional(list(string), [])
    security_group_ids = optional(list(string), [])
    assign_public_ip   = optional(bool, false)
    arguments          = optional(list(string), [])
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.service.min_tasks >= 0 && floor(var.service.min_tasks) == var.service.min_tasks
    error_message = "Write service.min_tasks as a whole number, 0 or more."
  }

  validation {
    condition     = var.service.max_tasks >= 1 && var.service.max_tasks >= var.service.min_tasks && floor(var.service.max_tasks) == var.service.max_tasks
    error_message = "Write service.max_tasks as a whole number from 1, and not below service.min_tasks."
  }

  validation {
    condition     = var.service.max_tasks <= 5000
    error_message = "Write service.max_tasks as 5000 or less: ECS runs no more tasks for a service."
  }

  validation {
    condition     = var.service.backlog_per_task >= 1 && floor(var.service.backlog_per_task) == var.service.backlog_per_task
    error_message = "Write service.backlog_per_task as a whole number of messages from 1, like 1000."
  }

  validation {
    condition     = var.service.concurrency >= 1 && var.service.concurrency <= 512 && floor(var.service.concurrency) == var.service.concurrency
    error_message = "Write service.concurrency as a whole number from 1 to 512."
  }

  validation {
    condition     = var.service.spot_percent >= 0 && var.service.spot_percent <= 100 && floor(var.service.spot_percent) == var.service.spot_percent
    error_message = "Write service.spot_percent as a whole number from 0, for no task on Spot, to 100, for all of them."
  }

  validation {
    condition     = contains(["DEBUG", "INFO", "WARNING", "ERROR"], var.service.log_level)
    error_message = "Write service.log_level as \"DEBUG\", \"INFO\", \"WARNING\" or \"ERROR\"."
  }

  validation {
    condition = !(var.service.enabled && var.migration.enabled && var.service.image == null && var.migration.image == null &&
    var.service.architecture != var.migration.architecture)
    error_message = "Write the same architecture for service and migration, or give one of them an image: both run the image of one repository."
  }

  validation {
    condition     = var.service.image == null || can(regex("^[a-z0-9][a-z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]*|(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?@sha256:[0-9a-f]{64})$", var.service.image))
    error_message = "Write service.image with its tag or digest and without https://, like \"123456789012.dkr.ecr.eu-west-1.amazonaws.com/s3-syncer:0.1.0\", or leave it out to have a repository made."
  }

  validation {
    condition     = contains(keys(local.fargate_memory_mb), tostring(var.service.cpu))
    error_message = "Write service.cpu as 256, 512, 1024, 2048, 4096, 8192 or 16384 CPU units: Fargate has no other sizes."
  }

  validation {
    condition     = contains(try(local.fargate_memory_mb[tostring(var.service.cpu)], [var.service.memory_mb]), var.service.memory_mb)
    error_message = "Write service.memory_mb as ${join(", ", try(local.fargate_memory_mb[tostring(var.service.cpu)], []))}: with ${var.service.cpu} CPU units Fargate has no other sizes."
  }

  validation {
    condition     = contains(["ARM64", "X86_64"], var.service.architecture)
    error_message = "Write service.architecture as \"ARM64\" or \"X86_64\", as ECS spells them."
  }

  validation {
    condition     = var.service.cluster == null || can(regex("^arn:[a-z-]+:ecs:[a-z0-9-]+:[0-9]{12}:cluster/.+$", var.service.cluster.arn))
    error_message = "Write service.cluster.arn as the ARN of an ECS cluster, like \"arn:aws:ecs:eu-west-1:123456789012:cluster/batch\", or leave it out to have one made."
  }

  validation {
    condition     = !var.service.enabled || length(var.service.subnet_ids) > 0
    error_message = "Write at least one subnet into service.subnet_ids: a task on Fargate runs in a network of yours, from which it has to reach both stores."
  }

  validation {
    condition     = alltrue([for id in var.service.subnet_ids : can(regex("^subnet-[0-9a-z]+$", id))])
    error_message = "Write service.subnet_ids as ids of subnets, like \"subnet-0123456789abcdef0\": no ARNs, no names."
  }

  validation {
    condition     = alltrue([for id in var.service.security_group_ids : can(regex("^sg-[0-9a-z]+$", id))])
    error_message = "Write service.security_group_ids as ids of security groups, like \"sg-0123456789abcdef0\": no ARNs, no names."
  }

  validation {
    condition     = length(var.service.security_group_ids) <= 5
    error_message = "Write at most 5 service.security_group_ids: a network interface takes no more."
  }

  validation {
    condition     = alltrue([for argument in slice(var.service.arguments, 0, min(1, length(var.service.arguments))) : startswith(argument, "-")])
    error_message = "Write service.arguments as options alone, like [\"--bwlimit=50M\"]: the command itself is \"serve\" and takes nothing else."
  }
}

variable "source_kms_key_arns" {
  description = "ARNs of the customer managed KMS keys that objects of the source are encrypted with. The policies of the keys must let this account's roles use them."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.source_kms_key_arns : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", arn))])
    error_message = "Write source_kms_key_arns as ARNs of keys, like \"arn:aws:kms:eu-west-1:123456789012:key/...\": a policy cannot name a key by its alias."
  }
}

variable "kms_key_arn" {
  description = "ARN of a customer managed KMS key for everything that is made and keeps something: queues, secret, logs, the function's environment, schedule, repository and the disks of tasks; null encrypts with keys that AWS manages. Its policy has to have the statements of the output `kms_key_policy_statements`."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.kms_key_arn))
    error_message = "Write kms_key_arn as the ARN of a key, like \"arn:aws:kms:eu-west-1:123456789012:key/...\": a policy cannot name a key by its alias."
  }
}

variable "role_path" {
  description = "Path of every role that is made, like `/workloads/mirrors/`."
  type        = string
  default     = "/"
  nullable    = false

  validation {
    condition     = can(regex("^/([!-.0-~]+/)*$", var.role_path)) && length(var.role_path) <= 512
    error_message = "Write role_path as a path of IAM, with a slash at both ends and at most 512 characters, like \"/workloads/mirrors/\", or leave it out for \"/\"."
  }
}

variable "permissions_boundary_arn" {
  description = "ARN of the policy that bounds the permissions of every role that is made; null for none. [docs/security.md](docs/security.md) lists what it has to allow."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/.+$", var.permissions_boundary_arn))
    error_message = "Write permissions_boundary_arn as the ARN of an IAM policy, like \"arn:aws:iam::123456789012:policy/boundary\"."
  }
}

variable "log_retention_days" {
  description = "Days that logs are kept, one of the values of CloudWatch Logs: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653, or 0 for ever."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition = contains(
      [0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      var.log_retention_days,
    )
    error_message = "Write log_retention_days as a value that CloudWatch Logs takes, like 7, 14, 30, 90 or 365, or 0 to keep logs for ever."
  }
}

variable "alarm_actions" {
  description = "ARNs of what to tell when an alarm goes off and when it ends, such as SNS topics. The alarms exist without any."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.alarm_actions : can(regex("^arn:[a-z-]+:", arn))])
    error_message = "Write alarm_actions as ARNs, like \"arn:aws:sns:eu-west-1:123456789012:on-call\"."
  }

  validation {
    condition     = length(var.alarm_actions) <= 5
    error_message = "Write at most 5 alarm_actions: CloudWatch takes no more for an alarm. An SNS topic can tell any number."
  }
}

variable "max_lag_s" {
  description = "Seconds that a change may wait before an alarm goes off, from 60; null for no such alarm. Keep it above `function.timeout_s`: a large object may rightly take that long."
  type        = number
  default     = 1800

  validation {
    condition     = var.max_lag_s == null || try(var.max_lag_s >= 60 && floor(var.max_lag_s) == var.max_lag_s, false)
    error_message = "Write max_lag_s as a whole number of seconds from 60, or null for no such alarm."
  }
}

variable "tags" {
  description = "Tags for everything that is made."
  type        = map(string)
  default     = {}
  nullable    = false
}
