variable "source_bucket" {
  description = "Name of the bucket to mirror: an existing bucket in this region, in this account or in `source_account_id`. The module never writes to it. For a bucket in the same configuration, write `aws_s3_bucket.x.id` and not `.bucket`: the module reads the notifications of the bucket, and with `.id` it does so after the bucket exists."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$", var.source_bucket))
    error_message = "Write source_bucket as a bucket name, like \"my-bucket\": no ARN, no s3:// address, no path."
  }

  validation {
    condition     = !anytrue([for suffix in keys(local.no_bucket_suffixes) : endswith(var.source_bucket, suffix)])
    error_message = "Write another source_bucket: ${join(" ", [for suffix, reason in local.no_bucket_suffixes : reason if endswith(var.source_bucket, suffix)])}."
  }
}

variable "source_account_id" {
  description = "ID of the account that owns the source bucket, if it is another account than that of the module. Each request names the owner, so that S3 denies a request to a bucket of another account with the same name. The output `source_account` has the policies for the other account. Null is the account of the module."
  type        = string
  default     = null

  validation {
    condition     = var.source_account_id == null || can(regex("^[0-9]{12}$", var.source_account_id))
    error_message = "Write source_account_id as the 12 digits of an account ID in quotation marks, like \"123456789012\"."
  }
}

variable "source_role_arn" {
  description = "ARN of a role in the account of the source bucket that the workers assume to read the source. Write the ARN as text if the same configuration creates the role: the output `source_account` has its policies, which name the roles of the module. Null reads the source with the roles of the module."
  type        = string
  default     = null

  validation {
    condition     = var.source_role_arn == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/[!-~]+$", var.source_role_arn))
    error_message = "Write source_role_arn as the ARN of a role, like \"arn:aws:iam::123456789012:role/reader\": no assumed role, no user. Null reads the source with the roles of the module."
  }

  validation {
    condition     = try(split(":", var.source_role_arn)[4] == local.source_account_id, true)
    error_message = "Write source_account_id = \"${try(split(":", var.source_role_arn)[4], "")}\" beside source_role_arn, or a role of account ${local.source_account_id}: the role must be in the account of the source bucket."
  }
}

variable "target" {
  description = <<-EOT
    Bucket to mirror to, on any S3-compatible store:
    - `endpoint` (`https://`, a host and, if the store has one, a path): address of the S3 API of the store, like `https://s3.us-east-1.example.com`, without the bucket. `http://` is allowed only for `localhost`, `127.0.0.1` and `[::1]`
    - `region`: region for signing requests, as the store names it
    - `bucket` (an existing bucket): name of the target bucket
    - `prefix`: prefix of every key in the target. It replaces `source_prefix`. A `/` at its start is part of the keys
    - `addressing_style` (`"path"` or `"virtual"`): place of the bucket in an address: `https://HOST/BUCKET` or `https://BUCKET.HOST`. Null is `"path"`
    - `payload_signing`: true signs the hash of each body too, for a store that refuses `UNSIGNED-PAYLOAD`. Tasks then buffer large objects instead of streaming them. Null is false
    - `ca_certificate` (PEM, at most 3000 characters): CA certificates to trust for the target, like `file("ca.pem")`, if a private CA has signed the certificate of the store. Only the root certificate is needed. Null trusts the public CAs
    - `storage_class`: storage class of new objects, like `STANDARD_IA`. Null is that of the store. Objects that exist keep their class
    - `server_side_encryption` (`"AES256"`, `"aws:kms"` or `"aws:kms:dsse"`): encryption of new objects by the store. Null is that of the bucket
    - `sse_kms_key_id`: KMS key of the store that encrypts new objects. Needs `server_side_encryption` with `aws:kms`. Null is the key of the bucket
    - `acl`: canned ACL of new objects, like `bucket-owner-full-control`. Null is that of the store
    - `limits`: limits of the store
    - `limits.max_object_mb` (1 to 51200000): largest object in MiB. A larger object becomes a dead letter at once. Null is 5242880 (5 TiB)
    - `limits.min_part_mb` (from 1): smallest part of a multipart upload in MiB. Null is 5
    - `limits.max_part_mb` (above `min_part_mb`, to 5120): largest part, and largest single upload, in MiB. Null is 4096
    - `limits.max_parts` (1 to 10000): most parts of an object. Null is 10000
  EOT
  type = object({
    endpoint = string
    region   = string
    bucket   = string
    prefix   = optional(string, "")

    addressing_style = optional(string)
    payload_signing  = optional(bool)
    ca_certificate   = optional(string)

    storage_class          = optional(string)
    server_side_encryption = optional(string)
    sse_kms_key_id         = optional(string)
    acl                    = optional(string)

    limits = optional(object({
      max_object_mb = optional(number)
      min_part_mb   = optional(number)
      max_part_mb   = optional(number)
      max_parts     = optional(number)
    }), {})
  })
  nullable = false

  # A host as boto3 accepts it, and a port.
  validation {
    condition     = can(regex("^https?://([A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?([.][A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*[.]?|\\[[0-9A-Fa-f:.]+\\])(:[1-9][0-9]{0,4})?(/[^?#@\\s]*)?$", var.target.endpoint))
    error_message = "Write target.endpoint as https:// and a host, like \"https://s3.us-east-1.example.com\", and a port and a path if the store has them: no query, no user name. Write a host beyond ASCII in Punycode, like \"xn--mnchen-3ya.example.com\"."
  }

  validation {
    condition     = try(tonumber(regex("^[^/]+//[^/]*[^/:]:([0-9]+)(?:/|$)", var.target.endpoint)[0]), 443) <= 65535
    error_message = "Write a port up to 65535 into target.endpoint, or none."
  }

  # The workers address the bucket in the path: every key would get the name of the bucket as a prefix.
  validation {
    condition     = !can(regex("^https?://[^/]+/(.*/)?${try(replace(var.target.bucket, ".", "\\."), "/")}/*$", var.target.endpoint))
    error_message = "Write target.endpoint without the bucket at its end: the bucket goes into target.bucket."
  }

  validation {
    condition = (!can(regex("^http://", var.target.endpoint)) ||
    can(regex("^http://(localhost|127\\.0\\.0\\.1|\\[::1\\])(:[0-9]+)?(/.*)?$", var.target.endpoint)))
    error_message = "Write target.endpoint with https://: with http, objects are sent unencrypted. Only localhost, 127.0.0.1 and [::1] may use http://."
  }

  validation {
    condition     = can(regex("^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$", var.target.region)) && !can(regex("^[0-9]+$", var.target.region))
    error_message = "Write target.region as the target store names the region of the bucket, like \"us-east-1\": with letters, digits and \"-\"."
  }

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$", var.target.bucket))
    error_message = "Write target.bucket as a bucket name, like \"my-mirror\": no ARN, no s3:// address, no path. A path goes into target.prefix."
  }

  validation {
    condition     = !anytrue([for suffix in keys(local.no_bucket_suffixes) : try(endswith(var.target.bucket, suffix), false)])
    error_message = "Write another target.bucket: ${join(" ", [for suffix, reason in local.no_bucket_suffixes : reason if try(endswith(var.target.bucket, suffix), false)])}."
  }

  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
  validation {
    condition     = try(length(var.target.prefix), 0) < 1024
    error_message = "Write target.prefix with fewer than 1024 characters: a key has at most 1024 with its prefix."
  }

  validation {
    condition     = var.target.addressing_style == null || can(regex("^(path|virtual)$", var.target.addressing_style))
    error_message = "Write target.addressing_style as \"path\" or \"virtual\"."
  }

  validation {
    condition     = var.target.ca_certificate == null || can(regex("-----BEGIN CERTIFICATE-----[\\s\\S]+-----END CERTIFICATE-----", var.target.ca_certificate))
    error_message = "Write target.ca_certificate as certificates in PEM, like file(\"ca.pem\"): the text begins with -----BEGIN CERTIFICATE-----."
  }

  validation {
    condition     = !strcontains(coalesce(var.target.ca_certificate, "-"), "PRIVATE KEY")
    error_message = "Write only certificates into target.ca_certificate, without the private key."
  }

  validation {
    condition     = length(coalesce(var.target.ca_certificate, "-")) <= 3000
    error_message = "Write at most 3000 characters into target.ca_certificate, about two certificates: the environment of a function has 4 KB in all. The root certificate alone is enough, because the store sends the rest of the chain."
  }

  validation {
    condition     = var.target.storage_class == null || can(regex("^[A-Za-z0-9_-]+$", var.target.storage_class))
    error_message = "Write target.storage_class as the store names the class, like \"STANDARD_IA\"."
  }

  validation {
    condition     = var.target.server_side_encryption == null || can(regex("^(AES256|aws:kms|aws:kms:dsse)$", var.target.server_side_encryption))
    error_message = "Write target.server_side_encryption as \"AES256\", \"aws:kms\" or \"aws:kms:dsse\"."
  }

  validation {
    condition     = var.target.sse_kms_key_id == null || startswith(coalesce(var.target.server_side_encryption, "AES256"), "aws:kms")
    error_message = "Write target.server_side_encryption = \"aws:kms\" beside target.sse_kms_key_id, or leave the key out."
  }

  validation {
    condition     = var.target.sse_kms_key_id == null || can(regex("^[!-~]+$", var.target.sse_kms_key_id))
    error_message = "Write target.sse_kms_key_id as the store names the key, without spaces."
  }

  validation {
    condition = var.target.acl == null || try(contains(
      ["private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read", "bucket-owner-full-control"],
      var.target.acl,
    ), false)
    error_message = "Write target.acl as a canned ACL, like \"private\" or \"bucket-owner-full-control\"."
  }

  validation {
    condition     = alltrue([for value in var.target.limits.max_object_mb[*] : value >= 1 && value <= 51200000 && floor(value) == value])
    error_message = "Write target.limits.max_object_mb as a whole number of MiB from 1 to 51200000."
  }

  validation {
    condition     = alltrue([for value in var.target.limits.min_part_mb[*] : value >= 1 && floor(value) == value])
    error_message = "Write target.limits.min_part_mb as a whole number of MiB from 1."
  }

  validation {
    condition = alltrue([for value in [coalesce(var.target.limits.max_part_mb, 4096)] :
    value > coalesce(var.target.limits.min_part_mb, 5) && value <= 5120 && floor(value) == value])
    error_message = "Write target.limits.max_part_mb as a whole number of MiB above target.limits.min_part_mb, up to 5120."
  }

  validation {
    condition     = alltrue([for value in var.target.limits.max_parts[*] : value >= 1 && value <= 10000 && floor(value) == value])
    error_message = "Write target.limits.max_parts as a whole number from 1 to 10000."
  }

  # A bucket of the same name on another store is another bucket.
  validation {
    condition = !(var.target.bucket == var.source_bucket &&
    can(regex("(?i)\\.(amazonaws\\.com(\\.cn)?|amazonaws\\.eu)(:[0-9]+)?(/.*)?$", var.target.endpoint)))
    error_message = "Write another bucket into target.bucket: at an AWS endpoint this is source_bucket itself, and every copy would cause another copy."
  }
}

variable "name" {
  description = "Name prefix for all resources: 1 to 64 letters, digits, `-` and `_`. Must be unique in the account, not only in the region, because IAM roles are global."
  type        = string
  default     = "s3-syncer"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", var.name))
    error_message = "Write name with 1 to 64 letters, digits, \"-\" and \"_\", like \"s3-syncer-reports\". The first character must be a letter or a digit."
  }

  validation {
    condition     = !anytrue([for suffix in local.queue_suffixes : endswith(var.name, suffix)])
    error_message = "Write name without \"${join("", [for suffix in local.queue_suffixes : suffix if endswith(var.name, suffix)])}\" at the end: the queues of another module have these suffixes: ${join(", ", local.queue_suffixes)}."
  }
}

variable "source_prefix" {
  description = "Prefix of the keys to mirror, like `reports/`, without `*`, `?` and `$`, and without characters beyond U+00FF. A `/` at its start is part of the keys. Empty mirrors the whole bucket."
  type        = string
  default     = ""
  nullable    = false

  # In the resource of a policy these three characters would widen what the workers may read.
  validation {
    condition     = !can(regex("[*?$]", var.source_prefix))
    error_message = "Write source_prefix as a plain key prefix, like \"reports/\": wildcards are not supported, and \"*\", \"?\" and \"$\" are not allowed."
  }

  # https://docs.aws.amazon.com/IAM/latest/APIReference/API_PutRolePolicy.html
  validation {
    condition     = can(regex("^[\\x{20}-\\x{FF}]*$", var.source_prefix))
    error_message = "Write source_prefix with characters from U+0020 to U+00FF only: an IAM policy cannot contain other characters. End the prefix before the first such character, or leave it out to mirror the whole bucket."
  }

  validation {
    condition     = length(var.source_prefix) <= 1024
    error_message = "Write source_prefix with at most 1024 characters, the maximum length of a key."
  }

  # Encoded like local.notification_filter_prefix, which depends on this input.
  # https://docs.aws.amazon.com/AmazonS3/latest/API/API_FilterRule.html
  validation {
    condition     = var.notification_mode != "sqs" || length(replace(urlencode(var.source_prefix), "%2F", "/")) <= 1024
    error_message = "Write a shorter source_prefix, or notification_mode = \"eventbridge\": S3 allows 1024 characters in the filter of a notification. There, each character that is no letter, digit, \"/\", \"-\", \"_\" or \".\" takes three or six characters. This prefix takes ${length(replace(urlencode(var.source_prefix), "%2F", "/"))}."
  }
}

variable "filters" {
  description = <<-EOT
    Objects to mirror, as [rclone filters](https://rclone.org/filtering/) of keys below `source_prefix`. A key that the filters exclude is never copied, deleted or reported, and its object in the target stays as it is. All workers and commands apply them. See [docs/what-is-mirrored.md](docs/what-is-mirrored.md#filters):
    - `include`: patterns of the keys to mirror, like `"*.jpg"` or `"/reports/**"`. Empty mirrors all keys that `exclude` does not match
    - `exclude`: patterns of the keys not to mirror, like `"*.tmp"` or `"cache/"`. Includes are tried first
    - `min_size`: smallest size of an object, like `"1B"`, in KiB or with the unit `B`, `K`, `M`, `G` or `T`
    - `max_size`: largest size of an object, like `"5G"`, in the same units. An object that becomes larger keeps its earlier copy in the target
  EOT
  type = object({
    include  = optional(list(string), [])
    exclude  = optional(list(string), [])
    min_size = optional(string)
    max_size = optional(string)
  })
  default  = {}
  nullable = false

  # The precondition of the function checks the rest of the syntax: see filters.tf.
  validation {
    condition     = alltrue([for pattern in concat(var.filters.include, var.filters.exclude) : try(can(regex("^[^\\r\\n]+$", pattern)), false)])
    error_message = "Write each pattern of filters with at least one character, and \"?\" in the place of a line break."
  }

  validation {
    condition     = !anytrue([for pattern in var.filters.include : try(endswith(pattern, "/"), false)])
    error_message = "Write \"**\" behind a pattern of filters.include that ends with \"/\", like \"reports/**\": in rclone, \"reports/\" includes no object."
  }

  validation {
    condition = alltrue([for text in [var.filters.min_size, var.filters.max_size] :
    text == null || can(regex("^(?i:off|([0-9]+\\.?[0-9]*|\\.[0-9]+)(B|[KMGTPE](iB?)?)?)$", text))])
    error_message = "Write filters.min_size and filters.max_size as sizes like \"500B\", \"100K\", \"10M\" or \"1.5G\". Without a unit they are in KiB."
  }
}

variable "credentials_secret" {
  description = <<-EOT
    Existing Secrets Manager secret with the access key of the target. Null creates a secret, see the output `credentials_secret_arn`. The value of the secret is `{"access_key_id": "...", "secret_access_key": "..."}`:
    - `arn`: ARN of the secret, which may be in another Region. If a customer managed key other than `kms_key_arn` encrypts the secret, add that key to `source_kms_key_arns`
  EOT
  # An object, so that Terraform knows at plan time if there is a secret, even when the same apply creates it.
  type = object({
    arn = string
  })
  default = null

  validation {
    condition     = var.credentials_secret == null || can(regex("^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+-[A-Za-z0-9]{6}$", var.credentials_secret.arn))
    error_message = "Write credentials_secret.arn as the complete ARN of a Secrets Manager secret, with the six characters that AWS appends to the name, like \"arn:aws:secretsmanager:eu-west-1:123456789012:secret:my-secret-AbCdEf\"."
  }
}

variable "target_credentials" {
  description = <<-EOT
    Access key of the target, for the secret that the module creates. Null if you write the secret by hand. Terraform passes the value through a write-only argument: it is never in the state or in a plan, so every plan needs it again. Requires `target_credentials_version`:
    - `access_key_id`: access key ID
    - `secret_access_key`: secret access key
  EOT
  type = object({
    access_key_id     = string
    secret_access_key = string
  })
  default   = null
  ephemeral = true
  sensitive = true

  validation {
    condition     = var.target_credentials == null || var.credentials_secret == null
    error_message = "Write either credentials_secret or target_credentials: the module does not write to an existing secret."
  }

  validation {
    condition     = (var.target_credentials == null) == (var.target_credentials_version == null)
    error_message = "Write target_credentials_version = 1 beside target_credentials, and increase it with each new key; or write neither, and fill the secret by hand."
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
  description = "Version of `target_credentials`, a whole number from 1. Raise it whenever the credentials change: Terraform writes them only then. Null if you write the secret by hand."
  type        = number
  default     = null

  validation {
    condition     = var.target_credentials_version == null || try(var.target_credentials_version >= 1 && floor(var.target_credentials_version) == var.target_credentials_version, false)
    error_message = "Write target_credentials_version as a whole number from 1, and raise it by 1 whenever target_credentials change."
  }
}

variable "notification_mode" {
  description = <<-EOT
    Path of the events from the bucket to the queue:
    - `"sqs"`: the bucket notifies the queue. **Replaces all other notifications of the bucket**, and destroying the module removes the notification
    - `"eventbridge"`: an EventBridge rule sends the events. The notifications of the bucket stay as they are. The bucket must send its events to EventBridge, see `enable_bucket_eventbridge`. With `source_account_id`, a rule of that account must send them to the event bus of the module
    - `"none"`: you write the notification elsewhere, from the outputs `queue_arn`, `notification_events` and `notification_filter_prefix`. The queue policy already allows the bucket
  EOT
  type        = string
  default     = "sqs"
  nullable    = false

  validation {
    condition     = contains(["sqs", "eventbridge", "none"], var.notification_mode)
    error_message = "Write notification_mode as \"sqs\", \"eventbridge\" or \"none\"."
  }

  validation {
    condition     = !(local.is_other_account && var.notification_mode == "sqs")
    error_message = "Write notification_mode = \"none\" or \"eventbridge\": the bucket belongs to account ${local.source_account_id}, and the configuration of that account writes its notifications. The output source_account has what it needs."
  }
}

variable "enable_bucket_eventbridge" {
  description = "True makes the bucket send its events to EventBridge, for `notification_mode = \"eventbridge\"`. This setting is part of the notifications of the bucket: **it replaces all other notifications of the bucket**. Leave it false if another configuration sets it."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.enable_bucket_eventbridge || var.notification_mode == "eventbridge"
    error_message = "Leave enable_bucket_eventbridge out, or write notification_mode = \"eventbridge\": the other modes do not use EventBridge."
  }

  validation {
    condition     = !(local.is_other_account && var.enable_bucket_eventbridge)
    error_message = "Leave enable_bucket_eventbridge out: the bucket belongs to account ${local.source_account_id}, and the configuration of that account writes its notifications."
  }
}

variable "existing_notifications" {
  description = <<-EOT
    Reaction to notifications of the bucket that applying this module would remove:
    - `"refuse"`: the plan fails and names them. The apply fails if the bucket does not notify the module afterwards. Every plan needs `cloudformation:GetResource` and the `s3:GetBucket*` permissions behind it, as in the AWS policy `ReadOnlyAccess`
    - `"overwrite"`: the module does not check and removes them
  EOT
  type        = string
  default     = "refuse"
  nullable    = false

  validation {
    condition     = contains(["refuse", "overwrite"], var.existing_notifications)
    error_message = "Write existing_notifications as \"refuse\" or \"overwrite\"."
  }
}

variable "notification_topic_arns" {
  description = "ARNs of the SNS topics that may send the events of the bucket to the queue, for a bucket that notifies a topic. Subscribe the output `queue_arn` to the topic yourself."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.notification_topic_arns : can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", arn))])
    error_message = "Write notification_topic_arns as the ARNs of SNS topics, like \"arn:aws:sns:eu-west-1:123456789012:my-topic\": no subscription, no FIFO topic."
  }
}

variable "sync" {
  description = <<-EOT
    Scope and speed of live sync:
    - `tags`: true mirrors object tags. False saves two requests to AWS per object with tags. With a target that does not report the number of tags, it also saves one or two requests to the target per object
    - `object_lock`: true mirrors the retention and the legal hold of each object. The target bucket needs Object Lock. A retention is only extended, never shortened. AWS sends no event for a change of them alone: `reconcile` with `full` finds it
    - `max_concurrency` (2 to 1000): maximum number of concurrent invocations of the function for events. A new AWS account may allow 10 invocations in all: Lambda then throttles, and changes wait
    - `batch_size` (1 to 10000): maximum number of messages per invocation. A value above 10 needs a `batch_window_s` of at least 1
    - `batch_window_s` (0 to 300): seconds that Lambda waits for a batch to fill
    - `max_receive_count` (1 to 1000): number of receives after which SQS moves a message to the dead-letter queue. The delay between receives grows to 15 minutes, so 100 receives survive a target outage of more than 12 hours
    - `distributed_copy_threshold_mb` (64 to 51200000): size in MiB above which several workers copy an object together, in parts
    - `delete`: not allowed; write `deletes` instead
  EOT
  type = object({
    tags                          = optional(bool, true)
    object_lock                   = optional(bool, false)
    max_concurrency               = optional(number, 50)
    batch_size                    = optional(number, 10)
    batch_window_s                = optional(number, 0)
    max_receive_count             = optional(number, 100)
    distributed_copy_threshold_mb = optional(number, 1024)
    delete                        = optional(bool)
  })
  default  = {}
  nullable = false

  # Terraform ignores an attribute that the type does not have, and then the target's objects would be deleted.
  validation {
    condition     = var.sync.delete == null
    error_message = "Write deletes = { enabled = false } instead of sync.delete = false."
  }

  validation {
    condition     = var.sync.max_concurrency >= 2 && var.sync.max_concurrency <= 1000 && floor(var.sync.max_concurrency) == var.sync.max_concurrency
    error_message = "Write sync.max_concurrency as a whole number from 2 to 1000, the range that AWS allows."
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
    error_message = "Write sync.batch_window_s = 1 or more, or sync.batch_size = 10 or less: AWS requires a batching window for batches of more than 10 messages."
  }

  validation {
    condition     = var.sync.max_receive_count >= 1 && var.sync.max_receive_count <= 1000 && floor(var.sync.max_receive_count) == var.sync.max_receive_count
    error_message = "Write sync.max_receive_count as a whole number from 1 to 1000."
  }

  # A worker copies an object of up to 64 MiB with a single PutObject request. The largest object of S3 has
  # 51200000 MiB (48.8 TiB): 10,000 parts of 5 GiB. The target may accept less.
  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
  validation {
    condition     = var.sync.distributed_copy_threshold_mb >= 64 && var.sync.distributed_copy_threshold_mb <= 51200000 && floor(var.sync.distributed_copy_threshold_mb) == var.sync.distributed_copy_threshold_mb
    error_message = "Write sync.distributed_copy_threshold_mb as a whole number of MiB from 64 to 51200000."
  }
}

variable "deletes" {
  description = <<-EOT
    Deletions of live sync. Each waits on a queue, so that a mass of them can be stopped: see [docs/convergence.md](docs/convergence.md#the-delete-guard):
    - `enabled`: true deletes an object from the target when it is deleted from the source
    - `delay_s` (0 to 900): seconds before an object is deleted. An object that comes back in that time is not deleted. With less than 60, SQS may count a burst of deletions too late for `hold_above`
    - `hold_above` (1 or more, or -1): number of deletions that wait or are held, above which every further one is held until a person runs `s3-syncer deletions release` or `discard`. -1 holds none
  EOT
  type = object({
    enabled    = optional(bool, true)
    delay_s    = optional(number, 60)
    hold_above = optional(number, 10000)
  })
  default  = {}
  nullable = false

  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-delay-queues.html
  validation {
    condition     = var.deletes.delay_s >= 0 && var.deletes.delay_s <= 900 && floor(var.deletes.delay_s) == var.deletes.delay_s
    error_message = "Write deletes.delay_s as a whole number of seconds from 0 to 900, the longest delay of SQS."
  }

  validation {
    condition     = var.deletes.hold_above == -1 || (var.deletes.hold_above >= 1 && floor(var.deletes.hold_above) == var.deletes.hold_above)
    error_message = "Write deletes.hold_above as a whole number, 1 or more, or -1 to hold no deletions."
  }
}

variable "paused" {
  description = "True stops the workers and the schedule: the function receives no messages, and the service has no tasks. The queues keep every event and all work for 14 days, and an alarm warns after 10. False continues where the workers stopped."
  type        = bool
  default     = false
  nullable    = false
}

variable "metrics" {
  description = "True makes CloudWatch metrics from the log: objects, bytes, deletions, failures, lag and sweeps. Each costs up to 0.30 USD a month, in hours with data. False leaves only those of the alarms: `SyncLag` with `max_lag_s`, and `RepeatedRetries` with `max_retry_s`."
  type        = bool
  default     = true
  nullable    = false
}

variable "dashboard" {
  description = "True makes a CloudWatch dashboard, named like the input `name`: lag, queues, throughput, failures, function, service and sweeps, and tables from the log. It costs 3 USD a month beyond the three free ones of the account. The output `dashboard_body` has its content also if this is false."
  type        = bool
  default     = false
  nullable    = false
}

variable "bulk" {
  description = <<-EOT
    Bulk work: ranges of a migration or of `reconcile`, parts of large objects, and all other messages that the workers send to each other. They have a queue, so that no change waits behind them:
    - `max_concurrency` (2 to 1000): maximum number of concurrent invocations of the function for bulk work, beside those for events. A higher number makes a migration faster, and is more load for the target
  EOT
  type = object({
    max_concurrency = optional(number, 10)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.bulk.max_concurrency >= 2 && var.bulk.max_concurrency <= 1000 && floor(var.bulk.max_concurrency) == var.bulk.max_concurrency
    error_message = "Write bulk.max_concurrency as a whole number from 2 to 1000, the range that AWS allows."
  }
}

variable "reconcile" {
  description = <<-EOT
    Scheduled comparison of both buckets, which repairs differences that no event reported. It costs two list requests per 1,000 keys. The listings show neither tags nor every change of metadata: only `full` compares those:
    - `schedule` (`rate(...)`, `cron(...)` or `at(...)`): schedule expression of EventBridge Scheduler in UTC, like `rate(1 day)` or `cron(0 3 * * ? *)`. A schedule with `rate(...)` also runs at once when it is created. Null turns the comparison off
    - `delete`: true deletes objects that exist only in the target
    - `max_delete` (0 or more): maximum number of objects that one run deletes
    - `full`: true also compares headers, metadata and tags of every object. It costs two more requests per object on each side: HEAD and GetObjectTagging, or HEAD alone with `sync.tags = false`
  EOT
  type = object({
    schedule   = optional(string)
    delete     = optional(bool, false)
    max_delete = optional(number, 1000)
    full       = optional(bool, false)
  })
  default  = {}
  nullable = false

  # https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
  validation {
    condition = var.reconcile.schedule == null || anytrue([for form in [
      "^rate\\([1-9][0-9]* (minute|hour|day)s?\\)$",
      "^cron\\([0-9A-Za-z,*/-]+ [0-9A-Za-z,*/-]+ ([?] [0-9A-Za-z,*/-]+ [0-9A-Za-z,*/#-]+|[0-9A-Za-z,*/-]+ [0-9A-Za-z,*/-]+ [?]) [0-9,*/-]+\\)$",
      "^at\\([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\)$",
    ] : can(regex(form, var.reconcile.schedule))])
    error_message = "Write reconcile.schedule like \"rate(1 day)\", \"cron(0 3 * * ? *)\" or \"at(2030-01-31T03:00:00)\", or null to turn the comparison off. A rate has whole minutes, hours or days. The fields of cron are minute, hour, day of the month, month, day of the week and year, and one of both days is \"?\"."
  }

  validation {
    condition     = var.reconcile.max_delete >= 0 && floor(var.reconcile.max_delete) == var.reconcile.max_delete
    error_message = "Write reconcile.max_delete as a whole number, 0 or more."
  }
}

variable "function" {
  description = <<-EOT
    Settings of the Lambda function:
    - `enabled`: true makes the function consume the queues. False leaves all work to the `service`: the function still exists, but is not invoked and costs nothing
    - `memory_mb` (256 to 32768): memory in MB. Version 5 of the provider and many Regions allow at most 10240 MB. CPU and network grow with it: 1769 MB is one full vCPU
    - `timeout_s` (30 to 1800): timeout of an invocation in seconds. Lambda may allow at most 900 s. The visibility timeout of the queues is six times this value, and at least 900 s longer than it. A crashed invocation is retried after that time
    - `architecture` (`"arm64"` or `"x86_64"`): instruction set
    - `runtime` (`"python3.12"` or later): Lambda runtime. Version 5 of the provider accepts none after `"python3.13"`
    - `reserved_concurrency` (at least `sync.max_concurrency` plus `bulk.max_concurrency`, plus 10 for deletions): concurrency of the account to reserve for the function. Null reserves none
    - `log_level` (`"DEBUG"`, `"INFO"`, `"WARNING"` or `"ERROR"`): minimum level of the log lines. Decisions are logged at `"INFO"`
    - `package_path`: path of another zip with the code of the function. Null uses the zip of the module
    - `vpc`: network to run in, which must reach S3, SQS, Secrets Manager and the target. Null runs the function outside a VPC
    - `vpc.subnet_ids` (at least one): IDs of the subnets
    - `vpc.security_group_ids` (at least one): IDs of the security groups
    - `vpc_permissions`: true keeps the permissions for network interfaces without `vpc`. Lambda needs them for up to 20 minutes after the function has left a VPC, to delete the interfaces: see [upgrading](upgrading.md#leave-a-vpc)
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
    vpc_permissions = optional(bool, false)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.function.enabled || var.service.enabled
    error_message = "Write function.enabled = true or service.enabled = true: otherwise no worker consumes the queues, and SQS deletes the messages after 14 days."
  }

  validation {
    condition     = var.function.memory_mb >= 256 && var.function.memory_mb <= 32768 && floor(var.function.memory_mb) == var.function.memory_mb
    error_message = "Write function.memory_mb as a whole number of MB from 256 to 32768. The provider and Lambda may allow less."
  }

  validation {
    condition     = var.function.timeout_s >= 30 && var.function.timeout_s <= 1800 && floor(var.function.timeout_s) == var.function.timeout_s
    error_message = "Write function.timeout_s as a whole number of seconds from 30 to 1800. The provider and Lambda may allow less."
  }

  validation {
    condition     = contains(["arm64", "x86_64"], var.function.architecture)
    error_message = "Write function.architecture as \"arm64\" or \"x86_64\"."
  }

  validation {
    condition     = can(regex("^python3\\.(1[2-9]|[2-9][0-9])$", var.function.runtime))
    error_message = "Write function.runtime as \"python3.12\" or later, like \"python3.13\": Lambda has deprecated the runtimes before. The provider may refuse the newest."
  }

  validation {
    condition     = var.function.reserved_concurrency == null || try(var.function.reserved_concurrency >= var.sync.max_concurrency + var.bulk.max_concurrency + local.deletion_concurrency && floor(var.function.reserved_concurrency) == var.function.reserved_concurrency, false)
    error_message = "Write function.reserved_concurrency as a whole number not below sync.max_concurrency plus bulk.max_concurrency plus ${local.deletion_concurrency} for deletions, or leave it out. With less, Lambda throttles invocations, and every throttled invocation counts as a receive of its messages."
  }

  validation {
    condition     = contains(["DEBUG", "INFO", "WARNING", "ERROR"], var.function.log_level)
    error_message = "Write function.log_level as \"DEBUG\", \"INFO\", \"WARNING\" or \"ERROR\"."
  }

  validation {
    condition     = var.function.package_path == null || try(fileexists(var.function.package_path), false)
    error_message = "Write function.package_path as the path of an existing zip, starting with $${path.module} or $${path.root}, or leave it out to use the zip of the module."
  }

  validation {
    condition     = var.function.vpc == null || try(length(var.function.vpc.subnet_ids) > 0 && length(var.function.vpc.security_group_ids) > 0, false)
    error_message = "Write at least one ID into each of function.vpc.subnet_ids and function.vpc.security_group_ids, or leave function.vpc out."
  }

  validation {
    condition     = alltrue([for id in try(var.function.vpc.subnet_ids, []) : can(regex("^subnet-[0-9a-z]+$", id))])
    error_message = "Write function.vpc.subnet_ids as subnet IDs, like \"subnet-0123456789abcdef0\": no ARNs, no names."
  }

  validation {
    condition     = alltrue([for id in try(var.function.vpc.security_group_ids, []) : can(regex("^sg-[0-9a-z]+$", id))])
    error_message = "Write function.vpc.security_group_ids as security group IDs, like \"sg-0123456789abcdef0\": no ARNs, no names."
  }
}

variable "environment" {
  description = "More environment variables of the function and of all tasks, like `HTTPS_PROXY` and `NO_PROXY`: see [docs/networking.md](docs/networking.md#proxy). The values are in the state and in plans. All variables of the function together have at most 4096 bytes. The names of the module and of Lambda are not allowed."
  type        = map(string)
  default     = {}
  nullable    = false

  # https://docs.aws.amazon.com/lambda/latest/api/API_Environment.html
  validation {
    condition     = alltrue([for name in keys(var.environment) : can(regex("^[A-Za-z][A-Za-z0-9_]+$", name))])
    error_message = "Write the names in environment with letters, digits and \"_\", like HTTPS_PROXY: the first character must be a letter, and a name has two or more. These are wrong: ${join(", ", [for name in keys(var.environment) : name if !can(regex("^[A-Za-z][A-Za-z0-9_]+$", name))])}."
  }

  validation {
    condition     = alltrue([for value in values(var.environment) : value != null && value != ""])
    error_message = "Write a value for each name in environment: ECS drops variables with an empty value. Leave the name out instead."
  }

  validation {
    condition     = !anytrue([for name in keys(var.environment) : can(regex(local.own_variables, name))])
    error_message = "Leave ${join(", ", [for name in keys(var.environment) : name if can(regex(local.own_variables, name))])} out of environment: the module sets the variables of the workers. Use the input for it, or an option in service.arguments and migration.arguments."
  }

  validation {
    condition     = length(setintersection(keys(var.environment), local.lambda_variables)) == 0
    error_message = "Leave ${join(", ", setintersection(keys(var.environment), local.lambda_variables))} out of environment: Lambda reserves these names."
  }
}

variable "ecs" {
  description = <<-EOT
    Image, cluster and network of the ECS tasks on Fargate, shared by `migration` and `service`:
    - `image` (an address with tag or digest): address of an image built from `lambda/Dockerfile`. Null creates an ECR repository, and `s3-syncer --module DIRECTORY image push` builds and pushes the image
    - `architecture` (`"ARM64"` or `"X86_64"`): CPU architecture of the tasks. The image must be built for it
    - `cluster`: existing cluster to run in. The service needs the capacity provider `FARGATE` in it, and `FARGATE_SPOT` for Spot. Null creates a cluster
    - `cluster.arn`: ARN of the cluster
    - `subnet_ids` (at least one for `migration` and `service`): IDs of the subnets. They must reach the image registry, S3, SQS, Secrets Manager, CloudWatch Logs and the target
    - `security_group_ids` (at most 5): IDs of the security groups. Empty uses the default security group of the VPC
    - `assign_public_ip`: true assigns a public IP address to each task. Tasks in public subnets need it to reach anything
    - `bwlimit` (a rate like `"50M"`, or a timetable like `"08:00,10M 19:00,off"`): maximum bytes per second that a task copies, in the notation of rclone. The times are in UTC, or in the time zone of the variable `TZ` in `environment`. The function has no such limit
  EOT
  type = object({
    image              = optional(string)
    architecture       = optional(string, "ARM64")
    cluster            = optional(object({ arn = string }))
    subnet_ids         = optional(list(string), [])
    security_group_ids = optional(list(string), [])
    assign_public_ip   = optional(bool, false)
    bwlimit            = optional(string)
  })
  default  = {}
  nullable = false

  # A rate is one for both directions, or one for uploads and one for downloads.
  validation {
    condition     = var.ecs.bwlimit == null || can(regex("^(?i)((([a-z]+-)?([01][0-9]|2[0-3]):[0-5][0-9],)?${local.bandwidth_rate}|(([a-z]+-)?([01][0-9]|2[0-3]):[0-5][0-9],${local.bandwidth_rate}([ ;]+|$))+)$", var.ecs.bwlimit))
    error_message = "Write ecs.bwlimit as a rate like \"50M\", or as a timetable like \"08:00,10M 19:00,off\" or \"Mon-08:00,10M Sat-00:00,off\"."
  }

  validation {
    condition     = var.ecs.image == null || can(regex("^[a-z0-9][a-z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]*|(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?@sha256:[0-9a-f]{64})$", var.ecs.image))
    error_message = "Write ecs.image with its tag or digest and without https://, like \"123456789012.dkr.ecr.eu-west-1.amazonaws.com/s3-syncer:0.1.0\", or leave it out to create a repository."
  }

  validation {
    condition     = contains(["ARM64", "X86_64"], var.ecs.architecture)
    error_message = "Write ecs.architecture as \"ARM64\" or \"X86_64\"."
  }

  validation {
    condition     = var.ecs.cluster == null || can(regex("^arn:[a-z-]+:ecs:[a-z0-9-]+:[0-9]{12}:cluster/.+$", var.ecs.cluster.arn))
    error_message = "Write ecs.cluster.arn as the ARN of an ECS cluster, like \"arn:aws:ecs:eu-west-1:123456789012:cluster/batch\", or leave ecs.cluster out to create a cluster."
  }

  validation {
    condition     = !(var.migration.enabled || var.service.enabled) || length(var.ecs.subnet_ids) > 0
    error_message = "Write at least one subnet into ecs.subnet_ids: the tasks of migration and service run in your network, and must reach both stores from there."
  }

  validation {
    condition     = alltrue([for id in var.ecs.subnet_ids : can(regex("^subnet-[0-9a-z]+$", id))])
    error_message = "Write ecs.subnet_ids as subnet IDs, like \"subnet-0123456789abcdef0\": no ARNs, no names."
  }

  validation {
    condition     = alltrue([for id in var.ecs.security_group_ids : can(regex("^sg-[0-9a-z]+$", id))])
    error_message = "Write ecs.security_group_ids as security group IDs, like \"sg-0123456789abcdef0\": no ARNs, no names."
  }

  validation {
    condition     = length(var.ecs.security_group_ids) <= 5
    error_message = "Write at most 5 security groups into ecs.security_group_ids, the maximum of a network interface."
  }
}

variable "migration" {
  description = <<-EOT
    ECS task that copies the objects that existed before live sync. The module creates the task definition but does not run the task, see the output `migration`. Needs `ecs.subnet_ids`:
    - `enabled`: true creates the task definition
    - `cpu` (256, 512, 1024, 2048, 4096, 8192 or 16384): CPU units, 1024 per vCPU
    - `memory_mb` (a size that Fargate supports for `cpu`): memory in MiB, from 2 to 8 times `cpu`
    - `restore` (true or false): true allows the task to request restores of archived objects, with the option `--restore`
    - `arguments`: options of `s3-syncer migrate`, like `["--delete", "--max-delete=1000"]`
  EOT
  type = object({
    enabled   = optional(bool, false)
    cpu       = optional(number, 1024)
    memory_mb = optional(number, 2048)
    restore   = optional(bool, false)
    arguments = optional(list(string), [])
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(keys(local.fargate_memory_mb), tostring(var.migration.cpu))
    error_message = "Write migration.cpu as 256, 512, 1024, 2048, 4096, 8192 or 16384 CPU units, the sizes of Fargate."
  }

  validation {
    condition     = contains(try(local.fargate_memory_mb[tostring(var.migration.cpu)], [var.migration.memory_mb]), var.migration.memory_mb)
    error_message = "Write migration.memory_mb as ${join(", ", try(local.fargate_memory_mb[tostring(var.migration.cpu)], []))}, the sizes of Fargate for ${var.migration.cpu} CPU units."
  }

  validation {
    condition     = alltrue([for argument in var.migration.arguments : argument != null && argument != ""])
    error_message = "Write text into each of migration.arguments, or leave the argument out: none may be null or empty."
  }

  validation {
    condition     = !can(regex("^[^-]", var.migration.arguments[0]))
    error_message = "Write only options into migration.arguments, like [\"--delete\", \"--max-delete=1000\"]: the command is always \"migrate\", without positional arguments."
  }

  validation {
    condition     = !anytrue([for argument in var.migration.arguments : try(startswith(argument, "--report"), false)])
    error_message = "Leave --report out of migration.arguments: the file system of the task is read-only. The log of the task names every failure."
  }
}

variable "service" {
  description = <<-EOT
    ECS service that consumes the queues like the function, without the 15-minute limit. It runs beside the function, or instead of it with `function = { enabled = false }`. Needs `ecs.subnet_ids`:
    - `enabled`: true creates the service
    - `min_tasks` (0 or more): minimum number of tasks. With 0, no task runs while the queues are empty, and the first task needs some minutes to start
    - `max_tasks` (1 to 5000, not below `min_tasks`): maximum number of tasks. The value of `min_tasks` keeps the number fixed
    - `backlog_per_task` (1 or more): number of messages of the queues for events, bulk work and deletions, visible or in flight, for which one task runs
    - `concurrency` (1 to 512, or `"auto"` for 64): maximum number of events that a task handles at the same time. The number of requests to each store adapts to what the store can serve, up to `concurrency` plus `bulk_concurrency`
    - `bulk_concurrency` (1 to 512, or `"auto"` for 64): maximum number of messages with bulk work that a task handles at the same time, beside the events
    - `spot_percent` (0 to 100): share of the tasks that run on Fargate Spot. AWS may stop a Spot task with two minutes' notice, and other tasks then continue its work
    - `log_level` (`"DEBUG"`, `"INFO"`, `"WARNING"` or `"ERROR"`): minimum level of the log lines. Decisions are logged at `"INFO"`
    - `cpu` (256, 512, 1024, 2048, 4096, 8192 or 16384): CPU units, 1024 per vCPU
    - `memory_mb` (a size that Fargate supports for `cpu`): memory in MiB, from 2 to 8 times `cpu`
    - `arguments`: options of `s3-syncer serve`, like `["--bwlimit=50M"]`
  EOT
  type = object({
    enabled          = optional(bool, false)
    min_tasks        = optional(number, 1)
    max_tasks        = optional(number, 4)
    backlog_per_task = optional(number, 1000)
    concurrency      = optional(string, "32")
    bulk_concurrency = optional(string, "32")
    spot_percent     = optional(number, 0)
    log_level        = optional(string, "INFO")
    cpu              = optional(number, 1024)
    memory_mb        = optional(number, 2048)
    arguments        = optional(list(string), [])
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
    error_message = "Write service.max_tasks as 5000 or less, the maximum number of tasks of an ECS service."
  }

  validation {
    condition     = var.service.backlog_per_task >= 1 && floor(var.service.backlog_per_task) == var.service.backlog_per_task
    error_message = "Write service.backlog_per_task as a whole number of messages from 1, like 1000."
  }

  validation {
    condition     = var.service.concurrency == "auto" || try(tonumber(regex("^[1-9][0-9]*$", var.service.concurrency)) <= 512, false)
    error_message = "Write service.concurrency as a whole number from 1 to 512, or as \"auto\"."
  }

  validation {
    condition     = var.service.bulk_concurrency == "auto" || try(tonumber(regex("^[1-9][0-9]*$", var.service.bulk_concurrency)) <= 512, false)
    error_message = "Write service.bulk_concurrency as a whole number from 1 to 512, or as \"auto\"."
  }

  validation {
    condition     = var.service.spot_percent >= 0 && var.service.spot_percent <= 100 && floor(var.service.spot_percent) == var.service.spot_percent
    error_message = "Write service.spot_percent as a whole number from 0 (no task on Spot) to 100 (all tasks on Spot)."
  }

  validation {
    condition     = contains(["DEBUG", "INFO", "WARNING", "ERROR"], var.service.log_level)
    error_message = "Write service.log_level as \"DEBUG\", \"INFO\", \"WARNING\" or \"ERROR\"."
  }

  validation {
    condition     = contains(keys(local.fargate_memory_mb), tostring(var.service.cpu))
    error_message = "Write service.cpu as 256, 512, 1024, 2048, 4096, 8192 or 16384 CPU units, the sizes of Fargate."
  }

  validation {
    condition     = contains(try(local.fargate_memory_mb[tostring(var.service.cpu)], [var.service.memory_mb]), var.service.memory_mb)
    error_message = "Write service.memory_mb as ${join(", ", try(local.fargate_memory_mb[tostring(var.service.cpu)], []))}, the sizes of Fargate for ${var.service.cpu} CPU units."
  }

  validation {
    condition     = alltrue([for argument in var.service.arguments : argument != null && argument != ""])
    error_message = "Write text into each of service.arguments, or leave the argument out: none may be null or empty."
  }

  validation {
    condition     = !can(regex("^[^-]", var.service.arguments[0]))
    error_message = "Write only options into service.arguments, like [\"--bwlimit=50M\"]: the command is always \"serve\", without positional arguments."
  }
}

variable "source_kms_key_arns" {
  description = "ARNs of the customer managed KMS keys that encrypt the source objects. The policies of these keys must allow the roles of this account."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.source_kms_key_arns : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", arn))])
    error_message = "Write source_kms_key_arns as key ARNs, like \"arn:aws:kms:eu-west-1:123456789012:key/...\": a policy cannot name a key by its alias."
  }
}

variable "kms_key_arn" {
  description = "ARN of a customer managed KMS key that encrypts everything the module stores: queues, secret, logs, function environment, schedule, image repository and task storage. Null uses keys that AWS manages. The key policy must contain the output `kms_key_policy_statements`."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.kms_key_arn))
    error_message = "Write kms_key_arn as a key ARN, like \"arn:aws:kms:eu-west-1:123456789012:key/...\": a policy cannot name a key by its alias."
  }

  validation {
    condition     = try(split(":", var.kms_key_arn)[3] == local.region, true)
    error_message = "Write the ARN of a key in ${local.region} into kms_key_arn, the Region of the module: a key of another Region cannot encrypt its queues and logs. A multi-Region key has an ARN in each Region."
  }
}

variable "previous_kms_key_arns" {
  description = "ARNs of the keys that were `kms_key_arn` before. Messages stay encrypted with the key under which they were sent. The workers need each key until its last message has left the queues, at most 14 days after the change. The policies of these keys must still allow the roles."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.previous_kms_key_arns : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", arn))])
    error_message = "Write previous_kms_key_arns as key ARNs, like \"arn:aws:kms:eu-west-1:123456789012:key/...\": a policy cannot name a key by its alias."
  }

  validation {
    condition     = !contains(var.previous_kms_key_arns, coalesce(var.kms_key_arn, "none"))
    error_message = "Write only earlier keys into previous_kms_key_arns: the workers may use kms_key_arn anyway."
  }
}

variable "role_path" {
  description = "IAM path of all roles, like `/workloads/mirrors/`."
  type        = string
  default     = "/"
  nullable    = false

  validation {
    condition     = can(regex("^/([!-.0-~]+/)*$", var.role_path)) && length(var.role_path) <= 512
    error_message = "Write role_path as an IAM path with a slash at both ends and at most 512 characters, like \"/workloads/mirrors/\", or leave it out for \"/\"."
  }
}

variable "permissions_boundary_arn" {
  description = "ARN of the permissions boundary of all roles. Null sets none. [docs/security.md](docs/security.md) lists the actions that it must allow."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/.+$", var.permissions_boundary_arn))
    error_message = "Write permissions_boundary_arn as the ARN of an IAM policy, like \"arn:aws:iam::123456789012:policy/boundary\"."
  }
}

variable "log_retention_days" {
  description = "Retention of the logs in days. Allowed values: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653, or 0 to never expire."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition = contains(
      [0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      var.log_retention_days,
    )
    error_message = "Write log_retention_days as a value that CloudWatch Logs supports, like 7, 14, 30, 90 or 365, or 0 to never expire."
  }
}

variable "alarm_actions" {
  description = "ARNs to notify when an alarm changes between OK and ALARM, for example SNS topics. At most 5. If empty, the alarms have no actions."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.alarm_actions : can(regex("^arn:[a-z-]+:[a-z0-9-]+:[a-z0-9-]*:[^:]*:.+$", arn))])
    error_message = "Write alarm_actions as ARNs, like \"arn:aws:sns:eu-west-1:123456789012:on-call\"."
  }

  validation {
    condition     = alltrue([for arn in var.alarm_actions : try(contains(["", local.region], split(":", arn)[3]), true)])
    error_message = "Write ARNs of ${local.region} into alarm_actions, the Region of the module: CloudWatch rejects an action in another Region."
  }

  validation {
    condition     = length(var.alarm_actions) <= 5
    error_message = "Write at most 5 alarm_actions, the maximum of a CloudWatch alarm. To notify more recipients, subscribe them to an SNS topic."
  }
}

variable "event_bus_arn" {
  description = "ARN of an EventBridge bus, also of another account or Region, for events about dead letters, held deletions, ended sweeps, and a service that cannot reach a store: see docs/events.md. The policy of a bus in another account must allow `events:PutEvents` to the roles in the output `role_arns`. Null sends none."
  type        = string
  default     = null

  validation {
    condition     = var.event_bus_arn == null || can(regex("^arn:[a-z-]+:events:[a-z0-9-]+:[0-9]{12}:event-bus/[A-Za-z0-9_./-]+$", var.event_bus_arn))
    error_message = "Write event_bus_arn as the ARN of an event bus, like \"arn:aws:events:eu-west-1:123456789012:event-bus/default\", or null to send no events."
  }
}

variable "max_lag_s" {
  description = "Threshold of the alarms on lag and queue age: seconds that a change may wait, 60 or more. Null creates neither alarm. Keep the value above the time that the largest object takes, which can be `function.timeout_s`: a change counts as late while its object is copied."
  type        = number
  default     = 1800

  validation {
    condition     = var.max_lag_s == null || try(var.max_lag_s >= 60 && floor(var.max_lag_s) == var.max_lag_s, false)
    error_message = "Write max_lag_s as a whole number of seconds from 60, or null to create no lag alarm."
  }
}

variable "max_retry_s" {
  description = "Threshold of the alarm on retries: seconds for which changes may fail, 10 to 900. The alarm shows an unreachable target, a rejected access key or an unusable secret within minutes. It shows a store that accepts connections and does not respond within five minutes, or `max_retry_s` plus three minutes if that is longer. It needs log lines of level `WARNING`. Null creates no such alarm."
  type        = number
  default     = 60

  validation {
    condition     = var.max_retry_s == null || try(var.max_retry_s >= 10 && var.max_retry_s <= 900 && floor(var.max_retry_s) == var.max_retry_s, false)
    error_message = "Write max_retry_s as a whole number of seconds from 10 to 900, or null to create no alarm on retries."
  }

  validation {
    condition = var.max_retry_s == null || alltrue([
      for worker in [var.function, var.service] : worker.log_level != "ERROR" if worker.enabled
    ])
    error_message = "Write function.log_level and service.log_level as \"WARNING\" or lower, or max_retry_s = null: with \"ERROR\", the log has no lines about retries."
  }
}

variable "tags" {
  description = "Tags of all resources: at most 50. IAM and SQS allow letters, digits, spaces and `_ . : / = + - @` in them."
  type        = map(string)
  default     = {}
  nullable    = false

  # The rules that all services of the module have in common. https://docs.aws.amazon.com/IAM/latest/APIReference/API_Tag.html
  validation {
    condition = alltrue([for name, value in var.tags :
      can(regex("^[\\pL\\pZ\\pN_.:/=+@-]{1,128}$", name)) && can(regex("^[\\pL\\pZ\\pN_.:/=+@-]{0,256}$", value)) && !startswith(lower(name), "aws:")
    ])
    error_message = "Write tags with names of 1 to 128 and values of 0 to 256 characters, from letters, digits, spaces and \"_.:/=+-@\". No name may begin with \"aws:\", and no value may be null. These are wrong: ${join(", ", [for name, value in var.tags : name if !(can(regex("^[\\pL\\pZ\\pN_.:/=+@-]{1,128}$", name)) && can(regex("^[\\pL\\pZ\\pN_.:/=+@-]{0,256}$", value)) && !startswith(lower(name), "aws:"))])}."
  }

  validation {
    condition     = length(var.tags) <= 50
    error_message = "Write at most 50 tags, the maximum of a resource."
  }

  validation {
    condition     = length(distinct([for name in keys(var.tags) : lower(name)])) == length(var.tags)
    error_message = "Write each name in tags once, also without regard to upper and lower case: for IAM, \"Name\" and \"name\" are the same."
  }
}
