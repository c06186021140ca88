# For a bucket of another account. The module runs in one account, and a role of the bucket's account lets it read the
# bucket. Events come over EventBridge, so the notifications of the bucket stay as they are but for one switch.

# The account of the module.
provider "aws" {
  region = var.region
}

# The account of the bucket.
provider "aws" {
  alias   = "source"
  region  = var.region
  profile = var.source_profile
}

data "aws_caller_identity" "source" {
  provider = aws.source
}

data "aws_partition" "source" {
  provider = aws.source
}

locals {
  source_account_id = data.aws_caller_identity.source.account_id
  reader            = "${var.bucket}-reader"
}

module "s3_syncer" {
  source = "../.."

  name              = "partner-mirror"
  source_bucket     = aws_s3_bucket.source.id
  source_account_id = local.source_account_id
  target            = var.target

  # As text, because the role needs the outputs of the module.
  source_role_arn = "arn:${data.aws_partition.source.partition}:iam::${local.source_account_id}:role/${local.reader}"

  notification_mode = "eventbridge"
}

# -- in the account of the bucket --------------------------------------------------------------------------------------

# A stand-in for the bucket that exists already.
resource "aws_s3_bucket" "source" {
  provider = aws.source

  bucket = var.bucket
}

resource "aws_s3_bucket_notification" "source" {
  provider = aws.source

  bucket      = aws_s3_bucket.source.id
  eventbridge = true # add this line to the configuration that writes the notifications
}

# The role that the workers assume.
resource "aws_iam_role" "reader" {
  provider = aws.source

  name = local.reader

  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = module.s3_syncer.source_account.role_trust_statements
  })
}

resource "aws_iam_role_policy" "reader" {
  provider = aws.source

  name = local.reader
  role = aws_iam_role.reader.id

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = module.s3_syncer.source_account.role_policy_statements
  })
}

# The rule that sends the events of the bucket to the event bus of the module.
resource "aws_cloudwatch_event_rule" "source" {
  provider = aws.source

  name          = "${var.bucket}-changes"
  event_pattern = module.s3_syncer.source_account.event_pattern
}

resource "aws_cloudwatch_event_target" "source" {
  provider = aws.source

  rule     = aws_cloudwatch_event_rule.source.name
  arn      = module.s3_syncer.source_account.event_bus_arn
  role_arn = aws_iam_role.events.arn
}

resource "aws_iam_role" "events" {
  provider = aws.source

  name = "${var.bucket}-events"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AllowEventBridgeToAssumeRole"
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.source_account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "events" {
  provider = aws.source

  name = "${var.bucket}-events"
  role = aws_iam_role.events.id

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = module.s3_syncer.source_account.event_role_policy_statements
  })
}
