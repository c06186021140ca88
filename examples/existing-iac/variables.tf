variable "bucket" {
  description = "Name of the bucket to make, to notify about and to mirror."
  type        = string
  default     = "my-uploads"
}

variable "subnet_ids" {
  description = "Subnets for the migration, from which it reaches both stores."
  type        = list(string)
}
