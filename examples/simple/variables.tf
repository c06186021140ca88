variable "region" {
  description = "Region of the source bucket."
  type        = string
  default     = "eu-west-1"
}

variable "source_bucket" {
  description = "Name of the bucket to mirror, an existing bucket."
  type        = string
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
