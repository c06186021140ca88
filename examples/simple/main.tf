# A bucket mirrored with nothing but the required inputs. After the apply, put the keys of the target into the secret
# that the output names; until then, changes wait in the queue.

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
  region = "eu-west-1" # where the source bucket is
}

module "s3_syncer" {
  source = "../.."

  source_bucket = "my-bucket"

  target = {
    endpoint = "https://s3.eu-west-1.example.com"
    region   = "eu-west-1"
    bucket   = "my-mirror"
  }
}

output "s3_syncer" {
  description = "Every output of the module; `credentials_secret_arn` is the secret to fill with {\"access_key_id\": \"...\", \"secret_access_key\": \"...\"}."
  value       = module.s3_syncer
}
