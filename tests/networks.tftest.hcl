# Traffic rules of the example vpc. The emulator does not store enough of a network to test them there.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

run "the_example_vpc" {
  command = plan

  module {
    source = "./examples/vpc"
  }

  override_data {
    override_during = plan
    target          = data.aws_vpc.network
    values          = { cidr_block = "10.0.0.0/16" }
  }

  variables {
    source_bucket   = "source"
    target          = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
    target_cidrs    = ["198.51.100.0/24"]
    vpc_id          = "vpc-1"
    subnet_ids      = ["subnet-1", "subnet-2"]
    route_table_ids = ["rtb-1"]
  }

  assert {
    condition     = alltrue([for rule in [aws_vpc_security_group_egress_rule.s3, aws_vpc_security_group_egress_rule.endpoints] : rule.from_port == 443 && rule.to_port == 443])
    error_message = "Only TLS may leave the VPC."
  }

  assert {
    condition     = { for cidr, rule in aws_vpc_security_group_egress_rule.target : rule.cidr_ipv4 => rule.to_port } == { "198.51.100.0/24" = 443 }
    error_message = "Egress must be limited to the addresses of the target."
  }

  assert {
    condition     = keys(aws_vpc_endpoint.interface) == ["ecr.api", "ecr.dkr", "logs", "secretsmanager", "sqs"]
    error_message = "The function and the task need these endpoints."
  }

  assert {
    condition     = alltrue([for endpoint in aws_vpc_endpoint.interface : endpoint.private_dns_enabled && endpoint.subnet_ids == toset(["subnet-1", "subnet-2"])])
    error_message = "The endpoints need private DNS, because the SDKs use the public names."
  }

  assert {
    condition     = flatten([for statement in jsondecode(aws_vpc_endpoint.s3.policy).Statement : statement.Resource]) == ["arn:aws:s3:::source", "arn:aws:s3:::source/*", "arn:aws:s3:::prod-eu-west-1-starport-layer-bucket/*"]
    error_message = "The S3 endpoint must allow reading only the source and image layers."
  }
}
