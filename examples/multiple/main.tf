# Several pairs of buckets, each with its own queue, function and alarms. There are many buckets for one store, one bucket
# with several targets, and one prefix of a bucket with another target. The pairs use EventBridge: the notifications of a bucket allow
# only one destination per event, and EventBridge allows any number of rules.

provider "aws" {
  region = var.region
}

locals {
  # The key is part of every resource name and keeps the pairs apart. Do not change a key that is in use.
  pairs = {
    invoices = {
      source_bucket = "my-invoices"
      target_bucket = "my-invoices-mirror"
    }

    # The whole bucket has one target.
    documents = {
      source_bucket = "my-documents"
      target_bucket = "my-documents-mirror"
    }

    # One folder of the same bucket has a second target, where nothing is deleted.
    published = {
      source_bucket = "my-documents"
      source_prefix = "published/"
      target_bucket = "my-archive"
      target_prefix = "documents/"
      deletes       = { enabled = false }
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

  # All pairs share one access key.
  credentials_secret = { arn = aws_secretsmanager_secret.store.arn }

  notification_mode = "eventbridge"
  deletes           = try(each.value.deletes, {})
}

# The EventBridge setting of each bucket, once for all its mirrors. If another configuration writes the notifications of a
# bucket, set eventbridge = true there instead.
resource "aws_s3_bucket_notification" "source" {
  for_each = toset([for pair in local.pairs : pair.source_bucket])

  bucket      = each.key
  eventbridge = true
}

resource "aws_secretsmanager_secret" "store" {
  name        = "mirrors/store"
  description = "Access key for the buckets at ${var.target_endpoint}: {\"access_key_id\": \"...\", \"secret_access_key\": \"...\"}"
}
