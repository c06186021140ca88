# The service without the function, in a network that exists already.

provider "aws" {
  region = "eu-west-1"
}

variable "target" {
  type = object({ endpoint = string, region = string, bucket = string })
}

variable "subnet_ids" {
  type = list(string)
}

variable "arguments" {
  type    = list(string)
  default = []
}

variable "kms_key_arn" {
  type    = string
  default = null
}

variable "previous_kms_key_arns" {
  type    = list(string)
  default = []
}

module "s3_syncer" {
  source = "../.."

  source_bucket = "my-served"
  target        = var.target
  name          = "served"

  function = { enabled = false }
  service  = { enabled = true, min_tasks = 1, max_tasks = 3, spot_percent = 50, arguments = var.arguments }
  ecs      = { subnet_ids = var.subnet_ids }

  kms_key_arn           = var.kms_key_arn
  previous_kms_key_arns = var.previous_kms_key_arns

  tags = { team = "storage" }
}

output "s3_syncer" {
  value = module.s3_syncer
}
