# A function and a migration task in your VPC. Only the traffic to the target leaves the VPC: S3 has a gateway endpoint, and
# other AWS services have interface endpoints. The route to the target, for example a NAT gateway, is part of your network.
# docs/networking.md says when each endpoint is needed and what it costs.

provider "aws" {
  region = var.region
}

data "aws_vpc" "network" {
  id = var.vpc_id
}

# Security group of the function and the task. Egress: S3 by its prefix list, the endpoints, and the target. No ingress.

resource "aws_security_group" "mirror" {
  name        = "s3-syncer"
  description = "s3-syncer: egress to S3, to the VPC endpoints and to the target"
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
  description                  = "VPC endpoints"
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
  description = "VPC endpoints of s3-syncer: ingress from the VPC"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  security_group_id = aws_security_group.endpoints.id
  description       = "VPC"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = data.aws_vpc.network.cidr_block
}

# The gateway endpoint is free. ECR keeps image layers in an S3 bucket, so image pulls use this endpoint too.

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

# The function needs sqs and secretsmanager. The migration needs all of them except sqs.

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
