variable "region" {
  description = "Region of the source bucket."
  type        = string
  default     = "eu-west-1"
}

variable "source_bucket" {
  description = "Name of the bucket to mirror, an existing bucket."
  type        = string
}

variable "target_endpoint" {
  description = "Address of the S3 API of the target store."
  type        = string
}

variable "target_region" {
  description = "Region of the target bucket, as the store names it."
  type        = string
}

variable "target_bucket" {
  description = "Name of the target bucket, an existing bucket."
  type        = string
}

variable "target_credentials" {
  description = "Access key of the target."
  type = object({
    access_key_id     = string
    secret_access_key = string
  })
  ephemeral = true
  sensitive = true
}

variable "vpc" {
  description = "Network of the function, the migration and the service. Null runs the function outside a VPC, without migration."
  type = object({
    subnet_ids         = list(string)
    security_group_ids = list(string)
  })
  default = null
}

variable "source_kms_key_arns" {
  description = "ARNs of the KMS keys that encrypt the source objects."
  type        = list(string)
  default     = []
}

variable "kms_key_arn" {
  description = "ARN of the KMS key for everything the module stores. Null uses keys that AWS manages."
  type        = string
  default     = null
}

variable "permissions_boundary_arn" {
  description = "ARN of the permissions boundary of the roles. Null sets none."
  type        = string
  default     = null
}

variable "alarm_actions" {
  description = "ARNs of the SNS topics that alarms notify."
  type        = list(string)
  default     = []
}
