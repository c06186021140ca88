# A function and a migration that run in a network of yours and leave it for the target alone: S3 through a gateway
# endpoint, the rest of AWS through interface endpoints. What leads to the target, a NAT gateway or another way, is the
# network's own. docs/networking.md says what each of these costs and when it is needed.

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
  region = var.region
}

data "aws_vpc" "network" {
  id = var.vpc_id
}

# What the function and the task may reach: the target, S3 by its prefix list, and the endpoints. Nothing may reach them.

resource "aws_security_group" "mirror" {
  name        = "s3-syncer"
  description = "The mirror: out to S3, to the endpoints and to the target"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  security_group_id = aws_security_group.mirror.id
  description       = "S3"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id
}

resource "aws_vpc_security_group_egress_rule" "endpoints" {
  security_group_id            = aws_security_group.mirror.id
  description                  = "Endpoints"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = aws_security_group.endpoints.id
}

resource "aws_vpc_security_group_egress_rule" "target" {
  for_each = var.target_cidrs

  security_group_id = aws_security_group.mirror.id
  description       = "Target"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = each.key
}

resource "aws_security_group" "endpoints" {
  name        = "s3-syncer-endpoints"
  description = "Endpoints: in from the network"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  security_group_id = aws_security_group.endpoints.id
  description       = "The network"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = data.aws_vpc.network.cidr_block
}

# The gateway endpoint is free, and images come through it too: ECR keeps their layers in a bucket of its own.

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = var.vpc_id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = var.route_table_ids

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "ReadSourceBucket"
        Effect    = "Allow"
        Principal = "*"
        Action    = ["s3:GetObject", "s3:GetObjectTagging", "s3:ListBucket"]
        Resource  = ["arn:aws:s3:::${var.source_bucket}", "arn:aws:s3:::${var.source_bucket}/*"]
      },
      {
        # https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html
        Sid       = "ReadEcrImageLayers"
        Effect    = "Allow"
        Principal = "*"
        Action    = ["s3:GetObject"]
        Resource  = ["arn:aws:s3:::prod-${var.region}-starport-layer-bucket/*"]
      },
    ]
  })
}

# The function needs the first two, the migration all but the first.

resource "aws_vpc_endpoint" "interface" {
  for_each = toset(["sqs", "secretsmanager", "ecr.api", "ecr.dkr", "logs"])

  vpc_id              = var.vpc_id
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = var.subnet_ids
  security_group_ids  = [aws_security_group.endpoints.id]
}

module "s3_syncer" {
  source = "../.."

  source_bucket = var.source_bucket
  target        = var.target
  name          = "private-syncer"

  function = {
    vpc = {
      subnet_ids         = var.subnet_ids
      security_group_ids = [aws_security_group.mirror.id]
    }
  }

  migration = { enabled = true }

  ecs = {
    subnet_ids         = var.subnet_ids
    security_group_ids = [aws_security_group.mirror.id]
  }
}
