# Several pairs of buckets, each with its own queue, function and alarms: many buckets to one store, one bucket to
# several targets, one prefix of a bucket to another target. They go through EventBridge, since the notifications of a
# bucket take only one destination for an event, and rules any number.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}

provider "aws" {
  region = "eu-west-1"
}

locals {
  # The key becomes part of every name, so it is what keeps the pairs apart: do not change one that is in use.
  pairs = {
    invoices = {
      source_bucket = "my-invoices"
      target_bucket = "my-invoices-mirror"
    }

    # All of a bucket goes here,
    documents = {
      source_bucket = "my-documents"
      target_bucket = "my-documents-mirror"
    }

    # and one folder of it there as well, where nothing is ever deleted.
    published = {
      source_bucket = "my-documents"
      source_prefix = "published/"
      target_bucket = "my-archive"
      target_prefix = "documents/"
      sync          = { delete = false }
    }
  }
}

module "s3_syncer" {
  source   = "../.."
  for_each = local.pairs

  name = "mirror-${each.key}"

  source_bucket = each.value.source_bucket
  source_prefix = try(each.value.source_prefix, "")

  target = {
    endpoint = var.target_endpoint
    region   = var.target_region
    bucket   = each.value.target_bucket
    prefix   = try(each.value.target_prefix, "")
  }

  # One pair of keys for all of them.
  credentials_secret = { arn = aws_secretsmanager_secret.store.arn }

  notification_mode = "eventbridge"
  sync              = try(each.value.sync, {})
}

# The switch of each bucket, once, whatever the number of its mirrors. Where something else writes a bucket's
# notifications, set eventbridge = true there instead.
resource "aws_s3_bucket_notification" "source" {
  for_each = toset([for pair in local.pairs : pair.source_bucket])

  bucket      = each.key
  eventbridge = true
}

resource "aws_secretsmanager_secret" "store" {
  name        = "mirrors/store"
  description = "Keys of the buckets at ${var.target_endpoint}: {\"access_key_id\": \"...\", \"secret_access_key\": \"...\"}"
}
