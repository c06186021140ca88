variable "region" {
  description = "Region of the source bucket."
  type        = string
  default     = "eu-west-1"
}

variable "bucket" {
  description = "Name of the source bucket, which this example creates."
  type        = string
  default     = "my-uploads"
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

variable "subnet_ids" {
  description = "IDs of the subnets for the migration task. They must reach both stores."
  type        = list(string)
}
