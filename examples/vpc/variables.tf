variable "region" {
  description = "Region of the source bucket and of the VPC."
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

variable "target_cidrs" {
  description = "CIDR blocks of the target endpoint, as its operator lists them. The default allows all addresses, for endpoints that change."
  type        = set(string)
  default     = ["0.0.0.0/0"]
}

variable "vpc_id" {
  description = "ID of the VPC. DNS support and DNS hostnames must be on."
  type        = string
}

variable "subnet_ids" {
  description = "IDs of private subnets in two or more availability zones, with a route to the target."
  type        = list(string)
}

variable "route_table_ids" {
  description = "IDs of the route tables of these subnets."
  type        = list(string)
}
