# Inputs for checkov: all features on, with the settings of a strict account.

source_bucket             = "source"
target                    = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
notification_mode         = "eventbridge"
enable_bucket_eventbridge = true
reconcile                 = { schedule = "rate(1 day)" }
function                  = { vpc = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] }, reserved_concurrency = 100 }
ecs                       = { subnet_ids = ["subnet-1"] }
migration                 = { enabled = true }
service                   = { enabled = true }
source_kms_key_arns       = ["arn:aws:kms:eu-west-1:123456789012:key/11111111-1111"]
kms_key_arn               = "arn:aws:kms:eu-west-1:123456789012:key/22222222-2222"
log_retention_days        = 365
