"""The worker that turns messages into dispositions, and its requests to SQS and S3 Batch Operations."""
