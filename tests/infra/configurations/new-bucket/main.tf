# The bucket and its module, both new in one apply. The name of the bucket is known before the bucket exists.

provider "aws" {
  region = "eu-west-1"
}

variable "target" {
  type = object({ endpoint = string, region = string, bucket = string })
}

variable "bucket" {
  type    = string
  default = "my-new-bucket"
}

variable "existing_notifications" {
  type = string
}

resource "aws_s3_bucket" "source" {
  bucket = var.bucket
}

module "s3_syncer" {
  source = "../.."

  source_bucket          = aws_s3_bucket.source.bucket
  target                 = var.target
  name                   = "new-bucket"
  existing_notifications = var.existing_notifications
}
