variable "region" {
  description = "Region of the source bucket."
  type        = string
  default     = "eu-west-1"
}

variable "source_bucket" {
  description = "Name of the bucket to mirror."
  type        = string
}

variable "target_endpoint" {
  description = "Address of the target's S3 API."
  type        = string
}

variable "target_region" {
  description = "Region of the target bucket, as its store names it."
  type        = string
}

variable "target_bucket" {
  description = "Name of the bucket to mirror to."
  type        = string
}

variable "target_credentials" {
  description = "Keys of the target."
  type = object({
    access_key_id     = string
    secret_access_key = string
  })
  ephemeral = true
  sensitive = true
}

variable "vpc" {
  description = "Subnets and security groups for function, migration and service; null for none, and then no migration."
  type = object({
    subnet_ids         = list(string)
    security_group_ids = list(string)
  })
  default = null
}

variable "source_kms_key_arns" {
  description = "Keys that the source's objects are encrypted with."
  type        = list(string)
  default     = []
}

variable "kms_key_arn" {
  description = "Key for everything that keeps something; null for keys that AWS manages."
  type        = string
  default     = null
}

variable "permissions_boundary_arn" {
  description = "Policy that bounds the permissions of the roles; null for none."
  type        = string
  default     = null
}

variable "alarm_actions" {
  description = "SNS topics to tell of alarms."
  type        = list(string)
  default     = []
}
