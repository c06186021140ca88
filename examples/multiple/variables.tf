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

variable "alarm_email" {
  description = "Email address that gets the alarms of all pairs. Null leaves the subscriptions of the topic to you."
  type        = string
  default     = null
}
