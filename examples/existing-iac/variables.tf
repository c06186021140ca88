variable "bucket" {
  description = "Name of the bucket to make, to notify about and to mirror."
  type        = string
  default     = "my-uploads"
}
