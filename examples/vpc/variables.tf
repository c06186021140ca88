variable "region" {
  description = "Region of the source bucket and of the network."
  type        = string
  default     = "eu-west-1"
}

variable "source_bucket" {
  description = "Name of the bucket to mirror."
  type        = string
}

variable "target" {
  description = "The module's `target`."
  type = object({
    endpoint = string
    region   = string
    bucket   = string
    prefix   = optional(string)
  })
}

variable "target_cidrs" {
  description = "Addresses of the target's endpoint, as its operator names them; everything, if they may change at any time."
  type        = set(string)
  default     = ["0.0.0.0/0"]
}

variable "vpc_id" {
  description = "The network, with DNS support and DNS hostnames switched on."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of it, in two zones or more, with a way to the target."
  type        = list(string)
}

variable "route_table_ids" {
  description = "Route tables of these subnets."
  type        = list(string)
}
