# Mirrors a bucket with the required inputs only. Events wait in the queue until you write the secret.

provider "aws" {
  region = var.region
}

module "s3_syncer" {
  source = "../.."

  source_bucket = var.source_bucket
  target        = var.target
}
