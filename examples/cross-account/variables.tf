variable "region" {
  description = "Region of both accounts and of the source bucket."
  type        = string
  default     = "eu-west-1"
}

variable "source_profile" {
  description = "Profile of the AWS configuration files with credentials for the account of the bucket."
  type        = string
}

variable "bucket" {
  description = "Name of the source bucket, which this example creates."
  type        = string
  default     = "partner-data"
}

variable "target" {
  description = "Target bucket, as in the input `target` of the module."
  type = object({
    endpoint = string
    region   = string
    bucket   = string
    prefix   = optional(string)
  })
}
