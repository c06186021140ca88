variable "target_endpoint" {
  description = "Address of the target's S3 API."
  type        = string
}

variable "target_region" {
  description = "Region of the target buckets, as their store names it."
  type        = string
}
