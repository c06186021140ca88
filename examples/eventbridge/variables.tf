variable "bucket" {
  description = "Name of the bucket to make and to mirror."
  type        = string
  default     = "my-events"
}
