variable "region" {
  description = "Region of the source buckets."
  type        = string
  default     = "eu-west-1"
}

variable "target_endpoint" {
  description = "Address of the S3 API of the target store."
  type        = string
}

variable "target_region" {
  description = "Region of the target buckets, as the store names it."
  type        = string
}
