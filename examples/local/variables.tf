variable "aws_endpoint" {
  description = "Address of the emulated AWS."
  type        = string
}

variable "region" {
  description = "Region to work in."
  type        = string
  default     = "us-east-1"
}

variable "access_key_id" {
  description = "Access key of the emulator's root."
  type        = string
  default     = "test"
}

variable "secret_access_key" {
  description = "Secret key of the emulator's root."
  type        = string
  default     = "test"
  sensitive   = true
}

variable "source_bucket" {
  description = "Name of the bucket to make and to mirror."
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
    delete            = optional(bool)
    tags              = optional(bool)
    max_concurrency   = optional(number)
    batch_size        = optional(number)
    batch_window_s    = optional(number)
    max_receive_count = optional(number)
    parts_above_mb    = optional(number)
  })
  default = {}
}

variable "function" {
  description = "The module's `function`, as far as an emulator honours it."
  type = object({
    memory_mb    = optional(number)
    timeout_s    = optional(number)
    log_level    = optional(string)
    package_path = optional(string)
  })
  default = {}
}

variable "architecture" {
  description = "The module's `ecs.architecture`: that of this machine."
  type        = string
  default     = "X86_64"
}

variable "encrypted" {
  description = "Whether the source's objects, and what the module keeps, are encrypted with keys of the customer's."
  type        = bool
  default     = false
}
