variable "aws_endpoint" {
  description = "Address of the emulated AWS."
  type        = string
}

variable "region" {
  description = "Region of the emulated AWS."
  type        = string
  default     = "us-east-1"
}

variable "access_key_id" {
  description = "Access key ID of the root user of the emulator."
  type        = string
  default     = "test"
}

variable "secret_access_key" {
  description = "Secret access key of the root user of the emulator."
  type        = string
  default     = "test"
  sensitive   = true
}

variable "source_bucket" {
  description = "Name of the source bucket, which this example creates."
  type        = string
  default     = "s3-syncer-source"
}

variable "target" {
  description = "The module's `target`."
  type = object({
    endpoint = string
    region   = string
    bucket   = string
    prefix   = optional(string)
  })
}

variable "target_credentials" {
  description = "The module's `target_credentials`."
  type = object({
    access_key_id     = string
    secret_access_key = string
  })
  ephemeral = true
  sensitive = true
}

variable "target_credentials_version" {
  description = "The module's `target_credentials_version`."
  type        = number
  default     = 1
}

variable "name" {
  description = "The module's `name`."
  type        = string
  default     = "s3-syncer"
}

variable "notification_mode" {
  description = "The module's `notification_mode`."
  type        = string
  default     = "sqs"
}

variable "sync" {
  description = "The module's `sync`."
  type = object({
    tags                          = optional(bool)
    max_concurrency               = optional(number)
    batch_size                    = optional(number)
    batch_window_s                = optional(number)
    max_receive_count             = optional(number)
    distributed_copy_threshold_mb = optional(number)
  })
  default = {}
}

variable "deletes" {
  description = "The module's `deletes`. The delay is short, because each deletion waits for it."
  type = object({
    enabled    = optional(bool)
    delay_s    = optional(number, 2)
    hold_above = optional(number)
  })
  default = {}
}

variable "paused" {
  description = "The module's `paused`."
  type        = bool
  default     = false
}

variable "function" {
  description = "The attributes of the module's `function` that have an effect on the emulator."
  type = object({
    memory_mb    = optional(number)
    timeout_s    = optional(number)
    log_level    = optional(string)
    package_path = optional(string)
  })
  default = {}
}

variable "architecture" {
  description = "The module's `ecs.architecture`: the architecture of this machine."
  type        = string
  default     = "X86_64"
}

variable "encrypted" {
  description = "True encrypts the source objects, and everything the module stores, with customer managed keys."
  type        = bool
  default     = false
}
