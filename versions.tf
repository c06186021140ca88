terraform {
  # Terraform 1.11 introduced write-only arguments, which keep the value of the secret out of the state.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}
